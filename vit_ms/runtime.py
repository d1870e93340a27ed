"""Where and how the code runs: device, mode, precision, implementation, seed. The only file that asks which device it is."""

import os
from dataclasses import dataclass
from pathlib import Path

import mindspore as ms
import numpy as np
from mindspore import communication, ops
from mindspore._c_expression import MSContext  # nothing public tells which chip it is

from vit_ms import environment
from vit_ms.errors import UserError

# Here, because all that computes imports this file: a wrong NumPy would be met as a TypeError far from its cause.
environment.check_versions()

DEVICE_TARGETS = ("auto", "Ascend", "CPU")
MODES = ("graph", "pynative")
PRECISIONS = ("auto", "fp32", "bf16", "fp16")
IMPLEMENTATIONS = ("fast", "reference")


@dataclass(frozen=True)
class Settings:
    """What `setup` chose.

    Args:
        device (str): `"Ascend"` or `"CPU"`.
        mode (str): `"graph"` or `"pynative"`.
        precision (str): `"fp32"`, `"bf16"` or `"fp16"`.
        implementation (str): `"fast"` or `"reference"`.
        fused (bool): whether graph mode joins neighbouring elementwise operations into one kernel on CPU.
        note (str): what the user should know of this choice; empty, if nothing.
    """

    device: str = "CPU"
    mode: str = "graph"
    precision: str = "fp32"
    implementation: str = "fast"
    fused: bool = False
    note: str = ""

    def __str__(self) -> str:
        kernels = ", fused kernels" if self.fused else ""
        reference = ", the reference operations" if self.implementation == "reference" else ""
        return f"{self.device}, {self.mode} mode, {self.precision}{kernels}{reference}"


_settings = Settings(device=ms.get_context("device_target"))

# What MindSpore's kernel fusion leaves alone. Cast: MindSpore ends the process where it is to fuse a weight's from float32
# to float16. Exp and Tanh: fused they are off by 3e-4 and 1e-2. Transpose: fused with products before it and a Reshape
# behind it, it gives what was in memory (ConvNeXt's gradients). Its own form of Adam takes steps twice too long, that of
# GeLU is off by 3e-5.
_FUSION_FLAGS = "--disable_cluster_ops=Cast,Exp,Tanh,Transpose --disable_expand_ops=Adam,GeLU,GeLUGrad"


def setup(
    device_target: str = "auto",
    mode: str = "graph",
    seed: int = 0,
    precision: str = "auto",
    implementation: str = "fast",
    in_turn: bool = True,
) -> Settings:
    """Choose how everything runs, and fix the seed of weights, data order and dropout.

    Call it before the first network is built, and change the precision before anything is computed.

    Args:
        device_target (str): `"Ascend"`, `"CPU"`, or `"auto"`: Ascend where it is available, else CPU.
        mode (str): `"graph"` compiles a network as a whole before its first step, `"pynative"` runs it op by op.
        seed (int): seed of MindSpore and of its data pipeline, at least 0.
        precision (str): `"fp32"`, `"bf16"`, `"fp16"`, or `"auto"`: fp32 on CPU, fp16 on Ascend. On CPU bf16 lets oneDNN
            round the inputs of matrix products to bfloat16, where the processor has AMX units for it, and there is no fp16.
            On Ascend products and activations are in half precision; parameters, LayerNorm, softmax and loss in float32.
        implementation (str): `"fast"`, or `"reference"`: the operations that the course's code calls, on CPU several times
            slower; the results are the same up to rounding.
        in_turn (bool): on CPU, let PyNative mode run an operation where it is called, which cannot be undone. False leaves
            it to MindSpore's threads, which pass on as an exception that memory ran out: else the process ends.

    Returns:
        Settings, what was chosen.

    Raises:
        UserError: If a value is unknown, or cannot be had here.
    """
    global _settings
    choices = {
        "device_target": (device_target, DEVICE_TARGETS),
        "mode": (mode, MODES),
        "precision": (precision, PRECISIONS),
        "implementation": (implementation, IMPLEMENTATIONS),
    }
    for name, (value, known) in choices.items():
        if value not in known:
            raise UserError(f"{name} is {value!r}; choose one of {', '.join(known)}")
    if seed < 0:
        raise UserError(f"seed is {seed}; it must be 0 or more")
    available = _ascend_available()
    if device_target == "Ascend" and not available:
        raise UserError(
            "device_target is 'Ascend', but MindSpore finds no Ascend NPU with CANN here: "
            "install CANN and source its set_env.sh, or use --device_target CPU"
        )
    device = "Ascend" if available and device_target != "CPU" else "CPU"
    asked, precision = precision, {"CPU": "fp32", "Ascend": "fp16"}[device] if precision == "auto" else precision
    if device == "CPU" and precision == "fp16":
        raise UserError("precision is 'fp16', which is for Ascend: on CPU choose fp32, or bf16 where it has AMX units")
    # MindSpore takes no set_device, not even of the device in use, once it has computed something.
    if ms.get_context("device_target") != device:
        try:
            ms.set_device(device)
        except RuntimeError:
            raise UserError(
                f"MindSpore runs on {ms.get_context('device_target')} already, it cannot change to {device}: "
                "call runtime.setup before anything is computed"
            ) from None
    notes, fused = [], False
    if device == "CPU":
        if in_turn:
            # MindSpore's threads suit an NPU. Here they take the cores from the operation while they wait: with two cores
            # the networks of the notebooks take three to six times as long.
            ms.runtime.launch_blocking()
        _set_product_precision(precision)
        if asked == "auto" and has_bf16_units():
            notes.append("this processor multiplies matrices in bfloat16: --precision bf16 may take half the time")
        if precision == "bf16" and not has_bf16_units():
            notes.append("this processor has no AMX units, for which oneDNN has its bf16 products: they run in fp32")
        if implementation == "fast" and mode == "graph":
            lacking = environment.fusion_lacks()
            fused = lacking is None
            if lacking:
                notes.append(f"kernels are not fused, which takes half as long again: {lacking}")
        # Somebody else who has switched fusion on has not said what is left out.
        unsaid = fused and ms.get_context("graph_kernel_flags") != _FUSION_FLAGS
        if unsaid or ms.get_context("enable_graph_kernel") != fused:
            ms.set_context(enable_graph_kernel=fused, graph_kernel_flags=_FUSION_FLAGS)
    ms.set_context(mode=ms.GRAPH_MODE if mode == "graph" else ms.PYNATIVE_MODE)
    _join_ranks()
    ms.set_seed(seed)
    _settings = Settings(device, mode, precision, implementation, fused, "; ".join(notes))
    return _settings


