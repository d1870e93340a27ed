"""Datasets as MindRecord: the same rows, whatever ends the writing, and damage is told."""

import io
import json
import signal
from pathlib import Path

import numpy as np
import pytest
from helpers import error_of, python
from images import make_folder
from mindspore.mindrecord import FileWriter
from PIL import Image

from vit_ms import runtime
from vit_ms.data import mindrecord
from vit_ms.data.batches import eval_batches
from vit_ms.data.catalog import open_dataset
from vit_ms.data.folder import Folder
from vit_ms.data.mindrecord import MindRecord, prepare
from vit_ms.data.sources import Arrays
from vit_ms.data.transforms import Preprocessing
from vit_ms.errors import UserError


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch, clean_state) -> None:
    runtime.setup("CPU", "pynative")
    monkeypatch.setenv("VIT_MS_HOME", str(tmp_path / "home"))


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    return make_folder(tmp_path_factory.mktemp("photos") / "with space é", classes=3, train=7, val=3)


def rows(dataset, split: str, order=None, workers: int = 1) -> list[tuple[bytes, int]]:
    read = dataset.read(split, order, workers).create_dict_iterator(num_epochs=1, output_numpy=True)
    return [(row["image"].tobytes(), int(row["label"])) for row in read]


def all_rows(dataset) -> dict:
    return {split: rows(dataset, split) for split in dataset.splits}


def tiny(seed: int = 0) -> Arrays:
    """Grey images of 2x3 pixels; some are black to the end, where bytes could be cut off."""
    images = np.random.default_rng(seed).integers(0, 256, (11, 2, 3, 1), dtype=np.uint8)
    images[3:6] = 0
    return Arrays({"train": images, "val": images[:4]}, {"train": np.arange(11) % 2, "val": [1, 0, 1, 0]}, ["a", "b"])


def test_a_folder_is_written_byte_for_byte_and_read_in_any_order(photos, tmp_path):
    said = []
    written = prepare(photos, tmp_path / "out é", shards=3, say=said.append)
    assert [path.name for path in written[1:4]] == [f"train-{number:05d}-of-00003.mindrecord" for number in range(3)]
    assert all(path.is_file() for path in written) and len(written) == 1 + 3 + 3
    assert said == [f"{tmp_path / 'out é'}: 21 train, 9 val images in 6 shards"]
    folder, record = Folder(photos), MindRecord(tmp_path / "out é")
    assert (record.classes, record.splits) == (folder.classes, folder.splits)
    assert (record.channels, record.encoded, record.left_out) == (3, True, [])
    assert all_rows(record) == all_rows(folder)
    assert {split: record.size(split) for split in record.splits} == {"train": 21, "val": 9}
    order = [20, 0, 7, 7, 13, 6, 14, 1]
    for workers in (1, 2):
        assert rows(record, "train", order, workers) == rows(folder, "train", order)
    assert rows(record, "train", np.array([5, 4])) == rows(folder, "train", [5, 4])
    assert record.describe("val", 4) == str(Path("val", "class 1", "1.jpg"))
    network = Preprocessing(16, 3, [0.5] * 3, [0.5] * 3)
    batches = (eval_batches(data, "val", network, 9) for data in (folder, record))
    one, other = (next(batch.create_tuple_iterator(output_numpy=True)) for batch in batches)
    assert np.array_equal(one[0], other[0]) and np.array_equal(one[1], other[1])


def test_arrays_stay_pixels_with_their_channels(tmp_path):
    prepare(tiny(), tmp_path / "out", say=print)
    record = open_dataset("mindrecord", str(tmp_path / "out"))
    assert (record.channels, record.encoded, record.classes) == (1, False, ("a", "b"))
    row = next(record.read("train", [9]).create_dict_iterator(num_epochs=1, output_numpy=True))
    assert row["image"].shape == (2, 3, 1) and row["image"].dtype == np.uint8
    assert all_rows(record) == all_rows(tiny())
    assert record.describe("train", 9) == "train[9]"
    # What was written can be written again, in other shards.
    prepare(record, tmp_path / "again", shards=2)
    assert all_rows(MindRecord(tmp_path / "again")) == all_rows(record)


