"""The training step, the loop and the evaluation, on networks small enough to follow by hand."""

import mindspore as ms
import mindspore.dataset as ds
import numpy as np
import pytest
from helpers import random
from mindspore import Tensor, nn, ops

from vit_ms import engine
from vit_ms.losses import CrossEntropySmooth, DistillationLoss

pytestmark = pytest.mark.fused


def _points(n=64, classes=3, seed=0):
    """Points around one corner a class, and batches of them."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n).astype(np.int32)
    points = (np.eye(classes)[labels] * 4 + rng.normal(size=(n, classes))).astype(np.float32)
    return points, labels


def _batches(points, labels, batch_size):
    return ds.NumpySlicesDataset({"image": points, "label": labels}, shuffle=False).batch(batch_size)


def _linear(classes=3):
    return nn.Dense(classes, classes, weight_init="zeros", bias_init="zeros")


def test_a_step_is_the_gradient_step(mode):
    points, labels = _points()
    network = _linear()
    step = engine.TrainStep(network, CrossEntropySmooth(num_classes=3), nn.SGD(network.trainable_params(), 0.5))
    loss, correct = step(Tensor(points), Tensor(labels))
    assert float(loss) == pytest.approx(np.log(3), rel=1e-5)
    assert int(correct) == (labels == 0).sum()  # all logits equal: the first class
    gradient = (np.full((64, 3), 1 / 3) - np.eye(3)[labels]).T @ points / 64
    assert np.allclose(network.weight.asnumpy(), -0.5 * gradient, atol=1e-6)


class TwoHeads(nn.Cell):
    """Two linear heads in training, the mean of their logits in evaluation."""

    def __init__(self):
        super().__init__()
        self.first, self.second = _linear(), _linear()

    def construct(self, x):
        first, second = self.first(x), self.second(x)
        return (first, second) if self.training else (first + second) * 0.5


def test_a_step_with_a_teacher_moves_the_student_alone(mode):
    points, labels = _points()
    student, teacher = TwoHeads().set_train(), nn.SequentialCell(_linear(), nn.Dropout(p=0.5))
    weight = random(3, 3, seed=5)
    teacher[0].weight.set_data(Tensor(weight))
    loss_fn = DistillationLoss(CrossEntropySmooth(num_classes=3), "hard", 0.25)
    step = engine.TrainStep(student, loss_fn, nn.SGD(student.trainable_params(), 0.5), teacher=teacher)
    loss, correct = step(Tensor(points), Tensor(labels))
    assert float(loss) == pytest.approx(np.log(3), rel=1e-5) and int(correct) == (labels == 0).sum()
    decisions = (points @ weight.T).argmax(1)
    assert (decisions != labels).any()
    for head, targets, share in ((student.first, labels, 0.75), (student.second, decisions, 0.25)):
        gradient = (np.full((64, 3), 1 / 3) - np.eye(3)[targets]).T @ points / 64
        assert np.allclose(head.weight.asnumpy(), -0.5 * share * gradient, atol=1e-6)
    assert np.array_equal(teacher[0].weight.asnumpy(), weight)


def test_a_teacher_of_two_students_is_renamed_once():
    teacher = nn.SequentialCell(_linear())
    for _ in range(2):
        student = TwoHeads()
        engine.TrainStep(student, None, nn.SGD(student.trainable_params(), 0.5), teacher=teacher)
    names = [parameter.name for parameter in teacher.get_parameters()]
    assert names == ["teacher.0.weight", "teacher.0.bias"]


def test_without_a_teacher_both_heads_learn_from_the_labels(mode):
    points, labels = _points()
    student = TwoHeads().set_train()
    student.second.weight.set_data(Tensor(random(3, 3, seed=6)))
    before = student.second.weight.asnumpy().copy()
    step = engine.TrainStep(student, CrossEntropySmooth(num_classes=3), nn.SGD(student.trainable_params(), 0.5))
    step(Tensor(points), Tensor(labels))
    for head, start in ((student.first, np.zeros((3, 3))), (student.second, before)):
        logits = points @ start.T
        probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        gradient = (probabilities - np.eye(3)[labels]).T @ points / 64
        assert np.allclose(head.weight.asnumpy(), start - 0.5 * gradient / 2, atol=1e-6)


def test_the_teacher_stays_in_evaluation_while_the_student_trains():
    points, labels = _points()
    student, teacher = TwoHeads(), nn.SequentialCell(_linear(), nn.Dropout(p=0.5))
    teacher.set_train(True)
    loss_fn = DistillationLoss(CrossEntropySmooth(num_classes=3))
    step = engine.TrainStep(student, loss_fn, nn.SGD(student.trainable_params(), 0.5), teacher=teacher)
    modes = []
    engine.fit(
        step, _batches(points, labels, 32), 1, lambda done: modes.append((student.training, teacher.training)) or {}
    )
    assert modes == [(True, False)]


class Clip(nn.Cell):
    """`clip_by_global_norm` with each of the limits, ours and MindSpore's."""

    def __init__(self, *limits: float):
        super().__init__()
        self.limits = limits

    def construct(self, *grads):
        ours, native = (), ()
        for limit in self.limits:
            ours += (engine.clip_by_global_norm(grads, limit),)
            native += (ops.clip_by_global_norm(grads, limit),)
        return ours, native


