"""scikit-learn's handwritten digits: real images that need no network."""

import numpy as np

from vit_ms.data.sources import Arrays


class Digits(Arrays):
    """1,797 handwritten digits of 8x8 pixels, in a fixed split that has each digit in the same share everywhere.

    1,257 images to train on, 180 to choose the checkpoint with, 360 held out for the result.

    Reference:
        Alpaydin & Kaynak 1998, Optical Recognition of Handwritten Digits, UCI; its test part, as scikit-learn ships it.
    """

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
        parts = {"train": train, "val": val, "test": test}
        super().__init__(
            {split: images[part] for split, part in parts.items()},
            {split: labels[part] for split, part in parts.items()},
            "0123456789",
        )

    def arrays(self, split: str) -> tuple[np.ndarray, np.ndarray]:
        """The images, (n, 8, 8, 1) uint8 with 255 for full ink, and labels, (n,) int32, of one split."""
        return self.images[split], self.labels[split]
