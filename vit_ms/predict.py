"""What a checkpoint says of image files."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from vit_ms import engine
from vit_ms.answers import answer, picture_file, read_images
from vit_ms.run import RunInfo
from vit_ms.weights import load_weights


def predict(
    info: RunInfo,
    ckpt_path: str | Path,
    paths: list[str],
    output: str | Path | None = None,
    say: Callable[[str], None] = print,
) -> list[Path]:
    """Print the five likeliest classes of each image and draw them beside it.

    Call `runtime.setup` before.

    Args:
        info (RunInfo): what the checkpoint is.
        ckpt_path (str or Path): its weights.
        paths (list[str]): image files, and folders of them.
        output (str or Path): the picture; None: predict.png beside the checkpoint. The first answers.SHOWN images are on it.
        say (Callable): told one line for each image.

    Returns:
        list[Path], the picture.

    Raises:
        UserError: If a path does not exist, no image can be read, or the weights do not fit.
    """
    output = picture_file(output, ckpt_path)
    images = read_images(paths, info.preprocessing, say)
    network = info.network()
    load_weights(network, ckpt_path)
    network.set_train(False)
    batch_size = min(len(images.inputs), info.recipe.batch_size)

    def probabilities(batch: np.ndarray) -> np.ndarray:
        return np.exp(engine.log_probabilities(network, batch, batch_size))

    return answer(images, probabilities, info.classes, batch_size, output, say)