def test_a_shard_of_small_images_is_small_itself(tmp_path):
    """MindRecord's own sizes would make 48 MB of it."""
    prepare(tiny(), tmp_path / "out")
    assert sum(path.stat().st_size for path in (tmp_path / "out").iterdir()) < 5e6


def test_more_shards_than_images_are_as_many_as_images(tmp_path):
    assert len(prepare(tiny(), tmp_path / "out", shards=9)) == 1 + 9 + 4
    assert all_rows(MindRecord(tmp_path / "out")) == all_rows(tiny())


def test_images_are_made_smaller_but_never_larger(tmp_path):
    root = make_folder(tmp_path / "photos", classes=1, train=3, val=1, size=(64, 48))
    Image.new("L", (200, 31)).save(root / "train" / "class 0" / "a.png")
    Image.new("P", (31, 200)).save(root / "train" / "class 0" / "b.png")
    prepare(root, tmp_path / "out", image_size=32, num_parallel_workers=2)
    small = {path.name: path.read_bytes() for path in (root / "train" / "class 0").glob("*.png")}
    record = MindRecord(tmp_path / "out")
    for index, (content, _) in enumerate(rows(record, "train")):
        image, name = Image.open(io.BytesIO(content)), Path(record.describe("train", index)).name
        if name in small:
            assert content == small[name]
        else:
            # 64 rows and 48 columns; red stays by far the strongest.
            assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (32, 43))
            assert (np.asarray(image).reshape(-1, 3).mean(0) > [190, 0, 0]).all()
    assert "image_size 32 is for images in files" in error_of(prepare, tiny(), tmp_path / "new", image_size=32)
    assert "shards is 0" in error_of(prepare, tiny(), tmp_path / "new", shards=0)
    assert not (tmp_path / "new").exists()


# What may end the writing.


def _count_writes(monkeypatch) -> list[str]:
    """The shards that are written from now on."""
    written, init = [], FileWriter.__init__

    def counting(self, name, *args, **kwargs):
        written.append(Path(name).name)
        init(self, name, *args, **kwargs)

    monkeypatch.setattr(FileWriter, "__init__", counting)
    return written


def test_a_second_preparation_writes_nothing_again(photos, tmp_path, monkeypatch):
    prepare(photos, tmp_path / "out", shards=2)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    written = _count_writes(monkeypatch)
    prepare(photos, tmp_path / "out", shards=2)
    after = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    assert written == [] and after == before


# What is done one after the other to write a shard.
STEPS = (
    (FileWriter, "write_raw_data"),
    (FileWriter, "commit"),
    (mindrecord, "_rows"),
    (mindrecord, "_save"),
    (Path, "replace"),
)


class Killed(BaseException):
    pass


def _before_step(number: int, act, patch) -> None:
    """Call `act` before the step of writing with this number, from 1."""
    count = 0

    def counted(step):
        def call(*args, **kwargs):
            nonlocal count
            count += 1
            if count == number:
                act()
            return step(*args, **kwargs)

        return call

    for place, name in STEPS:
        patch.setattr(place, name, counted(getattr(place, name)))


