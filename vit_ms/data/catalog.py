"""The named datasets."""

from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlparse

from vit_ms.data.cifar import Cifar10, Cifar100
from vit_ms.data.digits import Digits
from vit_ms.data.folder import Folder
from vit_ms.data.imagenet import ImagenetSubset
from vit_ms.data.mindrecord import MindRecord
from vit_ms.data.photos import Flowers102, OxfordPets
from vit_ms.data.published import Artefact
from vit_ms.data.sources import Arrays, Files
from vit_ms.errors import UserError, did_you_mean


@dataclass(frozen=True)
class Entry:
    """A dataset of the catalog.

    Args:
        opens (Callable): the class; it takes data_dir unless that says "none".
        summary (str): a line for people.
        data_dir (str): `"none"`, `"optional"`: fetched without it, or what it must be.
    """

    opens: Callable
    summary: str
    data_dir: str = "optional"

    @property
    def artefacts(self) -> tuple[Artefact, ...]:
        """What is fetched."""
        return getattr(self.opens, "artefacts", ())

    @property
    def size(self) -> int:
        """Megabytes to fetch."""
        return sum(artefact.megabytes for artefact in self.artefacts)


# What a dataset can do stands in sources.py.
DATASETS = {
    "digits": Entry(Digits, "1,797 handwritten digits of 8x8 pixels, with scikit-learn", "none"),
    "folder": Entry(Folder, "your images, as train/<class>/*.jpg and val/<class>/*.jpg", "the folder with its images"),
    "imagenet_subset": Entry(ImagenetSubset, "the course's photographs of ImageNet, 1,000 classes"),
    "cifar10": Entry(Cifar10, "60,000 photographs of 32x32 pixels, 10 classes"),
    "cifar100": Entry(Cifar100, "60,000 photographs of 32x32 pixels, 100 classes"),
    "oxford_pets": Entry(OxfordPets, "7,349 photographs of cats and dogs, 37 breeds"),
    "flowers102": Entry(Flowers102, "8,189 photographs of flowers, 102 classes"),
    "mindrecord": Entry(MindRecord, "what `prepare` wrote of any of these", "the --output of `prepare`"),
}


def open_dataset(name: str, data_dir: str | None = None) -> Arrays | Files | MindRecord:
    """Open a dataset by its name.

    Args:
        name (str): a key of DATASETS.
        data_dir (str): where its files are, for those that have files; those that are published are fetched without it.

    Raises:
        UserError: If the name is unknown, or data_dir is missing, not for it, or without what the dataset reads.
    """
    if name not in DATASETS:
        raise UserError(f"dataset {name!r} is unknown{did_you_mean(name, DATASETS)}")
    entry = DATASETS[name]
    if entry.data_dir == "none":
        if data_dir is not None:
            raise UserError(f"dataset {name!r} has no files, --data_dir {data_dir} is not for it: try --dataset folder")
        return entry.opens()
    if data_dir is None and entry.data_dir != "optional":
        raise UserError(f"dataset {name!r} needs --data_dir, {entry.data_dir}")
    return entry.opens(data_dir)


def table() -> list[str]:
    """A line for each dataset: its name, what it is, and how much is fetched from where without a data_dir."""
    lines = []
    for name, entry in DATASETS.items():
        source = f"; fetched: {entry.size} MB from {urlparse(entry.artefacts[0].url).netloc}" if entry.artefacts else ""
        lines.append(f"{name:16} {entry.summary}{source}")
    return lines