_rank, _ranks = 0, 1


def _join_ranks() -> None:
    """Under msrun, meet the other processes of the run: each has one device and sees its part of the data."""
    global _rank, _ranks
    if os.environ.get("MS_ROLE") not in ("MS_WORKER", "MS_SCHED") or _ranks > 1:
        return
    communication.init()
    _rank, _ranks = communication.get_rank(), communication.get_group_size()
    if _ranks > 1:
        ms.set_auto_parallel_context(parallel_mode=ms.ParallelMode.DATA_PARALLEL, gradients_mean=True)


def rank() -> int:
    """Which of the devices this process has, from 0; 0 where there is one."""
    return _rank


def ranks() -> int:
    """How many devices train together."""
    return _ranks


def sum_over_ranks(values: np.ndarray) -> np.ndarray:
    """The sum of the arrays that all processes of a run call this with; float32."""
    values = np.asarray(values, np.float32)
    return values if _ranks == 1 else ops.AllReduce()(ms.Tensor(values)).asnumpy()


_product_precision: str | None = None


def _set_product_precision(precision: str) -> None:
    """oneDNN reads its mode once, at the first matrix product of the process."""
    global _product_precision
    if _product_precision not in (None, precision):
        raise UserError(f"precision is {_product_precision!r} in this process: for {precision!r} start Python anew")
    _product_precision = precision
    os.environ["ONEDNN_DEFAULT_FPMATH_MODE"] = "BF16" if precision == "bf16" else "STRICT"


def settings() -> Settings:
    """What the last `setup` chose."""
    return _settings


def _ascend_available() -> bool:
    return ms.device_context.ascend.is_available()


def has_bf16_units() -> bool:
    """Whether the processor multiplies matrices in bfloat16 (AMX), as Linux tells it."""
    try:
        return "amx_bf16" in Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False


# The following are constants of the graph inside `construct`.


@ops.constexpr
def fast_on_cpu() -> bool:
    """Whether the forms that are made for a CPU are to be compiled, and not the native operations."""
    return _settings.device == "CPU" and _settings.implementation == "fast"


@ops.constexpr
def fused() -> bool:
    """Whether what is being compiled has its elementwise operations joined."""
    return _settings.fused


@ops.constexpr
def on_ascend() -> bool:
    """Whether the code being run or compiled is for Ascend."""
    return _settings.device == "Ascend"


@ops.constexpr
def has_flash_attention() -> bool:
    """Whether the NPU has MindSpore's fused attention: its documentation names Atlas A2 and A3, not the 910A before them."""
    return _settings.device == "Ascend" and _chip() in ("ascend910b", "ascend910_93")


def _chip() -> str:
    return MSContext.get_instance().get_ascend_soc_version()


@ops.constexpr
def half_precision():
    """The dtype of products and activations on Ascend; None: that of their inputs. On CPU oneDNN rounds by itself."""
    if _settings.device != "Ascend":
        return None
    return {"bf16": ms.bfloat16, "fp16": ms.float16}.get(_settings.precision)
