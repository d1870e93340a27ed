"""What an exported ONNX file says of image files, where there may be no MindSpore: nothing here imports it."""

from collections.abc import Callable
from pathlib import Path

from vit_ms.answers import answer, picture_file, read_images
from vit_ms.onnx_model import OnnxModel

BATCH_SIZE = 16


def predict(
    model: str | Path, paths: list[str], output: str | Path | None = None, say: Callable[[str], None] = print
) -> list[Path]:
    """Print the five likeliest classes of each image and draw them beside it, as predict.predict does.

    Args:
        model (str or Path): an ONNX file of `python -m vit_ms export`.
        paths (list[str]): image files, and folders of them.
        output (str or Path): the picture; None: predict.png beside the ONNX file.
        say (Callable): told one line for each image.

    Returns:
        list[Path], the picture.

    Raises:
        UserError: If a path does not exist, no image can be read, onnxruntime is not installed, or the file is none of ours.
    """
    output = picture_file(output, model)
    network = OnnxModel(model)
    images = read_images(paths, network.inputs, say)
    return answer(images, network.probabilities, network.classes, BATCH_SIZE, output, say)
