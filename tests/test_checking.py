"""Which images are left out because MindSpore's decoder would end the run."""

import os
import signal
import sqlite3
import stat
import threading
from pathlib import Path

import pytest
from helpers import error_of, python
from images import make_folder, odd_images

from vit_ms import environment
from vit_ms.data.checking import check_data, check_images, image_files


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch) -> Path:
    """Verdicts are remembered within one test."""
    monkeypatch.setenv("VIT_MS_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def opened(monkeypatch) -> list[Path]:
    """The files that are opened during the test."""
    opened, read = [], Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: opened.append(path) or read(path))
    return opened


def _check(files, **options):
    return check_images(files, progress=False, **options)


# What training and evaluation do with every file that is not left out.
DECODE = """
import sys
import numpy as np
from mindspore.dataset import vision

crop = vision.RandomCropDecodeResize((16, 16))
for path in sys.argv[1:]:
    print(path, file=sys.stderr)
    data = np.fromfile(path, np.uint8)
    image = vision.Decode()(data)
    assert image.ndim == 3 and image.shape[2] == 3, image.shape
    for _ in range(5):
        assert crop(data).shape == (16, 16, 3)
print("all decoded")
"""


def test_every_kind_of_image_gets_its_verdict_and_what_passes_is_decoded(tmp_path):
    expected = odd_images(tmp_path / "class")
    verdicts = _check(expected)
    assert verdicts.keys() == expected.keys()
    for file, reason in expected.items():
        assert verdicts[file] == reason if reason is None else str(verdicts[file]).startswith(reason), file
    passed = [str(file) for file, reason in verdicts.items() if reason is None]
    result = python("-c", DECODE, *passed)
    assert result.returncode == 0 and "all decoded" in result.stdout, result.stderr[-500:]
    # MindSpore leaves a copy of what it cannot decode in the working folder.
    assert not list(Path().glob("*.jpg")) and not list(Path().glob("*.gif"))


# Each file is decoded in a process of its own; prints the signals that these end with, 0 for none.
DIE = """
import os, signal, sys
import numpy as np
from mindspore.dataset import vision

for path in sys.argv[1:]:
    if (child := os.fork()) == 0:
        signal.alarm(2)  # for one that waits for ever
        try:
            vision.Decode()(np.fromfile(path, np.uint8))
        finally:
            os._exit(0)
    print(os.WTERMSIG(os.waitpid(child, 0)[1]), flush=True)
"""


def test_mindspore_has_the_faults_that_the_check_is_for(tmp_path):
    odd_images(tmp_path / "class")
    ends = {
        "plain.jpg": 0,
        "in the header.jpg": signal.SIGFPE,
        "length.jpg": signal.SIGSEGV,
        "no tables.jpg": signal.SIGSEGV,
        "in a marker.jpg": signal.SIGALRM,
    }
    # "length.png" hangs on some machines and is read as blank on others.
    result = python("-c", DIE, *[str(tmp_path / "class" / name) for name in ends])
    assert list(map(int, result.stdout.split())) == list(ends.values())


def test_truncation_is_found_at_every_byte_of_the_header(tmp_path):
    odd_images(tmp_path / "class")
    files = []
    for kind in ("plain.jpg", "progressive.jpg", "palette.PNG"):
        data = (tmp_path / "class" / kind).read_bytes()
        for length in [*range(1, 700, 3), *range(700, len(data) - 20, 100)]:
            files.append(tmp_path / f"{length} of {kind}")
            files[-1].write_bytes(data[:length])
    assert [file.name for file, reason in _check(files).items() if reason is None] == []


def test_a_file_that_may_not_be_read_is_told_and_asked_again(tmp_path, monkeypatch):
    file = next((make_folder(tmp_path) / "train/class 0").iterdir())

    def denied(path):
        raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", denied)
        assert _check([file]) == {file: "cannot be read: Permission denied"}
    assert _check([file]) == {file: None}


def test_a_pipe_does_not_keep_the_check_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    assert _check([tmp_path / "pipe.jpg"]) == {tmp_path / "pipe.jpg": "not a file"}


