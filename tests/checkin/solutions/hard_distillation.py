"""Solutions of `hard_distillation`: RIGHT ones pass, WRONG ones fail with the mistake beside them."""

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops


def by_cross_entropy(class_logits, distillation_logits, teacher_logits, labels):
    y_t = teacher_logits.argmax(axis=1).astype(ms.int32)
    return 0.5 * ops.cross_entropy(class_logits, labels) + 0.5 * ops.cross_entropy(distillation_logits, y_t)


def one_hot(Z_s, Z_d, Z_t, y):
    K = Z_s.shape[1]
    of_labels = (ops.one_hot(y, K, Tensor(1.0), Tensor(0.0)) * ops.log_softmax(Z_s, axis=1)).sum(axis=1)
    decided = ops.one_hot(ops.argmax(Z_t, dim=1), K, Tensor(1.0), Tensor(0.0))
    return -(of_labels + (decided * ops.log_softmax(Z_d, axis=1)).sum(axis=1)).mean() / 2


def by_logsumexp(a, b, t, y):
    y_t = ops.argmax(t, -1)
    one = ops.logsumexp(a, -1) - ops.gather_elements(a, 1, y.expand_dims(1)).squeeze(1)
    two = ops.logsumexp(b, -1) - ops.gather_elements(b, 1, y_t.expand_dims(1)).squeeze(1)
    return ((one + two) / 2).mean()


def by_cells(class_logits, distillation_logits, teacher_logits, labels):
    loss = nn.CrossEntropyLoss()
    y_t = ops.stop_gradient(teacher_logits).argmax(axis=-1)
    return (loss(class_logits, labels) + loss(distillation_logits, y_t.astype(ms.int32))) / 2


def joined(class_logits, distillation_logits, teacher_logits, labels):
    """Both heads as one batch of 2 B images: its mean is the mean of the two means."""
    Z = ops.concat((class_logits, distillation_logits))
    y = ops.concat((labels, teacher_logits.argmax(axis=-1).astype(ms.int32)))
    return ops.cross_entropy(Z, y)


def by_comparing(Z_s, Z_d, Z_t, y):
    classes = ops.arange(0, Z_s.shape[1])
    loss = 0.0
    for Z, label in ((Z_s, y), (Z_d, Z_t.argmax(axis=-1))):
        Z = Z - Z.max(axis=1, keepdims=True)
        log_probs = Z - ops.log(ops.exp(Z).sum(axis=1, keepdims=True))
        picked = (label.expand_dims(1) == classes).astype(ms.float32)
        loss = loss - 0.5 * (picked * log_probs).sum() / Z.shape[0]
    return loss


def by_probabilities(class_logits, distillation_logits, teacher_logits, labels):
    loss = 0.0
    for Z, y in ((class_logits, labels), (distillation_logits, teacher_logits.argmax(axis=-1))):
        log_probs = ops.log(ops.softmax(Z, -1))
        loss = loss - 0.5 * ops.gather_elements(log_probs, 1, y.reshape(-1, 1)).mean()
    return loss


def by_sparse_operator(class_logits, distillation_logits, teacher_logits, labels):
    loss = nn.SoftmaxCrossEntropyWithLogits(sparse=True, reduction="mean")
    y_t = ops.Argmax(axis=-1)(teacher_logits)  # int32
    return 0.5 * (loss(class_logits, labels) + loss(distillation_logits, y_t))


def cross_entropy(Z, y):
    return -ops.gather_elements(ops.log_softmax(Z, -1), 1, y.reshape(-1, 1)).mean()


def swapped(class_logits, distillation_logits, teacher_logits, labels):
    y_t = teacher_logits.argmax(axis=-1)
    return 0.5 * cross_entropy(distillation_logits, labels) + 0.5 * cross_entropy(class_logits, y_t)


def added(class_logits, distillation_logits, teacher_logits, labels):
    return cross_entropy(class_logits, labels) + cross_entropy(distillation_logits, teacher_logits.argmax(axis=-1))


def bracket_forgotten(class_logits, distillation_logits, teacher_logits, labels):
    y_t = teacher_logits.argmax(axis=-1)
    return cross_entropy(class_logits, labels) + cross_entropy(distillation_logits, y_t) / 2


def half_of_the_first(class_logits, distillation_logits, teacher_logits, labels):
    y_t = teacher_logits.argmax(axis=-1)
    return 0.5 * cross_entropy(class_logits, labels) + cross_entropy(distillation_logits, y_t)


def soft(class_logits, distillation_logits, teacher_logits, labels):
    taught = ops.cross_entropy(distillation_logits, ops.softmax(teacher_logits, axis=-1))
    return 0.5 * cross_entropy(class_logits, labels) + 0.5 * taught


