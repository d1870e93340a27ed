"""Device, mode and seed."""

import mindspore as ms
import numpy as np
import pytest
from helpers import error_of
from mindspore import nn

from vit_ms import runtime


def test_unknown_values_are_refused():
    assert error_of(runtime.setup, "GPU") == "device_target is 'GPU'; choose one of auto, Ascend, CPU"
    assert error_of(runtime.setup, "CPU", "eager") == "mode is 'eager'; choose one of graph, pynative"
    assert error_of(runtime.setup, "CPU", "graph", -1) == "seed is -1; it must be 0 or more"


@pytest.fixture
def devices(monkeypatch):
    """The devices that are set, without setting them."""
    chosen = []
    monkeypatch.setattr(ms, "set_device", chosen.append)
    return chosen


def test_ascend_where_there_is_none_is_told_with_the_remedy(devices, monkeypatch):
    monkeypatch.setattr(runtime, "_ascend_available", lambda: False)
    message = error_of(runtime.setup, "Ascend")
    assert "Ascend" in message and "CANN" in message and "--device_target CPU" in message
    assert devices == []


@pytest.mark.parametrize(
    "available, asked, chosen",
    [
        (True, "auto", "Ascend"),
        (True, "Ascend", "Ascend"),
        (True, "CPU", "CPU"),
        (False, "auto", "CPU"),
        (False, "CPU", "CPU"),
    ],
)
def test_the_device_is_the_one_asked_for_or_the_best_there_is(available, asked, chosen, devices, monkeypatch):
    monkeypatch.setattr(runtime, "_ascend_available", lambda: available)
    monkeypatch.setattr(ms, "get_context", lambda key: "CPU" if chosen == "Ascend" else "Ascend")
    assert runtime.setup(asked) == chosen
    assert devices == [chosen]


def test_a_device_in_use_can_be_asked_for_again_but_not_changed(monkeypatch):
    (nn.ReLU()(ms.Tensor([1.0]))).asnumpy()
    assert runtime.setup("CPU") == "CPU"  # MindSpore itself refuses a second set_device
    monkeypatch.setattr(runtime, "_ascend_available", lambda: True)
    message = error_of(runtime.setup, "Ascend")
    assert "runs on CPU already, it cannot change to Ascend: call runtime.setup before anything is computed" in message


def test_the_mode_is_set():
    runtime.setup("CPU", "pynative")
    assert ms.get_context("mode") == ms.PYNATIVE_MODE
    runtime.setup("CPU", "graph")
    assert ms.get_context("mode") == ms.GRAPH_MODE
    runtime.setup("CPU", "pynative")
    runtime.setup("CPU")
    assert ms.get_context("mode") == ms.GRAPH_MODE


def test_nothing_changes_when_a_value_is_refused(devices):
    runtime.setup("CPU", "pynative", 5)
    error_of(runtime.setup, "CPU", "graph", -1)
    assert ms.get_context("mode") == ms.PYNATIVE_MODE and ms.get_seed() == 5


def test_the_seed_decides_weights_dropout_and_data(mode):
    def drawn(seed):
        runtime.setup("CPU", mode, seed)
        data = ms.dataset.NumpySlicesDataset(np.arange(50), shuffle=True)
        return (
            nn.Dense(8, 8).weight.asnumpy(),
            nn.Dropout(p=0.5).set_train()(ms.ops.ones((8, 8))).asnumpy(),
            np.array([row[0] for row in data.create_tuple_iterator(num_epochs=1, output_numpy=True)]),
        )

    first, again, other = drawn(1), drawn(1), drawn(2)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not any(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def test_on_ascend_follows_the_device(monkeypatch):
    assert runtime.on_ascend() is False
    monkeypatch.setattr(ms, "get_context", lambda key: {"device_target": "Ascend"}[key])
    assert runtime.on_ascend() is True
