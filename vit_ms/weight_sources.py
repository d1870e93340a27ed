"""Whose weights a file holds, read off its names, and the same weights under our names and in our layout."""

import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from vit_ms.errors import UserError

Arrays = dict[str, np.ndarray]
Renames = tuple[tuple[str, str | Callable], ...]


class Source(NamedTuple):
    """Who published weights of a family in which form.

    Args:
        name (str): the word for it in `create_model(numerics=...)` and `load_weights(source=...)`.
        family (str): `"vit"` (with DeiT and hybrids), `"resnet"`, `"swin"` or `"convnext"`.
        signature (str): pattern of a name that these files have, and no others.
        renames (tuple): pattern and replacement, applied in turn; what matches none stays as it is.
        leaves (str): pattern of names that hold no weights, such as tables of indices.
    """

    name: str
    family: str
    signature: str
    renames: Renames
    leaves: str = r"$^"


def _next_stage(pattern: str) -> Callable:
    """A replacement that counts a stage from 1, where the file has the downsampling at the end of the one before."""
    return lambda match: pattern.format(int(match[1]) + 1)


_BLOCK = r"transformer.layers.\1."
_VIT_TIMM: Renames = (
    (r"^cls_token$", "cls"),
    (r"^dist_token$", "distillation"),
    (r"^pos_embed$", "pos_embedding"),
    (r"^patch_embed\.proj\.", "patch_embedding.conv."),
    (r"^patch_embed\.backbone\.", "backbone."),
    (r"^backbone\.stages\.(\d+)\.blocks\.(\d+)\.(conv\d)\.", r"backbone.stages.\1.\2.\3.conv."),
    (r"^backbone\.stages\.(\d+)\.blocks\.(\d+)\.norm(\d)\.", r"backbone.stages.\1.\2.conv\3.norm."),
    (r"^backbone\.stages\.(\d+)\.blocks\.(\d+)\.downsample\.", r"backbone.stages.\1.\2.shortcut."),
    (r"^blocks\.(\d+)\.norm1\.", _BLOCK + "0.cell.0."),
    (r"^blocks\.(\d+)\.attn\.qkv\.", _BLOCK + "0.cell.1.qkv."),
    (r"^blocks\.(\d+)\.attn\.proj\.", _BLOCK + "0.cell.1.out."),
    (r"^blocks\.(\d+)\.norm2\.", _BLOCK + "1.cell.0."),
    (r"^blocks\.(\d+)\.mlp\.fc1\.", _BLOCK + "1.cell.1.dense1."),
    (r"^blocks\.(\d+)\.mlp\.fc2\.", _BLOCK + "1.cell.1.dense2."),
    (r"^pre_logits\.fc\.", "pre_logits.0."),
    (r"^head\.", "dense."),
    (r"^head_dist\.", "distillation_dense."),
)

# Three arrays of the file become one of ours, in this order; @ marks which they are.
_QKV = {"query": "qkv@0", "key": "qkv@1", "value": "qkv@2", "q": "qkv@0", "k": "qkv@1", "v": "qkv@2"}

