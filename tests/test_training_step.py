"""What a training step keeps and adds up: accumulated gradients, averaged weights, draws, the state."""

import mindspore as ms
import mindspore.dataset as ds
import numpy as np
import pytest
from helpers import SMALL, random, randomize, same
from mindspore import Tensor, nn

from vit_ms import engine, runtime
from vit_ms.layers import Dropout, DropPath
from vit_ms.losses import CrossEntropySmooth
from vit_ms.models.vit import ViT
from vit_ms.optim import create_optimizer

X, LABELS = random(8, 3, 8, 8, seed=3), np.arange(8, dtype=np.int32) % 5
DROPS = {"keep_prob": 0.8, "attention_keep_prob": 0.9, "drop_path_keep_prob": 0.8}


def _step(opt="sgd", **options) -> engine.TrainStep:
    network = randomize(ViT(**SMALL, **DROPS)).set_train()
    optimizer = create_optimizer(network.trainable_params(), opt, [0.1] * 99, 0.0)
    return engine.TrainStep(network, CrossEntropySmooth(num_classes=5), optimizer, 1.0, **options)


def _train(step: engine.TrainStep, calls: int, size: int) -> list[float]:
    """So many calls, each with the next images."""
    losses = []
    for call in range(calls):
        part = np.arange(call * size, (call + 1) * size) % 8
        losses.append(float(step(Tensor(X[part]), Tensor(LABELS[part]))[0]))
    return losses


def _state(step) -> dict:
    return {name: parameter.asnumpy().copy() for name, parameter in step.state().items()}


def _check_close(found: dict, wanted: dict, tolerance: float) -> None:
    assert found.keys() == wanted.keys()
    for name in wanted:
        assert np.abs(found[name] - wanted[name]).max() <= tolerance, name


def test_accumulated_gradients_are_those_of_the_large_batch_dropout_and_all(mode):
    whole, parts = _step(ema_decay=0.9), _step(ema_decay=0.9, accumulate=4)
    losses, of_parts = _train(whole, 3, 8), _train(parts, 12, 2)
    assert np.allclose(losses, np.reshape(of_parts, (3, 4)).mean(1), atol=1e-6)
    _check_close(_state(parts), _state(whole), 1e-6)
    assert _state(whole)["draw"].tolist() == [0, 3, 0]


def test_nothing_changes_before_the_last_accumulated_batch():
    runtime.setup("CPU", "pynative")
    step = _step(accumulate=4)
    before = {p.name: p.asnumpy().copy() for p in step.network.trainable_params()}
    _train(step, 3, 2)
    assert all(np.array_equal(p.asnumpy(), before[p.name]) for p in step.network.trainable_params())
    _train(step, 1, 2)
    assert not any(np.array_equal(p.asnumpy(), before[p.name]) for p in step.network.trainable_params())


def test_a_restored_state_goes_on_as_if_nothing_had_been(mode):
    whole = _step("adamw", ema_decay=0.9)
    _train(whole, 2, 4)
    kept = _state(whole)
    losses = _train(whole, 2, 4)
    again = _step("adamw", ema_decay=0.9)
    for name, parameter in again.state().items():
        parameter.set_data(Tensor(kept[name]))
    assert _train(again, 2, 4) == losses
    assert same(_state(again), _state(whole))


def test_the_average_follows_the_weights(mode):
    step = _step(ema_decay=0.75)
    weight = step.network.trainable_params()[-1]
    average = weight.asnumpy().copy()
    for _ in range(3):
        _train(step, 1, 8)
        average += (weight.asnumpy() - average) / 4
    trained = weight.asnumpy().copy()
    with step.averaged():
        assert np.allclose(weight.asnumpy(), average, atol=1e-6) and not np.allclose(average, trained, atol=1e-4)
    assert np.array_equal(weight.asnumpy(), trained)
    with _step().averaged():  # without an average nothing happens
        pass


@pytest.mark.parametrize("change", [{"seed": 1}, {"rank": 1}])
def test_another_seed_or_device_drops_other_elements(change):
    runtime.setup("CPU", "pynative")
    assert _train(_step(**change), 1, 8) != _train(_step(), 1, 8)
    assert _train(_step(), 1, 8) == _train(_step(), 1, 8)


def test_dropout_drops_its_share_and_others_in_each_step_and_cell(mode):
    draw = ms.Parameter(Tensor([0, 0, 0], ms.int32), name="draw", requires_grad=False)
    first, second, path = Dropout(p=0.25), Dropout(p=0.25), DropPath(0.75)
    first.draw_from(draw, 0)
    second.draw_from(draw, 1)
    path.dropout.draw_from(draw, 2)
    ones = Tensor(np.ones((64, 10, 40), np.float32))

    def kept(cell):
        values = cell.set_train()(ones).asnumpy()
        assert np.allclose(values[values != 0], 4 / 3)
        return values != 0

    masks = [kept(first), kept(second)]
    paths = kept(path)
    draw.set_data(Tensor([0, 1, 0], ms.int32))
    masks.append(kept(first))
    for mask in masks:
        assert abs(mask.mean() - 0.75) < 0.01 and abs(mask.mean((0, 1)) - 0.75).max() < 0.07
    agreement = [(one == other).mean() for i, one in enumerate(masks) for other in masks[:i]]
    assert np.allclose(agreement, 0.75**2 + 0.25**2, atol=0.01)
    assert (paths == paths[:, :1, :1]).all() and 0.5 < paths[:, 0, 0].mean() < 0.95
    assert np.array_equal(first.set_train(False)(ones).asnumpy(), ones.asnumpy())
    assert not list(first.get_parameters())  # the draw is not learnt


