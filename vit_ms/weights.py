"""Weights in and out: strict, whole or not at all, and only into a network with the numerics they were trained with."""

import json
import math
import re
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from vit_ms.errors import UserError, did_you_mean
from vit_ms.files import whole_file
from vit_ms.layers import NUMERICS, FeedForward, LearnedPositions2D, Numerics, RelativePositionBias
from vit_ms.models import convnext, hybrid, resnetv2, road, swin, vit
from vit_ms.resize import resize_bias_table, resize_matrix, resize_positions
from vit_ms.weight_sources import NAMES, Arrays, Source, recognise, translated, written

# The entry of our files that tells them from the course's, which have the same names.
METADATA = "vit_ms"

# The class of a network -> whose weights it takes, and their numerics. The first that fits counts.
_FAMILIES = (
    (hybrid.HybridViT, "vit", hybrid.NUMERICS),
    (vit.ViT, "vit", NUMERICS),
    (resnetv2.ResNetV2, "resnet", resnetv2.NUMERICS),
    (swin.Swin, "swin", swin.NUMERICS),
    (convnext.ConvNeXt, "convnext", convnext.NUMERICS),
    (road.RoadNet, "road", road.NUMERICS),
)


# What the user reads for a family.
WORDS = {"vit": "ViT", "resnet": "ResNet", "swin": "Swin", "convnext": "ConvNeXt", "road": "network on the road"}


@dataclass(frozen=True)
class LoadReport:
    """What `load_weights` did.

    Args:
        source (str): whose weights they are, one of weight_sources.NAMES.
        resized (tuple[str]): what was resized, with both shapes.
        kept (tuple[str]): parameters of the network that have their values of before.
        left_out (tuple[str]): names in the file that were not used.
    """

    source: str
    resized: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()

    def __str__(self) -> str:
        parts = [f"weights of {self.source}"]
        for word in ("resized", "kept", "left_out"):
            if names := getattr(self, word):
                parts.append(f"{word.replace('_', ' ')}: {', '.join(names)}")
        return "; ".join(parts)


@dataclass
class WeightFile:
    """What a file of weights holds.

    Args:
        path (Path): where it is.
        arrays (dict): by the names in the file.
        ours (dict): what our own files say of themselves; None: it is not ours.
    """

    path: Path
    arrays: Arrays
    ours: dict | None


def numerics_of(network: nn.Cell) -> Numerics:
    """The numerics that a network's cells really have, however it was built."""
    cells = [cell for _, cell in network.cells_and_names()]
    norms = [float(cell.epsilon) for cell in cells if isinstance(cell, nn.LayerNorm)]
    activation = next((cell.activation for cell in cells if isinstance(cell, FeedForward)), None)
    gelu = None if activation is None else type(activation).__name__
    if isinstance(activation, nn.GELU):
        gelu = {"tanh": "tanh", "none": "erf"}[activation.approximate]
    groups = [cell for cell in cells if isinstance(cell, resnetv2.GroupNorm)]
    convs = [cell for cell in cells if isinstance(cell, resnetv2.StdConv2d)]
    return Numerics(
        epsilon=norms[0] if norms else None,
        gelu=gelu,
        head_epsilon=norms[-1] if norms and norms[-1] != norms[0] else None,
        group_epsilon=groups[0].epsilon if groups else None,
        standardize=convs[0].standardize if convs else None,
    )


