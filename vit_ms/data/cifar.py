"""CIFAR-10 and CIFAR-100 in their binary format."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vit_ms.data.published import Artefact, hold_out, obtain
from vit_ms.data.sources import Arrays
from vit_ms.errors import UserError

PIXELS = 3 * 32 * 32


class Cifar10(Arrays):
    """60,000 photographs of 32x32 pixels in 10 classes.

    `test` is the published test batch of 10,000. Of the published 50,000 for training, `val` is every 50th of each class,
    1,000 in all, and `train` the other 49,000: the share that the paper's code base (big_vision) holds out to choose with.

    Args:
        data_dir (str or Path): holds the published archive or its files; None: fetched, 170 MB.

    Raises:
        UserError: If there are no files, or they are not what is published.

    Reference:
        Krizhevsky 2009, Learning Multiple Layers of Features from Tiny Images.
    """

    artefacts = (
        Artefact("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz", 170, "c32a1d4ab5d03f1284b67883e8d87530"),
    )
    train_files = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
    test_files = ("test_batch.bin",)
    class_names = "batches.meta.txt"
    label_bytes = 1

    def __init__(self, data_dir: str | Path | None = None):
        needs = [self.class_names, *self.train_files, *self.test_files]
        folder = obtain(type(self).__name__.lower(), self.artefacts, needs, data_dir)
        classes = [name.replace("_", " ") for name in (folder / self.class_names).read_text().split()]
        images, labels = self._read(folder, self.train_files, len(classes))
        test_images, test_labels = self._read(folder, self.test_files, len(classes))
        train, val = hold_out(labels, 50)
        super().__init__(
            {"train": images[train], "val": images[val], "test": test_images},
            {"train": labels[train], "val": labels[val], "test": test_labels},
            classes,
        )

    def _read(self, folder: Path, names: Sequence[str], num_classes: int) -> tuple[np.ndarray, np.ndarray]:
        """The images, (n, 32, 32, 3) uint8, and labels, (n,) int32, of some files."""
        record = self.label_bytes + PIXELS
        parts = []
        for name in names:
            content = np.fromfile(folder / name, np.uint8)
            if len(content) == 0 or len(content) % record:
                raise UserError(
                    f"{folder / name} has {len(content)} bytes, which is no multiple of {record}: fetch it again"
                )
            parts.append(content.reshape(-1, record))
        records = np.concatenate(parts)
        # CIFAR-100 has two labels, first the coarse one of 20. A picture is a red, a green and a blue plane.
        labels = records[:, self.label_bytes - 1].astype(np.int32)
        if labels.max() >= num_classes:
            raise UserError(f"{folder} has a label {labels.max()} but only {num_classes} classes: fetch it again")
        planes = records[:, self.label_bytes :].reshape(-1, 3, 32, 32)
        return np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), labels


class Cifar100(Cifar10):
    """60,000 photographs of 32x32 pixels in 100 classes, the fine labels.

    `test` is the published 10,000. Of the published 50,000 for training, `val` is every 50th of each class, 10 a class, and
    `train` the other 49,000.

    Args:
        data_dir (str or Path): holds the published archive or its files; None: fetched, 169 MB.

    Raises:
        UserError: If there are no files, or they are not what is published.

    Reference:
        Krizhevsky 2009, Learning Multiple Layers of Features from Tiny Images.
    """

    artefacts = (
        Artefact("https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz", 169, "03b5dce01913d631647c71ecec9e9cb8"),
    )
    train_files = ("train.bin",)
    test_files = ("test.bin",)
    class_names = "fine_label_names.txt"
    label_bytes = 2