def test_gradients_are_scaled_by_one_factor_to_the_limit(mode):
    limits, cell = (0.01, 1.0, 1e4), Clip(0.01, 1.0, 1e4)
    for scale in (1.0, 1e-4, 1e3, 0.0):  # the norm is 79 times this: above, between and below the limits
        shapes = ((5, 7), (1,), (13,), (2, 3, 4, 5), (64, 96))
        grads = [random(*shape, seed=seed, scale=scale) for seed, shape in enumerate(shapes)]
        norm = np.sqrt(sum((grad.astype(np.float64) ** 2).sum() for grad in grads))
        for limit, ours, native in zip(limits, *cell(*map(Tensor, grads)), strict=True):
            factor = limit / max(norm, limit)
            for grad, got, other in zip(grads, ours, native, strict=True):
                assert got.shape == grad.shape and got.dtype == ms.float32
                assert np.allclose(got.asnumpy(), grad * factor, rtol=5e-6, atol=0)
                assert np.allclose(got.asnumpy(), other.asnumpy(), rtol=1e-5, atol=0)


def test_gradients_within_the_limit_stay_as_they_are(mode):
    for clipped in Clip(5.0, 5.1)(Tensor([[3.0]]), Tensor([-4.0]))[0]:
        assert [grad.asnumpy().item() for grad in clipped] == [3.0, -4.0]


def test_the_norm_of_gradients_in_half_precision_does_not_overflow():
    grads = [np.full((10, 10), 60.0, np.float16), np.full(4, -300.0, np.float32)]  # 60^2 x 100 is beyond float16
    norm = np.sqrt(sum((grad.astype(np.float64) ** 2).sum() for grad in grads))
    for grad, got in zip(grads, engine.clip_by_global_norm(tuple(map(Tensor, grads)), 1.0), strict=True):
        assert got.asnumpy().dtype == grad.dtype
        assert np.allclose(got.asnumpy(), grad / norm, rtol=2e-3)


def test_clipping_bounds_the_norm_and_keeps_the_direction(mode):
    points, labels = _points()
    moved = {}
    for clip in (None, 0.1):
        network = _linear()
        step = engine.TrainStep(
            network, CrossEntropySmooth(num_classes=3), nn.SGD(network.trainable_params(), 1.0), clip
        )
        step(Tensor(points), Tensor(labels))
        moved[clip] = np.concatenate([p.asnumpy().ravel() for p in network.trainable_params()])
    assert np.linalg.norm(moved[None]) > 0.5
    assert np.linalg.norm(moved[0.1]) == pytest.approx(0.1, rel=1e-4)
    assert np.allclose(moved[0.1] / 0.1, moved[None] / np.linalg.norm(moved[None]), atol=1e-5)