_VIT_HF: Renames = (
    (r"^(vit|deit)\.", ""),
    (r"^embeddings\.cls_token$", "cls"),
    (r"^embeddings\.distillation_token$", "distillation"),
    (r"^embeddings\.position_embeddings$", "pos_embedding"),
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embedding.conv."),
    (
        r"^encoder\.layer\.(\d+)\.attention\.attention\.(query|key|value)\.",
        lambda match: f"transformer.layers.{match[1]}.0.cell.1.{_QKV[match[2]]}.",
    ),
    (r"^encoder\.layer\.(\d+)\.attention\.output\.dense\.", _BLOCK + "0.cell.1.out."),
    (r"^encoder\.layer\.(\d+)\.layernorm_before\.", _BLOCK + "0.cell.0."),
    (r"^encoder\.layer\.(\d+)\.layernorm_after\.", _BLOCK + "1.cell.0."),
    (r"^encoder\.layer\.(\d+)\.intermediate\.dense\.", _BLOCK + "1.cell.1.dense1."),
    (r"^encoder\.layer\.(\d+)\.output\.dense\.", _BLOCK + "1.cell.1.dense2."),
    (r"^layernorm\.", "norm."),
    (r"^(cls_)?classifier\.", "dense."),
    (r"^distillation_classifier\.", "distillation_dense."),
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


def _swin_stage(cells: dict[str, str]) -> Renames:
    return tuple(
        (rf"^layers\.(\d+)\.blocks\.(\d+)\.{theirs}\.", rf"stages.\1.blocks.\2.{ours}.")
        for theirs, ours in cells.items()
    )


_SWIN_CELLS = {
    "norm1": "0.cell.0",
    r"attn\.qkv": "0.cell.1.attention.qkv",
    r"attn\.proj": "0.cell.1.attention.out",
    "norm2": "1.cell.0",
    r"mlp\.fc1": "1.cell.1.dense1",
    r"mlp\.fc2": "1.cell.1.dense2",
}
_SWIN_TABLE = r"stages.\1.blocks.\2.0.cell.1.attention.position_bias.relative_position_bias_table"
_SWIN: Renames = (
    (r"^patch_embed\.proj\.", "patch_embedding.conv."),
    (r"^patch_embed\.norm\.", "patch_norm."),
    *_swin_stage(_SWIN_CELLS),
    (r"^layers\.(\d+)\.blocks\.(\d+)\.attn\.(relative_bias\.)?relative_position_bias_table$", _SWIN_TABLE),
    (
        r"^layers\.(\d+)\.blocks\.(\d+)\.attn\.(q|k|v)\.",
        lambda match: f"stages.{match[1]}.blocks.{match[2]}.0.cell.1.attention.{_QKV[match[3]]}.",
    ),
    (r"^head\.fc\.", "dense."),
    (r"^(head|classifier)\.", "dense."),
)
_SWIN_HF: Renames = (
    (r"^swin\.", ""),
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embedding.conv."),
    (r"^embeddings\.norm\.", "patch_norm."),
    (r"^encoder\.", ""),
    *_swin_stage(
        {
            "layernorm_before": "0.cell.0",
            r"attention\.output\.dense": "0.cell.1.attention.out",
            "layernorm_after": "1.cell.0",
            r"intermediate\.dense": "1.cell.1.dense1",
            r"output\.dense": "1.cell.1.dense2",
        }
    ),
    (
        r"^layers\.(\d+)\.blocks\.(\d+)\.attention\.self\.(query|key|value)\.",
        lambda match: f"stages.{match[1]}.blocks.{match[2]}.0.cell.1.attention.{_QKV[match[3]]}.",
    ),
    (r"^layers\.(\d+)\.blocks\.(\d+)\.attention\.self\.relative_position_bias_table$", _SWIN_TABLE),
    (r"^layers\.(\d+)\.downsample\.", _next_stage("stages.{}.downsample.")),
    (r"^layernorm\.", "norm."),
    (r"^classifier\.", "dense."),
)
_DOWNSAMPLE_AFTER = ((r"^layers\.(\d+)\.downsample\.", _next_stage("stages.{}.downsample.")),)
_DOWNSAMPLE_BEFORE = ((r"^layers\.(\d+)\.downsample\.", r"stages.\1.downsample."),)
# mindcv fills its list of stages when the list is already in its place: MindSpore then leaves the list's name out of the
# parameters', and takes those of the stages after the first for further blocks of it.
_SWIN_MINDCV: Renames = (
    (r"^0\.blocks\.(\d+)\.(blocks|downsample)\.", r"layers.\1.\2."),
    (r"^(\d+)\.(blocks|downsample)\.", r"layers.\1.\2."),
    *_SWIN,
    *_DOWNSAMPLE_AFTER,
)
_INDICES = r"relative_position_index$|attn_mask$|relative_bias\.index$"

_CONVNEXT_CELLS = {
    "(conv_dw|dwconv)": "0",
    "(norm|layernorm)": "1",
    r"(mlp\.fc1|pwconv1)": "2.dense1",
    r"(mlp\.fc2|pwconv2)": "2.dense2",
}
_CONVNEXT_STAGE: Renames = (
    *(
        (rf"^stages\.(\d+)\.blocks\.(\d+)\.{theirs}\.", rf"stages.\1.blocks.\2.cell.{ours}.")
        for theirs, ours in _CONVNEXT_CELLS.items()
    ),
    (r"^stages\.(\d+)\.blocks\.(\d+)\.(gamma_?|layer_scale_parameter)$", r"stages.\1.blocks.\2.cell.3.gamma"),
)
_CONVNEXT_TIMM: Renames = (
    *_CONVNEXT_STAGE,
    (r"^head\.norm\.", "norm."),
    (r"^head\.fc\.", "dense."),
)
_CONVNEXT_AUTHORS: Renames = (
    (r"^downsample_layers\.0\.", "stem."),
    (r"^downsample_layers\.(\d+)\.", r"stages.\1.downsample."),
    (r"^stages\.(\d+)\.(\d+)\.", r"stages.\1.blocks.\2."),
    *_CONVNEXT_STAGE,
    (r"^head\.", "dense."),
)
_CONVNEXT_HF: Renames = (
    (r"^convnext\.", ""),
    (r"^embeddings\.patch_embeddings\.", "stem.0."),
    (r"^embeddings\.layernorm\.", "stem.1."),
    (r"^encoder\.", ""),
    (r"^stages\.(\d+)\.downsampling_layer\.", r"stages.\1.downsample."),
    (r"^stages\.(\d+)\.layers\.", r"stages.\1.blocks."),
    *_CONVNEXT_STAGE,
    (r"^layernorm\.", "norm."),
    (r"^classifier\.", "dense."),
)
_CONVNEXT_MINDCV: Renames = (
    (r"^feature\.0\.", "stem."),
    (r"^feature\.(\d*[02468])\.", lambda match: f"stages.{int(match[1]) // 2}.downsample."),
    (r"^feature\.(\d*[13579])\.", lambda match: f"stages.{int(match[1]) // 2}.blocks."),
    *_CONVNEXT_STAGE,
    (r"^classifier\.", "dense."),
)

SOURCES = (
    Source("course", "vit", r"^transformer\.layers\.0\.0\.cell\.1\.qkv\.weight$", ()),
    Source("timm", "vit", r"^blocks\.0\.norm1\.weight$", _VIT_TIMM),
    Source("mindcv", "vit", r"^blocks\.0\.norm1\.gamma$", _VIT_TIMM),
    Source("hf", "vit", r"^((vit|deit)\.)?encoder\.layer\.0\.attention\.attention\.query\.weight$", _VIT_HF),
    Source("google", "vit", r"^Transformer/encoderblock_0/", _VIT_GOOGLE + _resnet_google("backbone.")),
    Source("google", "resnet", r"^conv_root/kernel$", _resnet_google("")),
    Source("timm", "swin", r"^layers\.0\.blocks\.0\.norm1\.weight$", _SWIN + _DOWNSAMPLE_BEFORE, _INDICES),
    Source("mindcv", "swin", r"^(layers\.)?0\.blocks\.0\.norm1\.gamma$", _SWIN_MINDCV, _INDICES),
    Source("hf", "swin", r"^(swin\.)?encoder\.layers\.0\.blocks\.0\.layernorm_before\.weight$", _SWIN_HF, _INDICES),
    Source("timm", "convnext", r"^stages\.0\.blocks\.0\.conv_dw\.weight$", _CONVNEXT_TIMM),
    Source("timm", "convnext", r"^stages\.0\.0\.dwconv\.weight$", _CONVNEXT_AUTHORS),
    Source("hf", "convnext", r"^(convnext\.)?encoder\.stages\.0\.layers\.0\.dwconv\.weight$", _CONVNEXT_HF),
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
        renames = _SWIN + _DOWNSAMPLE_AFTER
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
