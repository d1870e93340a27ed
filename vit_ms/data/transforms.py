"""From images as they are stored to the arrays a network takes."""

from collections.abc import Sequence
from dataclasses import dataclass

import mindspore as ms
import mindspore.dataset as ds
import numpy as np
from mindspore.dataset import transforms, vision
from PIL import Image, ImageOps

from vit_ms.errors import UserError

INTERPOLATIONS = {"bilinear": vision.Inter.BILINEAR, "bicubic": vision.Inter.BICUBIC}
AUGMENTS = ("crop", "affine", "none")


@dataclass(frozen=True)
class Preprocessing:
    """How every image, in training, evaluation and prediction, comes to the network's size and scale.

    Args:
        image_size (int or list[int]): height and width in pixels that the network takes, or one number for both.
        channels (int): 1 for grey, 3 for RGB.
        mean (list[float]): subtracted from each channel, on the scale of 0 to 1.
        std (list[float]): divided by, on the same scale.
        interpolation (str): `"bilinear"` or `"bicubic"`, for every resize.
        crop_pct (float): share of the shorter side that evaluation keeps, in (0, 1].
    """

    image_size: int | list[int]
    channels: int
    mean: list[float]
    std: list[float]
    interpolation: str = "bilinear"
    crop_pct: float = 0.875

    @property
    def _sides(self) -> tuple[int, int]:
        return (self.image_size,) * 2 if isinstance(self.image_size, int) else tuple(self.image_size)

    @property
    def _inter(self):
        return INTERPOLATIONS[self.interpolation]

    def _to_input(self) -> list:
        return [
            vision.Normalize([value * 255 for value in self.mean], [value * 255 for value in self.std]),
            vision.HWC2CHW(),
        ]

    def eval_transforms(self) -> list:
        """Decoded image (height, width, C) uint8 to (C, *image_size) float32: resize, centre crop, normalise.

        The shorter side is resized to the network's longer one, so that nothing is squashed and the crop is full.
        """
        resize = vision.Resize(round(max(self._sides) / self.crop_pct), self._inter)
        return [resize, vision.CenterCrop(self._sides), *self._to_input()]

    def train_transforms(self, encoded: bool, augment: str, scale: Sequence[float], hflip: float) -> list:
        """A random view of an image: (C, *image_size) float32.

        Args:
            encoded (bool): whether the image still is the bytes of a file.
            augment (str): `"crop"`, a random part resized and maybe mirrored, for photographs; `"affine"`, turned,
                sheared, shifted and scaled a little, for things that stay themselves in no other way, like digits; `"none"`.
            scale (Sequence[float]): smallest and largest share of the area that a crop keeps.
            hflip (float): chance to mirror a crop.
        """
        if augment == "crop":
            crop = vision.RandomCropDecodeResize if encoded else vision.RandomResizedCrop
            view = [crop(self._sides, scale=tuple(scale), interpolation=self._inter)]
            return view + [vision.RandomHorizontalFlip(hflip)] + self._to_input()
        view = [vision.Decode()] if encoded else []
        if augment == "affine":
            resize = vision.Resize(self._sides, self._inter)
            # Two numbers for translate would be the range across alone, never negative when both are equal.
            affine = vision.RandomAffine(
                degrees=15,
                translate=(-0.1, 0.1, -0.1, 0.1),
                scale=(0.9, 1.1),
                shear=10,
                resample=vision.Inter.BILINEAR,
            )
            return view + [resize, affine] + self._to_input()
        return view + self.eval_transforms()

    def read_image(self, path: str) -> np.ndarray:
        """A file as a network of this size would see it decoded: (height, width, C) uint8, turned as its EXIF says.

        Raises:
            UserError: If there is no such file or it is no image that can be read.
        """
        try:
            with Image.open(path) as image:
                upright = ImageOps.exif_transpose(image)
                if upright.mode.startswith("I"):  # 16 bits a pixel, which convert would cut off at 255
                    upright = Image.fromarray((np.asarray(upright) // 257).clip(0, 255).astype(np.uint8))
                upright = upright.convert("L" if self.channels == 1 else "RGB")
        except FileNotFoundError:
            raise UserError(f"{path} does not exist") from None
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise UserError(f"{path} cannot be read as an image: {error}") from None
        return np.asarray(upright).reshape(upright.height, upright.width, self.channels)

    def prepare(self, image: np.ndarray) -> np.ndarray:
        """One decoded image, (height, width, C) uint8, as evaluation gives it to the network."""
        for transform in self.eval_transforms():
            image = transform(image)
        return image

    def restore(self, images: np.ndarray) -> np.ndarray:
        """What was given to the network, (n, C, h, w) float32, as pictures, (n, h, w, C) uint8."""
        mean, std = np.array(self.mean), np.array(self.std)
        pictures = images.transpose(0, 2, 3, 1) * std + mean
        return (pictures * 255).round().clip(0, 255).astype(np.uint8)


def train_batches(
    dataset,
    preprocessing: Preprocessing,
    batch_size: int,
    augment: str = "crop",
    scale: Sequence[float] = (0.08, 1.0),
    hflip: float = 0.5,
    num_parallel_workers: int = 1,
) -> ds.Dataset:
    """Shuffled batches of random views, all of the same size: the images left over are other ones each epoch.

    Args:
        dataset: with classes, channels, encoded, splits and read(), as the catalog opens them.
        preprocessing (Preprocessing): the size and scale of the views.
        batch_size (int): B.
        augment (str), scale (Sequence[float]), hflip (float): as `Preprocessing.train_transforms` takes them.
        num_parallel_workers (int): threads; another number is another random stream.

    Returns:
        Dataset with columns image, (B, C, *image_size) float32, and label, (B,) int32.

    Raises:
        UserError: If there are fewer images than one batch.
    """
    operations = preprocessing.train_transforms(dataset.encoded, augment, scale, hflip)
    images = dataset.read("train", shuffle=True, num_parallel_workers=num_parallel_workers)
    if images.get_dataset_size() < batch_size:
        raise UserError(f"batch_size {batch_size} is more than the {images.get_dataset_size()} images to train on")
    return _batches(images, operations, batch_size, num_parallel_workers, drop_remainder=True)


def eval_batches(
    dataset, split: str, preprocessing: Preprocessing, batch_size: int, num_parallel_workers: int = 1
) -> ds.Dataset:
    """Every image of a split, in order, the last batch as short as it comes.

    Args:
        dataset: with classes, channels, encoded, splits and read(), as the catalog opens them.
        split (str): one of dataset.splits.
        preprocessing (Preprocessing): the size and scale of the images.
        batch_size (int): B.
        num_parallel_workers (int): threads.

    Returns:
        Dataset with columns image, (B, C, *image_size) float32, and label, (B,) int32.

    Raises:
        UserError: If the dataset has no such split.
    """
    if split not in dataset.splits:
        raise UserError(f"the dataset has no split {split!r}; it has {', '.join(dataset.splits)}")
    operations = ([vision.Decode()] if dataset.encoded else []) + preprocessing.eval_transforms()
    images = dataset.read(split, shuffle=False, num_parallel_workers=num_parallel_workers)
    return _batches(images, operations, batch_size, num_parallel_workers, drop_remainder=False)


def _batches(images: ds.Dataset, operations: list, batch_size: int, workers: int, drop_remainder: bool) -> ds.Dataset:
    images = images.map(operations, "image", num_parallel_workers=workers)
    images = images.map(transforms.TypeCast(ms.int32), "label", num_parallel_workers=workers)
    return images.batch(batch_size, drop_remainder=drop_remainder)
