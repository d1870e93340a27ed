"""What a visitor draws or drops, as images for a network: (height, width, C) uint8."""

import base64
import binascii
import io
import re
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import ExifTags, Image, ImageFilter, ImageOps

from vit_ms.explore.words import Refused
from vit_ms.layers import pair
from vit_ms.run import RunInfo

BYTES = 10_000_000  # of a file
MEGAPIXELS = 50  # 150 MB decoded
# Of the formats that Pillow knows those that need no other program and are met on the web and on phones.
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF")
SIDE = 8  # of scikit-learn's digits, in pixels
INK = 0.25  # least mean ink of a digit; those of scikit-learn have 0.30, whoever wrote them


class Given(NamedTuple):
    """What a visitor gave.

    Args:
        name (str): of the file; empty for a drawing.
        image (PIL.Image.Image): mode RGB, or L for a grey one.
        notes (tuple[str, ...]): keys of what the page should say of it.
    """

    name: str
    image: Image.Image
    notes: tuple[str, ...] = ()


def shown_name(path: str | Path) -> str:
    """A file's name as the page may show it: short, with nothing in it that formats text."""
    name = re.sub(r"[^\w.\- ]", "_", Path(path).name)
    return name if len(name) <= 60 else f"{name[:40]}...{name[-15:]}"


def check_size(path: str | Path, size: float) -> None:
    """Refuse a file of too many bytes."""
    if size > BYTES:
        raise Refused("too_many_bytes", name=shown_name(path), megabytes=size / 1e6, most=BYTES / 1e6)


def read_upload(path: str | Path) -> Given:
    """Read a file that a visitor uploaded.

    Raises:
        Refused: If it is too large, no image of a known format, or broken.
    """
    check_size(path, Path(path).stat().st_size)
    return Given(shown_name(path), *_decoded(path, shown_name(path)))


def read_drawing(data: object) -> Given:
    """Read the drawing, which comes as a data URL of a PNG.

    Raises:
        Refused: If it is none, or nothing was drawn.
    """
    beginning = "data:image/png;base64,"
    if not isinstance(data, str) or not data.startswith(beginning) or len(data) > 2_000_000:
        raise Refused("bad_drawing")
    try:
        image, _ = _decoded(io.BytesIO(base64.b64decode(data[len(beginning) :], validate=True)), "")
    except (binascii.Error, Refused):
        raise Refused("bad_drawing") from None
    if np.ptp(np.asarray(image)) < 128:
        raise Refused("empty")
    return Given("", image)


def _decoded(source: str | Path | io.BytesIO, name: str) -> tuple[Image.Image, tuple[str, ...]]:
    """An image upright, opaque and with 8 bits a value, and the keys of what was done to make it so."""
    notes = []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd metadata, and of many pixels, which are refused here
            with Image.open(source, formats=FORMATS) as image:
                if image.width * image.height > MEGAPIXELS * 1_000_000:
                    raise Refused("too_many_pixels", name=name, most=MEGAPIXELS)
                if getattr(image, "is_animated", False):
                    notes.append("animated")
                image.load()
                upright = ImageOps.exif_transpose(image)  # a copy
                if image.getexif().get(ExifTags.Base.Orientation, 1) != 1:
                    notes.append("turned")
    except Image.DecompressionBombError:
        raise Refused("too_many_pixels", name=name, most=MEGAPIXELS) from None
    except Image.UnidentifiedImageError:
        raise Refused("no_image", name=name, known=", ".join(FORMATS)) from None
    except (OSError, SyntaxError, ArithmeticError, ValueError, LookupError, TypeError, EOFError, MemoryError):
        raise Refused("broken", name=name) from None  # decoders raise all of them on damaged files
    if upright.mode.startswith(("I", "F")):
        # convert would cut them off at 255.
        values = np.nan_to_num(np.asarray(upright, np.float64))
        top = next((top for top in (1, 255, 65535) if values.max() <= top), values.max())
        upright = Image.fromarray((values * (255 / top)).clip(0, 255).astype(np.uint8))
        notes.append("deep")
    if upright.mode == "CMYK":
        notes.append("cmyk")
    if upright.has_transparency_data:
        upright = upright.convert("RGBA")
        upright = Image.alpha_composite(Image.new("RGBA", upright.size, "white"), upright)
        notes.append("transparent")
    return upright.convert("L" if upright.mode in ("1", "L") else "RGB"), tuple(notes)


