"""scikit-learn's handwritten digits: real images that need no network."""

import mindspore.dataset as ds
import numpy as np


class Digits:
    """1,797 handwritten digits of 8x8 pixels, in a fixed split that has each digit in the same share everywhere.

    1,257 images to train on, 180 to choose the checkpoint with, 360 held out for the result.

    Reference:
        Alpaydin & Kaynak 1998, Optical Recognition of Handwritten Digits, UCI; its test part, as scikit-learn ships it.
    """

    classes = tuple("0123456789")
    channels = 1
    encoded = False
    splits = ("train", "val", "test")

    def __init__(self):
        # scikit-learn takes a second to import, which only the digits should cost.
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split

        # Sixteen grey levels, bright ink on black.
        images, labels = load_digits(return_X_y=True)
        images = np.round(images * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8, 1)
        labels = labels.astype(np.int32)
        rest, test = train_test_split(np.arange(len(labels)), test_size=360, stratify=labels, random_state=0)
        train, val = train_test_split(rest, test_size=180, stratify=labels[rest], random_state=0)
        self._images, self._labels = images, labels
        self._indices = {"train": train, "val": val, "test": test}

    def arrays(self, split: str) -> tuple[np.ndarray, np.ndarray]:
        """The images, (n, 8, 8, 1) uint8 with 255 for full ink, and labels, (n,) int32, of one split."""
        indices = self._indices[split]
        return self._images[indices], self._labels[indices]

    def read(self, split: str, shuffle: bool, num_parallel_workers: int) -> ds.Dataset:
        """The images of one split one by one, columns `image` (8, 8, 1) uint8 and `label` int32."""
        images, labels = self.arrays(split)
        # More than one worker would be forked processes, which cost seconds where there is nothing to read.
        return ds.NumpySlicesDataset({"image": images, "label": labels}, shuffle=shuffle, num_parallel_workers=1)
