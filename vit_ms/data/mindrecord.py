"""Datasets as MindRecord: a few large files in the place of many small ones, which is what clusters' file systems like."""

import contextlib
import hashlib
import io
import json
import math
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import mindspore.dataset as ds
import numpy as np
import tqdm
from mindspore.mindrecord import FileWriter
from mindspore.mindrecord.common.exceptions import MindRecordException
from PIL import Image

from vit_ms.data.download import digest, one_at_a_time
from vit_ms.data.folder import Folder
from vit_ms.errors import UserError, check_positive
from vit_ms.files import whole_file

INDEX = "dataset.json"
IMAGES_A_SHARD = 4096
MAX_BYTES = 33_000_000  # of an image: MindRecord's pages have 32 MiB, and no row goes over two
_SCHEMA = {"image": {"type": "bytes"}, "label": {"type": "int32"}, "file": {"type": "string"}}


def prepare(
    source,
    output: str | Path,
    shards: int | None = None,
    image_size: int | None = None,
    num_parallel_workers: int = 1,
    say: Callable[[str], None] = print,
) -> list[Path]:
    """Write a dataset as MindRecord shards, which `MindRecord(output)` reads; called again, it goes on where it was ended.

    A shard is written in a folder of its own and moved when it is whole; `dataset.json` says from the beginning what is to
    be written, and of each shard that is there its hash.

    Args:
        source: a dataset as the catalog opens it, or the folder of one (str or Path) in the ImageNet layout.
        output (str or Path): a folder, new or with a part of the same.
        shards (int): files for each split; None: one for every 4,096 images.
        image_size (int): images whose shorter side is longer are resized to it and written as JPEG; None: all stay as
            they are, byte for byte.
        num_parallel_workers (int): threads that read and resize.
        say (Callable): takes what there is to say.

    Returns:
        list[Path], dataset.json and the shards.

    Raises:
        UserError: If output holds something else, there is no room, or image_size is given for images that are no files.
    """
    dataset = Folder(source) if isinstance(source, (str, Path)) else source
    output = Path(output)
    given = {"shards": shards, "image_size": image_size}
    check_positive(**{name: value for name, value in given.items() if value is not None})
    if image_size is not None and not dataset.encoded:
        raise UserError(f"image_size {image_size} is for images in files; these stay as they are: leave it out")
    names = _names(dataset)
    plan = _plan(dataset, names, shards, image_size)
    all_shards = [(split, shard) for split, part in plan["splits"].items() for shard in part["shards"]]
    try:
        output.mkdir(parents=True, exist_ok=True)
        with (
            one_at_a_time(output),
            tqdm.tqdm(total=sum(map(len, names.values())), unit="image", desc="preparing") as bar,
            ThreadPoolExecutor(num_parallel_workers) as threads,
        ):
            _go_on(output, plan)
            for split, shard in all_shards:
                if "files" in shard:
                    bar.update(shard["stop"] - shard["start"])
                    continue
                rows = _read(dataset, split, shard, names[split], image_size, num_parallel_workers, threads)
                small = not dataset.encoded and math.prod(plan["splits"][split]["shape"]) < 1 << 16
                _write(output / shard["name"], rows, shard["stop"] - shard["start"], small, bar)
                shard["files"] = {path.name: _fingerprint(path) for path in _pair(output / shard["name"])}
                _save(output, plan)
    except OSError as error:
        raise UserError(
            f"{output} cannot be written ({error.strerror or error}): make room; the same command then goes on"
        ) from None
    if dataset.left_out:
        say(f"broken images left out: {len(dataset.left_out)}, listed in {output / INDEX}")
    sizes = ", ".join(f"{len(names[split]):,} {split}" for split in names)
    say(f"{output}: {sizes} images in {len(all_shards)} shards")
    return [output / INDEX, *(output / shard["name"] for _, shard in all_shards)]


def _names(dataset) -> dict[str, list[str]]:
    """What the images of each split are called, within the folder that has them all, wherever that lies."""
    names = {
        # Of a MindRecord all at once: each name would be a search through its index.
        split: dataset.names(split)
        if isinstance(dataset, MindRecord)
        else [dataset.describe(split, index) for index in range(dataset.size(split))]
        for split in dataset.splits
    }
    folder = os.path.commonpath([os.path.dirname(name) for part in names.values() for name in part])  # noqa: PTH120
    inner = {split: [name[len(folder) :].lstrip(os.sep) for name in part] for split, part in names.items()}
    # MindRecord takes no name that is not UTF-8.
    return {split: [os.fsencode(name).decode(errors="replace") for name in part] for split, part in inner.items()}


