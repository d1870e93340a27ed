"""Device, mode, seed, precision and implementation, and what follows from them."""

import os

import mindspore as ms
import numpy as np
import pytest
from helpers import error_of, python
from mindspore import nn

from vit_ms import environment, runtime


@pytest.mark.parametrize(
    "choice, message",
    [
        ({"device_target": "GPU"}, "device_target is 'GPU'; choose one of auto, Ascend, CPU"),
        ({"mode": "eager"}, "mode is 'eager'; choose one of graph, pynative"),
        ({"precision": "fp64"}, "precision is 'fp64'; choose one of auto, fp32, bf16, fp16"),
        ({"implementation": "slow"}, "implementation is 'slow'; choose one of fast, reference"),
        ({"seed": -1}, "seed is -1; it must be 0 or more"),
    ],
)
def test_unknown_values_are_refused(choice, message):
    assert error_of(runtime.setup, **{"device_target": "CPU", **choice}) == message


@pytest.fixture
def devices(monkeypatch):
    """The devices that are set, without setting them."""
    chosen = []
    monkeypatch.setattr(ms, "set_device", chosen.append)
    return chosen


@pytest.fixture
def on_ascend(devices, monkeypatch):
    """An Ascend is found, and set already."""
    get_context = ms.get_context
    monkeypatch.setattr(runtime, "_ascend_available", lambda: True)
    monkeypatch.setattr(ms, "get_context", lambda key: "Ascend" if key == "device_target" else get_context(key))


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
    assert runtime.setup(asked).device == chosen
    assert devices == [chosen]


def test_a_device_in_use_can_be_asked_for_again_but_not_changed(monkeypatch):
    (nn.ReLU()(ms.Tensor([1.0]))).asnumpy()
    assert runtime.setup("CPU").device == "CPU"  # MindSpore itself refuses a second set_device
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


REFUSED = [{"seed": -1}, {"precision": "fp16"}, {"precision": "bf16"}, {"implementation": "slow"}]


@pytest.mark.parametrize("choice", REFUSED, ids=str)
def test_nothing_changes_when_a_value_is_refused(choice, devices, monkeypatch):
    before = runtime.setup("CPU", "pynative", 5)
    products = os.environ["ONEDNN_DEFAULT_FPMATH_MODE"]
    error_of(runtime.setup, **{"device_target": "CPU", "mode": "graph", "seed": 6, **choice})
    assert ms.get_context("mode") == ms.PYNATIVE_MODE and ms.get_seed() == 5
    assert ms.get_context("enable_graph_kernel") is False
    assert runtime.settings() is before and os.environ["ONEDNN_DEFAULT_FPMATH_MODE"] == products


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


# Precision. That of the products on CPU is the process's, for oneDNN reads it once: here it is forgotten for the test.


@pytest.fixture
def new_process(monkeypatch):
    monkeypatch.setattr(runtime, "_product_precision", None)
    monkeypatch.setenv("ONEDNN_DEFAULT_FPMATH_MODE", "")  # so that the old value comes back after the test


@pytest.mark.parametrize(
    "asked, has_units, chosen, mode, note",
    [
        ("auto", False, "fp32", "STRICT", ""),
        ("auto", True, "fp32", "STRICT", "--precision bf16 may take half the time"),
        ("fp32", True, "fp32", "STRICT", ""),
        ("bf16", True, "bf16", "BF16", ""),
        ("bf16", False, "bf16", "BF16", "this processor has no AMX units"),
    ],
)
def test_precision_on_cpu(asked, has_units, chosen, mode, note, new_process, monkeypatch):
    monkeypatch.setattr(runtime, "has_bf16_units", lambda: has_units)
    settings = runtime.setup("CPU", "pynative", precision=asked)
    assert settings.precision == chosen and os.environ["ONEDNN_DEFAULT_FPMATH_MODE"] == mode
    assert note in settings.note and bool(note) == bool(settings.note)
    assert runtime.half_precision() is None  # the tensors stay float32


