"""Foreign weights as files of ours."""

from collections.abc import Sequence
from pathlib import Path

from vit_ms.errors import UserError
from vit_ms.registry import MODELS, create_model, model_arguments
from vit_ms.weights import contents, load_weights, save_weights


def convert(
    src: str | Path,
    dst: str | Path,
    model: str,
    source: str | None = None,
    skip: Sequence[str] = (),
    image_size: int | None = None,
) -> list[Path]:
    """Load a file of weights into a model and save it as ours.

    Args:
        src (str or Path): as `load_weights` takes it.
        dst (str or Path): ends in .ckpt or .safetensors.
        model (str): one of `list_models()`. Its number of classes is the file's.
        source (str): whose weights they are, where the names do not tell.
        skip (Sequence[str]): beginnings of parameter names to leave out, which keep initial values.
        image_size (int): pixels of the images that the network is for; None: the model's own. Positions are resized to it.

    Returns:
        list[Path], what was written.

    Raises:
        UserError: As `load_weights`, or if the model is unknown, or dst has another ending.
    """
    overrides = {} if image_size is None else {"image_size": image_size}
    arguments = model_arguments(model, overrides)
    if Path(dst).suffix not in (".ckpt", ".safetensors"):
        raise UserError(f"{dst} does not end in .ckpt or .safetensors")
    found = contents(src, MODELS[model].cell, source)

    def left_out(part: str) -> bool:
        return any(part.startswith(beginning) for beginning in skip)

    if found.num_classes is not None and not left_out("dense."):
        overrides["num_classes"] = found.num_classes
    has_none = arguments.get("representation_size") is None
    if found.representation_size is not None and has_none and not left_out("pre_logits."):
        raise UserError(
            f"{src} has a representation layer (pre_logits), which {model} has not: leave it out with --skip pre_logits. "
            f"or choose a model that has it, such as vit_b_16_in21k"
        )
    network = create_model(model, found.numerics, **overrides)
    print(f"{src}: {load_weights(network, src, skip=skip, source=source)}")
    save_weights(network, dst)
    return [Path(dst)]
