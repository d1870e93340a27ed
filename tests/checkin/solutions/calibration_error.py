"""Solutions of `calibration_error`: RIGHT ones pass, WRONG ones fail with the mistake beside them."""

import itertools

import numpy as np


def counted(p, labels, M):
    confidence, right = p.max(axis=1), p.argmax(axis=1) == labels
    index = np.minimum((confidence * M).astype(int), M - 1)
    count = np.bincount(index, minlength=M)
    acc, conf = (np.bincount(index, values, M) / np.maximum(count, 1) for values in (right, confidence))
    return (count / count.sum() * abs(acc - conf)).sum()


def loop(p, labels, M):
    answer = p.argmax(1)
    confidence = p[np.arange(len(p)), answer]
    edges = np.linspace(0, 1, M + 1)
    ece = 0.0
    for low, high in itertools.pairwise(edges):
        inside = (confidence > low) & (confidence <= high)
        if inside.any():
            gap = (answer == labels)[inside].mean() - confidence[inside].mean()
            ece += inside.mean() * abs(gap)
    return float(ece)


def sums(p, labels, M):
    """The counts cancel: |B| / n |acc - conf| = |sum of right - sum of confidence| / n."""
    surplus = [0.0] * M
    for row, label in zip(p, labels, strict=True):
        surplus[int(row.max() * M)] += (row.argmax() == label) - row.max()
    return sum(map(abs, surplus)) / len(labels)


def histogram(p, labels, M):
    confidence = np.float32(np.max(p, -1))
    right = (np.argmax(p, -1) == labels).astype(float)  # of bools np.histogram makes no sum
    sum_right, _ = np.histogram(confidence, bins=M, range=(0, 1), weights=right)
    sum_confidence, _ = np.histogram(confidence, bins=M, range=(0, 1), weights=confidence)
    return np.abs(sum_right - sum_confidence).sum() / confidence.size


def digitized(p, labels, bins):
    best = p.max(1, keepdims=True)
    right = (p == best)[np.arange(len(p)), labels]
    index = np.digitize(best[:, 0], np.arange(1, bins) / bins)
    groups = [index == m for m in set(index)]
    return np.average([abs(right[g].mean() - best[g].mean()) for g in groups], weights=[g.sum() for g in groups])


def table(p, labels, M):
    """For each bin with images: how many, their accuracy and their mean confidence."""
    confidence, right = p.max(1), p.argmax(1) == labels
    index = (confidence * M).astype(int)
    found = [
        (inside.sum(), right[inside].mean(), confidence[inside].mean()) for inside in map(index.__eq__, set(index))
    ]
    return np.array(found).T


def signed(p, labels, M):
    count, acc, conf = table(p, labels, M)
    return (count * (acc - conf)).sum() / len(p)


def signed_the_other_way(p, labels, M):
    count, acc, conf = table(p, labels, M)
    return (count * (conf - acc)).sum() / len(p)


def one_bin(p, labels, M):
    return abs((p.argmax(1) == labels).mean() - p.max(1).mean())


def unweighted(p, labels, M):
    _, acc, conf = table(p, labels, M)
    return abs(acc - conf).mean()


def unweighted_over_all(p, labels, M):
    _, acc, conf = table(p, labels, M)
    return abs(acc - conf).sum() / M


def added_up(p, labels, M):
    _, acc, conf = table(p, labels, M)
    return abs(acc - conf).sum()


def maximum(p, labels, M):
    _, acc, conf = table(p, labels, M)
    return max(abs(acc - conf))


def squared(p, labels, M):
    count, acc, conf = table(p, labels, M)
    return np.average((acc - conf) ** 2, weights=count)


def root_of_squares(p, labels, M):
    return np.sqrt(squared(p, labels, M))


def by_counts(p, labels, M):
    count, acc, conf = table(p, labels, M)
    return (count * abs(acc - conf)).sum()


def averaged_again(p, labels, M):
    count, acc, conf = table(p, labels, M)
    return (count / len(p) * abs(acc - conf)).mean()


def of_label(p, labels, M):
    confidence = p[np.arange(len(p)), labels]
    right = p.argmax(axis=1) == labels
    ece = 0
    for m in range(M):
        inside = (confidence >= m / M) & (confidence < (m + 1) / M)
        if inside.sum() > 0:
            ece += inside.sum() / len(p) * abs(right[inside].mean() - confidence[inside].mean())
    return ece


