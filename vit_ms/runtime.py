"""Where and how the code runs: device, graph or PyNative mode, seed. The only file that asks which device this is."""

import mindspore as ms
from mindspore import ops

from vit_ms import environment
from vit_ms.errors import UserError

# Here, because all that computes imports this file: a wrong NumPy would be met as a TypeError far from its cause.
environment.check_versions()

DEVICE_TARGETS = ("auto", "Ascend", "CPU")
MODES = ("graph", "pynative")


def setup(device_target: str = "auto", mode: str = "graph", seed: int = 0) -> str:
    """Choose the device and the execution mode and fix the seed of weights, data order and dropout.

    Call it before the first network is built.

    Args:
        device_target (str): `"Ascend"`, `"CPU"`, or `"auto"`: Ascend where it is available, else CPU.
        mode (str): `"graph"` compiles a network as a whole before its first step, `"pynative"` runs it op by op.
        seed (int): seed of MindSpore and of its data pipeline, at least 0.

    Returns:
        str, the device in use: `"Ascend"` or `"CPU"`.

    Raises:
        UserError: If a value is unknown, or Ascend is asked for where there is none.
    """
    if device_target not in DEVICE_TARGETS:
        raise UserError(f"device_target is {device_target!r}; choose one of {', '.join(DEVICE_TARGETS)}")
    if mode not in MODES:
        raise UserError(f"mode is {mode!r}; choose one of {', '.join(MODES)}")
    if seed < 0:
        raise UserError(f"seed is {seed}; it must be 0 or more")
    available = _ascend_available()
    if device_target == "Ascend" and not available:
        raise UserError(
            "device_target is 'Ascend', but MindSpore finds no Ascend NPU with CANN here: "
            "install CANN and source its set_env.sh, or use --device_target CPU"
        )
    target = "Ascend" if available and device_target != "CPU" else "CPU"
    # MindSpore takes no set_device, not even of the device in use, once it has computed something.
    if ms.get_context("device_target") != target:
        try:
            ms.set_device(target)
        except RuntimeError:
            raise UserError(
                f"MindSpore runs on {ms.get_context('device_target')} already, it cannot change to {target}: "
                "call runtime.setup before anything is computed"
            ) from None
    ms.set_context(mode=ms.GRAPH_MODE if mode == "graph" else ms.PYNATIVE_MODE)
    ms.set_seed(seed)
    return target


def _ascend_available() -> bool:
    return ms.device_context.ascend.is_available()


@ops.constexpr
def on_ascend() -> bool:
    """Whether the code being run or compiled is for Ascend. Inside `construct` it is a constant of the graph."""
    return ms.get_context("device_target") == "Ascend"