@pytest.mark.parametrize("first, second", [("fp32", "bf16"), ("bf16", "fp32"), ("bf16", "auto"), ("auto", "bf16")])
def test_a_second_precision_in_one_process_is_refused(first, second, new_process):
    first = runtime.setup("CPU", precision=first).precision
    runtime.setup("CPU", precision=first)
    second_name = "fp32" if second == "auto" else second
    message = f"precision is {first!r} in this process: for {second_name!r} start Python anew"
    assert error_of(runtime.setup, "CPU", precision=second) == message


def test_float16_on_cpu_is_refused_with_what_there_is():
    message = error_of(runtime.setup, "CPU", precision="fp16")
    assert message == ("precision is 'fp16', which is for Ascend: on CPU choose fp32, or bf16 where it has AMX units")


@pytest.mark.parametrize(
    "asked, chosen, dtype",
    [("auto", "fp16", ms.float16), ("fp16", "fp16", ms.float16), ("bf16", "bf16", ms.bfloat16), ("fp32", "fp32", None)],
)
def test_precision_on_ascend(asked, chosen, dtype, on_ascend, new_process):
    settings = runtime.setup(precision=asked)
    assert (settings.device, settings.precision, settings.note) == ("Ascend", chosen, "")
    assert runtime.half_precision() == dtype
    assert os.environ["ONEDNN_DEFAULT_FPMATH_MODE"] == ""  # that is the CPU's


@pytest.mark.parametrize(
    "cpuinfo, has",
    [("flags : avx512f amx_bf16 amx_tile", True), ("flags : avx512f avx512_bf16", False), ("", False), (None, False)],
)
def test_bf16_units_are_those_that_linux_tells_of(cpuinfo, has, tmp_path, monkeypatch):
    file = tmp_path / "cpuinfo"
    if cpuinfo is not None:  # else, as on macOS, there is no such file
        file.write_text(cpuinfo)
    asked = []
    monkeypatch.setattr(runtime, "Path", lambda name: asked.append(name) or file)
    assert runtime.has_bf16_units() is has
    assert asked == ["/proc/cpuinfo"]


@pytest.mark.skipif(not runtime.has_bf16_units(), reason="without AMX units oneDNN has no products in bf16")
def test_bf16_rounds_the_products_and_nothing_else():
    code = """
import numpy as np
from vit_ms import functional as F, runtime
from mindspore import Tensor

runtime.setup("CPU", "pynative", precision="bf16")
x, w = (np.random.default_rng(seed).standard_normal((256, 256)).astype(np.float32) for seed in range(2))
product = F.dense(Tensor(x), Tensor(w), Tensor(np.zeros(256, np.float32)))
print(product.dtype, np.abs(product.asnumpy() - x @ w.T).max() / np.abs(x @ w.T).max())
print(np.abs(F.tanh(Tensor(x)).asnumpy() - np.tanh(x)).max())
"""
    result = python("-c", code, ONEDNN_DEFAULT_FPMATH_MODE=None)
    dtype, product_error, tanh_error = result.stdout.split()
    assert dtype == "Float32" and 1e-4 < float(product_error) < 1e-2 and float(tanh_error) < 1e-5


# Fused kernels: on CPU, in graph mode, with the fast implementation, and where nothing lacks.


@pytest.mark.parametrize(
    "mode, implementation, lacks, fused",
    [
        ("graph", "fast", None, True),
        ("graph", "fast", "g++ is not there", False),
        ("graph", "reference", None, False),
        ("pynative", "fast", None, False),
        ("pynative", "fast", "g++ is not there", False),
        ("pynative", "reference", None, False),
    ],
)
def test_kernels_are_fused_where_they_can_be(mode, implementation, lacks, fused, monkeypatch):
    monkeypatch.setattr(environment, "fusion_lacks", lambda: lacks)
    monkeypatch.setattr(runtime, "has_bf16_units", lambda: False)
    settings = runtime.setup("CPU", mode, implementation=implementation)
    assert settings.fused is runtime.fused() is ms.get_context("enable_graph_kernel") is fused
    # What lacks matters only where it would have been used.
    missed = lacks is not None and mode == "graph"
    assert settings.note == (f"kernels are not fused, which takes half as long again: {lacks}" if missed else "")


