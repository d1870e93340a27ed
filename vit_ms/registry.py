"""Models by name."""

import fnmatch
import typing

from mindspore import nn

from vit_ms.errors import UserError, did_you_mean, typed
from vit_ms.layers import NUMERICS
from vit_ms.models import vit

# The rows of every family's table: name -> (class, keyword arguments).
MODELS = {name: (vit.ViT, row) for name, row in vit.VARIANTS.items()}


def list_models(pattern: str = "*") -> list[str]:
    """The names that `create_model` knows, in the order of their tables, those that match a shell pattern ("vit_b*")."""
    return fnmatch.filter(MODELS, pattern)


def model_arguments(name: str, overrides: dict) -> dict:
    """The arguments of a variant's row with the overrides in their place.

    Raises:
        UserError: If the name or an override is unknown, it says which are close, or an override's type is wrong.
    """
    if name not in MODELS:
        raise UserError(f"model {name!r} is unknown{did_you_mean(name, MODELS)}")
    cell, row = MODELS[name]
    hints = typing.get_type_hints(cell.__init__)
    arguments = dict(row)
    for key, value in overrides.items():
        if key not in hints:
            if key in ("activation", "norm"):
                raise UserError(f"{key} follows from numerics; for another one build {cell.__name__}(...) itself")
            raise UserError(f"{name} has no argument {key!r}{did_you_mean(str(key), hints)}")
        arguments[key] = typed(value, hints[key], key)
    return arguments


def create_model(name: str, numerics: str = "timm", **overrides) -> nn.Cell:
    """Build a model by its name, with initial weights.

    Args:
        name (str): one of `list_models()`.
        numerics (str): whose LayerNorm epsilon and GELU: `"timm"` (1e-6, erf), `"google"` (1e-6, tanh), `"course"` or
            `"mindcv"` (1e-7, tanh). Weights give their own logits only with the numerics they were trained with.
        overrides: arguments of the model's class in place of the row's, `num_classes=10` for example; not its activation
            and norm, which the numerics say.

    Returns:
        nn.Cell, images (B, C, image_size, image_size) to logits (B, num_classes).

    Raises:
        UserError: If the name, the numerics or an override is unknown, or a value is impossible.
    """
    arguments = model_arguments(name, overrides)
    if numerics not in NUMERICS:
        raise UserError(f"numerics is {numerics!r}; choose one of {', '.join(NUMERICS)}")
    return MODELS[name][0](**arguments, **NUMERICS[numerics].cells())