def test_ended_before_any_step_it_goes_on_and_nothing_half_is_taken_for_whole(tmp_path, monkeypatch):
    source = Arrays({"train": tiny().images["train"]}, {"train": np.arange(11) % 2}, ["a", "b"])
    remove = mindrecord.shutil.rmtree
    for number in range(1, 17):
        output, killed = tmp_path / str(number), []

        def kill(killed=killed):
            killed.append(True)
            raise Killed

        with monkeypatch.context() as patch:
            # Who is killed does not tidy up.
            patch.setattr(
                mindrecord.shutil, "rmtree", lambda *args, killed=killed, **how: killed or remove(*args, **how)
            )
            _before_step(number, kill, patch)
            with pytest.raises(Killed):
                prepare(source, output, shards=2, say=str)
        message = error_of(MindRecord, output)
        assert "was not prepared to the end" in message or "holds no dataset.json" in message
        with monkeypatch.context() as patch:
            written = _count_writes(patch)
            prepare(source, output, shards=2, say=str)
        # The first shard is noted when its seven steps are done, after two of the beginning.
        assert len(written) == (2 if number <= 9 else 1)
        assert all_rows(MindRecord(output)) == all_rows(source)
        assert not (output / ".partial").exists()
    with monkeypatch.context() as patch:  # there are no more steps
        _before_step(17, kill, patch)
        prepare(source, tmp_path / "17", shards=2, say=str)


KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
from pytest import MonkeyPatch
from test_mindrecord import _before_step, prepare, tiny
_before_step(int(sys.argv[2]), lambda: os.kill(os.getpid(), signal.SIGKILL), MonkeyPatch())
prepare(tiny(), "out", shards=2)
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [4, 7, 8, 12])
def test_killed_for_good_it_goes_on(number, tmp_path):
    ended = python("-c", KILLED, str(Path(__file__).parent), str(number), cwd=tmp_path)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert "was not prepared to the end" in error_of(MindRecord, tmp_path / "out")
    prepare(tiny(), tmp_path / "out", shards=2)
    assert all_rows(MindRecord(tmp_path / "out")) == all_rows(tiny())
    assert not (tmp_path / "out" / ".partial").exists()


