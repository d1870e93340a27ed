"""Whose weights a file holds, read off its names, and the same weights under our names and in our layout."""

import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from vit_ms.errors import UserError

Arrays = dict[str, np.ndarray]
Renames = tuple[tuple[str, str | Callable], ...]
Pairs = tuple[tuple[str, str], ...]


class Source(NamedTuple):
    """Who published weights of a family in which form.

    Args:
        name (str): the word for it in `create_model(numerics=...)` and `load_weights(source=...)`.
        family (str): `"vit"` (with DeiT and hybrids), `"resnet"`, `"swin"` or `"convnext"`.
        signature (str): pattern of a name that these files have, and no others.
        renames (tuple): pattern and replacement, applied in turn; what matches none stays as it is.
        leaves (str): pattern of names that hold no weights, such as tables of indices.
        pairs (tuple): for those whose files we write, their names and ours, as `_rename` takes them; the first with one of
            ours is what it is called.
        prefix (str): what ~ stands for in pairs: the name of a network without its head.
    """

    name: str
    family: str
    signature: str
    renames: Renames
    leaves: str = r"$^"
    pairs: Pairs = ()
    prefix: str = ""


def _rename(old: str, new: str) -> tuple[str, Callable]:
    """The pattern of a name and its replacement.

    Args:
        old, new (str): a whole name, or the beginning of one if it ends in a point. * stands for a number, of which there
            are as many in both; *+ for one that is higher by 1.
    """
    parts = [r"(\d+)" if part[0] == "*" else re.escape(part) for part in re.findall(r"\*\+?|[^*]+", old)]
    shift = new.count("+") - old.count("+")

    def replacement(match: re.Match) -> str:
        numbers = iter(match.groups())
        return re.sub(r"\*(\+?)", lambda star: str(int(next(numbers)) + shift), new)

    return "^" + "".join(parts) + ("" if old.endswith(".") else "$"), replacement


def _renames(pairs: Pairs, prefix: str = "") -> Renames:
    """For reading. A network that was saved without its head has no prefix."""
    strip = ((f"^{re.escape(prefix)}", ""),) if prefix else ()
    return strip + tuple(_rename(theirs.replace("~", ""), ours) for theirs, ours in pairs)


_BLOCK = r"transformer.layers.\1."
_TIMM_CONVS = "patch_embed.backbone.stages.*.blocks.*."
_VIT_TIMM: Pairs = (
    ("cls_token", "cls"),
    ("dist_token", "distillation"),
    ("pos_embed", "pos_embedding"),
    ("patch_embed.proj.", "patch_embedding.conv."),
    ("patch_embed.backbone.stem.", "backbone.stem."),
    (_TIMM_CONVS + "conv*.", "backbone.stages.*.*.conv*.conv."),
    (_TIMM_CONVS + "norm*.", "backbone.stages.*.*.conv*.norm."),
    (_TIMM_CONVS + "downsample.", "backbone.stages.*.*.shortcut."),
    ("blocks.*.norm1.", "transformer.layers.*.0.cell.0."),
    ("blocks.*.attn.qkv.", "transformer.layers.*.0.cell.1.qkv."),
    ("blocks.*.attn.proj.", "transformer.layers.*.0.cell.1.out."),
    ("blocks.*.norm2.", "transformer.layers.*.1.cell.0."),
    ("blocks.*.mlp.fc1.", "transformer.layers.*.1.cell.1.dense1."),
    ("blocks.*.mlp.fc2.", "transformer.layers.*.1.cell.1.dense2."),
    ("norm.", "norm."),
    ("pre_logits.fc.", "pre_logits.0."),
    ("head.", "dense."),
    ("head_dist.", "distillation_dense."),
)

# Three arrays of the file become one of ours, in this order; @ marks which they are.
_QKV = {"query": "qkv@0", "key": "qkv@1", "value": "qkv@2", "q": "qkv@0", "k": "qkv@1", "v": "qkv@2"}


def _parts(theirs: str, ours: str) -> Pairs:
    """Of q, k and v; theirs has {} where their word for it is, ours where the name goes on."""
    words = ("query", "key", "value") if "attention" in theirs else ("q", "k", "v")
    return tuple((theirs.format(word), ours.format(_QKV[word])) for word in words)


