"""Datasets that others publish: where their files are, and how to come by them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlparse

import numpy as np

from vit_ms import environment
from vit_ms.data.archives import extract
from vit_ms.data.download import fetch
from vit_ms.errors import UserError


@dataclass(frozen=True)
class Artefact:
    """A file that somebody publishes.

    Args:
        url (str): where.
        megabytes (int): about how large it is.
        md5 (str): its hash; None: none is published.
    """

    url: str
    megabytes: int
    md5: str | None = None

    @property
    def name(self) -> str:
        """What the file is called."""
        return Path(urlparse(self.url).path).name


def obtain(
    dataset: str, artefacts: Sequence[Artefact], needs: Sequence[str], data_dir: str | Path | None = None
) -> Path:
    """The folder with a published dataset's files; they are fetched and unpacked if they are not there yet.

    Args:
        dataset (str): its name.
        artefacts (Sequence[Artefact]): what is published of it.
        needs (Sequence[str]): files and folders that must be there, all in one folder.
        data_dir (str or Path): holds them, in itself or in a folder in it, or else the published files; None: vit_ms's own
            folder, into which the published files are fetched.

    Raises:
        UserError: If data_dir holds neither, or what was published cannot be fetched or unpacked.
    """
    folder = environment.home() / "datasets" / dataset if data_dir is None else Path(data_dir)
    names, wanted = " and ".join(artefact.name for artefact in artefacts), ", ".join(needs)
    if found := _holding(folder, needs):
        return found
    if data_dir is None:
        archives = [fetch(artefact.url, f"datasets/{dataset}", md5=artefact.md5) for artefact in artefacts]
    else:
        archives = [folder / artefact.name for artefact in artefacts]
        if not all(archive.is_file() for archive in archives):
            urls = " and ".join(artefact.url for artefact in artefacts)
            what = f"holds neither {wanted} nor {names}" if folder.is_dir() else "is not a folder"
            raise UserError(
                f"data_dir {folder} {what}: put {names} there, from {urls}, or leave data_dir out to have {dataset} fetched"
            )
    unpacked = extract(archives, folder / "extracted")
    if found := _holding(folder, needs):
        return found
    raise UserError(f"{unpacked} does not hold {wanted}, as {names} should: remove it and fetch {names} again")


def _holding(folder: Path, needs: Sequence[str]) -> Path | None:
    """The folder that has all that is needed: this one, one in it, or what was unpacked here before."""
    for base in (folder, folder / "extracted"):
        if base.is_dir():
            inner = sorted(path for path in base.iterdir() if path.is_dir() and path.name[0] != ".")
            for place in (base, *inner):
                if all((place / need).exists() for need in needs):
                    return place
    return None


@contextmanager
def as_published(path: Path) -> Iterator[None]:
    """Whatever the block's reader makes of a file with other bytes in it becomes one line."""
    try:
        yield
    except Exception as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(f"{path} is not what is published ({reason}): fetch it again") from None


def hold_out(labels: Sequence[int], every: int) -> tuple[np.ndarray, np.ndarray]:
    """Part images to train on and images to choose a checkpoint with: of each class every so-manieth is held out.

    Args:
        labels (Sequence[int]): of the images.
        every (int): 50 holds out the 50th, 100th, ... image of each class, 2 %.

    Returns:
        The indices of those that stay and of those held out, both ascending.
    """
    labels = np.asarray(labels)
    held_out = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        held_out[np.flatnonzero(labels == label)[every - 1 :: every]] = True
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)
