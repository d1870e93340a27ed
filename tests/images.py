"""Small image folders that the tests make."""

from pathlib import Path

import numpy as np
from PIL import Image


def make_folder(root: Path, classes: int = 3, train: int = 8, val: int = 5, size: tuple[int, int] = (40, 32)) -> Path:
    """An ImageNet layout whose classes are told by colour; each image is a little different."""
    rng = np.random.default_rng(0)
    for split, count in (("train", train), ("val", val)):
        for index in range(classes):
            folder = root / split / f"class {index}"
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(0, 60, (*size, 3), dtype=np.uint8)
                pixels[..., index % 3] += 180
                Image.fromarray(pixels).save(folder / f"{number}.jpg", quality=95)
    return root