_HF_LAYER, _HF_OURS = "~encoder.layer.*.", "transformer.layers.*."
_VIT_HF: Pairs = (
    ("~embeddings.cls_token", "cls"),
    ("~embeddings.distillation_token", "distillation"),
    ("~embeddings.position_embeddings", "pos_embedding"),
    ("~embeddings.patch_embeddings.projection.", "patch_embedding.conv."),
    *_parts(_HF_LAYER + "attention.attention.{}.", _HF_OURS + "0.cell.1.{}."),
    (_HF_LAYER + "attention.output.dense.", _HF_OURS + "0.cell.1.out."),
    (_HF_LAYER + "layernorm_before.", _HF_OURS + "0.cell.0."),
    (_HF_LAYER + "layernorm_after.", _HF_OURS + "1.cell.0."),
    (_HF_LAYER + "intermediate.dense.", _HF_OURS + "1.cell.1.dense1."),
    (_HF_LAYER + "output.dense.", _HF_OURS + "1.cell.1.dense2."),
    ("~layernorm.", "norm."),
    ("classifier.", "dense."),
)
_DEIT_HF: Pairs = (
    ("cls_classifier.", "dense."),
    ("distillation_classifier.", "distillation_dense."),
    *_VIT_HF,
)

# The number of a flax module within its block depends on its version: 0, 2, 1 and 3, or each class counted on its own.
_GOOGLE_BLOCK = r"^Transformer/encoderblock_(\d+)/"
_VIT_GOOGLE: Renames = (
    (r"^embedding/", "patch_embedding.conv/"),
    (r"^Transformer/posembed_input/pos_embedding$", "pos_embedding"),
    (r"^Transformer/encoder_norm/", "norm/"),
    (
        _GOOGLE_BLOCK + r"MultiHeadDotProductAttention_\d/(query|key|value)/",
        lambda match: f"transformer.layers.{match[1]}.0.cell.1.{_QKV[match[2]]}/",
    ),
    (_GOOGLE_BLOCK + r"MultiHeadDotProductAttention_\d/out/", _BLOCK + "0.cell.1.out/"),
    (_GOOGLE_BLOCK + r"LayerNorm_0/", _BLOCK + "0.cell.0/"),
    (_GOOGLE_BLOCK + r"LayerNorm_[12]/", _BLOCK + "1.cell.0/"),
    (_GOOGLE_BLOCK + r"MlpBlock_\d/Dense_0/", _BLOCK + "1.cell.1.dense1/"),
    (_GOOGLE_BLOCK + r"MlpBlock_\d/Dense_1/", _BLOCK + "1.cell.1.dense2/"),
    (r"^pre_logits/", "pre_logits.0/"),
    (r"^head/", "dense/"),
)


def _resnet_google(prefix: str) -> Renames:
    def unit(match) -> str:
        place = f"{prefix}stages.{int(match[1]) - 1}.{int(match[2]) - 1}."
        kind = "conv" if match[3] == "conv" else "norm"
        return place + (f"conv{match[4]}" if match[4] != "_proj" else "shortcut") + f".{kind}/"

    return (
        (r"^conv_root/", f"{prefix}stem.conv/"),
        (r"^gn_root/", f"{prefix}stem.norm/"),
        (r"^block(\d+)/unit0*(\d+)/(conv|gn)(\d|_proj)/", unit),
        (r"^head/", "dense/"),
    )