def read_weights(path: str | Path) -> WeightFile:
    """Read a .ckpt, .safetensors or .npz file. Nothing in it is executed: no pickle is opened.

    Raises:
        UserError: If the file is absent, of another kind, or damaged.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"there is no weight file {path}")
    readers = {".ckpt": _read_ckpt, ".safetensors": _read_safetensors, ".npz": _read_npz}
    if path.suffix in (".pth", ".pt", ".bin", ".tar"):
        raise UserError(
            f"{path} is PyTorch's pickle, which can run any code when it is opened: where PyTorch is installed and the "
            "file is trusted, write its state_dict with safetensors.torch.save_file, and load that"
        )
    if path.suffix not in readers:
        raise UserError(f"{path} is no weight file that vit_ms reads: {', '.join(readers)}")
    try:
        arrays, ours = readers[path.suffix](path)
        if not arrays:
            raise ValueError("nothing is in it")
        return WeightFile(path, arrays, None if ours is None else _said(ours))
    except (ValueError, TypeError, KeyError, RuntimeError, AttributeError, OSError, SafetensorError) as error:
        raise UserError(
            f"{path} is no {path.suffix} file, or damaged ({_first_line(error)}): fetch or save it again"
        ) from None


def _first_line(error: Exception) -> str:
    return next(filter(None, map(str.strip, str(error).splitlines())), type(error).__name__)


def _read_ckpt(path: Path) -> tuple[Arrays, str | None]:
    entries = ms.load_checkpoint(str(path))
    ours = entries.pop(METADATA, None)
    return {name: value.asnumpy() for name, value in entries.items()}, ours


def _read_safetensors(path: Path) -> tuple[Arrays, str | None]:
    with safe_open(path, framework="np") as file:
        ours, names = (file.metadata() or {}).get(METADATA), list(file.keys())
        bfloat16 = {name for name in names if file.get_slice(name).get_dtype() == "BF16"}
        arrays = {name: file.get_tensor(name) for name in names if name not in bfloat16}
    return (arrays | _bfloat16(path, bfloat16) if bfloat16 else arrays), ours


def _bfloat16(path: Path, names: set[str]) -> Arrays:
    """What NumPy has no type for: float32 without the last 16 bits."""
    arrays = {}
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        for name in names:
            start, end = header[name]["data_offsets"]
            file.seek(8 + length + start)
            bits = np.frombuffer(file.read(end - start), "<u2").astype(np.uint32) << 16
            arrays[name] = bits.view(np.float32).reshape(header[name]["shape"])
    return arrays


def _read_npz(path: Path) -> tuple[Arrays, str | None]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}, None
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise ValueError(error) from None


def _said(metadata: str) -> dict:
    """What our own file says of itself, once it is what we would say."""
    said = json.loads(metadata)
    Numerics(**said["numerics"])
    return said


def load_weights(
    network: nn.Cell, path: str | Path, strict: bool = True, skip: Sequence[str] = (), source: str | None = None
) -> LoadReport:
    """Load weights of ours, the course, mindcv, timm, Hugging Face or Google from their own files.

    All or nothing: the network is touched only when every parameter has its value. Position embeddings and tables of
    relative positions are resized where the network has another grid, as the source does it: bilinear for Google's, else
    bicubic.

    Args:
        network (nn.Cell): what the weights are for.
        path (str or Path): .ckpt (ours, the course's, mindcv's), .safetensors (ours, timm's, Hugging Face's) or .npz
            (Google's).
        strict (bool): names that are missing in the file or in the network are an error; else they are in the report.
        skip (Sequence[str]): beginnings of parameter names to leave as they are, in the file and in the network:
            `["dense."]` keeps the head of a network with other classes.
        source (str): whose weights they are, one of weight_sources.NAMES, where the names in the file do not tell;
            `"vit_ms"` says that they are for this network as it is. None: the names tell.

    Returns:
        LoadReport.

    Raises:
        UserError: If the file is absent or damaged, it does not tell whose it is, its numerics are not the network's, or any
            name is missing, unexpected, misshapen or not finite; it lists them all.
    """
    file = read_weights(path)
    family, numerics = _family(network)
    parameters = {p.name: p for p in network.get_parameters()}
    whose, arrays = _our_arrays(file, family, parameters, source)
    if wanted := _wanted_numerics(file, whose, numerics):
        _check_numerics(network, file.path, whose, wanted)
    arrays = _norms_named(arrays, parameters)

    skip = (skip,) if isinstance(skip, str) else tuple(skip)  # one word is no sequence of letters
    kept = tuple(name for name in parameters if name.startswith(skip))
    left_out = tuple(name for name in arrays if name.startswith(skip))
    arrays = {name: array for name, array in arrays.items() if name not in left_out}
    parameters = {name: parameter for name, parameter in parameters.items() if name not in kept}
    missing = sorted(parameters.keys() - arrays.keys())
    unexpected = sorted(arrays.keys() - parameters.keys())
    faults = []
    if strict:
        faults += [f"missing {name}" for name in missing] + [f"unexpected {name}" for name in unexpected]
    elif len(missing) == len(parameters):
        raise UserError(f"{file.path} has not one parameter of the network's")
    resized = _resize(network, file, whose, arrays)
    both = sorted(parameters.keys() & arrays.keys())
    faults += filter(None, [_fault(name, arrays[name], parameters[name]) for name in both])
    if faults:
        raise UserError(f"{file.path} does not fit the network: {_listed(faults)}")
    for name in both:
        parameters[name].set_data(Tensor(arrays[name].astype(np.float32), parameters[name].dtype))
    return LoadReport(whose, resized, kept + tuple(missing), left_out + tuple(unexpected))


def _norms_named(arrays: Arrays, parameters: dict) -> Arrays:
    """PyTorch's and flax's norms have a weight and a bias, MindSpore's gamma and beta."""
    named = {}
    for name, array in arrays.items():
        ours = re.sub(r"\.weight$", ".gamma", re.sub(r"\.bias$", ".beta", name))
        named[ours if name not in parameters and ours in parameters else name] = array
    return named


def _fault(name: str, array: np.ndarray, parameter: Parameter) -> str | None:
    """Why an array cannot be a parameter's value; None: it can."""
    if array.shape != tuple(parameter.shape):
        return f"{name} has shape {array.shape}, the network's has {tuple(parameter.shape)}"
    if array.dtype.kind not in "fiu":
        return f"{name} holds no real numbers"
    if not np.isfinite(array).all():
        return f"{name} has values that are not finite"
    return None


def _listed(faults: list[str], most: int = 20) -> str:
    more = f"; and {len(faults) - most} more" if len(faults) > most else ""
    return "; ".join(faults[:most]) + more


def _family(network: nn.Cell) -> tuple[str, dict[str, Numerics]]:
    for cell, family, numerics in _FAMILIES:
        if isinstance(network, cell):
            return family, numerics
    return "", {}


def _our_arrays(file: WeightFile, family: str, names: dict, source: str | None) -> tuple[str, Arrays]:
    """Whose weights a file holds, and its arrays under our names."""
    if source is not None and source not in NAMES:
        raise UserError(f"source is {source!r}{did_you_mean(source, NAMES)}")
    if source == "vit_ms" or (source is None and file.ours is not None):
        return "vit_ms", dict(file.arrays)
    found = recognise(file.arrays)
    if source is not None:
        chosen = [item for item in found if item.name == source]
        if not chosen and source == "course" and family == "vit":
            chosen = [Source("course", "vit", "", ())]
        if not chosen:
            holds = f"it has those of {_words(found)}" if found else "it has nobody's that vit_ms knows"
            raise UserError(f"{file.path} has no names of {source}'s: {holds}")
        found = chosen
    elif not found and len(names.keys() & file.arrays.keys()) * 2 > len(names):
        raise UserError(
            f"{file.path} has the names of vit_ms but does not say which numerics it needs: "
            "if it was saved from a network like this one, load it with source='vit_ms'"
        )
    if not found:
        some = ", ".join(list(file.arrays)[:3])
        raise UserError(f"{file.path} has names that vit_ms does not know ({some}, ...): whose are they?")
    if len(found) > 1:
        words = " or ".join(repr(item.name) for item in found)
        raise UserError(f"{file.path} may be {_words(found)}: say whose it is, source={words}")
    if found[0].family != family:
        network = f"a {WORDS[family]}" if family else "of no family that has published weights"
        raise UserError(f"{file.path} holds {_words(found)}, but the network is {network}")
    try:
        return found[0].name, translated(found[0], file.arrays)
    except UserError as error:
        raise UserError(f"{file.path} does not fit the network: {error}") from None


def _words(sources: list[Source]) -> str:
    return " or ".join(f"a {WORDS[source.family]} of {source.name}'s" for source in sources)


def _wanted_numerics(file: WeightFile, source: str, known: dict[str, Numerics]) -> Numerics | None:
    """What the weights need of the network; None: it is not said, and the user vouches for it."""
    if source == "vit_ms":
        return None if file.ours is None else Numerics(**file.ours["numerics"])
    wanted = known.get(source)
    config = file.path.with_name("config.json")
    if source == "hf" and config.is_file():
        wanted = _hf_numerics(config, wanted)
    return wanted


_HF_GELU = {"gelu": "erf", "gelu_new": "tanh", "gelu_pytorch_tanh": "tanh", "gelu_fast": "tanh"}


def _hf_numerics(config: Path, usual: Numerics) -> Numerics:
    """What Hugging Face's config.json says, which lies beside the weights."""
    try:
        said = json.loads(config.read_text(encoding="utf-8"))
        epsilon = float(said.get("layer_norm_eps", usual.head_epsilon or usual.epsilon))
        activation = said.get("hidden_act", "gelu")
    except (ValueError, TypeError, AttributeError, OSError):
        raise UserError(f"{config} is damaged: fetch it again, or remove it") from None
    if activation not in _HF_GELU:
        raise UserError(f"{config} asks for the activation {activation!r}, which vit_ms has not: {', '.join(_HF_GELU)}")
    gelu = _HF_GELU[activation]
    if usual.head_epsilon is None:
        return Numerics(epsilon, gelu)
    return Numerics(usual.epsilon, gelu, head_epsilon=None if epsilon == usual.epsilon else epsilon)


def _check_numerics(network: nn.Cell, path: Path, source: str, wanted: Numerics) -> None:
    found = numerics_of(network)
    if wanted.head_epsilon == wanted.epsilon:
        wanted = Numerics(**{**asdict(wanted), "head_epsilon": None})
    if found == wanted:
        return
    _, known = _family(network)
    word = source if known.get(source) == wanted else next((word for word, row in known.items() if row == wanted), None)
    fields = ", ".join(f"{key}={value!r}" for key, value in asdict(wanted).items() if value is not None)
    remedy = f"create_model(..., numerics={word!r})" if word else f"create_model(..., numerics=Numerics({fields}))"
    if source == "course":  # or it is ours, saved without what tells them apart
        remedy += ", or if it was saved from a network like this one, load it with source='vit_ms'"
    raise UserError(
        f"{path} holds weights of {source} ({wanted}), but the network has {found}, "
        f"and they would give other logits: build it with {remedy}"
    )


def _resize(network: nn.Cell, file: WeightFile, source: str, arrays: Arrays) -> tuple[str, ...]:
    """Resize in place what belongs to a grid of places and is of another one; what was resized."""
    method = "google" if source == "google" else "timm"
    resized = []

    def put(name: str, array: np.ndarray) -> None:
        if array.shape != arrays[name].shape or not np.array_equal(array, arrays[name]):
            resized.append(f"{name} from {arrays[name].shape} to {array.shape}")
            arrays[name] = array

    if isinstance(network, vit.ViT) and "pos_embedding" in arrays and network.position == "learned_1d":
        positions, prefix = arrays["pos_embedding"], network.NUM_PREFIX
        new = network.patch_embedding.grid
        if positions.ndim == 3 and positions.shape[0] == 1 and positions.shape[2] == network.pos_embedding.shape[2]:
            old = _old_grid(file, source, positions.shape[1] - prefix, new)
            if old is not None and old != new:
                put("pos_embedding", resize_positions(positions, old, new, prefix, method))
    for name, cell in network.cells_and_names():
        if isinstance(cell, LearnedPositions2D):
            for part, side in zip(("rows", "columns"), cell.grid, strict=True):
                key = f"{name}.{part}"
                if key in arrays and arrays[key].ndim == 2 and len(arrays[key]) != side:
                    put(key, (resize_matrix(len(arrays[key]), side, method) @ arrays[key]).astype(np.float32))
        if isinstance(cell, RelativePositionBias):
            key = f"{name}.relative_position_bias_table"
            if key in arrays and arrays[key].ndim == 2:
                old = _old_window(file, name, len(arrays[key]) - (3 if cell.num_prefix else 0), cell.grid)
                if old is not None and old != cell.grid:
                    put(key, resize_bias_table(arrays[key], old, cell.grid, cell.num_prefix))
    return tuple(resized)


def _old_grid(file: WeightFile, source: str, patches: int, new: tuple[int, int]) -> tuple[int, int] | None:
    """The grid that a file's positions are for: ours say it, the others' are square; None: it cannot be known."""
    if file.ours is not None and math.prod(file.ours.get("grid", ())) == patches:
        return tuple(file.ours["grid"])
    if source == "vit_ms" and patches == math.prod(new):
        return new  # the user vouches that the file is for this network
    side = math.isqrt(max(patches, 0))
    if side * side == patches and side:
        return side, side
    return new if patches == new[0] * new[1] else None


def _old_window(file: WeightFile, cell: str, distances: int, new: tuple[int, int]) -> tuple[int, int] | None:
    """The window that a file's table of relative positions is for, as `_old_grid`."""

    def fits(window) -> bool:
        return len(window) == 2 and (2 * window[0] - 1) * (2 * window[1] - 1) == distances

    said = (file.ours or {}).get("windows", {}).get(cell, ())
    if fits(said):
        return tuple(said)
    side = (math.isqrt(max(distances, 0)) + 1) // 2
    return new if fits(new) else (side, side) if fits((side, side)) else None


def save_weights(network: nn.Cell, path: str | Path) -> None:
    """Write a network's weights as a file that says it is ours and which numerics it needs.

    mindspore.load_checkpoint and load_param_into_net read a .ckpt as any other.

    Args:
        network (nn.Cell): whose parameters are written.
        path (str or Path): ends in .ckpt or .safetensors; it is the old file or the new one whatever happens.

    Raises:
        UserError: If it ends in something else.
    """
    path = Path(path)
    numerics = {key: value for key, value in asdict(numerics_of(network)).items() if value is not None}
    said = {"numerics": numerics}
    if isinstance(network, vit.ViT):
        said["grid"] = list(network.patch_embedding.grid)
    cells = network.cells_and_names()
    if windows := {name: list(cell.grid) for name, cell in cells if isinstance(cell, RelativePositionBias)}:
        said["windows"] = windows
    metadata = json.dumps(said)
    if path.suffix not in (".ckpt", ".safetensors"):
        raise UserError(f"{path} does not end in .ckpt or .safetensors")
    with whole_file(path) as temporary:
        if path.suffix == ".ckpt":
            ms.save_checkpoint(network, str(temporary), append_dict={METADATA: metadata})
        else:
            arrays = {p.name: np.ascontiguousarray(p.asnumpy()) for p in network.get_parameters()}
            save_file(arrays, temporary, metadata={METADATA: metadata})


def named_as(network: nn.Cell, source: str) -> Arrays:
    """A network's weights under another library's names, for a network of that library that gives the same logits.

    Args:
        network (nn.Cell): of a model's class.
        source (str): whose names, `"timm"` or `"hf"`.

    Returns:
        dict of ndarray, float32, in that library's layout.

    Raises:
        UserError: If the library has no such network, or its network would give other logits.
    """
    family, known = _family(network)
    faults = []
    if isinstance(network, vit.ViT) and network.position != "learned_1d":
        faults.append(f"it has learned_1d positions, these are {network.position}")
    if isinstance(network, vit.ViT) and len(network.pre_logits):
        faults.append("it has no representation layer (pre_logits)")
    if source not in known:
        faults.append("it has none")
    elif (found := numerics_of(network)) != known[source] and (source != "hf" or not _config_says(found, known["hf"])):
        faults.append(f"it computes with {known[source]}, this one with {found}")
    if source == "hf":
        faults += _hf_faults(network)
    try:
        if not faults:
            return written(source, family, {p.name: p.asnumpy() for p in network.get_parameters()})
    except UserError as error:
        faults.append(str(error))
    kind = WORDS.get(family, "network")
    raise UserError(f"{source} has no {kind} with the same logits: {'; '.join(faults)}")


def _config_says(found: Numerics, usual: Numerics) -> bool:
    """Whether Hugging Face's config.json can say these numerics: the GELU, and one epsilon, in ConvNeXt the last norm's."""
    return usual.head_epsilon is None or found.epsilon == usual.epsilon


def _hf_faults(network: nn.Cell) -> list[str]:
    """Where Hugging Face's network of the same size computes something else."""
    cells = [cell for _, cell in network.cells_and_names()]
    if isinstance(network, vit.ViT) and network.pool != "cls":
        return [f"its head reads the class token, this one has pool={network.pool!r}"]
    if any(cell.kernel_size != (7, 7) for cell in cells if isinstance(cell, convnext.DepthwiseConv)):
        return ["its depthwise convolutions have kernels of 7 x 7"]
    if windows := [cell for cell in cells if isinstance(cell, swin.WindowAttention)]:
        # It takes window_size for every table, and pads before it shifts.
        largest = max(max(cell.window) for cell in windows)
        if any(set(cell.window) != {largest} or any(cell.padding) for cell in windows):
            return [f"its maps must be multiples of the window, {largest} x {largest}"]
    return []


class Contents(NamedTuple):
    """What a file of weights tells of the network that it is for.

    Args:
        source (str): whose it is.
        numerics (Numerics): that it needs; None: it does not say.
        num_classes (int): of its head; None: it has none.
        representation_size (int): width of the layer before the head; None: it has none.
    """

    source: str
    numerics: Numerics | None
    num_classes: int | None
    representation_size: int | None


def contents(path: str | Path, cell: type[nn.Cell], source: str | None = None) -> Contents:
    """What a file of weights is, for a model of a class.

    Raises:
        UserError: As `load_weights`, for a file that is no weights, or not this family's.
    """
    file = read_weights(path)
    family, known = next((family, numerics) for base, family, numerics in _FAMILIES if issubclass(cell, base))
    name, arrays = _our_arrays(file, family, {}, source)
    head, representation = arrays.get("dense.weight"), arrays.get("pre_logits.0.weight")
    return Contents(
        name,
        _wanted_numerics(file, name, known),
        None if head is None else len(head),
        None if representation is None else len(representation),
    )
