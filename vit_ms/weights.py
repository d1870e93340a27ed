"""Weights in and out: strict, whole or not at all, and only into a network with the numerics they were trained with."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn
from safetensors import SafetensorError
from safetensors.numpy import load_file

from vit_ms.errors import UserError
from vit_ms.files import whole_file
from vit_ms.layers import NUMERICS, FeedForward, Numerics

# The entry of our .ckpt files that tells them from the course's, which have the same names.
METADATA = "vit_ms"

# timm's name -> ours, the rest of the name kept.
_TIMM_TO_OURS = (
    (r"^cls_token$", "cls"),
    (r"^pos_embed$", "pos_embedding"),
    (r"^patch_embed\.proj\.", "patch_embedding.conv."),
    (r"^blocks\.(\d+)\.norm1\.", r"transformer.layers.\1.0.cell.0."),
    (r"^blocks\.(\d+)\.attn\.qkv\.", r"transformer.layers.\1.0.cell.1.qkv."),
    (r"^blocks\.(\d+)\.attn\.proj\.", r"transformer.layers.\1.0.cell.1.out."),
    (r"^blocks\.(\d+)\.norm2\.", r"transformer.layers.\1.1.cell.0."),
    (r"^blocks\.(\d+)\.mlp\.fc1\.", r"transformer.layers.\1.1.cell.1.dense1."),
    (r"^blocks\.(\d+)\.mlp\.fc2\.", r"transformer.layers.\1.1.cell.1.dense2."),
    (r"^head\.", "dense."),
    (r"^(norm|transformer\.layers\.\d+\.[01]\.cell\.0)\.weight$", r"\1.gamma"),
    (r"^(norm|transformer\.layers\.\d+\.[01]\.cell\.0)\.bias$", r"\1.beta"),
)


def numerics_of(network: nn.Cell) -> Numerics:
    """The numerics that a network's cells really have, however it was built."""
    cells = [cell for _, cell in network.cells_and_names()]
    epsilon = next((float(cell.epsilon) for cell in cells if isinstance(cell, nn.LayerNorm)), 0.0)
    activation = next((cell.activation for cell in cells if isinstance(cell, FeedForward)), None)
    gelu = type(activation).__name__
    if isinstance(activation, nn.GELU):
        gelu = {"tanh": "tanh", "none": "erf"}[activation.approximate]
    return Numerics(epsilon, gelu)


def load_weights(network: nn.Cell, path: str | Path, skip: Sequence[str] = ()) -> str:
    """Load the course's or our .ckpt, or timm's .safetensors, by their own names.

    All or nothing: the network is touched only when every parameter has its value.

    Args:
        network (nn.Cell): what the weights are for.
        path (str or Path): the file; its names tell whose it is.
        skip (Sequence[str]): beginnings of parameter names to leave as they are, in the file and in the network:
            `["dense."]` keeps the head of a network with other classes.

    Returns:
        str, whose weights they are: `"vit_ms"`, `"course"` or `"timm"`.

    Raises:
        UserError: If the file is absent or no such file, its numerics are not the network's, or any name is missing,
            unexpected, misshapen or not finite; it lists them all.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"there is no weight file {path}")
    if path.suffix == ".ckpt":
        source, numerics, arrays = _read_ckpt(path)
    elif path.suffix == ".safetensors":
        source, numerics, arrays = _read_timm(path)
    else:
        raise UserError(f"{path} is no .ckpt (the course's or ours) and no .safetensors (timm's)")

    _check_numerics(network, path, source, numerics)
    parameters = {p.name: p for p in network.get_parameters() if not p.name.startswith(tuple(skip))}
    arrays = {name: array for name, array in arrays.items() if not name.startswith(tuple(skip))}
    faults = [f"missing {name}" for name in parameters if name not in arrays]
    faults += [f"unexpected {name}" for name in arrays if name not in parameters]
    for name in parameters.keys() & arrays.keys():
        found, wanted = arrays[name].shape, tuple(parameters[name].shape)
        if found != wanted:
            faults.append(f"{name} has shape {found}, the network's has {wanted}")
        elif not np.isfinite(arrays[name]).all():
            faults.append(f"{name} has values that are not finite")
    if faults:
        raise UserError(f"{path} does not fit the network: {'; '.join(sorted(faults))}")
    for name, parameter in parameters.items():
        parameter.set_data(Tensor(arrays[name].astype(np.float32), parameter.dtype))
    return source


def _read_ckpt(path: Path) -> tuple[str, Numerics, dict[str, np.ndarray]]:
    try:
        entries = ms.load_checkpoint(str(path))
        metadata = json.loads(entries.pop(METADATA, "null"))
        numerics = NUMERICS["course"] if metadata is None else Numerics(**metadata["numerics"])
        arrays = {name: value.asnumpy() for name, value in entries.items()}
    except (ValueError, TypeError, KeyError, RuntimeError, AttributeError):
        raise UserError(f"{path} is no MindSpore checkpoint, or damaged: fetch or save it again") from None
    return "course" if metadata is None else "vit_ms", numerics, arrays


def _read_timm(path: Path) -> tuple[str, Numerics, dict[str, np.ndarray]]:
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError, TypeError) as error:
        raise UserError(f"{path} is no safetensors file, or damaged ({error}): fetch it again") from None
    arrays = {}
    for name, array in tensors.items():
        for pattern, ours in _TIMM_TO_OURS:
            name = re.sub(pattern, ours, name)
        arrays[name] = array
    return "timm", NUMERICS["timm"], arrays


def _check_numerics(network: nn.Cell, path: Path, source: str, wanted: Numerics) -> None:
    found = numerics_of(network)
    if found == wanted:
        return
    word = next((word for word, row in NUMERICS.items() if row == wanted), None)
    remedy = f"create_model(..., numerics={word!r})" if word else f"norm and activation cells with {wanted}"
    raise UserError(
        f"{path} holds weights of {source} ({wanted}), but the network has {found}, "
        f"and they would give other logits: build it with {remedy}"
    )


def save_weights(network: nn.Cell, path: str | Path) -> None:
    """Write a network's weights as a .ckpt that says it is ours and which numerics it needs.

    mindspore.load_checkpoint and load_param_into_net read it as any other.

    Args:
        network (nn.Cell): whose parameters are written.
        path (str or Path): ends in .ckpt; it is the old file or the new one whatever happens.
    """
    numerics = numerics_of(network)
    metadata = json.dumps({"numerics": {"epsilon": numerics.epsilon, "gelu": numerics.gelu}})
    with whole_file(path) as temporary:
        ms.save_checkpoint(network, str(temporary), append_dict={METADATA: metadata})