_SWIN_BLOCK, _SWIN_OURS = "layers.*.blocks.*.", "stages.*.blocks.*."
_SWIN_TABLE = _SWIN_OURS + "0.cell.1.attention.position_bias.relative_position_bias_table"
_SWIN: Pairs = (
    ("patch_embed.proj.", "patch_embedding.conv."),
    ("patch_embed.norm.", "patch_norm."),
    (_SWIN_BLOCK + "norm1.", _SWIN_OURS + "0.cell.0."),
    (_SWIN_BLOCK + "attn.qkv.", _SWIN_OURS + "0.cell.1.attention.qkv."),
    (_SWIN_BLOCK + "attn.proj.", _SWIN_OURS + "0.cell.1.attention.out."),
    (_SWIN_BLOCK + "norm2.", _SWIN_OURS + "1.cell.0."),
    (_SWIN_BLOCK + "mlp.fc1.", _SWIN_OURS + "1.cell.1.dense1."),
    (_SWIN_BLOCK + "mlp.fc2.", _SWIN_OURS + "1.cell.1.dense2."),
    (_SWIN_BLOCK + "attn.relative_position_bias_table", _SWIN_TABLE),
    (_SWIN_BLOCK + "attn.relative_bias.relative_position_bias_table", _SWIN_TABLE),
    *_parts(_SWIN_BLOCK + "attn.{}.", _SWIN_OURS + "0.cell.1.attention.{}."),
    ("norm.", "norm."),
    ("head.fc.", "dense."),
    ("head.", "dense."),
    ("classifier.", "dense."),
)
_SWIN_HF_BLOCK = "~encoder.layers.*.blocks.*."
_SWIN_HF: Pairs = (
    ("~embeddings.patch_embeddings.projection.", "patch_embedding.conv."),
    ("~embeddings.norm.", "patch_norm."),
    (_SWIN_HF_BLOCK + "layernorm_before.", _SWIN_OURS + "0.cell.0."),
    *_parts(_SWIN_HF_BLOCK + "attention.self.{}.", _SWIN_OURS + "0.cell.1.attention.{}."),
    (_SWIN_HF_BLOCK + "attention.self.relative_position_bias_table", _SWIN_TABLE),
    (_SWIN_HF_BLOCK + "attention.output.dense.", _SWIN_OURS + "0.cell.1.attention.out."),
    (_SWIN_HF_BLOCK + "layernorm_after.", _SWIN_OURS + "1.cell.0."),
    (_SWIN_HF_BLOCK + "intermediate.dense.", _SWIN_OURS + "1.cell.1.dense1."),
    (_SWIN_HF_BLOCK + "output.dense.", _SWIN_OURS + "1.cell.1.dense2."),
    ("~encoder.layers.*.downsample.", "stages.*+.downsample."),
    ("~layernorm.", "norm."),
    ("classifier.", "dense."),
)
# The authors' files have the downsampling at the end of the stage before.
_DOWNSAMPLE_AFTER: Pairs = (("layers.*.downsample.", "stages.*+.downsample."),)
_DOWNSAMPLE_BEFORE: Pairs = (("layers.*.downsample.", "stages.*.downsample."),)
# mindcv fills its list of stages when the list is already in its place: MindSpore then leaves the list's name out of the
# parameters', and takes those of the stages after the first for further blocks of it.
_SWIN_MINDCV: Renames = (
    (r"^0\.blocks\.(\d+)\.(blocks|downsample)\.", r"layers.\1.\2."),
    (r"^(\d+)\.(blocks|downsample)\.", r"layers.\1.\2."),
    *_renames(_SWIN + _DOWNSAMPLE_AFTER),
)
_INDICES = r"relative_position_index$|attn_mask$|relative_bias\.index$"


def _convnext_block(block: str, dwconv: str, norm: str, dense1: str, dense2: str, gamma: str) -> Pairs:
    ours = "stages.*.blocks.*.cell."
    return (
        (f"{block}{dwconv}.", ours + "0."),
        (f"{block}{norm}.", ours + "1."),
        (f"{block}{dense1}.", ours + "2.dense1."),
        (f"{block}{dense2}.", ours + "2.dense2."),
        (f"{block}{gamma}", ours + "3.gamma"),
    )


