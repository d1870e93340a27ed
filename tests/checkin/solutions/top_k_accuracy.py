"""Solutions of `top_k_accuracy`: RIGHT ones pass, WRONG ones fail with the mistake beside them."""

import numpy as np


def sorted_down(logits, labels, k):
    order = np.argsort(-logits, axis=1)
    return (order[:, :k] == labels[:, None]).any(axis=1).mean()


def last_of_ascending(logits, labels, k):
    top = logits.argsort()[:, -k:]
    return sum(label in row for label, row in zip(labels, top, strict=True)) / len(labels)


def ranks(logits, labels, k):
    of_label = np.take_along_axis(logits, labels[:, None].astype(int), axis=1)
    return np.mean((logits > of_label).sum(axis=1) < k)


def partitioned(logits, labels, k):
    top = np.argpartition(logits, -k, axis=1)[:, -k:]
    return np.float32(np.count_nonzero(top == labels.reshape(-1, 1)) / len(logits))


def at_least_the_kth(logits, labels, k):
    least = np.sort(logits, axis=1)[:, -k]
    return float((logits[np.arange(len(labels)), labels] >= least).mean())


def loop(z, y, k):
    right = 0
    for i in range(z.shape[0]):
        p = np.exp(z[i] - z[i].max())
        best = sorted(range(len(p)), key=lambda j, p=p: p[j], reverse=True)[:k]
        if y[i] in best:
            right += 1
    return right / z.shape[0]


def smallest(logits, labels, k):
    return (np.argsort(logits, axis=1)[:, :k] == labels[:, None]).any(axis=1).mean()


def top_1(logits, labels, k):
    return (logits.argmax(axis=1) == labels).mean()


def one_too_few(logits, labels, k):
    of_label = logits[np.arange(len(labels)), labels]
    return ((logits >= of_label[:, None]).sum(axis=1) < k).mean()


def one_too_many(logits, labels, k):
    of_label = logits[np.arange(len(labels)), labels]
    return ((logits > of_label[:, None]).sum(axis=1) <= k).mean()


def from_1_to_k(logits, labels, k):
    return (np.argsort(-logits, axis=1)[:, 1 : k + 1] == labels[:, None]).any(axis=1).mean()


def up_to_minus_1(logits, labels, k):
    return (np.argsort(logits, axis=1)[:, -k:-1] == labels[:, None]).any(axis=1).mean()


def kth(logits, labels, k):
    return (np.argsort(-logits, axis=1)[:, k - 1] == labels).mean()


def any_row(logits, labels, k):
    top = np.argsort(-logits, axis=1)[:, :k]
    return np.mean([label in top for label in labels])


def error(logits, labels, k):
    return 1 - sorted_down(logits, labels, k)


def mean_of_all(logits, labels, k):
    return (np.argsort(-logits, axis=1)[:, :k] == labels[:, None]).mean()


def over_classes(logits, labels, k):
    right = (np.argsort(-logits, axis=1)[:, :k] == labels[:, None]).any(axis=1)
    return right.sum() / logits.shape[1]


def count(logits, labels, k):
    return (np.argsort(-logits, axis=1)[:, :k] == labels[:, None]).any(axis=1).sum()


def percent(logits, labels, k):
    return 100 * sorted_down(logits, labels, k)


def each(logits, labels, k):
    return (np.argsort(-logits, axis=1)[:, :k] == labels[:, None]).any(axis=1)


def top_5(logits, labels, k):
    return sorted_down(logits, labels, 5)


def always(logits, labels, k):
    return 1.0


def as_a_list(logits, labels, k):
    return [label in row for label, row in zip(labels, np.argsort(-logits)[:, :k], strict=True)]


def top_1_and_top_k(logits, labels, k):
    return top_1(logits, labels, k), sorted_down(logits, labels, k)


def values_for_classes(logits, labels, k):
    top = -np.sort(-logits, axis=1)[:, :k]
    return (top == labels[:, None]).any(axis=1).mean()


def without_a_column(logits, labels, k):
    return (np.argsort(-logits, axis=1)[:, :k] == labels).any(axis=1).mean()


def kept(logits, labels, k):
    right = (np.argsort(-logits, axis=1)[:, :k] == labels[:, None]).any(axis=1, keepdims=True)
    return right.mean(axis=0)


def in_place(logits, labels, k):
    right = np.zeros(len(labels), bool)
    for _ in range(k):
        best = logits.argmax(axis=1)
        right |= best == labels
        logits[np.arange(len(labels)), best] = -np.inf
    return right.mean()


def nothing(logits, labels, k):
    sorted_down(logits, labels, k)


def by_size(logits, labels, k):
    return (np.argsort(-np.abs(logits), axis=1)[:, :k] == labels[:, None]).any(axis=1).mean()


def masked_with_minus_1(logits, labels, k):
    left, found = logits.copy(), np.zeros(len(labels), bool)
    for _ in range(k):
        best = left.argmax(axis=1)
        found |= best == labels
        left[np.arange(len(labels)), best] = -1
    return found.mean()


RIGHT = [sorted_down, last_of_ascending, ranks, partitioned, at_least_the_kth, loop]
WRONG = {
    masked_with_minus_1: "value",
    by_size: "value",
    smallest: "k smallest",
    top_1: "top-1",
    one_too_few: "k - 1",
    one_too_many: "k + 1",
    from_1_to_k: "largest left out",
    up_to_minus_1: "largest left out",
    kth: "k-th alone",
    any_row: "labels of any image",
    error: "error",
    mean_of_all: "divided by n k",
    over_classes: "divided by K",
    count: "count",
    percent: "percent",
    each: "not reduced",
    top_5: "k not used",
    always: "value",
    as_a_list: "not reduced",
    top_1_and_top_k: "number of outputs",
    values_for_classes: "value",
    without_a_column: "ValueError",
    kept: "shape",
    in_place: "input changed",
    nothing: "no output",
}
