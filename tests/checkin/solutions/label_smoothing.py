"""Solutions of `label_smoothing`: RIGHT ones pass, WRONG ones fail with the mistake beside them."""

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops


def one_hot(logits, labels, s):
    K = logits.shape[1]
    q = ops.one_hot(labels, K, Tensor(1 - s + s / K, ms.float32), Tensor(s / K, ms.float32))
    return -ops.sum(q * ops.log_softmax(logits, axis=1), dim=1).mean()


def two_parts(y, labels, s):
    log_p = ops.log_softmax(y)
    of_label = ops.gather_elements(log_p, 1, labels.expand_dims(1))  # (B, 1)
    return -((1 - s) * of_label.mean() + s * log_p.mean())


def by_hand(logits, labels, s):
    B, K = logits.shape
    y = logits - logits.max(axis=1, keepdims=True)
    log_p = y - ops.log(ops.exp(y).sum(axis=1, keepdims=True))
    q = ops.full((B, K), s / K, dtype=ms.float32) + (1 - s) * (ops.arange(K) == labels.reshape(-1, 1)).astype(
        ms.float32
    )
    return -(q * log_p).sum() / B


def loop(logits, labels, s):
    total = 0
    for image in range(logits.shape[0]):
        log_p = logits[image] - ops.logsumexp(logits[image], 0)
        total = total - (1 - s) * log_p[labels[image]] - s * log_p.mean()
    return total / logits.shape[0]


def indexed(logits, labels, s):
    log_p = ops.log_softmax(logits, -1)
    return (-(1 - s) * log_p[ops.arange(labels.shape[0]), labels] - s * log_p.mean(-1)).mean()


def from_equation_2(logits, labels, s):
    K = logits.shape[1]
    s = s * (K - 1) / K
    log_p = ops.log_softmax(logits, -1)
    label = ops.eye(K, K, ms.float32)[labels]
    return -(log_p * (label * (1 - s) + (1 - label) * s / (K - 1))).sum(1).mean()


def operator(logits, labels, s):
    return ops.cross_entropy(logits, labels, label_smoothing=s)


def targets_given(logits, labels, s):
    K = logits.shape[1]
    return ops.cross_entropy(logits, (1 - s) * nn.OneHot(depth=K)(labels) + s / K)


def loss_of(log_p, q):
    return -(log_p * q).sum(-1).mean()


def equation_2(logits, labels, s):
    K = logits.shape[1]
    q = ops.one_hot(labels, K, 1 - s, s / (K - 1))
    return loss_of(ops.log_softmax(logits, -1), q)


def plain(logits, labels, s):
    return ops.cross_entropy(logits, labels)


def no_share(logits, labels, s):
    K = logits.shape[1]
    return loss_of(ops.log_softmax(logits, -1), ops.one_hot(labels, K, 1 - s, s / K))


def added(logits, labels, s):
    K = logits.shape[1]
    return loss_of(ops.log_softmax(logits, -1), ops.one_hot(labels, K) + s / K)


def integers(logits, labels, s):
    B, K = logits.shape
    q = ops.full((B, K), s / K) + (1 - s) * ops.one_hot(labels, K)
    return loss_of(ops.log_softmax(logits, -1), q)


def whole_s(logits, labels, s):
    K = logits.shape[1]
    return loss_of(ops.log_softmax(logits, -1), ops.one_hot(labels, K) * (1 - s) + s)


def by_images(logits, labels, s):
    K = logits.shape[-1]
    return loss_of(ops.log_softmax(logits, -1), ops.one_hot(labels, K) * (1 - s) + s / len(labels))


def swapped(logits, labels, s):
    return ops.cross_entropy(logits, labels, label_smoothing=1 - s)


def smoothed_p(logits, labels, s):
    p = (1 - s) * ops.softmax(logits, -1) + s / logits.shape[1]
    return -ops.log(p[ops.arange(len(labels)), labels]).mean()


def summed(logits, labels, s):
    return ops.cross_entropy(logits, labels, label_smoothing=s, reduction="sum")


def mean_of_all(logits, labels, s):
    K = logits.shape[1]
    return -(ops.log_softmax(logits, -1) * ((1 - s) * ops.one_hot(labels, K) + s / K)).mean()


