"""Files fetched once, verified, and only then under their own names."""

import contextlib
import hashlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlparse

import tqdm

from vit_ms import environment
from vit_ms.errors import UserError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None


@contextlib.contextmanager
def one_at_a_time(folder: Path) -> Iterator[None]:
    """Wait until no other process is in such a block for this folder: the ranks of a run all want the same files at once."""
    if fcntl is None:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some network file systems have no locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)  # ends with the process, however that ends
        yield
    finally:
        os.close(descriptor)


def fetch(
    url: str,
    kind: str,
    sha256: str | None = None,
    size: int | None = None,
    name: str | None = None,
    md5: str | None = None,
) -> Path:
    """The path of a published file, which is downloaded if it is not there yet.

    Args:
        url (str): begins with https://.
        kind (str): the folder within vit_ms's own that it is kept in, `"weights"` for example.
        sha256 (str): its hash in hexadecimal digits, or their beginning; None: none is published.
        size (int): its bytes; None: not published.
        name (str): what it is called here; None: the last part of url.
        md5 (str): its hash where only that one is published: it tells a damaged file, not a forged one.

    Returns:
        Path, of the whole and verified file.

    Raises:
        UserError: If url is not https, the file cannot be fetched, or it is not what was published; it says where to put one
            that was fetched by hand.
    """
    if urlparse(url).scheme != "https":
        raise UserError(f"{url} is not fetched: only https:// says who answers")
    path = environment.home() / kind / (name or Path(unquote(urlparse(url).path)).name)
    published = (url, {"sha256": sha256, "md5": md5}, size)
    if path.is_file():
        _verify(path, path, *published)
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with one_at_a_time(path.parent):
        if not path.is_file():  # another process may have fetched it meanwhile
            # `download` goes on with a part that it finds, so an interrupted one keeps its name.
            temporary = path.with_name(f".{path.name}.download")
            _download(url, temporary, path)
            _verify(temporary, path, *published)
            temporary.replace(path)
    return path


def _download(url: str, temporary: Path, path: Path) -> None:
    try:
        from download import download

        with contextlib.redirect_stdout(sys.stderr):  # where progress belongs; it prints some of it
            download(url, str(temporary), kind="file", progressbar=True, replace=True, timeout=30.0, verbose=False)
    except ImportError:
        raise UserError("fetching needs the package download: pip install download") from None
    except Exception as error:  # whatever the network, its proxies and the package make of it
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(
            f"{url} cannot be fetched ({reason[-1]}): fetch it where there is a network, and put it at {path}"
        ) from None


def _verify(found: Path, path: Path, url: str, hashes: dict[str, str | None], size: int | None) -> None:
    remedy = f"remove {found} and fetch {url} again"
    if found.stat().st_size == 0 or (size is not None and found.stat().st_size != size):
        wanted = "" if size is None else f" instead of {size}"
        raise UserError(f"{path.name} has {found.stat().st_size} bytes{wanted}: {remedy}")
    for algorithm, published in hashes.items():
        if published is not None and not digest(found, algorithm).startswith(published):
            raise UserError(
                f"{path.name} is not the published file, its {algorithm} does not begin with {published}: {remedy}"
            )


def digest(path: Path, algorithm: str = "sha256") -> str:
    """The hash of a file in hexadecimal digits, with a bar where it takes long."""
    hashed = hashlib.new(algorithm, usedforsecurity=algorithm != "md5")
    with (
        path.open("rb") as file,
        tqdm.tqdm(
            total=path.stat().st_size, unit="B", unit_scale=True, desc=f"verifying {path.name}", leave=False
        ) as bar,
    ):
        while block := file.read(1 << 22):
            hashed.update(block)
            bar.update(len(block))
    return hashed.hexdigest()
