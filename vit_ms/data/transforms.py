"""From images as they are stored to the arrays a network takes."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import mindspore.dataset as ds
import numpy as np
from mindspore.dataset import transforms, vision

from vit_ms.errors import UserError
from vit_ms.image_files import read_image

INTERPOLATIONS = {"bilinear": vision.Inter.BILINEAR, "bicubic": vision.Inter.BICUBIC}
AUGMENTS = ("crop", "affine", "none")
EVAL_CROPS = ("center", "squash")


@dataclass(frozen=True)
class Augmentation:
    """What is random in a training image.

    Args:
        augment (str): `"crop"`, a random part resized and maybe mirrored, for photographs; `"affine"`, turned, sheared,
            shifted and scaled a little, for things that stay themselves in no other way, like digits; `"none"`.
        scale (Sequence[float]): smallest and largest share of the area that a crop keeps.
        hflip (float): chance to mirror a crop.
        rand_augment (Sequence[int]): how many operations, 1 or 2, and how strong from 0 to 10; None: none. timm's
            `rand-m9-mstd0.5` is [2, 9]: as there each operation has a chance of 1/2, but the strength does not vary. RGB
            only.
        color_jitter (float): brightness, contrast and saturation are multiplied by 1 - color_jitter to 1 + color_jitter. RGB
            only. timm leaves it out where there is RandAugment; here it is done if it is asked for.
        re_prob (float): chance to fill a random rectangle of the normalised image with noise.
        mixup, cutmix (float): alpha of the Beta(alpha, alpha) that shares are drawn from; 0: not done. If both are given,
            each batch has an equal chance of either.
        mix_prob (float): chance of a batch to be mixed.

    Reference:
        Cubuk et al. 2020 (RandAugment); Zhong et al. 2020, algorithm 1 (random erasing); Zhang et al. 2018, equation 1
        (mixup); Yun et al. 2019, equations 1 and 2 (CutMix); put together as by Touvron et al. 2021, table 9 (DeiT), with
        timm's numbers.
    """

    augment: str = "crop"
    scale: Sequence[float] = (0.08, 1.0)
    hflip: float = 0.5
    rand_augment: Sequence[int] | None = None
    color_jitter: float = 0.0
    re_prob: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    mix_prob: float = 1.0

    @property
    def mixes(self) -> bool:
        """Whether labels are shares of classes, (B, K) float32, instead of classes, (B,) int32."""
        return self.mixup > 0 or self.cutmix > 0

    def of_batches(self, batches: ds.Dataset, num_classes: int, seed: Sequence[int]) -> ds.Dataset:
        """Batches with rectangles erased and images mixed, if that is asked for.

        Args:
            batches (Dataset): columns image, (B, C, height, width) float32 and normalised, and label, (B,) int32.
            num_classes (int): K.
            seed (Sequence[int]): what is random follows from it and the number of the batch, whatever thread works on it.
        """
        if not (self.mixes or self.re_prob):
            return batches

        def augment(images: np.ndarray, labels: np.ndarray, number: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            rng = np.random.default_rng([*seed, int(number)])
            if self.re_prob:
                images = images.copy()
                for image in images:
                    if rng.random() < self.re_prob:
                        erase(image, rng)
            if self.mixes:
                targets = (labels[:, None] == np.arange(num_classes)).astype(np.float32)  # (B, K)
                images, labels = self.mix(images, targets, rng)
            return images, labels

        # From 1, for NumPy takes [seed] and [seed, 0] for the same.
        numbers = np.arange(1, batches.get_dataset_size() + 1)
        numbers = ds.NumpySlicesDataset({"number": numbers}, shuffle=False, num_parallel_workers=1)
        columns = ["image", "label"]
        return ds.zip((batches, numbers)).map(augment, [*columns, "number"], columns, num_parallel_workers=1)

    def mix(self, images: np.ndarray, targets: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """A batch, (B, C, height, width) and (B, K), each image mixed with the one as far from the batch's other end."""
        if rng.random() >= self.mix_prob:
            return images, targets
        cut = self.cutmix > 0 and (self.mixup == 0 or rng.random() < 0.5)
        alpha = self.cutmix if cut else self.mixup
        share = rng.beta(alpha, alpha)
        if cut:
            box = _box(*images.shape[2:], 1 - share, rng)
            images = images.copy()
            images[box] = images[::-1][box]
            share = 1 - images[0, 0][box].size / images[0, 0].size  # the border may have cut off some of the box
        else:
            images = np.float32(share) * images + np.float32(1 - share) * images[::-1]
        return images, np.float32(share) * targets + np.float32(1 - share) * targets[::-1]


def _box(height: int, width: int, area: float, rng: np.random.Generator) -> tuple:
    """The index of this share of an image's area, around a random point and cut off at the border."""
    y, x = rng.integers(height), rng.integers(width)
    dy, dx = int(height * area**0.5) // 2, int(width * area**0.5) // 2
    return np.s_[..., max(y - dy, 0) : y + dy, max(x - dx, 0) : x + dx]


def erase(image: np.ndarray, rng: np.random.Generator) -> None:
    """Fill a random rectangle of a normalised image, (C, height, width) float32, with normal noise, in place."""
    channels, height, width = image.shape
    for _ in range(10):  # as often as timm tries to find one that fits
        area = rng.uniform(0.02, 1 / 3) * height * width
        ratio = np.exp(rng.uniform(np.log(0.3), -np.log(0.3)))
        h, w = round((area * ratio) ** 0.5), round((area / ratio) ** 0.5)
        if h < height and w < width:
            y, x = rng.integers(height - h + 1), rng.integers(width - w + 1)
            image[:, y : y + h, x : x + w] = rng.standard_normal((channels, h, w), np.float32)
            return


