"""Batches: who gets which image when. Everything random is drawn from the seed and the epoch, so a run can be resumed."""

from collections.abc import Iterator

import mindspore as ms
import mindspore.dataset as ds
import numpy as np
from mindspore import Tensor
from mindspore.dataset import transforms, vision

from vit_ms.data.transforms import Augmentation, Preprocessing
from vit_ms.errors import UserError


class TrainBatches:
    """Shuffled batches of random views, all of the same size: the images left over are other ones each epoch.

    N devices with batches of B see together, step by step, the images that one device with batches of N * B sees.

    Args:
        dataset: as the catalog opens them.
        preprocessing (Preprocessing): the size and scale of the views.
        batch_size (int): B, on each device.
        augmentation (Augmentation): what makes the views random.
        num_parallel_workers (int): threads; another number is another random stream.
        seed (int): of the order and the views.
        rank, ranks (int): which of how many devices this is.
        accumulate (int): batches whose gradients make one step.

    Raises:
        UserError: If there are fewer images than a step takes, or the augmentation is not for such images.
    """

    def __init__(
        self,
        dataset,
        preprocessing: Preprocessing,
        batch_size: int,
        augmentation: Augmentation | None = None,
        num_parallel_workers: int = 1,
        seed: int = 0,
        rank: int = 0,
        ranks: int = 1,
        accumulate: int = 1,
    ):
        self.dataset, self.preprocessing, self.batch_size = dataset, preprocessing, batch_size
        self.augmentation = augmentation or Augmentation()
        self.workers, self.seed, self.rank, self.ranks = num_parallel_workers, seed, rank, ranks
        preprocessing.train_transforms(dataset.encoded, self.augmentation)  # says now what they cannot do
        images, step = dataset.size("train"), batch_size * ranks * accumulate
        self.batches = images // step * accumulate
        if not self.batches:
            parts = "" if step == batch_size else f" ({batch_size} x {ranks} devices x {accumulate} accumulated)"
            raise UserError(
                f"a step takes {step} images{parts}, which is more than the {images} to train on: lower batch_size"
            )

    def get_dataset_size(self) -> int:
        """Batches an epoch, as a Dataset says it."""
        return self.batches

    def get_batch_size(self) -> int:
        """Images a batch, as a Dataset says it."""
        return self.batch_size

    def order(self, epoch: int) -> np.ndarray:
        """The images of this device's batches in an epoch: indices, (batches, batch_size)."""
        everybodys = np.random.default_rng([self.seed, epoch]).permutation(self.dataset.size("train"))
        everybodys = everybodys[: self.batches * self.ranks * self.batch_size]
        return everybodys.reshape(self.batches, self.ranks, self.batch_size)[:, self.rank]

    def describe(self, epoch: int, batch: int) -> list[str]:
        """What the images of a batch are called, of all batches of an epoch the one with this number, from 0."""
        return [self.dataset.describe("train", index) for index in self.order(epoch)[batch]]

    def pipeline(self, epoch: int) -> ds.Dataset:
        """The batches of an epoch as they come: image, (B, C, height, width) float32, and label.

        Labels are (B,) int32, or (B, K) float32 where images are mixed.
        """
        # The pipeline's random operations take their seeds from here when it starts.
        ds.config.set_seed(int(np.random.default_rng([self.seed, epoch, self.rank]).integers(2**31)))
        images = self.dataset.read("train", self.order(epoch).ravel(), self.workers)
        views = self.preprocessing.train_transforms(self.dataset.encoded, self.augmentation)
        batches = _batches(images, views, self.batch_size, self.workers)
        return self.augmentation.of_batches(batches, len(self.dataset.classes), [self.seed, epoch, self.rank])

    def epoch(self, number: int, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches of an epoch.

        Args:
            number (int): of the epoch, from 1.
            start (int): batches to leave out. They are prepared all the same, for the views after them depend on it.
        """
        batches = self.pipeline(number).create_tuple_iterator(num_epochs=1, output_numpy=True)
        for done, (images, labels) in enumerate(batches):
            if done >= start:
                yield Tensor(images), Tensor(labels)


def eval_batches(
    dataset,
    split: str,
    preprocessing: Preprocessing,
    batch_size: int,
    num_parallel_workers: int = 1,
    rank: int = 0,
    ranks: int = 1,
) -> ds.Dataset:
    """Every image of a split, in order, the last batch as short as it comes.

    Args:
        dataset: as the catalog opens them.
        split (str): one of dataset.splits.
        preprocessing (Preprocessing): the size and scale of the images.
        batch_size (int): B.
        num_parallel_workers (int): threads.
        rank, ranks (int): which of how many devices this is; it gets every ranks-th image.

    Returns:
        Dataset with columns image, (B, C, height, width) float32, and label, (B,) int32.

    Raises:
        UserError: If the dataset has no such split.
    """
    if split not in dataset.splits:
        raise UserError(f"the dataset has no split {split!r}; it has {', '.join(dataset.splits)}")
    operations = ([vision.Decode()] if dataset.encoded else []) + preprocessing.eval_transforms()
    order = None if ranks == 1 else range(rank, dataset.size(split), ranks)
    return _batches(dataset.read(split, order, num_parallel_workers), operations, batch_size, num_parallel_workers)


def _batches(images: ds.Dataset, operations: list, batch_size: int, workers: int) -> ds.Dataset:
    images = images.map(operations, "image", num_parallel_workers=workers)
    images = images.map(transforms.TypeCast(ms.int32), "label", num_parallel_workers=workers)
    return images.batch(batch_size)
