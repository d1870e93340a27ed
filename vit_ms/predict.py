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
PICTURES = (".png", ".jpg", ".pdf", ".svg")


def image_files(paths: list[str]) -> list[Path]:
    """The files among `paths` and the images anywhere below the folders among them, in the order of their names.

    Raises:
        UserError: If a path does not exist or there is no image at all.
    """
    files = []
    for path in map(Path, paths):
        if path.is_dir():
            files += sorted(item for item in path.rglob("*") if item.suffix.lower() in EXTENSIONS)
        elif path.is_file():
            files.append(path)
        else:
            raise UserError(f"{path} does not exist")
    if not files:
        raise UserError(f"there are no images in {', '.join(paths)}; known are {', '.join(EXTENSIONS)}")
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
    output = Path(output or Path(ckpt_path).parent / "predict.png")
    if output.suffix.lower() not in PICTURES:
        raise UserError(f"output is {output}; it must end in one of {', '.join(PICTURES)}")
    files, inputs, pictures = [], [], []
    for file in tqdm(image_files(paths), desc="reading", unit="image"):
        try:
            image = info.preprocessing.read_image(file)
        except UserError as error:
            say(f"left out: {error}")
            continue
        files.append(file)
        inputs.append(info.preprocessing.prepare(image))
        # Only those are drawn; a thousand photographs would not fit into memory.
        pictures += [image] if len(pictures) < SHOWN else []
    if not files:
        raise UserError(f"none of the images in {', '.join(paths)} can be read")
    network = info.network()
    load_weights(network, ckpt_path)
    network.set_train(False)

    batch_size = min(len(inputs), info.recipe.batch_size)
    top = []
    for start in tqdm(range(0, len(inputs), batch_size), desc="predicting", unit="batch"):
        batch = np.stack(inputs[start : start + batch_size])
        for row in np.exp(engine.log_probabilities(network, batch, batch_size)):
            order = np.argsort(-row, kind="stable")[:5]
            top.append([(info.classes[index], float(row[index])) for index in order])
    for file, answers in zip(files, top, strict=True):
        say(f"{file}: " + ", ".join(f"{name} {share:.1%}" for name, share in answers))
    names = [file.name for file in files[:SHOWN]]
    visualize.plot_top5(pictures, names, top[:SHOWN], output)
    return [output]