@dataclass(frozen=True)
class Preprocessing:
    """How every image, in training, evaluation and prediction, comes to the network's size and scale.

    Args:
        image_size (int or list[int]): height and width in pixels that the network takes, or one number for both.
        channels (int): 1 for grey, 3 for RGB.
        mean (list[float]): subtracted from each channel, on the scale of 0 to 1.
        std (list[float]): divided by, on the same scale.
        interpolation (str): `"bilinear"` or `"bicubic"`, for every resize.
        crop_pct (float): share of the shorter side that a centre crop keeps, in (0, 1].
        eval_crop (str): what evaluation sees: `"center"`, the middle of the image in its proportions, as timm and the course
            do it; `"squash"`, all of it resized to image_size, as the paper's code does it.
    """

    image_size: int | list[int]
    channels: int
    mean: list[float]
    std: list[float]
    interpolation: str = "bilinear"
    crop_pct: float = 0.875
    eval_crop: str = "center"

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

    def _to_size(self) -> list:
        if self.eval_crop == "squash":
            return [vision.Resize(self._sides, self._inter)]
        # By the shorter side to the network's longer one, so that nothing is squashed and the crop is full.
        resize = vision.Resize(round(max(self._sides) / self.crop_pct), self._inter)
        return [resize, vision.CenterCrop(self._sides)]

    def eval_transforms(self) -> list:
        """Decoded image (height, width, C) uint8 to (C, *image_size) float32: resize, crop, normalise."""
        return self._to_size() + self._to_input()

    def train_transforms(self, encoded: bool, augmentation: Augmentation) -> list:
        """A random view of an image: (C, *image_size) float32.

        Args:
            encoded (bool): whether the image still is the bytes of a file.
            augmentation (Augmentation): what makes it random.

        Raises:
            UserError: If the augmentation is for RGB images and these are not.
        """
        decode = [vision.Decode()] if encoded else []
        if augmentation.augment == "crop":
            crop = vision.RandomCropDecodeResize if encoded else vision.RandomResizedCrop
            view = [crop(self._sides, scale=tuple(augmentation.scale), interpolation=self._inter)]
            view.append(vision.RandomHorizontalFlip(augmentation.hflip))
        elif augmentation.augment == "affine":
            # Two numbers for translate would be the range across alone, never negative when both are equal.
            affine = vision.RandomAffine(
                degrees=15,
                translate=(-0.1, 0.1, -0.1, 0.1),
                scale=(0.9, 1.1),
                shear=10,
                resample=vision.Inter.BILINEAR,
            )
            view = [*decode, vision.Resize(self._sides, self._inter), affine]
        else:
            view = decode + self._to_size()
        return view + self._color_transforms(augmentation) + self._to_input()

    def _color_transforms(self, augmentation: Augmentation) -> list:
        """RandAugment and the jitter of colours, of RGB images."""
        for key in ("rand_augment", "color_jitter"):
            value = getattr(augmentation, key)
            if value and self.channels != 3:
                raise UserError(f"{key} is {value}, but is for RGB, and the images have one channel: leave it out")
        found = []
        if augmentation.rand_augment:
            found.append(self._rand_augment(*augmentation.rand_augment))
        if augmentation.color_jitter:
            found.append(vision.RandomColorAdjust(*[augmentation.color_jitter] * 3))
        return found

    def _rand_augment(self, count: int, strength: int) -> ds.transforms.transforms.TensorOperation:
        """Each of `count` operations with a chance of 1/2, at this strength.

        The operations are those of vision.RandAugment. In MindSpore 2.10 that one shifts an image out of sight, at every
        strength: what is left is the fill colour, with the image's label.
        """
        share, grey = strength / 10, tuple(round(value * 255) for value in self.mean)
        angle, shift = float(np.degrees(np.arctan(0.3 * share))), share * 150 / 331
        operations = []
        for sign in (-1, 1):
            for x, y in ((sign, 0), (0, sign)):
                operations.append(vision.Affine(0.0, [0.0, 0.0], 1.0, [x * angle, y * angle], self._inter, grey))
                operations.append(vision.Affine(0.0, [x * shift, y * shift], 1.0, [0.0, 0.0], self._inter, grey))
            operations.append(vision.Affine(sign * 30 * share, [0.0, 0.0], 1.0, [0.0, 0.0], self._inter, grey))
            adjusts = (vision.AdjustBrightness, vision.AdjustSaturation, vision.AdjustContrast, vision.AdjustSharpness)
            operations += [adjust(1 + sign * 0.9 * share) for adjust in adjusts]
            operations += [vision.Posterize(8 - round(4 * share)), vision.Solarize((255 * (1 - share), 255))]
            operations += [vision.AutoContrast(), vision.Equalize(), vision.Rotate(0.0)]
        # One draw an image: random operations of one kind draw the same numbers, so that two choices would be one.
        several = [()]
        for _ in range(count):
            several = [(*some, one) for some in several for one in operations + [None] * len(operations)]
        made = functools.cache(lambda some: transforms.Compose(list(some) or [vision.Rotate(0.0)]))
        return transforms.RandomChoice([made(tuple(one for one in some if one is not None)) for some in several])

    def read_image(self, path: str) -> np.ndarray:
        """A file as a network of this size would see it decoded: (height, width, C) uint8, turned as its EXIF says.

        Raises:
            UserError: If there is no such file or it is no image that can be read.
        """
        return read_image(path, self.channels)

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
