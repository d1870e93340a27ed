"""Solutions of `ridge_classifier`: RIGHT ones pass, WRONG ones fail with the mistake beside them."""

import numpy as np


def standardised(features, labels):
    mean, deviation = features.mean(axis=0), features.std(axis=0)
    return (features - mean) / deviation, mean, deviation


def targets(labels, num_classes):
    return np.where(labels[:, None] == np.arange(num_classes), 1.0, -1.0)


def folded(features, labels, num_classes, strength):
    X, mean, deviation = standardised(features, labels)
    Y = targets(labels, num_classes)
    W = np.linalg.inv(X.T @ X + strength * np.eye(X.shape[1])) @ X.T @ (Y - Y.mean(0))
    return W / deviation[:, None], Y.mean(0) - (mean / deviation) @ W


def ratio_of_penalties(features, labels, num_classes, strength):
    """Centred alone, and a penalty for each column instead of the division."""
    centred = features - features.mean(axis=0)
    Y = targets(labels, num_classes)
    weight = np.linalg.solve(centred.T @ centred + np.diag(strength * features.var(axis=0)), centred.T @ Y)
    return [weight, Y.mean(axis=0) - features.mean(axis=0) @ weight]


def dual(f, y, k, lam):
    X, mean, deviation = standardised(f.astype(np.float64), y)
    Y = -np.ones((len(y), k))
    Y[np.arange(len(y)), y] = 1
    alpha = np.linalg.solve(X @ X.T + lam * np.eye(len(X)), Y - Y.mean(axis=0))  # (n, K)
    weight = (X / deviation).T @ alpha
    return weight, Y.mean(axis=0) - mean @ weight


def by_scores(features, labels, num_classes, strength):
    """The head from its own answers: at 0 the bias, at the unit vectors the weight."""
    X, mean, deviation = standardised(features, labels)
    Y = targets(labels, num_classes)
    more = np.concatenate([X, strength**0.5 * np.eye(X.shape[1])])  # a penalty is rows of targets 0
    W = np.linalg.lstsq(more, np.concatenate([Y - Y.mean(0), np.zeros((X.shape[1], num_classes))]), rcond=None)[0]

    def scores(f):
        return (f - mean) / deviation @ W + Y.mean(0)

    bias = scores(np.zeros(X.shape[1]))
    return scores(np.eye(X.shape[1])) - bias, bias


def single_precision(features, labels, num_classes, strength):
    weight, bias = folded(features, labels, num_classes, strength)
    return weight.astype(np.float32), bias.astype(np.float32)


def column_of_ones(features, labels, num_classes, strength):
    """The offset as the weight of a column of ones, without penalty."""
    X, mean, deviation = standardised(features, labels)
    X = np.concatenate([X, np.ones((len(X), 1))], axis=1)
    penalty = strength * np.eye(X.shape[1])
    penalty[-1, -1] = 0.0
    both = np.linalg.solve(X.T @ X + penalty, X.T @ targets(labels, num_classes))
    weight = both[:-1] / deviation[:, None]
    return weight, both[-1] - mean @ weight


def solved(features, labels, num_classes, strength, low=-1.0):
    X, mean, deviation = standardised(features, labels)
    Y = np.where(labels[:, None] == np.arange(num_classes), 1.0, low)
    return np.linalg.solve(X.T @ X + strength * np.eye(X.shape[1]), X.T @ (Y - Y.mean(0))), Y.mean(0), mean, deviation


def as_in_the_notebook(features, labels, num_classes, strength):
    W, offset, _, _ = solved(features, labels, num_classes, strength)
    return W, offset


def no_mean(features, labels, num_classes, strength):
    W, offset, _, deviation = solved(features, labels, num_classes, strength)
    return W / deviation[:, None], offset


def mean_times_w(features, labels, num_classes, strength):
    W, offset, mean, deviation = solved(features, labels, num_classes, strength)
    return (W.T / deviation).T, offset - mean @ W


def plus_mean(features, labels, num_classes, strength):
    W, offset, mean, deviation = solved(features, labels, num_classes, strength)
    W = W / deviation[:, None]
    return W, offset + mean @ W


def times_deviation(features, labels, num_classes, strength):
    W, offset, mean, deviation = solved(features, labels, num_classes, strength)
    W = W * deviation[:, None]
    return W, offset - mean @ W


def no_offset(features, labels, num_classes, strength):
    W, _, mean, deviation = solved(features, labels, num_classes, strength)
    W = W / deviation[:, None]
    return W, -mean @ W


def ones_penalised(features, labels, num_classes, strength):
    X, mean, deviation = standardised(features, labels)
    X = np.hstack([X, np.ones((len(X), 1))])
    W = np.linalg.solve(X.T @ X + strength * np.eye(X.shape[1]), X.T @ targets(labels, num_classes))
    weight = W[:-1] / deviation[:, None]
    return weight, W[-1] - mean @ weight


def zero_one(features, labels, num_classes, strength):
    W, offset, mean, deviation = solved(features, labels, num_classes, strength, low=0.0)
    return W / deviation[:, None], offset - mean / deviation @ W


