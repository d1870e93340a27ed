"""Archives are unpacked whole or not at all, and never outside their folder."""

import gzip
import io
import shutil
import stat
import struct
import tarfile
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
from helpers import error_of

from vit_ms.data.archives import extract
from vit_ms.data.download import one_at_a_time

FILES = {"data/one.txt": b"first", "data/inner/two.txt": b"second" * 1000, "three.txt": b""}


def tar(path: Path, files: dict[str, bytes] = FILES, *extra: tarfile.TarInfo) -> Path:
    """A .tar.gz of these files, in folders of their own, and then whatever else."""
    with tarfile.open(path, "w:gz") as archive:
        archive.add(path.parent, "data", recursive=False)
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        for member in extra:
            archive.addfile(member)
    return path


def zipped(path: Path, files: dict[str, bytes] = FILES, **attributes: int) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.mkdir("data") if hasattr(archive, "mkdir") else archive.writestr("data/", "")
        for name, content in files.items():
            member = zipfile.ZipInfo(name)
            member.external_attr = attributes.get("mode", 0o644) << 16
            archive.writestr(member, content, zipfile.ZIP_DEFLATED)
    return path


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("make, name", [(tar, "a.tar.gz"), (tar, "a.tgz"), (zipped, "a.zip")])
def test_an_archive_is_unpacked_once(make, name, tmp_path, capsys):
    archive = make(tmp_path / name)
    folder = extract([archive], tmp_path / "out")
    assert folder == tmp_path / "out" and contents(folder) == FILES
    assert f"unpacking {name}" in capsys.readouterr().err
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    archive.write_bytes(b"another")
    assert extract([archive], folder) == folder
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, "out"])


def test_several_archives_and_plain_files_become_one_folder(tmp_path):
    (tmp_path / "labels.mat").write_bytes(b"labels")
    archives = [zipped(tmp_path / "a.zip"), tar(tmp_path / "b.tgz", {"four.txt": b"4"}), tmp_path / "labels.mat"]
    assert contents(extract(archives, tmp_path / "out")) == {**FILES, "four.txt": b"4", "labels.mat": b"labels"}


EVIL = {
    "above": (lambda path: tar(path, {"../evil.txt": b"x"}), "evil.tgz", "would lie elsewhere"),
    "above, from inside": (lambda path: tar(path, {"data/../../evil.txt": b"x"}), "evil.tgz", "would lie elsewhere"),
    "absolute": (lambda path: tar(path, {str(path.parent / "evil.txt"): b"x"}), "evil.tgz", "would lie elsewhere"),
    "zip above": (lambda path: zipped(path, {"../evil.txt": b"x"}), "evil.zip", "would lie elsewhere"),
    "zip absolute": (
        lambda path: zipped(path, {str(path.parent / "evil.txt"): b"x"}),
        "evil.zip",
        "would lie elsewhere",
    ),
    "zip of Windows": (lambda path: zipped(path, {"..\\evil.txt": b"x"}), "evil.zip", "would lie elsewhere"),
    "link out": (lambda path: tar(path, {}, special("data/evil.txt", tarfile.SYMTYPE, "/etc")), "evil.tgz", "no file"),
    "link and file through it": (
        lambda path: tar(path, {}, special("x", tarfile.SYMTYPE, ".."), tarfile.TarInfo("x/evil.txt")),
        "evil.tgz",
        "no file",
    ),
    "hard link": (
        lambda path: tar(path, {}, special("evil.txt", tarfile.LNKTYPE, "../outside.txt")),
        "evil.tgz",
        "no file",
    ),
    "device": (lambda path: tar(path, {}, special("evil", tarfile.CHRTYPE)), "evil.tgz", "no file and no folder"),
    "pipe": (lambda path: tar(path, {}, special("evil", tarfile.FIFOTYPE)), "evil.tgz", "no file and no folder"),
    "zip link": (lambda path: zipped(path, {"evil": b"/etc"}, mode=stat.S_IFLNK | 0o777), "evil.zip", "no file"),
    "large": (lambda path: tar(path, {"evil": bytes(200_001)}), "evil.tgz", "more than a dataset of this kind may"),
    "large together": (
        lambda path: tar(path, {f"{number}": bytes(50_001) for number in range(4)}),
        "evil.tgz",
        "more than a dataset of this kind may",
    ),
    "zip large": (lambda path: zipped(path, {"evil": bytes(200_001)}), "evil.zip", "more than a dataset"),
    "many": (lambda path: tar(path, {f"{number}": b"" for number in range(60)}), "evil.tgz", "more than a dataset"),
    "zip many": (
        lambda path: zipped(path, {f"{number}": b"" for number in range(60)}),
        "evil.zip",
        "more than a dataset",
    ),
}


