"""What every dataset can do, whether its images lie in memory or in files."""

import atexit
import contextlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import mindspore.dataset as ds
import numpy as np

from vit_ms import environment
from vit_ms.data.checking import check_images
from vit_ms.data.download import one_at_a_time
from vit_ms.errors import UserError


class Arrays:
    """A dataset that lies in memory.

    Args:
        images (Mapping): of each split the images, (n, height, width, C) uint8.
        labels (Mapping): of each split the labels, (n,) int.
        classes (Sequence[str]): names in the order of the labels.
    """

    encoded = False

    def __init__(self, images: Mapping[str, np.ndarray], labels: Mapping[str, Sequence[int]], classes: Sequence[str]):
        self.images, self.labels, self.classes = dict(images), dict(labels), tuple(classes)
        self.splits = tuple(images)
        self.channels = next(iter(images.values())).shape[-1]
        self.left_out: list[str] = []

    def size(self, split: str) -> int:
        """How many images a split has."""
        return len(self.labels[split])

    def describe(self, split: str, index: int) -> str:
        """What an image is called in a message."""
        return f"{split}[{index}]"

    def read(self, split: str, order: Sequence[int] | None = None, num_parallel_workers: int = 1) -> ds.Dataset:
        """The images of a split one by one.

        Args:
            split (str): of splits.
            order (Sequence[int]): their indices in the order wanted; None: all, as they lie.
            num_parallel_workers (int): threads that read.

        Returns:
            Dataset, columns `image`, (height, width, C) uint8, and `label`, int32.
        """
        chosen = slice(None) if order is None else np.asarray(order)
        columns = {"image": self.images[split][chosen], "label": np.asarray(self.labels[split], np.int32)[chosen]}
        # More than one worker would be forked processes, which cost seconds where there is nothing to read.
        return ds.NumpySlicesDataset(columns, shuffle=False, num_parallel_workers=1)


class Files:
    """A dataset of image files. Those that MindSpore cannot decode are left out before anything is read.

    Args:
        files (Mapping): of each split the files.
        labels (Mapping): of each split their labels.
        classes (Sequence[str]): names in the order of the labels.

    Raises:
        UserError: If no image of a split can be read.
    """

    encoded = True
    channels = 3

    def __init__(
        self, files: Mapping[str, Sequence[Path]], labels: Mapping[str, Sequence[int]], classes: Sequence[str]
    ):
        self.classes, self.splits = tuple(classes), tuple(files)
        self.files, self.labels, self.left_out = {}, {}, []
        for split in files:
            with _one_process():
                verdicts = check_images(files[split])
            verdicts |= {file: _UNNAMEABLE for file in files[split] if not _nameable(file)}
            good = [index for index, file in enumerate(files[split]) if verdicts[file] is None]
            if not good:
                raise UserError(f"no image of {split} can be read{_first_of(verdicts)}")
            self.left_out += [
                f"{file}: {reason}".encode("utf-8", "replace").decode()
                for file, reason in verdicts.items()
                if reason is not None
            ]
            self.files[split] = [files[split][index] for index in good]
            self.labels[split] = [labels[split][index] for index in good]
        self._manifests: dict[str, Path] = {}

    def size(self, split: str) -> int:
        """How many images of a split can be read."""
        return len(self.labels[split])

    def describe(self, split: str, index: int) -> str:
        """The file of an image."""
        return str(self.files[split][index])

    def read(self, split: str, order: Sequence[int] | None = None, num_parallel_workers: int = 1) -> ds.Dataset:
        """The images of a split one by one.

        Args:
            split (str): of splits.
            order (Sequence[int]): their indices in the order wanted; None: all, as they lie.
            num_parallel_workers (int): threads that read.

        Returns:
            Dataset, columns `image`, the file's bytes as uint8, and `label`, int.
        """
        return ds.ManifestDataset(
            str(self._manifest(split)),
            sampler=ds.SubsetSampler(list(range(self.size(split)) if order is None else map(int, order))),
            class_indexing={str(label): label for label in sorted(set(self.labels[split]))},
            num_parallel_workers=num_parallel_workers,
        )

    def _manifest(self, split: str) -> Path:
        """The list that MindSpore reads, as fast as a folder but with our files and labels in our order."""
        if split not in self._manifests:
            folder = Path(tempfile.mkdtemp(prefix="vit_ms_"))
            atexit.register(shutil.rmtree, folder, ignore_errors=True)
            path = folder / f"{split}.manifest"
            with path.open("w", encoding="utf-8") as lines:
                for file, label in zip(self.files[split], self.labels[split], strict=True):
                    entry = {"source": str(file.absolute()), "usage": "train", "annotation": [{"name": str(label)}]}
                    lines.write(json.dumps(entry, ensure_ascii=False) + "\n")
            found = ds.ManifestDataset(str(path)).get_dataset_size()
            if found != self.size(split):  # it passes over what it does not know, and all that follows would move up
                raise RuntimeError(f"MindSpore reads {found} of the {self.size(split)} images of {split}")
            self._manifests[split] = path
        return self._manifests[split]


@contextlib.contextmanager
def _one_process() -> Iterator[None]:
    """Of the processes of a run one checks the images, and the others wait and find its verdicts."""
    folder = environment.home() / "checked"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:  # then there are no verdicts to be found, either
        yield
        return
    with one_at_a_time(folder):
        yield


_UNNAMEABLE = "its name is not UTF-8, which MindSpore cannot open: rename it"


def _nameable(file: Path) -> bool:
    try:
        str(file).encode()
    except UnicodeEncodeError:
        return False
    return True


def _first_of(verdicts: Mapping[Path, str | None]) -> str:
    for file, reason in verdicts.items():
        return f": {file}: {reason}, and so on" if len(verdicts) > 1 else f": {file}: {reason}"
    return ": there are none"