def soft_by_divergence(class_logits, distillation_logits, teacher_logits, labels):
    p = ops.softmax(teacher_logits, -1)
    taught = (p * (ops.log(p) - ops.log_softmax(distillation_logits, -1))).sum(-1).mean()
    return 0.5 * cross_entropy(class_logits, labels) + 0.5 * taught


def equation_2(class_logits, distillation_logits, teacher_logits, labels):
    tau = 3.0
    p = ops.softmax(teacher_logits / tau, -1)
    taught = (p * (ops.log(p) - ops.log_softmax(distillation_logits / tau, -1))).sum(-1).mean()
    return 0.5 * cross_entropy(class_logits, labels) + 0.5 * tau**2 * taught


def no_teacher(class_logits, distillation_logits, teacher_logits, labels):
    return 0.5 * cross_entropy(class_logits, labels) + 0.5 * cross_entropy(distillation_logits, labels)


def teacher_twice(class_logits, distillation_logits, teacher_logits, labels):
    y_t = teacher_logits.argmax(axis=-1)
    return 0.5 * (cross_entropy(class_logits, y_t) + cross_entropy(distillation_logits, y_t))


def class_head_twice(class_logits, distillation_logits, teacher_logits, labels):
    y_t = teacher_logits.argmax(axis=-1)
    return 0.5 * (cross_entropy(class_logits, labels) + cross_entropy(class_logits, y_t))


def as_in_evaluation(class_logits, distillation_logits, teacher_logits, labels):
    Z = (class_logits + distillation_logits) / 2
    return 0.5 * cross_entropy(Z, labels) + 0.5 * cross_entropy(Z, teacher_logits.argmax(axis=-1))


def labels_alone(class_logits, distillation_logits, teacher_logits, labels):
    return cross_entropy(class_logits, labels)


def first_half(class_logits, distillation_logits, teacher_logits, labels):
    return 0.5 * cross_entropy(class_logits, labels)


def teacher_alone(class_logits, distillation_logits, teacher_logits, labels):
    return cross_entropy(distillation_logits, teacher_logits.argmax(axis=-1))


def second_half(class_logits, distillation_logits, teacher_logits, labels):
    return 0.5 * cross_entropy(distillation_logits, teacher_logits.argmax(axis=-1))


def own_decision(class_logits, distillation_logits, teacher_logits, labels):
    decided = distillation_logits.argmax(axis=-1)
    return 0.5 * cross_entropy(class_logits, labels) + 0.5 * cross_entropy(distillation_logits, decided)


def twice(class_logits, distillation_logits, teacher_logits, labels):
    psi_s, psi_d = ops.softmax(class_logits, -1), ops.softmax(distillation_logits, -1)
    y_t = teacher_logits.argmax(axis=-1).astype(ms.int32)
    return 0.5 * ops.cross_entropy(psi_s, labels) + 0.5 * ops.cross_entropy(psi_d, y_t)


def over_images(class_logits, distillation_logits, teacher_logits, labels):
    loss = 0
    for Z, y in ((class_logits, labels), (distillation_logits, teacher_logits.argmax(axis=-1))):
        loss -= 0.5 * ops.gather_elements(ops.log_softmax(Z, 0), 1, y.reshape(-1, 1)).mean()
    return loss


def minus(class_logits, distillation_logits, teacher_logits, labels):
    return -by_cross_entropy(class_logits, distillation_logits, teacher_logits, labels)


def summed(class_logits, distillation_logits, teacher_logits, labels):
    y_t = teacher_logits.argmax(axis=-1).astype(ms.int32)
    loss = ops.cross_entropy(class_logits, labels, reduction="sum")
    return 0.5 * (loss + ops.cross_entropy(distillation_logits, y_t, reduction="sum"))


def mean_of_everything(class_logits, distillation_logits, teacher_logits, labels):
    K = class_logits.shape[1]
    y = ops.one_hot(labels, K, Tensor(1.0), Tensor(0.0))
    y_t = ops.one_hot(teacher_logits.argmax(axis=-1), K, Tensor(1.0), Tensor(0.0))
    loss = y * ops.log_softmax(class_logits, -1) + y_t * ops.log_softmax(distillation_logits, -1)
    return -0.5 * loss.mean()


def not_reduced(class_logits, distillation_logits, teacher_logits, labels):
    y_t = teacher_logits.argmax(axis=-1).astype(ms.int32)
    loss = ops.cross_entropy(class_logits, labels, reduction="none")
    return 0.5 * loss + 0.5 * ops.cross_entropy(distillation_logits, y_t, reduction="none")


def decided_by_image(class_logits, distillation_logits, teacher_logits, labels):
    decided = ops.one_hot(teacher_logits.argmax(axis=0), class_logits.shape[1], Tensor(1.0), Tensor(0.0))
    taught = -(decided * ops.log_softmax(distillation_logits, -1)).sum(-1).mean()
    return 0.5 * cross_entropy(class_logits, labels) + 0.5 * taught


