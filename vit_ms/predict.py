"""What a checkpoint says of image files."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from tqdm import tqdm

from vit_ms import engine, visualize
from vit_ms.data.folder import EXTENSIONS
from vit_ms.errors import UserError
from vit_ms.run import RunInfo
from vit_ms.weights import load_weights

# A picture of more would be too tall to look at.
SHOWN = 32


def image_files(paths: list[str]) -> list[Path]:
    """The files among `paths` and the images anywhere below the folders among them, in the order of their names.

    Raises:
        UserError: If a path does not exist or there is no image at all.
    """
    files = []
    for path in map(Path, paths):
        if path.is_dir():
            files += sorted(item for item in path.rglob("*") if item.suffix in EXTENSIONS)
        elif path.is_file():
            files.append(path)
        else:
            raise UserError(f"{path} does not exist")
    if not files:
        raise UserError(f"there are no images in {', '.join(paths)}; known are {', '.join(EXTENSIONS[::2])}")
    return files


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
        output (str or Path): the picture; None: predict.png beside the checkpoint. The first SHOWN images are on it.
        say (Callable): told one line for each image.

    Returns:
        list[Path], the picture.

    Raises:
        UserError: If a path does not exist, no image can be read, or the weights do not fit.
    """
    files, images = [], []
    for file in image_files(paths):
        try:
            images.append(info.preprocessing.read_image(file))
            files.append(file)
        except UserError as error:
            say(f"left out: {error}")
    if not files:
        raise UserError(f"none of the images in {', '.join(paths)} can be read")
    network = info.network()
    load_weights(network, ckpt_path)
    network.set_train(False)

    batch_size = min(len(images), info.recipe.batch_size)
    top = []
    for start in tqdm(range(0, len(images), batch_size), desc="predicting", unit="batch"):
        inputs = np.stack([info.preprocessing.prepare(image) for image in images[start : start + batch_size]])
        for row in np.exp(engine.log_probabilities(network, inputs, batch_size)):
            order = np.argsort(-row, kind="stable")[:5]
            top.append([(info.classes[index], float(row[index])) for index in order])
    for file, answers in zip(files, top, strict=True):
        say(f"{file}: " + ", ".join(f"{name} {share:.1%}" for name, share in answers))
    output = Path(output or Path(ckpt_path).parent / "predict.png")
    names = [file.name for file in files[:SHOWN]]
    visualize.plot_top5(images[:SHOWN], names, top[:SHOWN], output)
    return [output]