_CONVNEXT_TIMM: Pairs = (
    ("stem.", "stem."),
    ("stages.*.downsample.", "stages.*.downsample."),
    *_convnext_block("stages.*.blocks.*.", "conv_dw", "norm", "mlp.fc1", "mlp.fc2", "gamma"),
    ("head.norm.", "norm."),
    ("head.fc.", "dense."),
)
_CONVNEXT_AUTHORS: Pairs = (
    ("downsample_layers.0.", "stem."),
    ("downsample_layers.*.", "stages.*.downsample."),
    *_convnext_block("stages.*.*.", "dwconv", "norm", "pwconv1", "pwconv2", "gamma"),
    ("head.", "dense."),
)
_CONVNEXT_HF: Pairs = (
    ("~embeddings.patch_embeddings.", "stem.0."),
    ("~embeddings.layernorm.", "stem.1."),
    ("~encoder.stages.*.downsampling_layer.", "stages.*.downsample."),
    *_convnext_block(
        "~encoder.stages.*.layers.*.", "dwconv", "layernorm", "pwconv1", "pwconv2", "layer_scale_parameter"
    ),
    ("~layernorm.", "norm."),
    ("classifier.", "dense."),
)
_CONVNEXT_MINDCV: Renames = (
    (r"^feature\.0\.", "stem."),
    (r"^feature\.(\d*[02468])\.", lambda match: f"stages.{int(match[1]) // 2}.downsample."),
    (r"^feature\.(\d*[13579])\.", lambda match: f"stages.{int(match[1]) // 2}.blocks."),
    *_renames(_convnext_block("stages.*.blocks.*.", "dwconv", "norm", "pwconv1", "pwconv2", "gamma_")),
    (r"^classifier\.", "dense."),
)
_SWIN_TIMM = _SWIN + _DOWNSAMPLE_BEFORE

SOURCES = (
    Source("course", "vit", r"^transformer\.layers\.0\.0\.cell\.1\.qkv\.weight$", ()),
    Source("timm", "vit", r"^blocks\.0\.norm1\.weight$", _renames(_VIT_TIMM), pairs=_VIT_TIMM),
    Source("mindcv", "vit", r"^blocks\.0\.norm1\.gamma$", _renames(_VIT_TIMM)),
    Source(
        "hf",
        "vit",
        r"^(vit\.)?encoder\.layer\.0\.attention\.attention\.query\.weight$",
        _renames(_DEIT_HF, "vit."),
        pairs=_VIT_HF,
        prefix="vit.",
    ),
    Source(
        "hf",
        "vit",
        r"^deit\.encoder\.layer\.0\.attention\.attention\.query\.weight$",
        _renames(_DEIT_HF, "deit."),
        pairs=_DEIT_HF,
        prefix="deit.",
    ),
    Source("google", "vit", r"^Transformer/encoderblock_0/", _VIT_GOOGLE + _resnet_google("backbone.")),
    Source("google", "resnet", r"^conv_root/kernel$", _resnet_google("")),
    Source("timm", "swin", r"^layers\.0\.blocks\.0\.norm1\.weight$", _renames(_SWIN_TIMM), _INDICES, _SWIN_TIMM),
    Source("mindcv", "swin", r"^(layers\.)?0\.blocks\.0\.norm1\.gamma$", _SWIN_MINDCV, _INDICES),
    Source(
        "hf",
        "swin",
        r"^(swin\.)?encoder\.layers\.0\.blocks\.0\.layernorm_before\.weight$",
        _renames(_SWIN_HF, "swin."),
        _INDICES,
        _SWIN_HF,
        "swin.",
    ),
    Source(
        "timm", "convnext", r"^stages\.0\.blocks\.0\.conv_dw\.weight$", _renames(_CONVNEXT_TIMM), pairs=_CONVNEXT_TIMM
    ),
    Source("timm", "convnext", r"^stages\.0\.0\.dwconv\.weight$", _renames(_CONVNEXT_AUTHORS)),
    Source(
        "hf",
        "convnext",
        r"^(convnext\.)?encoder\.stages\.0\.layers\.0\.dwconv\.weight$",
        _renames(_CONVNEXT_HF, "convnext."),
        pairs=_CONVNEXT_HF,
        prefix="convnext.",
    ),
    Source("mindcv", "convnext", r"^feature\.1\.0\.dwconv\.weight$", _CONVNEXT_MINDCV),
)
NAMES = ("vit_ms", *dict.fromkeys(source.name for source in SOURCES))


def recognise(names: Iterable[str]) -> list[Source]:
    """The sources whose signature is among the names of a file."""
    names = list(names)
    found = [source for source in SOURCES if any(re.search(source.signature, name) for name in names)]
    # A hybrid's file has the signature of the ResNet that it contains.
    if any(source.family == "vit" for source in found):
        found = [source for source in found if source.family == "vit"]
    return found


