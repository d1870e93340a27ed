"""Archives unpacked whole, or not at all, and never outside their folder."""

import gzip
import io
import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import tqdm

from vit_ms.data.download import one_at_a_time
from vit_ms.errors import UserError

MAX_BYTES = 4 << 30
MAX_MEMBERS = 100_000

# All that the readers raise on damaged files; zlib's and lzma's errors come through them as they are.
_DAMAGED = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError, ValueError)


def extract(archives: Sequence[Path], folder: Path, max_bytes: int = MAX_BYTES, max_members: int = MAX_MEMBERS) -> Path:
    """Unpack archives into one folder, which is there when all of them are whole; if it is there, nothing is done.

    Args:
        archives (Sequence[Path]): .zip, .tar.gz or .tgz files; any other file is copied as it is.
        folder (Path): new; beside it a temporary one grows, which an interrupted unpacking may leave for the next to remove.
        max_bytes (int): how large all files together may become.
        max_members (int): how many there may be.

    Returns:
        Path, folder.

    Raises:
        UserError: If an archive is damaged or has more than it may, a member that would lie outside folder, or one that is
            neither file nor folder, or if there is no room.
    """
    temporary = folder.with_name(f".{folder.name}.partial")
    try:
        with one_at_a_time(folder.parent):
            if folder.is_dir():
                return folder
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir()
            try:
                for archive in archives:
                    max_bytes, max_members = _unpack(archive, temporary.resolve(), max_bytes, max_members)
                temporary.rename(folder)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        names = " and ".join(archive.name for archive in archives)
        raise UserError(
            f"{names} cannot be unpacked into {folder} ({error.strerror or error}): make room, or unpack by hand"
        ) from None
    return folder


def _unpack(archive: Path, folder: Path, max_bytes: int, max_members: int) -> tuple[int, int]:
    """Unpack one archive; what is left of the bounds."""
    with (
        archive.open("rb") as file,
        # The bar runs over the archive's own bytes, which are known before it is read.
        tqdm.tqdm.wrapattr(file, "read", archive.stat().st_size, desc=f"unpacking {archive.name}", leave=False) as raw,
    ):
        try:
            for name, size, content in _members(archive, raw, max_bytes):
                max_bytes, max_members = max_bytes - size, max_members - 1
                if max_bytes < 0 or max_members < 0:
                    raise UserError(f"{archive} is refused: it holds more than a dataset of this kind may")
                path = (folder / name).resolve()
                if not path.is_relative_to(folder) or "\\" in name:
                    raise UserError(f"{archive} is refused: its member {name!r} would lie elsewhere")
                if content is None:
                    path.mkdir(parents=True, exist_ok=True)
                    continue
                path.parent.mkdir(parents=True, exist_ok=True)
                with content, path.open("wb") as target:
                    shutil.copyfileobj(content, target, 1 << 20)
        except UserError:
            raise
        except (*_DAMAGED, gzip.BadGzipFile) as error:
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise UserError(f"{archive} is damaged ({reason}): remove it and fetch it again") from None
    return max_bytes, max_members


def _members(archive: Path, raw: BinaryIO, max_bytes: int) -> Iterator[tuple[str, int, BinaryIO | None]]:
    """Name, size and content (None: a folder) of what an archive holds."""
    if archive.suffix == ".zip":
        with zipfile.ZipFile(raw) as opened:
            for member in opened.infolist():
                kind = stat.S_IFMT(member.external_attr >> 16)
                if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                    raise UserError(f"{archive} is refused: its member {member.filename!r} is no file and no folder")
                yield member.filename, member.file_size, None if member.is_dir() else opened.open(member)
    elif archive.name.endswith((".tar.gz", ".tgz")):
        bounded = _Bounded(gzip.GzipFile(fileobj=raw), max_bytes)
        with tarfile.open(fileobj=bounded, mode="r:") as opened:
            for member in opened:
                if not (member.isfile() or member.isdir()):
                    raise UserError(f"{archive} is refused: its member {member.name!r} is no file and no folder")
                yield member.name, member.size, opened.extractfile(member)
        # tarfile takes a damaged header for the end; the checksum of all stands behind the last byte.
        while bounded.read(1 << 20):
            pass
    else:
        yield archive.name, archive.stat().st_size, io.BufferedReader(raw)


class _Bounded:
    """A stream that ends with an error where it grows too long: tarfile takes the headers' word for how much to read."""

    def __init__(self, stream: BinaryIO, limit: int):
        self.stream, self.limit, self.seek, self.tell = stream, 2 * limit + (1 << 24), stream.seek, stream.tell

    def read(self, size: int = -1) -> bytes:
        if size > self.limit or self.tell() > self.limit:
            raise tarfile.ReadError("longer than it may be")
        return self.stream.read(size)
