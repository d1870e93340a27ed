"""Solutions of `cross_entropy`: RIGHT ones pass, WRONG ones fail with the mistake beside them."""

import math

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops


def gathered(logits, labels):
    log_p = ops.log_softmax(logits, axis=-1)
    return -ops.gather_elements(log_p, 1, labels.expand_dims(1)).mean()


def one_hot(z, y):
    k = z.shape[1]
    targets = ops.one_hot(y, k, Tensor(1.0, ms.float32), Tensor(0.0, ms.float32))
    z = z - z.max(axis=1, keepdims=True)
    log_p = z - ops.log(ops.exp(z).sum(axis=1, keepdims=True))
    return -(targets * log_p).sum() / z.shape[0]


def by_logsumexp(logits, labels):
    of_label = (logits * (labels.reshape(-1, 1) == ops.arange(logits.shape[1]))).sum(axis=1)
    return (ops.logsumexp(logits, 1) - of_label).mean()


def loop(logits, labels):
    total = 0.0
    for i in range(logits.shape[0]):
        row = logits[i] - logits[i].max()
        total = total + ops.log(ops.exp(row).sum()) - row[labels[i]]
    return total / logits.shape[0]


def indexed(logits, labels):
    log_p = nn.LogSoftmax(axis=-1)(logits)
    return ops.neg(log_p[ops.arange(logits.shape[0]), labels].mean())


def ready_made(logits, labels):
    return ops.cross_entropy(logits, labels)


def _picked(values, labels):
    return ops.gather_elements(values, 1, labels.reshape(-1, 1)).squeeze(1)


def naive(logits, labels):
    p = ops.exp(logits) / ops.exp(logits).sum(axis=1, keepdims=True)
    return -ops.log(_picked(p, labels)).mean()


def log_of_softmax(logits, labels):
    p = ops.softmax(logits, axis=1)
    return -ops.log(_picked(p, labels)).mean()


def naive_logsumexp(logits, labels):
    return (ops.log(ops.exp(logits).sum(1)) - _picked(logits, labels)).mean()


def one_maximum_for_all(logits, labels):
    logits = logits - logits.max()
    return (ops.log(ops.exp(logits).sum(1)) - _picked(logits, labels)).mean()


def one_hot_times_log(logits, labels):
    targets = (labels.reshape(-1, 1) == ops.arange(logits.shape[1])).astype(ms.float32)
    return -(targets * ops.log(ops.softmax(logits, axis=1))).sum(1).mean()


def clipped(logits, labels):
    p = ops.clamp(ops.softmax(logits, axis=1), min=1e-8)
    return -ops.log(_picked(p, labels)).mean()


def with_epsilon(logits, labels):
    p = ops.softmax(logits, axis=1) + 1e-12
    return -ops.log(_picked(p, labels)).mean()


def logits_clipped(logits, labels):
    return gathered(ops.clamp(logits, -50.0, 50.0), labels)


def summed(logits, labels):
    return -_picked(ops.log_softmax(logits, -1), labels).sum()


def each(logits, labels):
    return -_picked(ops.log_softmax(logits, -1), labels)


def mean_of_all(logits, labels):
    targets = (labels.reshape(-1, 1) == ops.arange(logits.shape[1])).astype(ms.float32)
    return -(targets * ops.log_softmax(logits, -1)).mean()


def no_sign(logits, labels):
    return _picked(ops.log_softmax(logits, -1), labels).mean()


def axis_0(logits, labels):
    return -_picked(ops.log_softmax(logits, 0), labels).mean()


def no_softmax(logits, labels):
    return -_picked(logits, labels).mean()


def twice(logits, labels):
    return ops.cross_entropy(ops.softmax(logits, -1), labels)


def no_log(logits, labels):
    return -_picked(ops.softmax(logits, -1), labels).mean()


def mean_first(logits, labels):
    return -ops.log(_picked(ops.softmax(logits, -1), labels).mean())


def base_2(logits, labels):
    return gathered(logits, labels) / math.log(2)


def smoothed(logits, labels):
    k = logits.shape[1]
    targets = ops.one_hot(labels, k, Tensor(0.9, ms.float32), Tensor(0.1 / (k - 1), ms.float32))
    return -(targets * ops.log_softmax(logits, -1)).sum(1).mean()


def smoothed_as_in_torch(logits, labels):
    return ops.cross_entropy(logits, labels, label_smoothing=0.1)


def mean_of_log_p(logits, labels):
    return -ops.log_softmax(logits, -1).mean()


def sum_of_log_p(logits, labels):
    return -ops.log_softmax(logits, -1).sum(axis=-1).mean()


def entropy(logits, labels):
    p = ops.softmax(logits, -1)
    return -(p * ops.log(p)).sum(-1).mean()


def always_class_0(logits, labels):
    return -ops.log_softmax(logits, -1)[:, 0].mean()


def axis_kept(logits, labels):
    return -ops.gather_elements(ops.log_softmax(logits, -1), 1, labels.reshape(-1, 1)).mean(axis=0)


def in_numpy(logits, labels):
    z = logits.asnumpy()
    z = z - z.max(axis=1, keepdims=True)
    log_p = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
    return Tensor(-log_p[np.arange(len(z)), labels.asnumpy()].mean(), ms.float32)


def maximum_in_numpy(logits, labels):
    z = Tensor(logits.asnumpy() - logits.asnumpy().max(axis=1, keepdims=True))
    return (ops.log(ops.exp(z).sum(1)) - _picked(z, labels)).mean()


def columns(logits, labels):
    return -ops.gather(ops.log_softmax(logits, -1), labels, 1).mean()


def doubled(logits, labels):
    return gathered(logits, labels).astype(ms.float64)


def nothing(logits, labels):
    gathered(logits, labels)


RIGHT = [gathered, one_hot, by_logsumexp, loop, indexed, ready_made]
WRONG = {
    naive: "not stable",
    log_of_softmax: "not stable",
    naive_logsumexp: "not stable",
    one_maximum_for_all: "not stable",
    one_hot_times_log: "not stable",
    clipped: "p clipped",
    with_epsilon: "p clipped",
    logits_clipped: "value",
    summed: "sum in place of mean",
    each: "not reduced",
    mean_of_all: "mean over B K numbers",
    no_sign: "sign forgotten",
    axis_0: "softmax over the batch",
    no_softmax: "softmax forgotten",
    twice: "softmax twice",
    no_log: "log forgotten",
    mean_first: "log of the mean",
    base_2: "logarithm to base 2",
    smoothed: "label smoothing",
    smoothed_as_in_torch: "label smoothing",
    mean_of_log_p: "all classes counted",
    sum_of_log_p: "all classes counted",
    entropy: "entropy",
    always_class_0: "value",
    axis_kept: "shape",
    in_numpy: "gradient",
    maximum_in_numpy: "gradient",
    columns: "value",
    doubled: "dtype",
    nothing: "no output",
}
