"""The state of a training on the disk: what it takes to go on as if nothing had happened."""

import hashlib
import json
from pathlib import Path

import numpy as np
from safetensors.numpy import load, save

from vit_ms.errors import UserError
from vit_ms.files import whole_file

KEPT = 2  # the newest, and the one before it should the newest be damaged


class States:
    """The last states of a training, in a folder: `000001200.safetensors` after 1,200 steps, its sha256 beside it.

    Args:
        folder (Path): theirs alone.
    """

    def __init__(self, folder: Path):
        self.folder = folder

    def save(self, step: int, arrays: dict[str, np.ndarray], info: dict) -> None:
        """Write a state, and remove those that are older than the one before it.

        A state is whole when its sha256 is there: whatever interrupts the writing, the one before it stays.

        Args:
            step (int): how many the training has made.
            arrays (dict): of any dtype that safetensors has.
            info (dict): what JSON can hold.

        Raises:
            OSError: If the disk is full, or cannot be written.
        """
        path = self._path(step)
        content = save(
            {name: np.asarray(array, order="C") for name, array in arrays.items()}, {"info": json.dumps(info)}
        )
        self._digest(path).unlink(missing_ok=True)
        with whole_file(path) as temporary:
            temporary.write_bytes(content)
        with whole_file(self._digest(path)) as temporary:
            temporary.write_text(f"{hashlib.sha256(content).hexdigest()}  {path.name}\n", encoding="utf-8")
        for older in self._paths()[KEPT:]:
            self._remove(older)

    def load(self) -> tuple[dict[str, np.ndarray], dict, list[str]] | None:
        """The newest state that is whole.

        Returns:
            tuple, arrays, info, and one line on each newer one that is damaged; None: there has been no state yet.

        Raises:
            UserError: If all that are there are damaged.
        """
        damaged = []
        for path in self._paths():
            content = path.read_bytes()
            try:
                digest = self._digest(path).read_text(encoding="utf-8").split()[0]
            except (OSError, ValueError, IndexError):
                digest = None
            if hashlib.sha256(content).hexdigest() == digest:
                size = int.from_bytes(content[:8], "little")
                info = json.loads(json.loads(content[8 : 8 + size])["__metadata__"]["info"])
                return load(content), info, damaged
            damaged.append(f"{path} is {'damaged' if digest else 'not whole'}, and passed over")
        if damaged:
            raise UserError(f"no state in {self.folder} is whole: train without --resume to begin anew")
        return None

    def clear(self) -> None:
        """Remove all states."""
        for path in self._paths():
            self._remove(path)

    def _remove(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        self._digest(path).unlink(missing_ok=True)

    def _path(self, step: int) -> Path:
        return self.folder / f"{step:09d}.safetensors"

    def _paths(self) -> list[Path]:
        return sorted(self.folder.glob("[0-9]*.safetensors"), reverse=True)

    @staticmethod
    def _digest(path: Path) -> Path:
        return path.with_suffix(".sha256")