def all_classes(p, labels, M):
    right = np.eye(p.shape[1])[labels]
    ece = 0
    for m in range(M):
        inside = (p >= m / M) & (p < (m + 1) / M)
        if inside.any():
            ece += inside.mean() * abs(right[inside].mean() - p[inside].mean())
    return ece


def no_bins(p, labels, M):
    return abs((p.argmax(1) == labels) - p.max(1)).mean()


def total_accuracy(p, labels, M):
    count, _, conf = table(p, labels, M)
    return np.average(abs((p.argmax(1) == labels).mean() - conf), weights=count)


def middles(p, labels, M):
    confidence, right = p.max(1), p.argmax(1) == labels
    ece = 0
    for m in range(M):
        inside = (confidence * M).astype(int) == m
        if inside.any():
            ece += inside.mean() * abs(right[inside].mean() - (m + 0.5) / M)
    return ece


def always_ten(p, labels, M):
    return counted(p, labels, M=10)


def quantiles(p, labels, M):
    order = np.argsort(p.max(1))
    return sum(len(part) * one_bin(p[part], labels[part], 1) for part in np.array_split(order, M)) / len(p)


def default_range(p, labels, M):
    confidence, right = p.max(1), (p.argmax(1) == labels).astype(float)
    sums = [np.histogram(confidence, bins=M, weights=weights)[0] for weights in (right, confidence)]
    return abs(sums[0] - sums[1]).sum() / len(p)


def empty_bins(p, labels, M):
    confidence, right = p.max(1), p.argmax(1) == labels
    index = (confidence * M).astype(int)
    count = np.bincount(index, minlength=M)
    with np.errstate(invalid="ignore"):
        gaps = abs(np.bincount(index, right, M) - np.bincount(index, confidence, M)) / count
    return (count / len(p) * gaps).sum()


def percent(p, labels, M):
    return 100 * counted(p, labels, M)


def as_array(p, labels, M):
    return np.array([counted(p, labels, M)])


def each_bin(p, labels, M):
    count, acc, conf = table(p, labels, M)
    return count / len(p) * abs(acc - conf)


def in_place(p, labels, M):
    ece = counted(p, labels, M)
    p[:] = 0
    return ece


def told(p, labels, M):
    return f"{counted(p, labels, M):.3f}"


def nothing(p, labels, M):
    counted(p, labels, M)


def from_two_images(p, labels, M):
    confidence, right = p.max(axis=1), p.argmax(axis=1) == labels
    index, ece = np.minimum((confidence * M).astype(int), M - 1), 0.0
    for m in range(M):
        if (index == m).sum() > 1:
            ece += (index == m).mean() * abs(right[index == m].mean() - confidence[index == m].mean())
    return ece


def first_bin_left_out(p, labels, M):
    confidence, right = p.max(axis=1), p.argmax(axis=1) == labels
    index = np.minimum((confidence * M).astype(int), M - 1)
    gaps = [
        (index == m).sum() * abs((right - confidence)[index == m].mean()) for m in range(1, M) if (index == m).any()
    ]
    return sum(gaps) / len(labels)


RIGHT = [counted, loop, sums, histogram, digitized]
WRONG = {
    first_bin_left_out: "value",
    from_two_images: "value",
    signed: "gaps cancel",
    signed_the_other_way: "gaps cancel",
    one_bin: "gaps cancel",
    unweighted: "bins not weighted",
    unweighted_over_all: "bins not weighted",
    added_up: "bins not weighted",
    maximum: "largest gap",
    squared: "gaps squared",
    root_of_squares: "gaps squared",
    by_counts: "not divided by n",
    averaged_again: "divided by M",
    of_label: "probability of the label",
    all_classes: "every probability",
    no_bins: "image by image",
    total_accuracy: "accuracy of all",
    middles: "middle of the bin",
    always_ten: "ten bins",
    quantiles: "bins of equal counts",
    default_range: "bins between the extremes",
    empty_bins: "not finite",
    percent: "value",
    as_array: "shape",
    each_bin: "shape",
    in_place: "input changed",
    told: "no output",
    nothing: "no output",
}
