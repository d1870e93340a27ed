"""Image files in, the likeliest classes of each out, printed and drawn, whoever computes them. Imports no MindSpore."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from tqdm import tqdm

from vit_ms import visualize
from vit_ms.errors import UserError
from vit_ms.image_files import EXTENSIONS

# A picture of more would be too tall to look at.
SHOWN = 32
PICTURES = (".png", ".jpg", ".pdf", ".svg")


class Preparation(Protocol):
    """How an image comes to a network; data.transforms.Preprocessing is one."""

    def read_image(self, path: str | Path) -> np.ndarray:
        """A file as (height, width, C) uint8."""

    def prepare(self, image: np.ndarray) -> np.ndarray:
        """That as (C, *image_size) float32."""


@dataclass
class Images:
    """Image files that could be read.

    Args:
        files (list[Path]): where they are.
        inputs (list[np.ndarray]): what the network gets of each, (C, height, width) float32.
        pictures (list[np.ndarray]): the first SHOWN as they are, (height, width, C) uint8.
    """

    files: list[Path] = field(default_factory=list)
    inputs: list[np.ndarray] = field(default_factory=list)
    pictures: list[np.ndarray] = field(default_factory=list)


def picture_file(output: str | Path | None, beside: str | Path) -> Path:
    """Where the picture goes: `output`, or predict.png beside the network's file.

    Raises:
        UserError: If its ending is that of no picture.
    """
    output = Path(output or Path(beside).parent / "predict.png")
    if output.suffix.lower() not in PICTURES:
        raise UserError(f"output is {output}; it must end in one of {', '.join(PICTURES)}")
    return output


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


def read_images(paths: list[str], preparation: Preparation, say: Callable[[str], None] = print) -> Images:
    """Read the images among `paths`; those that cannot be read are told and left out.

    Raises:
        UserError: If a path does not exist, or no image can be read.
    """
    images = Images()
    for file in tqdm(image_files(paths), desc="reading", unit="image"):
        try:
            image = preparation.read_image(file)
        except UserError as error:
            say(f"left out: {error}")
            continue
        images.files.append(file)
        images.inputs.append(preparation.prepare(image))
        # Only those are drawn; a thousand photographs would not fit into memory.
        images.pictures += [image] if len(images.pictures) < SHOWN else []
    if not images.files:
        raise UserError(f"none of the images in {', '.join(paths)} can be read")
    return images


def answer(
    images: Images,
    probabilities: Callable[[np.ndarray], np.ndarray],
    classes: list[str],
    batch_size: int,
    output: Path,
    say: Callable[[str], None] = print,
) -> list[Path]:
    """Print the five likeliest classes of each image and draw them beside it.

    Args:
        images (Images): what was read.
        probabilities (Callable): takes (n, C, height, width) float32, n at most batch_size, and gives (n, K).
        classes (list[str]): K names.
        batch_size (int): images at a time.
        output (Path): the picture.
        say (Callable): told one line for each image.

    Returns:
        list[Path], the picture.
    """
    top = []
    for start in tqdm(range(0, len(images.inputs), batch_size), desc="predicting", unit="batch"):
        for row in probabilities(np.stack(images.inputs[start : start + batch_size])):
            order = np.argsort(-row, kind="stable")[:5]
            top.append([(classes[index], float(row[index])) for index in order])
    for file, answers in zip(images.files, top, strict=True):
        say(f"{file}: " + ", ".join(f"{name} {share:.1%}" for name, share in answers))
    names = [file.name for file in images.files[:SHOWN]]
    visualize.plot_top5(images.pictures, names, top[:SHOWN], output)
    return [output]