def test_the_step_leaves_the_names_of_the_parameters():
    network = _linear()
    engine.TrainStep(network, CrossEntropySmooth(num_classes=3), nn.SGD(network.trainable_params(), 0.5))
    assert [p.name for p in network.trainable_params()] == ["weight", "bias"]


def test_fit_learns_and_reports_each_epoch(mode, capsys):
    points, labels = _points(96)
    network = nn.SequentialCell(_linear(), nn.Dropout(p=0.1))
    step = engine.TrainStep(network, CrossEntropySmooth(num_classes=3), nn.SGD(network.trainable_params(), 0.5))
    told = []

    def on_epoch_end(done):
        told.append((done.epoch, network.training))
        engine.evaluate(network, _batches(points, labels, 32))  # leaves evaluation mode behind
        return {"val_acc": 0.5}

    epochs = engine.fit(step, _batches(points, labels, 32), 3, on_epoch_end, log_interval=2)
    assert told == [(1, True), (2, True), (3, True)]
    assert [done.epoch for done in epochs] == [1, 2, 3]
    assert epochs[0].loss > max(epochs[1].loss, epochs[2].loss) and epochs[2].accuracy > 0.8
    shown = capsys.readouterr().err
    assert "9/9" in shown and "loss=" in shown and "acc=" in shown and "val_acc=0.5000" in shown


def test_a_loss_that_is_not_finite_stops_the_run():
    points, labels = _points()
    points[3] = np.inf
    network = _linear()
    step = engine.TrainStep(network, CrossEntropySmooth(num_classes=3), nn.SGD(network.trainable_params(), 0.5))
    with pytest.raises(FloatingPointError, match="the loss is nan at step 1 of epoch 1: lower lr"):
        engine.fit(step, _batches(points, labels, 32), 1, lambda done: {})


def test_evaluation_counts_every_image_once_and_compiles_once(mode):
    points, labels = _points(50)
    shapes = []

    class Watched(nn.Dense):
        def __call__(self, x):
            shapes.append(x.shape)  # each other shape would be another compilation
            return super().__call__(x)

    network = Watched(3, 3, Tensor(np.eye(3, dtype=np.float32)), "zeros")
    result = engine.evaluate(network, _batches(points, labels, 16), examples=8)
    assert set(shapes) == {(16, 3)}
    logits = points.astype(np.float64)
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert np.array_equal(result.labels, labels)
    assert np.array_equal(result.top[:, 0], logits.argmax(1)) and result.top.shape == (50, 3)
    assert np.allclose(result.probabilities[:, 0], probabilities.max(1), atol=1e-6)
    assert np.allclose(result.losses, -np.log(probabilities[np.arange(50), labels]), atol=1e-5)
    wrong = np.flatnonzero(logits.argmax(1) != labels)
    assert result.examples[: len(wrong)] == wrong[:8].tolist() and len(result.examples) == 8
    assert np.array_equal(result.example_images, points[result.examples])


def test_metrics_of_known_answers():
    result = engine.Predictions(
        labels=np.array([0, 0, 1, 3]),
        top=np.array([[0, 1], [1, 0], [1, 0], [2, 1]]),
        probabilities=np.full((4, 2), 0.5, np.float32),
        losses=np.array([1.0, 2.0, 3.0, 2.0], np.float32),
        examples=[],
        example_images=np.array([]),
    )
    assert result.metrics(["a", "b", "c", "d"]) == {
        "images": 4,
        "top1": 0.5,
        "top5": 0.75,
        "loss": 2.0,
        "per_class": {"a": 0.5, "b": 1.0, "d": 0.0},
    }


def test_evaluation_is_the_same_for_every_batch_size():
    points, labels = _points(33)
    network = _linear()
    network.weight.set_data(Tensor(np.arange(9, dtype=np.float32).reshape(3, 3) / 9, ms.float32))
    results = [engine.evaluate(network, _batches(points, labels, size)) for size in (33, 8, 64)]
    for other in results[1:]:
        assert np.array_equal(results[0].top, other.top) and np.allclose(results[0].losses, other.losses, atol=1e-6)