def negative(features, labels, num_classes, strength):
    weight, bias = folded(features, labels, num_classes, strength)
    return -weight, -bias


def no_penalty(features, labels, num_classes, strength):
    X, mean, deviation = standardised(features, labels)
    Y = targets(labels, num_classes)
    weight = np.linalg.lstsq(X, Y - Y.mean(0), rcond=None)[0] / deviation[:, None]
    return weight, Y.mean(0) - mean @ weight


def mean_of_squares(features, labels, num_classes, strength):
    X, mean, deviation = standardised(features, labels)
    Y, n = targets(labels, num_classes), len(X)
    W = np.linalg.solve(X.T @ X / n + strength * np.eye(X.shape[1]), X.T @ (Y - Y.mean(0)) / n)
    return W / deviation[:, None], Y.mean(0) - mean / deviation @ W


def penalty_over_n(features, labels, num_classes, strength):
    return folded(features, labels, num_classes, strength / len(features))


def penalty_squared(features, labels, num_classes, strength):
    return folded(features, labels, num_classes, strength**2)


def unbiased(features, labels, num_classes, strength):
    mean, deviation = features.mean(0), features.std(0, ddof=1)
    X, Y = (features - mean) / deviation, targets(labels, num_classes)
    W = np.linalg.solve(X.T @ X + strength * np.eye(X.shape[1]), X.T @ (Y - Y.mean(0)))
    return W / deviation[:, None], Y.mean(0) - mean / deviation @ W


def by_variance(features, labels, num_classes, strength):
    mean, variance = features.mean(0), ((features - features.mean(0)) ** 2).mean(0)
    X, Y = (features - mean) / variance, targets(labels, num_classes)
    W = np.linalg.solve(X.T @ X + strength * np.eye(X.shape[1]), X.T @ (Y - Y.mean(0)))
    return W / variance[:, None], Y.mean(0) - mean / variance @ W


def centred(features, labels, num_classes, strength):
    mean = features.mean(0)
    X, Y = features - mean, targets(labels, num_classes)
    W = np.linalg.solve(X.T @ X + strength * np.eye(X.shape[1]), X.T @ (Y - Y.mean(0)))
    return W, Y.mean(0) - mean @ W


def raw(features, labels, num_classes, strength):
    X, Y = features, targets(labels, num_classes)
    W = np.linalg.solve(X.T @ X + strength * np.eye(X.shape[1]), X.T @ (Y - Y.mean(0)))
    return W, Y.mean(0)


def classes_seen(features, labels, num_classes, strength):
    return folded(features, labels, len(np.unique(labels)), strength)


def like_dense(features, labels, num_classes, strength):
    weight, bias = folded(features, labels, num_classes, strength)
    return weight.T, bias


def swapped(features, labels, num_classes, strength):
    weight, bias = folded(features, labels, num_classes, strength)
    return bias, weight


def weight_alone(features, labels, num_classes, strength):
    return folded(features, labels, num_classes, strength)[0]


def bias_as_a_row(features, labels, num_classes, strength):
    weight, bias = folded(features, labels, num_classes, strength)
    return weight, bias[None]


def of_each_image(features, labels, num_classes, strength):
    X = (features - features.mean(1, keepdims=True)) / features.std(1, keepdims=True)
    Y = targets(labels, num_classes)
    return np.linalg.solve(X.T @ X + strength * np.eye(X.shape[1]), X.T @ (Y - Y.mean(0))), Y.mean(0)


def axis_of_the_images(features, labels, num_classes, strength):
    X = (features - features.mean(axis=1)) / features.std(axis=1)
    return X.T @ X, X


def in_place(features, labels, num_classes, strength):
    mean, deviation = features.mean(0), features.std(0)
    features -= mean
    features /= deviation
    Y = targets(labels, num_classes)
    W = np.linalg.solve(features.T @ features + strength * np.eye(len(mean)), features.T @ Y)
    return W / deviation[:, None], Y.mean(0) - mean / deviation @ W


def nothing(features, labels, num_classes, strength):
    folded(features, labels, num_classes, strength)


RIGHT = [folded, ratio_of_penalties, dual, by_scores, single_precision, column_of_ones]
WRONG = {
    as_in_the_notebook: "W of the standardised features",
    no_mean: "mean left out of the bias",
    mean_times_w: "bias with W in place of weight",
    plus_mean: "mean added",
    times_deviation: "multiplied by the deviation",
    no_offset: "mean of the targets forgotten",
    ones_penalised: "offset penalised",
    zero_one: "targets 0 and 1",
    negative: "signs of the targets",
    no_penalty: "penalty forgotten",
    mean_of_squares: "penalty times n",
    penalty_over_n: "penalty over n",
    penalty_squared: "penalty squared",
    unbiased: "deviation by n - 1",
    by_variance: "divided by the variance",
    centred: "not divided",
    raw: "not standardised",
    classes_seen: "classes counted by the labels",
    like_dense: "weight transposed",
    swapped: "weight and bias swapped",
    weight_alone: "number of outputs",
    bias_as_a_row: "shape",
    of_each_image: "value",
    axis_of_the_images: "ValueError",
    in_place: "input changed",
    nothing: "no output",
}