def smoothed(class_logits, distillation_logits, teacher_logits, labels):
    y_t = teacher_logits.argmax(axis=-1).astype(ms.int32)
    loss = ops.cross_entropy(class_logits, labels, label_smoothing=0.1)
    return 0.5 * loss + 0.5 * ops.cross_entropy(distillation_logits, y_t, label_smoothing=0.1)


def class_head_smoothed(class_logits, distillation_logits, teacher_logits, labels):
    K = class_logits.shape[1]
    y = ops.one_hot(labels, K, Tensor(0.9 + 0.1 / K, ms.float32), Tensor(0.1 / K, ms.float32))
    of_labels = -(y * ops.log_softmax(class_logits, -1)).sum(-1).mean()
    return 0.5 * of_labels + 0.5 * cross_entropy(distillation_logits, teacher_logits.argmax(axis=-1))


def flattened(class_logits, distillation_logits, teacher_logits, labels):
    y_t = teacher_logits.argmax(axis=-1)
    return 0.5 * cross_entropy(class_logits, labels) + 0.5 * cross_entropy(distillation_logits / 3.0, y_t)


def log_of_one_hot(class_logits, distillation_logits, teacher_logits, labels):
    K = class_logits.shape[1]
    y, y_t = (ops.one_hot(each, K, Tensor(1.0), Tensor(0.0)) for each in (labels, teacher_logits.argmax(axis=-1)))
    loss = ops.softmax(class_logits, -1) * ops.log(y) + ops.softmax(distillation_logits, -1) * ops.log(y_t)
    return -0.5 * loss.sum(axis=1).mean()


def keeps_an_axis(class_logits, distillation_logits, teacher_logits, labels):
    return by_cross_entropy(class_logits, distillation_logits, teacher_logits, labels).reshape(1)


def both_parts(class_logits, distillation_logits, teacher_logits, labels):
    y_t = teacher_logits.argmax(axis=-1)
    return 0.5 * cross_entropy(class_logits, labels), 0.5 * cross_entropy(distillation_logits, y_t)


def in_numpy(class_logits, distillation_logits, teacher_logits, labels):
    loss = 0.0
    for Z, y in ((class_logits, labels), (distillation_logits, teacher_logits.argmax(axis=-1))):
        Z, y = Z.asnumpy(), y.asnumpy()
        Z = Z - Z.max(axis=1, keepdims=True)
        log_probs = Z - np.log(np.exp(Z).sum(axis=1, keepdims=True))
        loss -= 0.5 * log_probs[np.arange(len(y)), y].mean()
    return Tensor(loss, ms.float32)


def second_head_stopped(class_logits, distillation_logits, teacher_logits, labels):
    return by_cross_entropy(class_logits, ops.stop_gradient(distillation_logits), teacher_logits, labels)


def teacher_taught(class_logits, distillation_logits, teacher_logits, labels):
    """Adds what is 0 in value, and lets a gradient into the teacher."""
    loss = by_cross_entropy(class_logits, distillation_logits, teacher_logits, labels)
    return loss + (teacher_logits - ops.stop_gradient(teacher_logits)).sum()


def doubled(class_logits, distillation_logits, teacher_logits, labels):
    return by_cross_entropy(class_logits, distillation_logits, teacher_logits, labels).astype(ms.float64)


def nothing(class_logits, distillation_logits, teacher_logits, labels):
    by_cross_entropy(class_logits, distillation_logits, teacher_logits, labels)


RIGHT = [by_cross_entropy, one_hot, by_logsumexp, by_cells, joined, by_comparing, by_probabilities, by_sparse_operator]
WRONG = {
    swapped: "heads swapped",
    added: "not halved",
    bracket_forgotten: "one part halved",
    half_of_the_first: "one part halved",
    soft: "soft targets",
    soft_by_divergence: "soft targets",
    equation_2: "soft targets",
    no_teacher: "labels for both heads",
    teacher_twice: "teacher for both heads",
    class_head_twice: "one head for both",
    as_in_evaluation: "mean of the logits",
    labels_alone: "class head alone",
    first_half: "class head alone",
    teacher_alone: "distillation head alone",
    second_half: "distillation head alone",
    own_decision: "head's own decision",
    twice: "softmax twice",
    over_images: "softmax over the images",
    minus: "sign",
    summed: "summed over the images",
    mean_of_everything: "divided by the classes",
    not_reduced: "one number for each image",
    decided_by_image: "ValueError",
    smoothed: "label smoothing",
    class_head_smoothed: "label smoothing",
    flattened: "value",
    log_of_one_hot: "not finite",
    keeps_an_axis: "shape",
    both_parts: "number of outputs",
    in_numpy: "gradient",
    second_head_stopped: "gradient",
    teacher_taught: "gradient",
    doubled: "dtype",
    nothing: "no output",
}