def _plan(dataset, names: dict[str, list[str]], shards: int | None, image_size: int | None) -> dict:
    """What dataset.json says before anything is written. Two preparations go together if they have the same."""
    splits = {}
    for split, part in names.items():
        images = len(part)
        count = min(shards or -(-images // IMAGES_A_SHARD), images)
        bounds = [images * number // count for number in range(count + 1)]
        splits[split] = {
            "images": images,
            # Not of the pixels, which would take as long as writing them.
            "sha256_of_names": hashlib.sha256("\n".join(part).encode()).hexdigest(),
            "shape": None if dataset.encoded else list(_first_image(dataset, split).shape),
            "shards": [
                {"name": f"{split}-{number:05d}-of-{count:05d}.mindrecord", "start": start, "stop": stop}
                for number, (start, stop) in enumerate(pairwise(bounds))
            ],
        }
    return {
        "format": 1,
        "classes": list(dataset.classes),
        "channels": dataset.channels,
        "encoded": dataset.encoded,
        "image_size": image_size,
        "left_out": list(dataset.left_out),
        "splits": splits,
    }


def _first_image(dataset, split: str) -> np.ndarray:
    return next(dataset.read(split, [0]).create_dict_iterator(num_epochs=1, output_numpy=True))["image"]


def _go_on(output: Path, plan: dict) -> None:
    """Begin, or take over into the plan what was written before and still is as it was written."""
    if not (output / INDEX).exists():
        if strangers := [path.name for path in output.iterdir() if path.name[0] != "."]:
            raise UserError(f"{output} is not empty, it holds {strangers[0]}: choose a new folder")
        _save(output, plan)
        return
    found = _read_index(output)
    written = {}
    for part in found["splits"].values():
        for shard in part["shards"]:
            written[shard["name"]] = shard.pop("files", {})
    if found != plan:
        other = next((key for key in plan if found.get(key) != plan[key]), "things")
        raise UserError(f"{output} holds another dataset, or other {other} of it: choose a new folder, or remove it")
    for part in plan["splits"].values():
        for shard in part["shards"]:
            files = written[shard["name"]]
            if files and all(
                (output / name).is_file() and _fingerprint(output / name) == files[name] for name in files
            ):
                shard["files"] = files


def _save(output: Path, index: dict) -> None:
    with whole_file(output / INDEX) as path:
        path.write_text(json.dumps(index, indent=1), "utf-8")


def _read(dataset, split, shard, names, image_size, workers, threads) -> Iterator[list[dict]]:
    """A shard's rows, some at a time."""
    order = range(shard["start"], shard["stop"])
    images = dataset.read(split, order, workers).create_dict_iterator(num_epochs=1, output_numpy=True)
    for start in range(0, len(order), 64):
        indices = order[start : start + 64]
        rows = [next(images) for _ in indices]
        contents = [row["image"].tobytes() for row in rows]
        if image_size is not None:
            contents = list(threads.map(_shrink, contents, [image_size] * len(contents)))
        for content, index in zip(contents, indices, strict=True):
            if len(content) > MAX_BYTES:
                raise UserError(
                    f"{dataset.describe(split, index)} has {len(content)} bytes, more than the {MAX_BYTES} that MindRecord "
                    "takes: remove it, or make it smaller with image_size"
                )
        yield [
            {"image": content, "label": int(row["label"]), "file": names[index]}
            for content, row, index in zip(contents, rows, indices, strict=True)
        ]


def _shrink(content: bytes, image_size: int) -> bytes:
    """The bytes of an image whose shorter side is at most image_size."""
    with Image.open(io.BytesIO(content)) as image:
        if min(image.size) <= image_size:
            return content
        scale = image_size / min(image.size)
        image.draft(
            "RGB", (image_size * 2, image_size * 2)
        )  # JPEGs are decoded at half or quarter size, which is faster
        sides = [max(image_size, round(side * scale)) for side in image.size]
        smaller = io.BytesIO()
        image.convert("RGB").resize(sides, Image.Resampling.BICUBIC).save(smaller, "JPEG", quality=95)
        return smaller.getvalue()


def _write(path: Path, rows: Iterator[list[dict]], count: int, small: bool, bar: tqdm.tqdm) -> None:
    """One shard, under its name when it is whole. MindRecord allows no other name: its index holds it."""
    temporary = path.parent / ".partial"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        writer = FileWriter(str(temporary / path.name), 1)
        # Each shard begins with a header of 16 MB and grows by pages of 32, unless it is told otherwise.
        writer.set_header_size(1 << 20)
        if small:
            writer.set_page_size(1 << 20)
        writer.add_schema(_SCHEMA, "images of vit_ms")
        for some in rows:
            with _as_os_error():
                writer.write_raw_data(some)
            bar.update(len(some))
        with _as_os_error():
            writer.commit()
        found = _rows(temporary / path.name)
        if found != count:
            raise OSError(f"{path.name} has {found} images instead of {count}")
        for file in reversed(_pair(temporary / path.name)):
            with file.open("rb") as opened:
                os.fsync(opened.fileno())
            file.replace(path.parent / file.name)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextlib.contextmanager
def _as_os_error() -> Iterator[None]:
    try:
        yield
    except (RuntimeError, MindRecordException) as error:  # MindSpore's, of a full disk too
        raise OSError(str(error).strip().splitlines()[0]) from None


def _pair(path: Path) -> tuple[Path, Path]:
    """A shard and the database with its index."""
    return path, path.with_name(f"{path.name}.db")


def _rows(path: Path) -> int:
    """How many rows a shard has; 0: it is not there, or damaged."""
    if not all(file.is_file() for file in _pair(path)):
        return 0
    with contextlib.suppress(RuntimeError, ValueError):
        return ds.MindDataset(str(path), columns_list=["label"], shuffle=False).get_dataset_size()
    return 0


def _fingerprint(path: Path) -> dict:
    return {"bytes": path.stat().st_size, "sha256": digest(path)}


def _read_index(folder: Path) -> dict:
    try:
        index = json.loads((folder / INDEX).read_text("utf-8"))
        if index["format"] == 1:
            return index
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise UserError(f"{folder} holds no {INDEX} that `python -m vit_ms prepare --output {folder}` writes: run it")


class MindRecord:
    """What `prepare` wrote: splits, classes and images as they were.

    Args:
        data_dir (str or Path): the output of `prepare`.

    Raises:
        UserError: If data_dir is no such folder, the preparation was not finished, or a shard is missing or damaged.
    """

    def __init__(self, data_dir: str | Path):
        self.data_dir = Path(data_dir)
        self.index = _read_index(self.data_dir)
        again = f"run `python -m vit_ms prepare` with --output {self.data_dir} again"
        self.classes, self.splits = tuple(self.index["classes"]), tuple(self.index["splits"])
        self.channels, self.encoded = self.index["channels"], self.index["encoded"]
        self.left_out: list[str] = []
        for shard in self._shards():
            if "files" not in shard:
                raise UserError(f"{self.data_dir} was not prepared to the end: {again}, it goes on")
            for name, written in shard["files"].items():
                path = self.data_dir / name
                if not path.is_file() or path.stat().st_size != written["bytes"]:
                    state = "has another size than it was written with" if path.is_file() else "is missing"
                    raise UserError(f"{path} {state}: {again}, or copy it from where you have the folder from")
            path = self.data_dir / shard["name"]
            if _rows(path) != shard["stop"] - shard["start"]:
                raise UserError(f"{path} is damaged: {again}, or copy it from where you have the folder from")

    def _shards(self, split: str | None = None) -> list[dict]:
        return [
            shard for name in self.splits if split in (None, name) for shard in self.index["splits"][name]["shards"]
        ]

    def verify(self) -> list[str]:
        """Read every byte: one line "path: reason" for each file that is not as it was written."""
        files = [(self.data_dir / name, wanted) for shard in self._shards() for name, wanted in shard["files"].items()]
        bar = tqdm.tqdm(files, unit="file", desc=f"verifying {self.data_dir.name}", leave=False)
        return [f"{path}: its bytes have changed" for path, wanted in bar if _fingerprint(path) != wanted]

    def size(self, split: str) -> int:
        """How many images a split has."""
        return self.index["splits"][split]["images"]

    def describe(self, split: str, index: int) -> str:
        """The file that an image was, or words for one that was none."""
        return self.names(split, [index])[0]

    def names(self, split: str, order: Sequence[int] | None = None) -> list[str]:
        """What `describe` says of images of a split, of all unless these indices are given."""
        rows = self._open(split, order, "file", 1).create_dict_iterator(num_epochs=1, output_numpy=True)
        return [str(row["file"]) for row in rows]

    def read(self, split: str, order: Sequence[int] | None = None, num_parallel_workers: int = 1) -> ds.Dataset:
        """The images of a split one by one.

        Args:
            split (str): of splits.
            order (Sequence[int]): their indices in the order wanted; None: all, as they lie.
            num_parallel_workers (int): threads that read.

        Returns:
            Dataset, columns `image`, a file's bytes or else (height, width, C) uint8, and `label`, int32.
        """
        rows = self._open(split, order, "image", num_parallel_workers)
        if self.encoded:
            return rows
        shape = self.index["splits"][split]["shape"]

        def image(stored: np.ndarray) -> np.ndarray:
            return np.frombuffer(stored.tobytes(), np.uint8).reshape(shape)

        return rows.map(image, "image", num_parallel_workers=num_parallel_workers)

    def _open(self, split: str, order: Sequence[int] | None, column: str, workers: int) -> ds.Dataset:
        order = range(self.size(split)) if order is None else order
        return ds.MindDataset(
            [str(self.data_dir / shard["name"]) for shard in self._shards(split)],
            columns_list=[column, "label"],
            sampler=ds.SubsetSampler([int(index) for index in order]),
            num_parallel_workers=workers,
        )