@pytest.mark.parametrize("case", EVIL)
def test_an_evil_archive_is_refused_and_leaves_nothing(case, tmp_path):
    make, name, words = EVIL[case]
    (tmp_path / "outside.txt").write_bytes(b"mine")
    room = tmp_path / "room"
    room.mkdir()
    make(tmp_path / name)
    message = error_of(extract, [tmp_path / name], room / "out", max_bytes=200_000, max_members=50)
    assert words in message and name in message
    assert list(room.iterdir()) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, "outside.txt", "room"])


def test_the_bounds_hold_for_all_archives_together(tmp_path):
    archives = [tar(tmp_path / f"{number}.tgz", {f"{number}": bytes(600)}) for number in range(2)]
    assert "1.tgz is refused" in error_of(extract, archives, tmp_path / "out", max_bytes=1000)
    assert "1.tgz is refused" in error_of(extract, archives, tmp_path / "out", max_members=3)
    assert len(contents(extract(archives, tmp_path / "out", max_bytes=1200, max_members=4))) == 2


def test_a_size_that_is_only_claimed_is_refused_before_anything_is_read(tmp_path):
    member = tarfile.TarInfo("data/huge")
    member.size = 1 << 50
    (tmp_path / "a.tgz").write_bytes(gzip.compress(member.tobuf() + bytes(1024)))
    assert "more than a dataset" in error_of(extract, [tmp_path / "a.tgz"], tmp_path / "out")


def test_a_header_that_claims_to_be_long_is_not_read_into_memory(tmp_path):
    """tarfile reads a long name whole, however long it says that it is: gigabytes of zeros take no room in a .tar.gz."""
    header = special("././@LongLink", tarfile.GNUTYPE_LONGNAME)
    header.size = 1 << 40
    (tmp_path / "a.tgz").write_bytes(gzip.compress(header.tobuf(tarfile.GNU_FORMAT) + bytes(1 << 20)))
    assert "longer than it may be" in error_of(extract, [tmp_path / "a.tgz"], tmp_path / "out")


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(bytes(content))


def _wrong_sum(path: Path) -> None:
    """The last thing in the file, which a reader of tar has no need to look at."""
    content = bytearray(path.read_bytes())
    content[-8:-4] = struct.pack("<I", 1)
    path.write_bytes(bytes(content))


def _replace(path: Path) -> None:
    path.write_bytes(b"<html>not found</html>")


@pytest.mark.parametrize(
    "make, name, spoil",
    [(tar, "a.tgz", spoil) for spoil in (_cut, _flip, _wrong_sum, _replace)]
    + [(zipped, "a.zip", spoil) for spoil in (_cut, _flip, _replace)],
)
def test_a_damaged_archive_is_told_and_leaves_nothing(make, name, spoil, tmp_path):
    archive = make(tmp_path / name, {"data/noise": np.random.default_rng(0).bytes(5000)})
    spoil(archive)
    message = error_of(extract, [archive], tmp_path / "out")
    assert f"{archive} is damaged" in message and "fetch it again" in message
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_an_interrupted_unpacking_begins_anew(tmp_path, monkeypatch):
    archive = tar(tmp_path / "a.tgz")
    copy = shutil.copyfileobj

    def stop(source, target, length=0):
        copy(source, target)
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "copyfileobj", stop)
    with pytest.raises(KeyboardInterrupt):
        extract([archive], tmp_path / "out")
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir()] == ["a.tgz"]
    # Killed, it could not tidy up.
    (tmp_path / ".out.partial").mkdir()
    (tmp_path / ".out.partial" / "half.txt").write_bytes(b"ha")
    assert contents(extract([archive], tmp_path / "out")) == FILES
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tgz", "out"]


def test_no_room_is_one_line(tmp_path, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    archive = tar(tmp_path / "a.tgz")
    monkeypatch.setattr(shutil, "copyfileobj", full)
    message = error_of(extract, [archive], tmp_path / "out")
    assert "a.tgz cannot be unpacked into" in message and "No space left on device" in message
    assert [path.name for path in tmp_path.iterdir()] == ["a.tgz"]


def test_one_waits_while_another_unpacks(tmp_path):
    """The ranks of a run come all at once; the lock is the kernel's, so two threads stand for two processes."""
    archive, done = tar(tmp_path / "a.tgz"), threading.Event()

    def second():
        extract([archive], tmp_path / "out")
        done.set()

    with one_at_a_time(tmp_path):
        thread = threading.Thread(target=second)
        thread.start()
        assert not done.wait(0.3) and not (tmp_path / "out").exists()
    thread.join(10)
    assert contents(tmp_path / "out") == FILES
