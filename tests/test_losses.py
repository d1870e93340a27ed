"""CrossEntropySmooth against its definition."""

import mindspore as ms
import numpy as np
import pytest
from helpers import error_of, random
from mindspore import Tensor, nn

from vit_ms.losses import CrossEntropySmooth

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