def not_reduced(logits, labels, s):
    return ops.cross_entropy(logits, labels, label_smoothing=s, reduction="none")


def over_images(logits, labels, s):
    K = logits.shape[1]
    return loss_of(ops.log_softmax(logits, axis=0), (1 - s) * ops.one_hot(labels, K) + s / K)


def of_probabilities(logits, labels, s):
    return ops.cross_entropy(ops.softmax(logits, -1), labels, label_smoothing=s)


def no_softmax(logits, labels, s):
    K = logits.shape[1]
    return loss_of(logits, (1 - s) * ops.one_hot(labels, K) + s / K)


def no_logarithm(logits, labels, s):
    K = logits.shape[1]
    return loss_of(ops.softmax(logits, -1), (1 - s) * ops.one_hot(labels, K) + s / K)


def negative(logits, labels, s):
    return -operator(logits, labels, s)


def overflows(logits, labels, s):
    K = logits.shape[1]
    p = ops.exp(logits) / ops.exp(logits).sum(1, keepdims=True)
    return loss_of(ops.log(p), (1 - s) * ops.one_hot(labels, K) + s / K)


def log_of_softmax(logits, labels, s):
    K = logits.shape[1]
    return loss_of(ops.log(ops.softmax(logits)), (1 - s) * ops.one_hot(labels, K) + s / K)


def guarded(logits, labels, s):
    q = (1 - s) * ops.one_hot(labels, logits.shape[1]) + s / logits.shape[1]
    return -(q * ops.log(1e-8 + ops.softmax(logits, axis=1))).sum(axis=1).mean()


def scaled_target(logits, labels, s):
    q = (1 - s) * ops.one_hot(labels, logits.shape[1]) + s / logits.shape[1]
    q = q / q.max(axis=1, keepdims=True)
    return loss_of(ops.log_softmax(logits, -1), q)


def constant_p(logits, labels, s):
    return operator(ops.stop_gradient(logits), labels, s) + 0 * logits.sum()


def five_classes(logits, labels, s):
    return loss_of(ops.log_softmax(logits, -1), (1 - s) * ops.one_hot(labels, 5) + s / 5)


def in_numpy(logits, labels, s):
    B, K = logits.shape
    y = logits.asnumpy()
    y = y - y.max(1, keepdims=True)
    log_p = y - np.log(np.exp(y).sum(1, keepdims=True))
    q = np.full((B, K), s / K)
    q[np.arange(B), labels.asnumpy()] += 1 - s
    return Tensor(-(q * log_p).sum(1).mean(), ms.float32)


def as_a_row(logits, labels, s):
    return operator(logits, labels, s).reshape(1)


def doubled(logits, labels, s):
    return operator(logits, labels, s).astype(ms.float64)


def labels_as_rows(logits, labels, s):
    return loss_of(ops.log_softmax(logits, -1), (1 - s) * labels + s / logits.shape[1])


def nothing(logits, labels, s):
    operator(logits, labels, s)


RIGHT = [one_hot, two_parts, by_hand, loop, indexed, from_equation_2, operator, targets_given]
WRONG = {
    equation_2: "others alone",
    plain: "smoothing ignored",
    no_share: "label without its share",
    added: "label undiminished",
    integers: "others without a share",
    whole_s: "s not divided",
    by_images: "s by the batch",
    swapped: "s and 1 - s swapped",
    smoothed_p: "probabilities smoothed",
    summed: "sum over the batch",
    mean_of_all: "mean over the classes",
    not_reduced: "loss of each image",
    over_images: "softmax axis",
    of_probabilities: "softmax twice",
    no_softmax: "softmax forgotten",
    no_logarithm: "logarithm forgotten",
    negative: "sign",
    log_of_softmax: "unstable",
    overflows: "unstable",
    guarded: "logarithm guarded",
    scaled_target: "value",
    constant_p: "gradient",
    five_classes: "ValueError",
    in_numpy: "gradient",
    as_a_row: "shape",
    doubled: "dtype",
    labels_as_rows: "ValueError",
    nothing: "no output",
}
