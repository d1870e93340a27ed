"""Image files, read by Pillow. Imports no MindSpore."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from vit_ms.errors import UserError

EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp")


def read_image(path: str | Path, channels: int) -> np.ndarray:
    """A file as (height, width, channels) uint8, turned as its EXIF says.

    Args:
        path (str or Path): the file.
        channels (int): 1 for grey, 3 for RGB.

    Raises:
        UserError: If there is no such file or it is no image that can be read.
    """
    try:
        with Image.open(path) as image:
            upright = ImageOps.exif_transpose(image)
            if upright.mode.startswith("I"):  # 16 bits a pixel, which convert would cut off at 255
                upright = Image.fromarray((np.asarray(upright) // 257).clip(0, 255).astype(np.uint8))
            upright = upright.convert("L" if channels == 1 else "RGB")
    except FileNotFoundError:
        raise UserError(f"{path} does not exist") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{path} cannot be read as an image: {error}") from None
    return np.asarray(upright).reshape(upright.height, upright.width, channels)