def test_another_dataset_in_the_folder_is_refused(photos, tmp_path):
    prepare(tiny(), tmp_path / "out", shards=2)
    before = {path: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert "holds another dataset, or other splits of it" in error_of(prepare, tiny(), tmp_path / "out", shards=3)
    assert "or other classes of it" in error_of(prepare, photos, tmp_path / "out", shards=2)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    assert "is not empty, it holds thesis.txt" in error_of(prepare, tiny(), tmp_path / "mine")
    assert {path: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


def test_a_damaged_shard_is_written_again_and_only_it(tmp_path, monkeypatch):
    prepare(tiny(), tmp_path / "out", shards=3)
    name = "train-00001-of-00003.mindrecord"
    _flip(tmp_path / "out" / name)
    written = _count_writes(monkeypatch)
    prepare(tiny(), tmp_path / "out", shards=3)
    assert written == [name] and all_rows(MindRecord(tmp_path / "out")) == all_rows(tiny())


@pytest.mark.parametrize("method", ["write_raw_data", "commit"])
def test_no_room_is_one_line_and_what_was_whole_stays(method, tmp_path, monkeypatch):
    calls, original = [], getattr(FileWriter, method)

    def full(self, *args, **kwargs):
        calls.append(1)
        if len(calls) == 2:
            raise RuntimeError("Failed to write file, no space left\n - C++ Call Stack\n")
        return original(self, *args, **kwargs)

    monkeypatch.setattr(FileWriter, method, full)
    message = error_of(prepare, tiny(), tmp_path / "out", shards=2)
    assert f"{tmp_path / 'out'} cannot be written (Failed to write file, no space left): make room" in message
    monkeypatch.undo()
    written = _count_writes(monkeypatch)
    prepare(tiny(), tmp_path / "out", shards=2)
    assert len(written) == 3 and all_rows(MindRecord(tmp_path / "out")) == all_rows(tiny())


def test_an_image_that_mindrecord_cannot_take_is_named(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(mindrecord, "MAX_BYTES", 500)
    message = error_of(prepare, photos, tmp_path / "out")
    assert message.startswith(f"{photos / 'train' / 'class 0' / '0.jpg'} has ") and "image_size" in message


def test_names_that_are_not_utf_8_are_written_as_far_as_they_can_be(tmp_path):
    dataset = tiny()
    dataset.describe = lambda split, index: f"photos/{split}/\udcff{index}.jpg"
    prepare(dataset, tmp_path / "out")
    assert MindRecord(tmp_path / "out").names("val", [2, 0]) == ["val/\ufffd2.jpg", "val/\ufffd0.jpg"]


def test_rows_that_get_lost_are_noticed(tmp_path, monkeypatch):
    write = FileWriter.write_raw_data
    monkeypatch.setattr(FileWriter, "write_raw_data", lambda self, some: write(self, some[1:]))
    assert "has 10 images instead of 11" in error_of(prepare, tiny(), tmp_path / "out")


# What may have become of the files.


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[40] ^= 0xFF
    path.write_bytes(bytes(content))


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def _text(path: Path) -> None:
    path.write_bytes(b"not a shard".ljust(path.stat().st_size))


DAMAGE = {
    "missing": (Path.unlink, ".mindrecord", "is missing"),
    "missing index": (Path.unlink, ".mindrecord.db", "is missing"),
    "cut": (_cut, ".mindrecord", "has another size"),
    "cut index": (_cut, ".mindrecord.db", "has another size"),
    "header": (_flip, ".mindrecord", "is damaged"),
    "text": (_text, ".mindrecord", "is damaged"),
    "text as index": (_text, ".mindrecord.db", "is damaged"),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "out"
    prepare(tiny(), folder, shards=2)
    return folder


@pytest.mark.parametrize("case", DAMAGE)
def test_a_damaged_or_missing_shard_is_one_line(case, whole):
    spoil, suffix, words = DAMAGE[case]
    path = whole / f"train-00001-of-00002{suffix}"
    content = path.read_bytes()
    try:
        spoil(path)
        message = error_of(MindRecord, whole)
        assert message.startswith(str(whole / "train-00001-of-00002.mindrecord"))
        assert words in message and f"--output {whole} again" in message
    finally:
        path.write_bytes(content)
    assert all_rows(MindRecord(whole)) == all_rows(tiny())


def test_a_shard_under_another_name_is_damaged(whole):
    """MindRecord's index holds the file's name: shards are never renamed."""
    one, other = whole / "train-00000-of-00002.mindrecord", whole / "train-00001-of-00002.mindrecord"
    pairs = [(path, path.with_name(path.name + ".db")) for path in (one, other)]
    contents = {path: path.read_bytes() for pair in pairs for path in pair}
    try:
        for path, index in pairs:
            twin = next(pair for pair in pairs if pair[0] != path)
            path.write_bytes(contents[twin[0]])
            index.write_bytes(contents[twin[1]])
        with pytest.raises(UserError):
            MindRecord(whole)
    finally:
        for path, content in contents.items():
            path.write_bytes(content)


def test_changed_pixels_are_found_by_verify(whole):
    record, path = MindRecord(whole), whole / "val-00001-of-00002.mindrecord"
    assert record.verify() == []
    content = path.read_bytes()
    image = tiny().images["val"][2].tobytes()
    assert content.count(image) == 1
    try:
        path.write_bytes(content.replace(image, image[::-1]))
        assert MindRecord(whole).verify() == [f"{path}: its bytes have changed"]
    finally:
        path.write_bytes(content)


@pytest.mark.parametrize("content", [None, "", "[]", '{"format": 2}', "{"])
def test_a_folder_that_prepare_did_not_write_is_told(content, tmp_path):
    if content is not None:
        (tmp_path / "dataset.json").write_text(content)
    assert f"{tmp_path} holds no dataset.json that `python -m vit_ms prepare" in error_of(MindRecord, tmp_path)


def test_the_index_names_the_broken_images_that_were_left_out(tmp_path):
    said, dataset = [], tiny()
    dataset.left_out = ["a.jpg: truncated"]
    prepare(dataset, tmp_path / "out", say=said.append)
    assert said[0] == f"broken images left out: 1, listed in {tmp_path / 'out' / 'dataset.json'}"
    assert json.loads((tmp_path / "out" / mindrecord.INDEX).read_text())["left_out"] == dataset.left_out