def test_fusion_is_switched_on_and_off_with_each_setup(monkeypatch):
    monkeypatch.setattr(environment, "fusion_lacks", lambda: None)
    for mode, implementation, fused in (
        ("graph", "fast", True),
        ("pynative", "fast", False),
        ("graph", "fast", True),
        ("graph", "reference", False),
        ("graph", "fast", True),
        ("graph", "fast", True),
    ):
        runtime.setup("CPU", mode, implementation=implementation)
        assert ms.get_context("enable_graph_kernel") is fused


def test_what_fusion_leaves_out_is_said_to_mindspore_whoever_switched_it_on(monkeypatch):
    monkeypatch.setattr(environment, "fusion_lacks", lambda: None)
    ms.set_context(enable_graph_kernel=True, graph_kernel_flags="")
    runtime.setup("CPU", "graph")
    assert "--disable_cluster_ops=Cast," in ms.get_context("graph_kernel_flags")


def test_on_ascend_fusion_is_left_to_mindspore(on_ascend, monkeypatch):
    monkeypatch.setattr(environment, "fusion_lacks", lambda: None)
    changed = []
    monkeypatch.setattr(ms, "set_context", lambda **context: changed.extend(context))
    assert runtime.setup().fused is False
    assert changed == ["mode"]


def test_notes_are_joined(new_process, monkeypatch):
    monkeypatch.setattr(environment, "fusion_lacks", lambda: "g++ is not there")
    monkeypatch.setattr(runtime, "has_bf16_units", lambda: False)
    units, kernels = runtime.setup("CPU", precision="bf16").note.split("; ")
    assert "AMX" in units and "g++" in kernels


# What was chosen.


@pytest.mark.parametrize(
    "settings, text",
    [
        (runtime.Settings(), "CPU, graph mode, fp32"),
        (runtime.Settings(fused=True), "CPU, graph mode, fp32, fused kernels"),
        (runtime.Settings("Ascend", precision="fp16"), "Ascend, graph mode, fp16"),
        (
            runtime.Settings("CPU", "pynative", "bf16", "reference", note="beware"),
            "CPU, pynative mode, bf16, the reference operations",
        ),
    ],
)
def test_settings_as_text(settings, text):
    assert str(settings) == text


def test_settings_are_those_of_the_last_setup():
    chosen = runtime.setup("CPU", "pynative", implementation="reference")
    assert runtime.settings() is chosen
    assert (chosen.device, chosen.mode, chosen.precision, chosen.implementation, chosen.fused) == (
        "CPU",
        "pynative",
        "fp32",
        "reference",
        False,
    )
    with pytest.raises(AttributeError):
        chosen.mode = "graph"


class Asked(nn.Cell):
    """What the constants of the graph are, inside a graph."""

    def construct(self, x):
        answers = ()
        for yes in (runtime.fast_on_cpu(), runtime.fused(), runtime.on_ascend(), runtime.half_precision() is not None):
            answers += (x + 1.0,) if yes else (x,)
        return answers


@pytest.mark.parametrize(
    "settings, fast_on_cpu, fused, on_ascend, half",
    [
        (runtime.Settings(fused=True), True, True, False, False),
        (runtime.Settings(), True, False, False, False),
        (runtime.Settings(precision="bf16"), True, False, False, False),
        (runtime.Settings(implementation="reference"), False, False, False, False),
        (runtime.Settings("Ascend"), False, False, True, False),
        (runtime.Settings("Ascend", precision="fp16"), False, False, True, True),
    ],
    ids=["fused", "not fused", "bf16", "reference", "Ascend", "Ascend in fp16"],
)
def test_the_graph_s_constants_follow_the_settings(settings, fast_on_cpu, fused, on_ascend, half, mode, monkeypatch):
    monkeypatch.setattr(runtime, "_settings", settings)
    answers = [bool(answer) for answer in Asked()(ms.Tensor(0.0))]
    assert answers == [fast_on_cpu, fused, on_ascend, half]