class _Data:
    """Batches as TrainBatches gives them."""

    def get_dataset_size(self):
        return 4

    def get_batch_size(self):
        return 2

    def pipeline(self, epoch):
        shift = np.roll(np.arange(8), epoch)
        return ds.NumpySlicesDataset({"image": X[shift], "label": LABELS[shift]}, shuffle=False).batch(2)

    def epoch(self, number, start=0):
        for done, batch in enumerate(self.pipeline(number).create_tuple_iterator(num_epochs=1)):
            if done >= start:
                yield batch


@pytest.mark.slow
def test_training_goes_on_in_the_middle_of_an_epoch():
    runtime.setup("CPU", "pynative")
    whole = _step()
    wanted = engine.fit(whole, _Data(), 3, lambda done: {})
    kept = {}

    def stop(progress):
        kept.update(state=_state(interrupted), progress=dict(vars(progress), losses=list(progress.losses)))
        raise KeyboardInterrupt

    interrupted, asked = _step(), iter([False] * 5 + [True])
    with pytest.raises(KeyboardInterrupt):
        engine.fit(interrupted, _Data(), 3, lambda done: {}, watch=stop, urgent=lambda: next(asked))
    assert (kept["progress"]["epoch"], kept["progress"]["batches"]) == (2, 2)
    again = _step()
    for name, parameter in again.state().items():
        parameter.set_data(Tensor(kept["state"][name]))
    found = engine.fit(again, _Data(), 3, lambda done: {}, progress=engine.Progress(**kept["progress"]))
    assert [(e.epoch, e.loss, e.accuracy) for e in found] == [(e.epoch, e.loss, e.accuracy) for e in wanted[1:]]
    assert same(_state(again), _state(whole))


def test_training_ends_where_the_callback_says_so():
    runtime.setup("CPU", "pynative")
    done = engine.fit(_step(), _Data(), 9, lambda done: {} if done.epoch < 2 else None)
    assert [epoch.epoch for epoch in done] == [1, 2]


def test_batches_from_the_devices_own_queue_are_the_same(monkeypatch):
    """MindSpore has the queue on Ascend alone: what stands in for it here takes the batches from the same dataset."""
    runtime.setup("CPU", "pynative")
    opened = []

    def data_sink(function, dataset):
        opened.append(dataset)
        batches = dataset.create_tuple_iterator(num_epochs=-1)
        return lambda: function(*next(iter_of(batches)))

    streams = {}

    def iter_of(batches):
        return streams.setdefault(id(batches), iter(batches))

    monkeypatch.setattr(ms, "data_sink", data_sink)
    plain, sunk = _step(), _step()
    wanted = engine.fit(plain, _Data(), 2, lambda done: {})
    found = engine.fit(sunk, _Data(), 2, lambda done: {}, sink=True)
    assert [epoch.loss for epoch in found] == [epoch.loss for epoch in wanted] and len(opened) == 2
    assert same(_state(sunk), _state(plain))


def test_under_loss_scaling_a_few_steps_may_overflow_and_no_more(monkeypatch):
    runtime.setup("CPU", "pynative")
    step = _step(loss_scaler=engine.loss_scaler())
    before = _state(step)
    images = X.copy()

    class Data(_Data):
        def pipeline(self, epoch):
            return ds.NumpySlicesDataset({"image": images, "label": LABELS}, shuffle=False).batch(2)

    images[2] = np.inf  # the second batch of every epoch
    done = engine.fit(step, Data(), 2, lambda done: {})
    assert all(np.isfinite(epoch.loss) for epoch in done)
    after = _state(step)
    assert after["loss_scale"] == before["loss_scale"] / 4 and np.isfinite(after["cls"]).all()
    images[:] = np.inf
    monkeypatch.setattr(engine, "OVERFLOWS", 5)
    with pytest.raises(engine.LossNotFinite, match="at step 2 of epoch 2") as caught:
        engine.fit(step, Data(), 9, lambda done: {})
    assert (caught.value.epoch, caught.value.batch) == (2, 1)
    for parameter in step.network.get_parameters():
        assert np.isfinite(parameter.asnumpy()).all()


def test_labels_may_be_shares_of_classes(mode):
    step, mixed = _step(), _step()
    mixed.loss_fn = CrossEntropySmooth(sparse=False, num_classes=5)
    loss, correct = step(Tensor(X), Tensor(LABELS))
    of_shares, right = mixed(Tensor(X), Tensor(np.eye(5, dtype=np.float32)[LABELS]))
    assert float(of_shares) == pytest.approx(float(loss), abs=1e-6) and int(right) == int(correct)


@pytest.mark.parametrize("name", ["nn.Dropout", "nn.Adam"])
def test_what_mindspore_has_of_its_own_serves_too(name):
    runtime.setup("CPU", "pynative")
    network = nn.SequentialCell(nn.Flatten(), nn.Dropout(p=0.1), nn.Dense(192, 5))
    optimizer = nn.Adam(network.trainable_params()) if name == "nn.Adam" else nn.SGD(network.trainable_params(), 0.1)
    step = engine.TrainStep(network, CrossEntropySmooth(num_classes=5), optimizer, ema_decay=0.5, accumulate=2)
    assert all(np.isfinite(_train(step, 4, 2)))