def test_the_second_run_opens_only_what_has_changed(tmp_path, opened):
    expected = odd_images(tmp_path / "class")
    opened.clear()
    first = _check(expected)
    assert len(opened) > 20
    opened.clear()
    # Only what is no file's own fault is asked for again.
    assert _check(expected) == first and {file.name for file in opened} <= {"nowhere.jpg"}

    plain = tmp_path / "class" / "plain.jpg"
    before = plain.stat()
    plain.write_bytes(plain.read_bytes()[:-500])
    os.utime(plain, ns=(before.st_atime_ns, before.st_mtime_ns))
    opened.clear()
    assert _check([plain]) == {plain: "truncated"} and opened == [plain]
    plain.write_bytes(bytes(plain.stat().st_size))  # the same size
    os.utime(plain, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert _check([plain]) == {plain: "not an image"}


def test_verdicts_are_kept_by_absolute_path(tmp_path, monkeypatch, opened):
    make_folder(tmp_path / "data", train=1, val=1)
    monkeypatch.chdir(tmp_path / "data")
    relative = Path("train/class 0/0.jpg")
    assert _check([relative]) == {relative: None}
    opened.clear()
    assert _check([relative.absolute()]) == {relative.absolute(): None} and opened == []


def test_a_damaged_or_forbidden_memory_is_no_error(tmp_path, home, opened):
    files = image_files(make_folder(tmp_path) / "train/class 0")
    assert set(_check(files).values()) == {None}
    memory = next((home / "checked").iterdir())
    memory.write_bytes(b"not a data base " * 100)
    assert set(_check(files).values()) == {None}  # a new one takes its place
    opened.clear()
    assert set(_check(files).values()) == {None} and opened == []
    memory.write_bytes(memory.read_bytes()[:2000])
    assert set(_check(files).values()) == {None}
    memory.unlink()
    memory.mkdir()
    assert set(_check(files).values()) == {None} and len(opened) >= len(files)


def test_a_memory_that_another_process_is_writing_to_keeps_both(tmp_path, home, opened):
    folder = make_folder(tmp_path, train=40)
    files = [file for name in range(3) for file in image_files(folder / f"train/class {name}")]
    _check(files[:1])
    other = sqlite3.connect(next((home / "checked").iterdir()), check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    release = threading.Timer(1, other.rollback)
    release.start()
    threads = [threading.Thread(target=_check, args=(files[start::4],)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    other.close()
    opened.clear()
    assert set(_check(files).values()) == {None} and opened == []


def test_image_files_are_told_by_their_suffix_in_any_case(tmp_path):
    for name in ("b.JPG", "a.jpeg", "c.Png", "d.bmp", "e.tif", "f.TIFF", "g.gif", "h.webp", "i.txt", "j", ".k.jpg"):
        (tmp_path / name).touch()
    assert [file.name[0] for file in image_files(tmp_path)] == list("abcdefgh")
    assert image_files(tmp_path / "missing") == []


def test_check_data_counts_and_lists_what_is_left_out(tmp_path, monkeypatch):
    folder = make_folder(tmp_path / "photos", train=2, val=1)
    expected = odd_images(folder / "train" / "odd")
    left_out = {str(file) for file, reason in expected.items() if reason}
    (folder / "train" / "empty").mkdir()
    (folder / "train" / "broken").mkdir()
    (folder / "train" / "broken" / "one.jpg").touch()
    (folder / "train" / "loop").symlink_to("loop")
    (folder / "val" / "class 0" / "labels.csv").touch()
    (folder / "val" / "class 0" / "README").touch()
    forbidden = folder / "val" / "locked"
    forbidden.mkdir()
    listed = Path.iterdir

    def iterdir(path):
        if path == forbidden:
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    said = []
    (output,) = check_data(folder, say=said.append)
    assert output == Path("runs/check/photos.tsv")
    rows = dict(line.split("\t") for line in output.read_text(encoding="utf-8").splitlines())
    broken = str(folder / "train" / "broken" / "one.jpg")
    assert rows.keys() == left_out | {broken, str(forbidden)}
    assert rows[broken] == "empty" and rows[str(forbidden)] == "cannot be read: Permission denied"
    text = "\n".join(said)
    good = 3 * 2 + 3 * 1 + len(expected) - len(left_out)
    assert f"{good} good images" in text and "  2 left out: empty" in text and "  2 left out: cannot be read" in text
    assert "1 passed over, no suffix of an image: .csv" in text and "README" in text
    for name in ("train/empty", "train/broken", "val/locked"):
        assert f"no good image in class {folder / name}" in text
    assert "train/odd\n" not in text + "\n"
    assert check_data(folder, say=said.append, output=tmp_path / "list.tsv") == [tmp_path / "list.tsv"]


def test_check_data_writes_names_that_are_not_utf8(tmp_path):
    folder = tmp_path / "photos" / "train" / "class"
    folder.mkdir(parents=True)
    name = os.fsencode(folder) + b"/\xff.jpg"
    Path(os.fsdecode(name)).touch()
    (output,) = check_data(tmp_path / "photos", say=lambda line: None)
    assert output.read_bytes() == name + b"\tempty\n"


def test_check_data_needs_a_folder_with_splits(tmp_path):
    assert "no folder train" in error_of(check_data, tmp_path / "missing")
    assert "'digits'" in error_of(check_data, tmp_path, "digits")


def test_verdicts_are_kept_in_the_users_own_folder(tmp_path, home):
    _check(image_files(make_folder(tmp_path) / "train/class 0"))
    assert environment.home() == home
    assert [stat.S_ISREG(path.stat().st_mode) for path in (home / "checked").iterdir()] == [True]
