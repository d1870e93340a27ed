"""The losses against their definitions."""

import mindspore as ms
import numpy as np
import pytest
from helpers import error_of, random
from mindspore import Tensor, nn

from vit_ms.losses import CrossEntropySmooth, DistillationLoss

pytestmark = pytest.mark.fused

LABELS = np.array([0, 2, 4], np.int32)
LOGITS = random(3, 5, scale=3.0)


REDUCTIONS = ("mean", "sum", "none")


def numpy_loss(logits, labels, smooth, classes):
    """The mean of -sum(target * log softmax), with 1 - s for the label and s / (K - 1) for each other class."""
    targets = np.full(logits.shape, smooth / (classes - 1))
    targets[np.arange(len(labels)), labels] = 1.0 - smooth
    logits = logits.astype(np.float64)
    shifted = logits - logits.max(-1, keepdims=True)
    return -(targets * (shifted - np.log(np.exp(shifted).sum(-1, keepdims=True)))).sum(-1).mean()


@pytest.mark.parametrize("smooth", [0.0, 0.1, 0.7])
def test_value_and_gradient(smooth, mode):
    loss = CrossEntropySmooth(smooth_factor=smooth, num_classes=5)
    value, grad = ms.value_and_grad(loss)(Tensor(LOGITS), Tensor(LABELS))
    assert value.shape == () and value.dtype == ms.float32
    assert float(value) == pytest.approx(numpy_loss(LOGITS, LABELS, smooth, 5), rel=1e-5)
    for index in np.ndindex(LOGITS.shape):
        moved = np.stack([LOGITS, LOGITS]).astype(np.float64)
        moved[(0, *index)] += 1e-5
        moved[(1, *index)] -= 1e-5
        slope = (numpy_loss(moved[0], LABELS, smooth, 5) - numpy_loss(moved[1], LABELS, smooth, 5)) / 2e-5
        assert float(grad.asnumpy()[index]) == pytest.approx(slope, abs=1e-5)


def test_without_smoothing_it_is_the_cross_entropy(mode):
    wanted = nn.CrossEntropyLoss()(Tensor(LOGITS), Tensor(LABELS))
    loss = CrossEntropySmooth(num_classes=5)
    assert float(loss(Tensor(LOGITS), Tensor(LABELS))) == pytest.approx(float(wanted), rel=1e-6)


def test_it_is_the_course_s_loss():
    # The course's lines: one-hot targets with these two values, and the mean of the cross entropy with them.
    s, k = 0.1, 5
    targets = ms.ops.one_hot(Tensor(LABELS), k, Tensor(1.0 - s, ms.float32), Tensor(1.0 * s / (k - 1), ms.float32))
    wanted = nn.SoftmaxCrossEntropyWithLogits(reduction="mean")(Tensor(LOGITS), targets)
    loss = CrossEntropySmooth(smooth_factor=s, num_classes=k)
    assert float(loss(Tensor(LOGITS), Tensor(LABELS))) == pytest.approx(float(wanted), rel=1e-5)


def test_every_argument_of_the_course_works(mode):
    one_hot = np.eye(5, dtype=np.float32)[LABELS]
    sparse = {word: CrossEntropySmooth(True, word, 0.1, 5)(Tensor(LOGITS), Tensor(LABELS)) for word in REDUCTIONS}
    for word, value in sparse.items():
        dense = CrossEntropySmooth(sparse=False, reduction=word, smooth_factor=0.1, num_classes=5)
        assert np.allclose(dense(Tensor(LOGITS), Tensor(one_hot)).asnumpy(), value.asnumpy(), rtol=1e-5)
    each = sparse["none"].asnumpy()
    assert each.shape == LABELS.shape
    assert each.mean() == pytest.approx(float(sparse["mean"]), rel=1e-5)
    assert each.sum() == pytest.approx(float(sparse["sum"]), rel=1e-5)
    message = error_of(CrossEntropySmooth, reduction="max")
    assert message == "reduction is 'max'; choose one of mean, sum, none"


