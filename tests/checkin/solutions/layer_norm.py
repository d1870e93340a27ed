"""Solutions of `layer_norm`: RIGHT ones pass, WRONG ones fail with the mistake beside them."""

import numpy as np
from mindspore import Tensor, nn, ops


def by_mean(x, gamma, beta, epsilon):
    mean = x.mean(-1, True)
    variance = (x - mean).square().mean(-1, True)
    return (x - mean) * ops.rsqrt(variance + epsilon) * gamma + beta


def by_var(x, gamma, beta, epsilon):
    return gamma * (x - x.mean(-1, True)) / (x.var(-1, keepdims=True) + epsilon).sqrt() + beta


def by_sums(x, gamma, beta, epsilon):
    count = x.shape[-1]
    mean = x.sum(-1, keepdims=True) / count
    variance = (x * x).sum(-1, keepdims=True) / count - mean * mean
    scale = gamma / (variance + epsilon) ** 0.5
    return x * scale + (beta - mean * scale)


def operator(x, gamma, beta, epsilon):
    return ops.LayerNorm(-1, -1, epsilon)(x, gamma, beta)[0]


def by_matrix(x, gamma, beta, epsilon):
    d = x.shape[-1]
    average = ops.ones((d, d)) / d
    rows = x.reshape(-1, d)
    rows = rows - ops.matmul(rows, average)
    return (rows / ops.sqrt(ops.matmul(rows**2, average) + epsilon) * gamma + beta).reshape(x.shape)


def moments(x, axis, keep=True):
    mean = x.mean(axis, keep)
    return mean, ((x - mean) ** 2).mean(axis, keep)


def outside(x, gamma, beta, epsilon):
    mean, variance = moments(x, -1)
    return gamma * (x - mean) / (variance**0.5 + epsilon) + beta


def no_epsilon(x, gamma, beta, epsilon):
    mean, variance = moments(x, -1)
    return gamma * (x - mean) / variance**0.5 + beta


def unbiased(x, gamma, beta, epsilon):
    mean = x.mean(-1, True)
    return gamma * (x - mean) / (x.var(-1, ddof=1, keepdims=True) + epsilon).sqrt() + beta


def by_variance(x, gamma, beta, epsilon):
    mean, variance = moments(x, -1)
    return gamma * (x - mean) / (variance + epsilon) + beta


def centred(x, gamma, beta, epsilon):
    return gamma * (x - x.mean(-1, True)) + beta


def along(axis):
    def solution(x, gamma, beta, epsilon):
        mean, variance = moments(x, axis)
        return gamma * (x - mean) / ops.sqrt(variance + epsilon) + beta

    return solution


over_tokens, over_batch, over_image, like_batch_norm = along(1), along(0), along((1, 2)), along((0, 1))


def over_everything(x, gamma, beta, epsilon):
    return gamma * (x - x.mean()) / (x.var() + epsilon) ** 0.5 + beta


def not_centred(x, gamma, beta, epsilon):
    return gamma * x / (x.var(-1, keepdims=True) + epsilon).sqrt() + beta


def rms(x, gamma, beta, epsilon):
    return gamma * x * ops.rsqrt((x * x).mean(-1, True) + epsilon) + beta


def second_moment(x, gamma, beta, epsilon):
    return gamma * (x - x.mean(-1, True)) * ops.rsqrt((x * x).mean(-1, True) + epsilon) + beta


def normalised(x, gamma, beta, epsilon):
    mean, variance = moments(x, -1)
    return (x - mean) / ops.sqrt(variance + epsilon)


def no_beta(x, gamma, beta, epsilon):
    return gamma * normalised(x, gamma, beta, epsilon)


def no_gamma(x, gamma, beta, epsilon):
    return normalised(x, gamma, beta, epsilon) + beta


def swapped(x, gamma, beta, epsilon):
    return beta * normalised(x, gamma, beta, epsilon) + gamma


def in_brackets(x, gamma, beta, epsilon):
    return gamma * (normalised(x, gamma, beta, epsilon) + beta)


def cell_of_its_own(x, gamma, beta, epsilon):
    return nn.LayerNorm((x.shape[-1],), epsilon=epsilon)(x)


def axis_lost(x, gamma, beta, epsilon):
    mean, variance = moments(x, -1, False)
    return gamma * (x - mean) / ops.sqrt(variance + epsilon) + beta


def only_three_axes(x, gamma, beta, epsilon):
    _, _, _ = x.shape
    return by_mean(x, gamma, beta, epsilon)


def own_epsilon(x, gamma, beta, epsilon):
    return by_mean(x, gamma, beta, 1e-6)


def in_numpy(x, gamma, beta, epsilon):
    x = x.asnumpy()
    h = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + epsilon)
    return gamma * Tensor(h.astype(np.float32)) + beta


def all_in_numpy(x, gamma, beta, epsilon):
    x, gamma, beta = x.asnumpy(), gamma.asnumpy(), beta.asnumpy()
    h = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + epsilon)
    return Tensor((gamma * h + beta).astype(np.float32))


def constant_moments(x, gamma, beta, epsilon):
    mean, variance = (ops.stop_gradient(moment) for moment in moments(x, -1))
    return gamma * (x - mean) / ops.sqrt(variance + epsilon) + beta


def nothing(x, gamma, beta, epsilon):
    by_mean(x, gamma, beta, epsilon)


RIGHT = [by_mean, by_var, by_sums, operator, by_matrix]
WRONG = {
    outside: "epsilon outside the root",
    no_epsilon: "epsilon forgotten",
    own_epsilon: "epsilon forgotten",
    unbiased: "unbiased variance",
    by_variance: "divided by the variance",
    centred: "not divided",
    over_tokens: "over the tokens",
    over_batch: "over the images",
    over_image: "over tokens and columns",
    like_batch_norm: "batch normalisation",
    over_everything: "over everything",
    not_centred: "mean left",
    rms: "root mean square",
    second_moment: "squares of x",
    normalised: "gamma and beta forgotten",
    cell_of_its_own: "gamma and beta forgotten",
    no_beta: "beta forgotten",
    no_gamma: "gamma forgotten",
    swapped: "gamma and beta swapped",
    in_brackets: "beta before gamma",
    axis_lost: "ValueError",
    only_three_axes: "ValueError",
    in_numpy: "gradient",
    all_in_numpy: "gradient",
    constant_moments: "gradient",
    nothing: "no output",
}