def translated(source: Source, arrays: Arrays) -> Arrays:
    """A file's arrays under our names and in our layout.

    Norms keep weight and bias for names, as PyTorch has them; `load_weights` knows which of a network's cells are norms.

    Args:
        source (Source): whose they are.
        arrays (dict): of the file.

    Raises:
        UserError: If one of q, k and v is missing, or two names become one.
    """
    renames = source.renames
    if source.name == "timm" and source.family == "swin" and _downsamples_last(arrays):
        renames = _renames(_SWIN + _DOWNSAMPLE_AFTER)
    ours: Arrays = {}
    for name, array in arrays.items():
        if re.search(source.leaves, name):
            continue
        for pattern, replacement in renames:
            name = re.sub(pattern, replacement, name)
        if "/" in name or source.name == "google":
            name, array = _from_flax(name, array)
        if name in ours:
            raise UserError(f"two of the file's arrays are {name}")
        ours[name] = array
    return _joined(ours)


def _downsamples_last(arrays: Arrays) -> bool:
    """Whether a Swin's file is the authors', where the downsampling ends a stage; in timm's it begins one."""
    return any(re.match(r"layers\.0\.downsample\.", name) for name in arrays)


def _from_flax(name: str, array: np.ndarray) -> tuple[str, np.ndarray]:
    """flax keeps kernels as (in, out) and (height, width, in, out), and attention's with an axis for the heads."""
    base, _, kind = name.rpartition("/")
    if kind in ("scale", "bias"):
        return f"{base}.{'weight' if kind == 'scale' else 'bias'}", array.reshape(-1)
    if kind != "kernel":
        return name, array
    if array.ndim == 4:
        array = array.transpose(3, 2, 0, 1)
    elif array.ndim == 3:  # query, key, value: (D, H, d); out: (H, d, D)
        array = array.reshape(-1, array.shape[-1]).T if base.endswith("out") else array.reshape(len(array), -1).T
    elif array.ndim == 2:
        array = array.T
    return f"{base}.weight", array


def _joined(arrays: Arrays) -> Arrays:
    """qkv@0, qkv@1 and qkv@2 as one array, qkv."""
    joined, parts = {}, {}
    for name, array in arrays.items():
        if match := re.search(r"@(\d)", name):
            parts.setdefault(name.replace(match[0], ""), {})[int(match[1])] = array
        else:
            joined[name] = array
    for name, found in parts.items():
        if sorted(found) != [0, 1, 2]:
            missing = [word for word, mark in list(_QKV.items())[:3] if int(mark[-1]) not in found]
            raise UserError(f"{name} needs query, key and value, but the file lacks {', '.join(missing)}")
        joined[name] = np.concatenate([found[number] for number in range(3)])
    return joined


def written(source: str, family: str, arrays: Arrays) -> Arrays:
    """Our arrays under another library's names, `translated` backwards.

    Args:
        source (str): whose names, `"timm"` or `"hf"`.
        family (str): as `Source` has it.
        arrays (dict): a network's, by our names.

    Returns:
        dict, views of the arrays, not copies.

    Raises:
        UserError: If the library has no such network, or not all of this one.
    """
    found = [item for item in SOURCES if (item.name, item.family) == (source, family) and item.pairs]
    if not found:
        raise UserError(f"{source} has no names for it")
    chosen = found[-1] if "distillation" in arrays else found[0]  # Hugging Face has a class of its own for DeiT
    pairs = [(theirs.replace("~", chosen.prefix), ours) for theirs, ours in chosen.pairs]
    theirs: Arrays = {}
    for name, array in arrays.items():
        if (called := _called(name, pairs)) is not None:
            theirs[called] = array
            continue
        for number, part in enumerate(np.split(array, 3) if ".qkv." in name else []):
            theirs[_called(name.replace(".qkv.", f".qkv@{number}."), pairs)] = part
        if ".qkv." not in name:
            raise UserError(f"{source} has no name for {name}")
    return theirs


def _called(name: str, pairs: Iterable[tuple[str, str]]) -> str | None:
    """What one of our names is in the first of the pairs that has it; None: none has."""
    for theirs, ours in pairs:
        pattern, replacement = _rename(ours, theirs)
        if re.search(pattern, name):
            name = re.sub(pattern, replacement, name)
            # Only a norm has a gamma of which not the whole name is in the pair.
            return re.sub(r"\.beta$", ".bias", re.sub(r"\.gamma$", ".weight", name)) if ours[-1] == "." else name
    return None
