"""The course's part of ImageNet."""

import tarfile
from collections import Counter
from pathlib import Path
from typing import BinaryIO

from vit_ms.data.checking import image_files
from vit_ms.data.published import Artefact, as_published, obtain
from vit_ms.data.sources import Files
from vit_ms.errors import UserError

DEVKIT = "ILSVRC2012_devkit_t12"


class ImagenetSubset(Files):
    """The photographs that the course trains and evaluates on, with ImageNet's 1,000 classes.

    `train` and `val` are the course's folders; it has no test part. Its folder `infer` is no split: the Doberman in it lies
    under a tench's name. The classes are those of the devkit in the order of their WordNet numbers, which is what published
    ImageNet weights predict, whichever of them have images; without a devkit they are train's folders.

    Args:
        data_dir (str or Path): holds the course's zip or what it unpacks to; None: fetched, 513 MB.

    Attributes:
        infer (list[Path]): images to predict.

    Raises:
        UserError: If there are no files, or they are not what is published.

    Reference:
        Russakovsky et al. 2015, ImageNet Large Scale Visual Recognition Challenge.
    """

    artefacts = (
        Artefact(
            "https://mindspore-website.obs.cn-north-4.myhuaweicloud.com/notebook/datasets/vit_imagenet_dataset.zip", 513
        ),
    )

    def __init__(self, data_dir: str | Path | None = None):
        folder = obtain("imagenet_subset", self.artefacts, ["train", "val"], data_dir)
        names = _class_names(folder) or {path.name: path.name for path in (folder / "train").iterdir() if path.is_dir()}
        index = {wnid: number for number, wnid in enumerate(sorted(names))}
        files, labels = {}, {}
        for split in ("train", "val"):
            files[split], labels[split] = [], []
            for path in sorted(path for path in (folder / split).iterdir() if path.is_dir() and path.name[0] != "."):
                if path.name not in index:
                    raise UserError(f"{path} is no class of ImageNet: its folders are called like n01440764")
                found = image_files(path)
                files[split] += found
                labels[split] += [index[path.name]] * len(found)
        self.infer = [file for path in sorted(folder.glob("infer/*/")) for file in image_files(path)]
        super().__init__(files, labels, [names[wnid] for wnid in index])


def _class_names(folder: Path) -> dict[str, str] | None:
    """Of each WordNet number the name, from the devkit, which the zip holds unpacked or not; None: no devkit."""
    if (path := folder / DEVKIT / "data" / "meta.mat").is_file():
        with as_published(path), path.open("rb") as file:
            return _meta(file)
    if (path := folder / f"{DEVKIT}.tar.gz").is_file():
        with as_published(path), tarfile.open(path) as archive:
            return _meta(archive.extractfile(f"{DEVKIT}/data/meta.mat"))
    return None


def _meta(file: BinaryIO) -> dict[str, str]:
    from scipy.io import loadmat  # takes half a second to import

    synsets = loadmat(file, squeeze_me=True)["synsets"]
    # Synsets that have children are no classes but what they are kinds of.
    words = {str(row["WNID"]): str(row["words"]) for row in synsets if row["num_children"] == 0}
    first = {wnid: text.split(", ")[0] for wnid, text in words.items()}
    several = Counter(first.values())  # a crane is a bird and a machine
    return {wnid: name if several[name] == 1 else f"{name} ({wnid})" for wnid, name in first.items()}
