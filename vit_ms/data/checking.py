"""Which image files MindSpore can decode: some broken ones would end the run, not with an error but with a signal.

Its JPEG decoder (`vision.Decode`, `vision.RandomCropDecodeResize`) takes no notice when a file ends before its first scan:
it goes on with sizes that are not known yet and divides by zero (SIGFPE), or, where the last byte is half a marker, waits
for ever. Errors that libjpeg does report to it, a missing table for example, may end in SIGSEGV or SIGABRT. Pillow decodes
with the same library, and notices all of it. The decoder of the other kinds waits for ever where a PNG's chunk is longer
than the file; else it takes a file or raises an error, not always as Pillow does, so that it is asked.
"""

import contextlib
import errno
import io
import os
import sqlite3
import stat
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import tqdm
from mindspore.dataset import vision
from PIL import BmpImagePlugin, JpegImagePlugin, PngImagePlugin

from vit_ms import environment
from vit_ms.errors import UserError
from vit_ms.files import whole_file

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".gif", ".webp")
SPLITS = ("train", "val", "test")
MAX_PIXELS = 89_478_485  # above it Pillow takes an image for a decompression bomb

# MindSpore too goes by the first bytes and not by the suffix. Pillow's Image.open would try kinds that MindSpore does not
# read, and stop at a bomb without telling its size.
JPEG, PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
READERS = {
    JPEG: JpegImagePlugin.JpegImageFile,
    PNG: PngImagePlugin.PngImageFile,
    b"BM": BmpImagePlugin.BmpImageFile,
}
# ManifestDataset, which reads the files in training, passes over a TIFF.
DECLINED = {b"GIF8": "GIF", b"RIFF": "WebP", b"II*\0": "TIFF", b"MM\0*": "TIFF"}


