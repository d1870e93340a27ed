"""Models by name."""

import fnmatch
import typing
from typing import NamedTuple

from mindspore import nn

from vit_ms.data.download import fetch
from vit_ms.errors import UserError, did_you_mean, typed
from vit_ms.layers import NUMERICS, Numerics
from vit_ms.models import convnext, deit, hybrid, resnetv2, road, swin, vit
from vit_ms.optim import HEADS
from vit_ms.pretrained import pretrained as published
from vit_ms.weights import load_weights


class Model(NamedTuple):
    """A row of a family's table.

    Args:
        cell (type): the class.
        row (dict): its keyword arguments.
        numerics (dict[str, Numerics]): those of each source that has weights for the family.
    """

    cell: type[nn.Cell]
    row: dict
    numerics: dict[str, Numerics]


_FAMILIES = (
    (vit.ViT, vit.VARIANTS, NUMERICS),
    (hybrid.HybridViT, hybrid.VARIANTS, hybrid.NUMERICS),
    (resnetv2.ResNetV2, resnetv2.VARIANTS, resnetv2.NUMERICS),
    (vit.ViT, deit.PLAIN, NUMERICS),
    (deit.DistilledViT, deit.DISTILLED, NUMERICS),
    (swin.Swin, swin.VARIANTS, swin.NUMERICS),
    (convnext.ConvNeXt, convnext.VARIANTS, convnext.NUMERICS),
    (road.RoadNet, road.VARIANTS, road.NUMERICS),
)
MODELS = {name: Model(cell, row, numerics) for cell, rows, numerics in _FAMILIES for name, row in rows.items()}


def list_models(pattern: str = "*") -> list[str]:
    """The names that `create_model` knows, in the order of their tables, those that match a shell pattern ("vit_b*")."""
    return fnmatch.filter(MODELS, pattern)


def _hints(cell: type[nn.Cell]) -> dict:
    """The arguments of a class with their types, those that it passes on to its bases too."""
    hints = {}
    for base in reversed([base for base in cell.__mro__ if base.__module__.startswith("vit_ms.")]):
        hints |= typing.get_type_hints(base.__init__)
    return hints


def model_arguments(name: str, overrides: dict) -> dict:
    """The arguments of a variant's row with the overrides in their place.

    Raises:
        UserError: If the name or an override is unknown, it says which are close, or an override's type is wrong.
    """
    if name not in MODELS:
        raise UserError(f"model {name!r} is unknown{did_you_mean(name, MODELS)}")
    cell, row, _ = MODELS[name]
    hints = _hints(cell)
    arguments = dict(row)
    for key, value in overrides.items():
        if key not in hints:
            if key in ("activation", "norm", "head_norm"):
                raise UserError(f"{key} follows from numerics; for another one build {cell.__name__}(...) itself")
            raise UserError(f"{name} has no argument {key!r}{did_you_mean(str(key), hints)}")
        arguments[key] = typed(value, hints[key], key)
    return arguments


def create_model(
    name: str, numerics: str | Numerics | None = None, pretrained: bool | str = False, **overrides
) -> nn.Cell:
    """Build a model by its name, with initial weights or published ones.

    Args:
        name (str): one of `list_models()`.
        numerics (str or Numerics): whose epsilons, GELU and standardisation: `"timm"`, `"google"`, `"course"`, `"mindcv"`,
            `"hf"`, as far as they have the family, or others. Weights give their own logits only with the numerics they
            were trained with. None: those of the published weights, or else timm's.
        pretrained (bool or str): True for published weights, or whose: `"course"`, `"timm"`, `"google"`, `"mindcv"`. They
            are downloaded once. With a num_classes that is not theirs the head keeps its initial values.
        overrides: arguments of the model's class in place of the row's, `num_classes=10` for example; not its activation
            and norm, which the numerics say.

    Returns:
        nn.Cell, images (B, C, height, width) to logits (B, num_classes).

    Raises:
        UserError: If the name, the numerics or an override is unknown, a value is impossible, or there are no such weights
            here and no network to fetch them.
    """
    artefact = published(name, pretrained) if pretrained else None
    if artefact is not None:
        overrides = {**artefact.overrides, **overrides}
    arguments = model_arguments(name, overrides)
    cell, _, known = MODELS[name]
    if numerics is None:
        numerics = "timm" if artefact is None else artefact.source
    if isinstance(numerics, str):
        if numerics not in known:
            raise UserError(f"numerics is {numerics!r}; for {name} choose one of {', '.join(known)}")
        numerics = known[numerics]
    network = cell(**arguments, **numerics.cells())
    if artefact is not None:
        path = fetch(artefact.url, "weights", artefact.sha256, name=artefact.file)
        other_head = arguments.get("num_classes", 1000) != artefact.overrides.get("num_classes", 1000)
        load_weights(network, path, skip=HEADS if other_head else (), source=artefact.source)
    return network


def register_with_mindcv() -> list[str]:
    """Make mindcv know our models, under our names after `vit_ms_`: mindcv.create_model("vit_ms_swin_t") and its tools.

    Returns:
        list[str], the names.

    Raises:
        UserError: If mindcv is not installed.
    """
    try:
        from mindcv.models import registry
    except ImportError:
        raise UserError("mindcv is not installed: pip install mindcv") from None

    def entry(name: str):
        def build(pretrained: bool = False, num_classes: int = 1000, in_channels: int = 3, **kwargs) -> nn.Cell:
            channels = {"input_channels": in_channels}
            return create_model(name, pretrained=pretrained, num_classes=num_classes, **channels, **kwargs)

        build.__name__ = f"vit_ms_{name}"
        build.__doc__ = f"vit_ms's {name}."
        return build

    names = [f"vit_ms_{name}" for name in MODELS]
    for name in MODELS:
        if not registry.is_model(f"vit_ms_{name}"):
            registry.register_model(entry(name))
    return names