def is_for_digits(info: RunInfo) -> bool:
    """Whether a network was trained on scikit-learn's digits: light ink on black, 8 pixels high and filled to both edges."""
    return info.preprocessing.channels == 1 and info.classes == list("0123456789")


def image_for(given: Given, info: RunInfo) -> tuple[np.ndarray, str, dict]:
    """What a visitor gave, in the form of the images that a network was trained on.

    Args:
        given (Given): the image.
        info (RunInfo): what the network is.

    Returns:
        tuple[np.ndarray, str, dict]: (height, width, C) uint8, and what was done: the key of a text, and its values.

    Raises:
        Refused: If a network for digits gets an image without ink.
    """
    size = dict(zip(("height", "width"), pair(info.preprocessing.image_size), strict=True))
    channels = info.preprocessing.channels
    image = np.asarray(given.image.convert("L" if channels == 1 else "RGB"))
    image = image.reshape(*image.shape[:2], channels)
    if not is_for_digits(info):
        return image, "as_it_is", size
    if image.shape == (SIDE, SIDE, 1):
        return image, "as_stored", size
    digit, inverted, thickened = as_digit(image[..., 0])
    if digit is None:
        raise Refused("blank", name=given.name)
    return digit, "formed", {**size, "inverted": inverted, "thickened": thickened}


def as_digit(grey: np.ndarray) -> tuple[np.ndarray | None, bool, bool]:
    """Ink in the form of scikit-learn's digits.

    Those are scans of 32x32 points, cut to the ink and stretched until it fills all rows, of which each pixel counts a block
    of 4x4: so from the top edge to the bottom edge there is ink, left and right about one column without.

    Args:
        grey (np.ndarray): (height, width), uint8, ink darker or lighter than the background, which is at the border.

    Returns:
        tuple[np.ndarray, bool, bool]: (8, 8, 1) uint8 with 255 for full ink, None if there is no ink; whether dark and light
        were exchanged; whether strokes were thickened.

    Reference:
        Alpaydin & Kaynak 1998, Optical Recognition of Handwritten Digits, UCI: its preprocessing.
    """
    border = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    paper = float(np.median(border))
    difference = grey.astype(np.float64) - paper
    inverted = paper > 127
    ink = (-difference if inverted else difference).clip(0)
    if ink.max() < 40:  # what is left of a photograph of blank paper
        return None, inverted, False
    ink /= ink.max()
    on = ink > 0.5
    rows, columns = np.flatnonzero(on.any(axis=1)), np.flatnonzero(on.any(axis=0))
    cut = Image.fromarray((255 * on[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]).astype(np.uint8))
    points = 8 * SIDE  # finer than theirs, so that strokes can be thickened little by little
    width = min(points, max(1, round(cut.width * points / cut.height)))
    page = Image.new("L", (points, points))
    page.paste(cut.resize((width, points), Image.Resampling.BOX), ((points - width) // 2, 0))
    steps = 0
    while np.asarray(page).mean() < 255 * INK and steps < SIDE:
        page = page.filter(ImageFilter.MaxFilter(3))
        steps += 1
    digit = np.asarray(page.resize((SIDE, SIDE), Image.Resampling.BOX), np.float64)
    levels = np.round(16 * digit / digit.max())  # theirs are 0 to 16
    return np.round(levels * (255 / 16)).astype(np.uint8)[..., None], inverted, steps > 0
