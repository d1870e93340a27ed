"""An ONNX file of `python -m vit_ms export`, run by onnxruntime, and images brought to it. Imports no MindSpore."""

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vit_ms.errors import UserError
from vit_ms.image_files import read_image

_INSTALL = 'pip install "onnxruntime>=1.20,<2.0"'  # as in requirements-export.txt
_BITS = 11  # of a weight's fraction


def open_session(path: str | Path):
    """An onnxruntime.InferenceSession on the CPU for an ONNX file.

    Raises:
        UserError: If onnxruntime is not installed, the file is absent, or it is no ONNX that onnxruntime runs.
    """
    if not Path(path).is_file():
        raise UserError(f"there is no ONNX file {path}")
    try:
        import onnxruntime
    except ImportError:
        raise UserError(f"an ONNX file needs onnxruntime, which is not installed: {_INSTALL}") from None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors come as exceptions
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's have no class in common
        raise UserError(f"{path} is no ONNX file that onnxruntime runs: {str(error).splitlines()[0]}") from None


def _taps(old: int, new: int, interpolation: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """For each place of the new side the places of the old one that it takes from, and their weights in 1 / 2^_BITS."""
    centres = (np.arange(new) + 0.5) * (old / new) - 0.5
    first = np.floor(centres).astype(int)
    part = centres - first
    if interpolation == "bilinear":
        offsets, weights = (0, 1), (1 - part, part)
    else:  # Keys 1981, with a = -0.75
        offsets = (-1, 0, 1, 2)
        near, far = (lambda x: (1.25 * x - 2.25) * x * x + 1), (lambda x: ((3.75 - 0.75 * x) * x - 6) * x + 3)
        weights = (far(part + 1), near(part), near(1 - part), far(2 - part))
    return [
        (np.clip(first + offset, 0, old - 1), np.rint(weight.astype(np.float32) * 2**_BITS).astype(np.int64))
        for offset, weight in zip(offsets, weights, strict=True)
    ]


def resize(image: np.ndarray, size: tuple[int, int], interpolation: str) -> np.ndarray:
    """An image of another size, as MindSpore's vision.Resize has it, which is OpenCV's: no smoothing where it shrinks.

    Pillow smooths, and where a network was measured without it would see other images.

    Args:
        image (ndarray): (height, width, C) uint8.
        size (tuple): height and width in pixels.
        interpolation (str): `"bilinear"` or `"bicubic"`.

    Returns:
        ndarray, (*size, C) uint8; a value in a hundred may be off by 1.
    """
    if image.shape[:2] == tuple(size):
        return image
    x = image.astype(np.int64)
    x = sum(x[:, places] * weights[:, None] for places, weights in _taps(x.shape[1], size[1], interpolation))
    rows = _taps(len(image), size[0], interpolation)
    if interpolation == "bilinear":  # in OpenCV's steps, each of which rounds
        x = sum((x[places] >> 4) * weights[:, None, None] >> 16 for places, weights in rows)
        x = (x + 2) >> 2
    else:
        x = sum(x[places] * weights[:, None, None] for places, weights in rows)
        x = (x + (1 << 2 * _BITS - 1)) >> 2 * _BITS
    return x.clip(0, 255).astype(np.uint8)


@dataclass(frozen=True)
class Inputs:
    """How an image comes to the network, as data.transforms.Preprocessing has it, whose arguments these are.

    Args:
        image_size (int or list[int]): height and width in pixels, or one number for both.
        channels (int): 1 for grey, 3 for RGB.
        mean, std (list[float]): of each channel, on the scale of 0 to 1.
        interpolation (str): `"bilinear"` or `"bicubic"`.
        crop_pct (float): share of the shorter side that a centre crop keeps.
        eval_crop (str): `"center"` or `"squash"`.
    """

    image_size: int | list[int]
    channels: int
    mean: list[float]
    std: list[float]
    interpolation: str
    crop_pct: float
    eval_crop: str

    @property
    def sides(self) -> tuple[int, int]:
        """Height and width."""
        return (self.image_size,) * 2 if isinstance(self.image_size, int) else tuple(self.image_size)

    def read_image(self, path: str | Path) -> np.ndarray:
        """A file as (height, width, C) uint8, turned as its EXIF says.

        Raises:
            UserError: If there is no such file or it is no image that can be read.
        """
        return read_image(path, self.channels)

    def prepare(self, image: np.ndarray) -> np.ndarray:
        """(height, width, C) uint8 to (C, *image_size) float32: resize, crop, normalise."""
        height, width = self.sides
        if self.eval_crop == "squash":
            image = resize(image, (height, width), self.interpolation)
        else:
            shorter = round(max(height, width) / self.crop_pct)
            ratio = np.float32(max(image.shape[:2])) / np.float32(min(image.shape[:2]))
            longer = math.floor(ratio * np.float32(shorter))
            size = (shorter, longer) if image.shape[0] < image.shape[1] else (longer, shorter)
            image = resize(image, size, self.interpolation)
            top, left = (size[0] - height) // 2, (size[1] - width) // 2
            image = image[top : top + height, left : left + width]
        mean, std = (np.array(values, np.float32) * 255 for values in (self.mean, self.std))
        return np.ascontiguousarray(((image - mean) / std).transpose(2, 0, 1), np.float32)


class OnnxModel:
    """A network with what its file says of itself.

    Args:
        path (str or Path): an ONNX file of `python -m vit_ms export`.

    Raises:
        UserError: As `open_session`, or if the file does not say what its classes and inputs are.
    """

    def __init__(self, path: str | Path):
        self.session = open_session(path)
        said = self.session.get_modelmeta().custom_metadata_map
        try:
            self.name: str = said["model"]
            self.classes: list[str] = json.loads(said["classes"])
            self.inputs = Inputs(**json.loads(said["preprocessing"]))
            ((_, channels, *sides),) = (item.shape for item in self.session.get_inputs())
            ((_, num_classes),) = (item.shape for item in self.session.get_outputs())
            if (channels, *sides, num_classes) != (self.inputs.channels, *self.inputs.sides, len(self.classes)):
                raise ValueError("it says one thing and takes another")
        except (KeyError, TypeError, ValueError):
            raise UserError(
                f"{path} does not say what its classes and inputs are: make it with python -m vit_ms export --format onnx"
            ) from None

    def logits(self, images: np.ndarray) -> np.ndarray:
        """(n, C, height, width) float32 to (n, K) float32."""
        (name,) = (item.name for item in self.session.get_inputs())
        return self.session.run(None, {name: images})[0]

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """(n, C, height, width) float32 to (n, K) float64, each row with sum 1."""
        logits = self.logits(images).astype(np.float64)
        exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
        return exponentials / exponentials.sum(axis=1, keepdims=True)