def test_large_and_half_precision_logits_give_a_finite_float32_loss(mode):
    logits = np.array([[300.0, -300.0], [5.0, 0.5]], np.float16)
    labels = np.array([1, 0], np.int32)
    value = CrossEntropySmooth(smooth_factor=0.1, num_classes=2)(Tensor(logits), Tensor(labels))
    assert value.dtype == ms.float32
    assert float(value) == pytest.approx(numpy_loss(logits, labels, 0.1, 2), rel=1e-5)


@pytest.mark.parametrize("smooth", [-0.1, 1.0, 2.0, float("nan")])
def test_an_impossible_smooth_factor_is_refused(smooth):
    message = error_of(CrossEntropySmooth, smooth_factor=smooth, num_classes=5)
    assert message == f"smooth_factor is {smooth}; it must be at least 0 and below 1"


@pytest.mark.parametrize("classes", [1, 0, -3])
def test_fewer_than_two_classes_are_refused(classes):
    message = error_of(CrossEntropySmooth, smooth_factor=0.1, num_classes=classes)
    assert message == f"num_classes is {classes}; a classifier needs at least 2"


# Distillation, against the paper's equations 2 and 3.

HEADS = random(3, 5, seed=1, scale=3.0), random(3, 5, seed=2, scale=3.0)
TEACHER = random(3, 5, seed=3, scale=3.0)


def log_softmax64(logits):
    logits = logits.astype(np.float64)
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def distillation64(heads, kind, alpha, temperature):
    if kind == "hard":
        taught = -log_softmax64(heads[1])[np.arange(3), TEACHER.argmax(-1)].mean()
    else:
        student, teacher = log_softmax64(heads[1] / temperature), log_softmax64(TEACHER / temperature)
        taught = (np.exp(teacher) * (teacher - student)).sum() / heads[1].size * temperature**2
    return (1 - alpha) * numpy_loss(heads[0], LABELS, 0.1, 5) + alpha * taught


@pytest.mark.parametrize(
    "kind, alpha, temperature", [("hard", 0.5, 3.0), ("hard", 0.2, 1.0), ("soft", 0.3, 3.0), ("soft", 0.9, 1.0)]
)
def test_distillation_is_the_paper_s(kind, alpha, temperature, mode):
    loss = DistillationLoss(CrossEntropySmooth(smooth_factor=0.1, num_classes=5), kind, alpha, temperature)
    value = loss((Tensor(HEADS[0]), Tensor(HEADS[1])), Tensor(LABELS), Tensor(TEACHER))
    assert value.shape == () and value.dtype == ms.float32
    assert float(value) == pytest.approx(distillation64(HEADS, kind, alpha, temperature), rel=1e-5)
    # A network with one head learns both with it.
    one = loss(Tensor(HEADS[0]), Tensor(LABELS), Tensor(TEACHER))
    assert float(one) == pytest.approx(distillation64((HEADS[0], HEADS[0]), kind, alpha, temperature), rel=1e-5)


def test_a_student_that_is_its_teacher_has_no_soft_loss():
    loss = DistillationLoss(CrossEntropySmooth(num_classes=5), "soft", 1.0, 2.0)
    assert float(loss(Tensor(TEACHER), Tensor(LABELS), Tensor(TEACHER))) == pytest.approx(0.0, abs=1e-6)


def test_impossible_distillation_is_refused():
    loss = CrossEntropySmooth(num_classes=5)
    assert error_of(DistillationLoss, loss, "warm") == "kind is 'warm'; choose hard or soft"
    assert error_of(DistillationLoss, loss, alpha=1.5) == "alpha is 1.5; it must be at least 0 and at most 1"
    assert error_of(DistillationLoss, loss, temperature=0.0) == "temperature is 0.0; it must be above 0"
    assert error_of(DistillationLoss, loss, temperature=float("nan")) == "temperature is nan; it must be above 0"