def check_images(
    files: Iterable[str | Path], workers: int | None = None, progress: bool = True
) -> dict[Path, str | None]:
    """Tell for each of these files whether MindSpore decodes it, without an error or a signal.

    Verdicts are kept in vit_ms's own folder: a file that has not changed since is not opened again.

    Args:
        files (Iterable[str or Path]): with any suffix.
        workers (int): threads that read and decode; None: as many as there are processors.
        progress (bool): whether to show a bar.

    Returns:
        dict[Path, str or None], for each file None if it is good, else the reason: `"<kind>"` or `"<kind>: <details>"`.
    """
    files = [Path(file) for file in files]
    verdicts = {}
    with (
        contextlib.closing(_Memory(environment.home() / "checked")) as memory,
        ThreadPoolExecutor(workers or os.cpu_count()) as pool,
        tqdm.tqdm(total=len(files), desc="checking images", delay=1, leave=False, disable=not progress) as bar,
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")  # Pillow's, of odd metadata
        for start in range(0, len(files), 256):
            part = files[start : start + 256]
            # The stamp is taken before the file is read: one that changes meanwhile is checked again the next time.
            keys = {file: _key(file) for file in part}
            known = memory.find(keys.values())
            fresh = [file for file in keys if keys[file] not in known]
            found = {}
            for file, reason in zip(fresh, pool.map(_fault, fresh), strict=True):
                found[file] = reason
                bar.update()
            memory.add({keys[file]: reason for file, reason in found.items()})
            verdicts.update({file: found[file] if file in found else known[keys[file]] for file in part})
            bar.update(len(part) - len(fresh))
    return verdicts


def _key(file: Path) -> tuple[bytes, int, int] | None:
    """Path, size and time of change; None: it cannot be asked."""
    try:
        status = file.stat()
    except OSError:
        return None
    return os.fsencode(file.absolute()), status.st_size, status.st_mtime_ns


def _unreadable(error: OSError) -> str:
    return "symlink loop" if error.errno == errno.ELOOP else f"cannot be read: {error.strerror or error}"


def _fault(file: Path) -> str | None:
    """Why MindSpore cannot decode a file; None: it can."""
    try:
        if not stat.S_ISREG(file.stat().st_mode):  # a pipe would keep the reader waiting
            return "not a file"
        data = file.read_bytes()
    except OSError as error:
        return _unreadable(error)
    if not data:
        return "empty"
    magic = next((magic for magic in READERS if data.startswith(magic)), None)
    if magic is None:
        kind = next((kind for start, kind in DECLINED.items() if data.startswith(start)), None)
        return f"{kind}, which MindSpore does not read" if kind else "not an image"
    if magic == PNG and (fault := _png_fault(data)):
        return fault
    try:
        image = READERS[magic](io.BytesIO(data))
        width, height = image.size
        if width * height > MAX_PIXELS:
            return f"too large: {width:,}x{height:,} pixels, more than {MAX_PIXELS:,}"
        if magic == JPEG:
            # All of the file is decoded, but to an eighth of the pixels. A lossless JPEG, which MindSpore declines, cannot
            # be scaled, so that Pillow declines it as well, except where a side is one pixel.
            if min(image.size) == 1 and b"\xff\xc3" in data:
                return "cannot be decoded: lossless JPEG"
            image.draft(None, (max(1, width // 8), max(1, height // 8)))
        image.load()
    except Exception as error:  # whatever Pillow's readers make of it
        text = " ".join(str(error).split())
        return "truncated" if "truncated" in text.lower() else f"cannot be decoded: {text or type(error).__name__}"
    if magic != JPEG:
        try:
            vision.Decode()(np.frombuffer(data, np.uint8))
        except RuntimeError:
            return "cannot be decoded: MindSpore does not take it"
    return None


def _png_fault(data: bytes) -> str | None:
    """Whether a PNG's chunks are whole, which Pillow does not look at where it has all the pixels."""
    start = len(PNG)
    while start + 12 <= len(data):
        end = start + 12 + int.from_bytes(data[start : start + 4], "big")
        if end > len(data):
            break
        if zlib.crc32(data[start + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
            return "damaged: wrong checksum"
        if data[start + 4 : start + 8] == b"IEND":
            return None
        start = end
    return "truncated"


def image_files(folder: str | Path) -> list[Path]:
    """The images of a class, by their suffixes in any case and in the order of their names; nothing is opened.

    What cannot be read is among them, for `check_images` to say so. A folder that cannot be read has none.
    """
    with contextlib.suppress(OSError):
        return sorted(path for path in Path(folder).iterdir() if _is_image(path))
    return []


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def check_data(
    data_dir: str | Path,
    dataset: str = "folder",
    say: Callable[[str], None] = print,
    output: str | Path | None = None,
) -> list[Path]:
    """Read every image of a folder in the ImageNet layout once, and write down which ones training will leave out.

    Args:
        data_dir (str or Path): holds `train/`, `val/`, `test/` or some of them, each with one folder a class.
        dataset (str): `"folder"`; the others verify their files when they fetch them.
        say (Callable): gets what was found, line by line.
        output (str or Path): the list, one `<path><tab><reason>` a line; None: runs/check/<name of data_dir>.tsv.

    Returns:
        list[Path], the one that was written.

    Raises:
        UserError: If data_dir has no such folders, or dataset is another one.
    """
    if dataset != "folder":
        raise UserError(f"dataset {dataset!r} is not checked: check-data reads dataset folder alone")
    data_dir = Path(data_dir)
    splits = [data_dir / name for name in SPLITS if (data_dir / name).is_dir()]
    if not splits:
        raise UserError(
            f"data_dir {data_dir} has no folder train, val or test: put <data_dir>/train/<class>/*.jpg there"
        )
    bad, passed_over, classes = {}, Counter(), {}
    for split in splits:
        for folder in _listed(split, bad):
            if not folder.name.startswith(".") and os.path.isdir(folder):  # noqa: PTH112 (Path's raises where it may not look)
                inside = _listed(folder, bad)
                classes[folder] = [path for path in inside if _is_image(path)]
                passed_over.update(path.suffix.lower() or path.name for path in inside if not _is_image(path))
    verdicts = check_images([file for files in classes.values() for file in files])
    bad.update((file, reason) for file, reason in verdicts.items() if reason)

    good = sum(reason is None for reason in verdicts.values())
    say(f"{data_dir}: {good:,} good images in {len(classes):,} class folders of {', '.join(s.name for s in splits)}")
    for kind, count in Counter(reason.split(":")[0] for reason in bad.values()).most_common():
        say(f"  {count:,} left out: {kind}")
    for suffix, count in passed_over.most_common(10):
        say(f"  {count:,} passed over, no suffix of an image: {suffix}")
    for folder, files in classes.items():
        if all(verdicts[file] for file in files):
            say(f"  no good image in class {folder}")
    output = Path(output or Path("runs/check") / f"{data_dir.resolve().name}.tsv")
    with whole_file(output) as temporary:
        # A name that is not UTF-8 is written as it is on the disk.
        lines = "".join(f"{path}\t{reason}\n" for path, reason in bad.items())
        temporary.write_bytes(os.fsencode(lines))
    return [output]


def _listed(folder: Path, bad: dict[Path, str]) -> list[Path]:
    """What is in a folder, by name; one that cannot be read goes to `bad`."""
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        bad[folder] = _unreadable(error)
        return []


class _Memory:
    """Verdicts of earlier runs, which other processes read and add to at the same time.

    It only saves time: where it cannot be read or written, all files are checked.
    """

    # Of these rules: others get another name.
    name = "images-1.sqlite"

    def __init__(self, folder: Path):
        self._base = None
        # What is no data base is removed, and the second try makes a new one.
        for _ in range(2):
            try:
                folder.mkdir(parents=True, exist_ok=True)
                self._base = sqlite3.connect(folder / self.name, timeout=30)
                self._base.execute(
                    "CREATE TABLE IF NOT EXISTS verdicts (path BLOB PRIMARY KEY, size INT, time INT, reason TEXT)"
                )
                return
            except (OSError, sqlite3.Error) as error:
                self.close()
                if type(error) is sqlite3.DatabaseError:
                    with contextlib.suppress(OSError):
                        (folder / self.name).unlink()

    def find(self, keys: Iterable[tuple | None]) -> dict[tuple, str | None]:
        """The verdicts of those keys that have one."""
        query = "SELECT reason FROM verdicts WHERE path = ? AND size = ? AND time = ?"
        known = {}
        with contextlib.suppress(sqlite3.Error):
            for key in filter(None, keys if self._base else ()):
                for (reason,) in self._base.execute(query, key):
                    known[key] = reason
        return known

    def add(self, found: dict[tuple | None, str | None]) -> None:
        # What keeps a file from being read is not the file's: that may change, and the file stay as it is.
        rows = [
            (*key, reason) for key, reason in found.items() if key and not (reason or "").startswith("cannot be read")
        ]
        if self._base and rows:
            with contextlib.suppress(sqlite3.Error), self._base:
                self._base.executemany("REPLACE INTO verdicts VALUES (?, ?, ?, ?)", rows)

    def close(self) -> None:
        if self._base:
            self._base.close()
        self._base = None
