"""The published datasets, from small files in the very formats that they are published in."""

import gzip
import hashlib
import io
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from helpers import error_of
from PIL import Image
from scipy.io import savemat

from vit_ms import runtime
from vit_ms.data import photos
from vit_ms.data.catalog import DATASETS, open_dataset, table
from vit_ms.data.cifar import Cifar10, Cifar100
from vit_ms.data.download import fetch
from vit_ms.data.imagenet import ImagenetSubset
from vit_ms.data.photos import Flowers102, OxfordPets
from vit_ms.data.published import hold_out


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch, clean_state) -> Path:
    runtime.setup("CPU", "pynative")
    monkeypatch.setenv("VIT_MS_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def tar(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def jpeg(number: int) -> bytes:
    """An image that its number can be read from."""
    written = io.BytesIO()
    Image.new("RGB", (12, 10), (2 * number, 0, 0)).save(written, "JPEG", quality=100)
    return written.getvalue()


def mat(**arrays) -> bytes:
    written = io.BytesIO()
    savemat(written, arrays)
    return written.getvalue()


# What each publisher has at its addresses, with fewer images.


def cifar_files(labels: int, classes: list[str], per_class: int = 50) -> dict[str, bytes]:
    """Binary records: label, or coarse and fine label, then 1,024 bytes of red, of green and of blue, each row by row."""
    rng = np.random.default_rng(0)

    def records(count: int, start: int) -> bytes:
        fine = (np.arange(count) + start) % len(classes)
        pixels = rng.integers(0, 256, (count, 3072), dtype=np.uint8)
        coarse = [np.full(count, 19)] * (labels - 1)
        return np.column_stack([*coarse, fine, pixels]).astype(np.uint8).tobytes()

    count = per_class * len(classes)
    if labels == 1:
        parts = {f"data_batch_{part}.bin": records(count // 5, part) for part in range(1, 6)}
        files = {**parts, "test_batch.bin": records(12, 1), "batches.meta.txt": ("\n".join(classes) + "\n\n").encode()}
        return {f"cifar-10-batches-bin/{name}": content for name, content in files.items()}
    names = ("\n".join(classes) + "\n").encode()
    files = {"train.bin": records(count, 0), "test.bin": records(7, 1), "fine_label_names.txt": names}
    return {f"cifar-100-binary/{name}": content for name, content in files.items()}


def cifar10() -> dict[str, bytes]:
    return {"cifar-10-binary.tar.gz": tar(cifar_files(1, ["airplane", "automobile", "bird", "cat"]))}


def cifar100() -> dict[str, bytes]:
    return {"cifar-100-binary.tar.gz": tar(cifar_files(2, ["apple", "aquarium_fish", "baby"]))}


def oxford_pets() -> dict[str, bytes]:
    """Classes as published: numbers from 1, cats with a capital; the lists name files without their suffix."""
    breeds = {1: "Abyssinian", 2: "american_bulldog", 3: "Bengal"}
    trainval = [(f"{name}_{image}", number) for number, name in breeds.items() for image in range(1, 13)]
    test = [(f"{name}_{image}", number) for number, name in breeds.items() for image in range(100, 102)]
    lists = {
        f"annotations/{split}.txt": "".join(f"{stem} {number} 1 1\n" for stem, number in rows).encode()
        for split, rows in (("trainval", trainval), ("test", test))
    }
    images = {f"images/{stem}.jpg": jpeg(number) for stem, number in trainval + test}
    others = {"images/Abyssinian_1.mat": b"as published", "annotations/list.txt": b"#Image CLASS-ID SPECIES\n"}
    return {"images.tar.gz": tar({**images, **others}), "annotations.tar.gz": tar(lists)}


LABELS = [77, 51, 1, 102, 51, 77, 1, 1, 102, 2]


def flowers102() -> dict[str, bytes]:
    return {
        "102flowers.tgz": tar({f"jpg/image_{number:05d}.jpg": jpeg(number) for number in range(1, 11)}),
        "imagelabels.mat": mat(labels=np.array([LABELS], np.uint8)),
        "setid.mat": mat(
            trnid=np.array([[3, 10, 1]], np.uint16),
            valid=np.array([[2, 4]], np.uint16),
            tstid=np.array([[5, 6, 7, 8, 9]], np.uint16),
        ),
    }


# Two classes of one name, and in another order than that of their numbers; the last has children, so it is no class.
SYNSETS = [
    ("n03126707", "crane", 0),
    ("n01440764", "tench, Tinca tinca", 0),
    ("n02012849", "crane", 0),
    ("n02107142", "Doberman, Doberman pinscher", 0),
    ("n00001740", "entity", 3),
]


def meta_mat(synsets=SYNSETS) -> bytes:
    fields = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O"), ("gloss", "O"), ("num_children", "O")]
    rows = [(number, wnid, words, "", children) for number, (wnid, words, children) in enumerate(synsets, 1)]
    return mat(synsets=np.array(rows, dtype=fields).reshape(-1, 1))


def imagenet_subset(packed: bool = True) -> dict[str, bytes]:
    """The course's zip. Not every class has images, and the image to predict lies under another class's name."""
    devkit = {"ILSVRC2012_devkit_t12/data/meta.mat": meta_mat()}
    files = {"ILSVRC2012_devkit_t12.tar.gz": tar(devkit)} if packed else devkit
    for split, count in (("train", 3), ("val", 2)):
        for number, wnid in enumerate(("n02107142", "n01440764")):
            files |= {f"{split}/{wnid}/ILSVRC2012_{image}.JPEG": jpeg(number) for image in range(count)}
    files["infer/n01440764/ILSVRC2012_test_00000279.JPEG"] = jpeg(9)
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        for name, content in files.items():
            archive.writestr(f"dataset/{name}", content)
    return {"vit_imagenet_dataset.zip": written.getvalue()}


PUBLISHED = {
    "cifar10": cifar10,
    "cifar100": cifar100,
    "oxford_pets": oxford_pets,
    "flowers102": flowers102,
    "imagenet_subset": imagenet_subset,
}
SIZES = {
    "cifar10": {"train": 196, "val": 4, "test": 12},
    "cifar100": {"train": 147, "val": 3, "test": 7},
    "oxford_pets": {"train": 33, "val": 3, "test": 6},
    "flowers102": {"train": 3, "val": 2, "test": 5},
    "imagenet_subset": {"train": 6, "val": 4},
}


@pytest.fixture
def net(monkeypatch):
    """The addresses that the catalog knows, with small files behind them whose hashes are not the published ones."""
    import download as package

    class Net:
        def __init__(self):
            self.up, self.calls, self.wrong = True, [], {}

        def __call__(self, url: str, path: str, **options) -> str:
            self.calls.append(url)
            if not self.up:
                raise RuntimeError("Error while fetching file.\nError: <no route to host>")
            name = url.rpartition("/")[2]
            files = next(files for files in map(lambda make: make(), PUBLISHED.values()) if name in files)
            Path(path).write_bytes(self.wrong.get(name, files[name]))
            return path

    fake = Net()
    monkeypatch.setattr(package, "download", fake)
    for entry in DATASETS.values():
        for artefact in entry.artefacts:
            monkeypatch.setitem(artefact.__dict__, "md5", None)
    return fake


def place(name: str, folder: Path) -> Path:
    """The published files, in a folder as somebody would put them there."""
    folder.mkdir(parents=True)
    for file, content in PUBLISHED[name]().items():
        (folder / file).write_bytes(content)
    return folder


def unpacked(name: str, folder: Path) -> Path:
    folder.mkdir(parents=True)
    for file, content in PUBLISHED[name]().items():
        if file.endswith(".zip"):
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                archive.extractall(folder)
        elif file.endswith("gz"):
            with tarfile.open(fileobj=io.BytesIO(content)) as archive:
                archive.extractall(folder)
        else:
            (folder / file).write_bytes(content)
    return folder


def rows(dataset, split: str, order=None) -> list[tuple[np.ndarray, int]]:
    read = dataset.read(split, order).create_dict_iterator(num_epochs=1, output_numpy=True)
    return [(row["image"], int(row["label"])) for row in read]


def described(dataset) -> dict:
    """All that a dataset says of itself, with files by their names alone."""
    images = {
        split: [(Path(dataset.describe(split, i)).name, label) for i, (_, label) in enumerate(rows(dataset, split))]
        for split in dataset.splits
    }
    return {"classes": dataset.classes, "images": images}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_dataset_is_fetched_and_unpacked_once(name, home, net):
    dataset = open_dataset(name)
    assert {split: dataset.size(split) for split in dataset.splits} == SIZES[name]
    assert net.calls == [artefact.url for artefact in DATASETS[name].artefacts]
    net.up = False
    assert described(open_dataset(name)) == described(dataset) and len(net.calls) == len(DATASETS[name].artefacts)
    kept = sorted(path.name for path in (home / "datasets" / name).iterdir())
    assert kept == sorted([*PUBLISHED[name](), "extracted"])


@pytest.mark.parametrize("name", PUBLISHED)
def test_files_that_are_there_are_used_packed_or_not(name, home, net, tmp_path):
    """In data_dir itself, or in a folder in it, as other libraries leave them."""
    net.up = False
    packed = open_dataset(name, str(place(name, tmp_path / "packed")))
    inner = unpacked(name, tmp_path / "out" / "inner")
    assert described(open_dataset(name, str(inner))) == described(packed)
    # Where the archive has no folder of its own, somebody will have made one.
    if name in ("oxford_pets", "flowers102"):
        assert described(open_dataset(name, str(tmp_path / "out"))) == described(packed)
    else:
        (folder,) = inner.iterdir()
        assert described(open_dataset(name, str(folder))) == described(packed)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["inner"]  # what is there needs no writing
    assert net.calls == [] and not (home / "datasets").exists()


@pytest.mark.parametrize("name", PUBLISHED)
def test_without_a_network_one_line_says_where_to_put_the_file(name, home, net):
    net.up = False
    message = error_of(open_dataset, name)
    first = DATASETS[name].artefacts[0]
    assert first.url in message and "no route to host" in message
    assert message.endswith(f"put it at {home / 'datasets' / name / first.name}")
    for file, content in PUBLISHED[name]().items():
        (home / "datasets" / name / file).write_bytes(content)
    assert open_dataset(name).size("train") == SIZES[name]["train"]


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_folder_without_the_files_is_told_what_belongs_there(name, net, tmp_path):
    (tmp_path / "empty").mkdir()
    message = error_of(open_dataset, name, str(tmp_path / "empty"))
    assert f"data_dir {tmp_path / 'empty'} holds neither " in message
    assert all(artefact.name in message and artefact.url in message for artefact in DATASETS[name].artefacts)
    assert "is not a folder" in error_of(open_dataset, name, str(tmp_path / "nowhere"))
    assert net.calls == []


@pytest.mark.parametrize("name", PUBLISHED)
def test_an_archive_of_something_else_is_told(name, home, net):
    for file in PUBLISHED[name]():
        net.wrong[file] = tar({"page.html": b"<html>"})
    if name == "imagenet_subset":
        assert "vit_imagenet_dataset.zip is damaged" in error_of(open_dataset, name)
    else:
        message = error_of(open_dataset, name)
        assert "does not hold" in message or "is not what is published" in message
    net.wrong.clear()


def test_a_fetched_archive_that_is_not_the_published_one_is_refused(home, net, monkeypatch):
    (artefact,) = DATASETS["cifar10"].artefacts
    monkeypatch.setitem(artefact.__dict__, "md5", "c32a1d4ab5d03f1284b67883e8d87530")
    message = error_of(open_dataset, "cifar10")
    assert "cifar-10-binary.tar.gz is not the published file, its md5 does not begin with c32a" in message
    assert not (home / "datasets/cifar10/extracted").exists()
    md5 = hashlib.md5(b"content").hexdigest()
    (home / "right.bin").write_bytes(b"content")
    assert fetch("https://example.org/right.bin", ".", md5=md5) == home / "right.bin"


# What each of them holds.


def test_cifar10_has_its_pixels_in_rows_of_red_green_and_blue(net):
    dataset = Cifar10()
    assert dataset.classes == ("airplane", "automobile", "bird", "cat")
    assert (dataset.channels, dataset.encoded) == (3, False)
    records = [
        np.frombuffer(cifar_files(1, list("abcd"))[f"cifar-10-batches-bin/{name}.bin"], np.uint8).reshape(-1, 3073)
        for name in [f"data_batch_{part}" for part in range(1, 6)] + ["test_batch"]
    ]
    image, label = rows(dataset, "test", [2])[0]
    assert image.shape == (32, 32, 3) and image.dtype == np.uint8
    for channel, row, column in ((0, 0, 0), (0, 3, 5), (1, 31, 2), (2, 7, 31)):
        assert image[row, column, channel] == records[5][2, 1 + channel * 1024 + row * 32 + column]
    assert label == records[5][2, 0]
    # Of each class the 50th image is held out, and only it.
    published = np.concatenate(records[:5])
    for label in range(4):
        of_class = published[published[:, 0] == label]
        (held_out,) = [image for image, found in rows(dataset, "val") if found == label]
        assert np.array_equal(held_out.transpose(2, 0, 1).ravel(), of_class[49, 1:])
    together = sorted(image.tobytes() for split in ("train", "val") for image, _ in rows(dataset, split))
    assert together == sorted(row[1:].reshape(3, 32, 32).transpose(1, 2, 0).tobytes() for row in published)


def test_cifar100_has_its_fine_labels(net):
    dataset = Cifar100()
    assert dataset.classes == ("apple", "aquarium fish", "baby")
    assert [label for _, label in rows(dataset, "test")] == [1, 2, 0, 1, 2, 0, 1]


def test_held_out_images_are_of_every_class_alike():
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(10), 5000))
    train, val = hold_out(labels, 50)
    assert np.array_equal(np.sort(np.concatenate([train, val])), np.arange(50_000))
    assert np.array_equal(np.bincount(labels[val]), np.full(10, 100))
    assert (np.diff(train) > 0).all() and (np.diff(val) > 0).all()


CIFAR_WRONG = {
    "cut": (lambda content: content[:-1], "data_batch_3.bin has 122919 bytes, which is no multiple of 3073"),
    "empty": (lambda content: b"", "data_batch_3.bin has 0 bytes"),
    "label": (lambda content: b"\x63" + content[1:], "has a label 99 but only 4 classes"),
}


@pytest.mark.parametrize("case", CIFAR_WRONG)
def test_spoiled_cifar_files_are_told(case, tmp_path):
    spoil, words = CIFAR_WRONG[case]
    folder = unpacked("cifar10", tmp_path / "data") / "cifar-10-batches-bin"
    file = folder / "data_batch_3.bin"
    file.write_bytes(spoil(file.read_bytes()))
    assert words in error_of(Cifar10, folder)


def test_pets_are_split_as_their_lists_say(net):
    dataset = OxfordPets()
    assert dataset.classes == ("Abyssinian", "american bulldog", "Bengal")
    assert (dataset.channels, dataset.encoded) == (3, True)
    images = described(dataset)["images"]
    assert images["val"] == [("Abyssinian_10.jpg", 0), ("american_bulldog_10.jpg", 1), ("Bengal_10.jpg", 2)]
    assert images["train"][0] == ("Abyssinian_1.jpg", 0) and images["train"][-1] == ("Bengal_12.jpg", 2)
    assert images["test"][2:4] == [("american_bulldog_100.jpg", 1), ("american_bulldog_101.jpg", 1)]
    content, label = rows(dataset, "test", [5])[0]
    assert label == 2 and np.asarray(Image.open(io.BytesIO(content.tobytes())))[0, 0, 0] == 6


@pytest.mark.parametrize("line", ["Abyssinian_100", "Abyssinian_100 one", "../../secret_1 1", "Abyssinian 1 1 1"])
def test_a_line_of_the_pets_lists_that_is_none_is_told(line, tmp_path):
    folder = unpacked("oxford_pets", tmp_path / "data")
    path = folder / "annotations" / "trainval.txt"
    path.write_text(path.read_text() + "\n" + line + "\n")
    assert f"{path}:38 is not like 'Abyssinian_100 1 1 1'" in error_of(OxfordPets, folder)


def test_flowers_are_split_as_their_mat_file_says(net):
    dataset = Flowers102()
    assert len(dataset.classes) == len(set(dataset.classes)) == 102
    # Of the publisher's page, where these two have the most images of all.
    assert (dataset.classes[50], dataset.classes[76]) == ("petunia", "passion flower")
    images = described(dataset)["images"]
    assert images["train"] == [("image_00003.jpg", 0), ("image_00010.jpg", 1), ("image_00001.jpg", 76)]
    assert images["val"] == [("image_00002.jpg", 50), ("image_00004.jpg", 101)]
    assert [label for _, label in images["test"]] == [50, 76, 0, 0, 101]


FLOWERS_WRONG = {
    "no mat file": ("imagelabels.mat", b"<html>not found</html>", "imagelabels.mat is not what is published"),
    "another mat file": ("imagelabels.mat", mat(other=[1]), "imagelabels.mat is not what is published ('labels')"),
    "labels": ("imagelabels.mat", mat(labels=[[103] * 10]), "has labels beyond 1 to 102"),
    "numbers": ("setid.mat", mat(trnid=[[11]], valid=[[1]], tstid=[[1]]), "has in train images beyond 1 to 10"),
}


@pytest.mark.parametrize("case", FLOWERS_WRONG)
def test_spoiled_mat_files_are_told(case, tmp_path):
    name, content, words = FLOWERS_WRONG[case]
    folder = unpacked("flowers102", tmp_path / "data")
    (folder / name).write_bytes(content)
    assert words in error_of(Flowers102, folder)


@pytest.mark.parametrize("packed", [True, False])
def test_imagenets_labels_are_places_among_all_of_its_classes(packed, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "vit_imagenet_dataset.zip").write_bytes(*imagenet_subset(packed).values())
    dataset = ImagenetSubset(tmp_path / "data")
    assert dataset.classes == ("tench", "crane (n02012849)", "Doberman", "crane (n03126707)")
    assert dataset.splits == ("train", "val")
    assert [label for _, label in rows(dataset, "val")] == [0, 0, 2, 2]
    assert Path(dataset.describe("train", 3)).parts[-2:] == ("n02107142", "ILSVRC2012_0.JPEG")
    assert [path.name for path in dataset.infer] == ["ILSVRC2012_test_00000279.JPEG"]


def test_imagenet_without_a_devkit_is_named_by_its_folders(tmp_path):
    folder = unpacked("imagenet_subset", tmp_path / "data") / "dataset"
    (folder / "ILSVRC2012_devkit_t12.tar.gz").unlink()
    dataset = ImagenetSubset(folder)
    assert dataset.classes == ("n01440764", "n02107142") and rows(dataset, "val")[3][1] == 1


IMAGENET_WRONG = {
    "devkit": gzip.compress(b"x"),
    "another devkit": tar({"x": b""}),
    "mat file": tar({"ILSVRC2012_devkit_t12/data/meta.mat": b"text"}),
    "another mat file": tar({"ILSVRC2012_devkit_t12/data/meta.mat": mat(labels=[1])}),
}


@pytest.mark.parametrize("case", IMAGENET_WRONG)
def test_a_spoiled_devkit_is_told(case, tmp_path):
    folder = unpacked("imagenet_subset", tmp_path / "data") / "dataset"
    path = folder / "ILSVRC2012_devkit_t12.tar.gz"
    path.write_bytes(IMAGENET_WRONG[case])
    assert f"{path} is not what is published (" in error_of(ImagenetSubset, folder)


def test_a_folder_that_is_no_class_of_imagenet_is_told(tmp_path):
    folder = unpacked("imagenet_subset", tmp_path / "data") / "dataset"
    (folder / "val" / "dogs").mkdir()
    assert f"{folder / 'val' / 'dogs'} is no class of ImageNet" in error_of(ImagenetSubset, folder)


# The table.


def test_every_dataset_has_a_line_with_its_size_and_source():
    lines = table()
    assert [line.split()[0] for line in lines] == list(DATASETS)
    assert "fetched: 811 MB from thor.robots.ox.ac.uk" in lines[list(DATASETS).index("oxford_pets")]
    assert not any("fetched" in line for line in lines if line.startswith(("digits", "folder", "mindrecord")))


def test_every_address_is_fetched_over_https_and_has_a_hash_where_one_is_published():
    for name, entry in DATASETS.items():
        for artefact in entry.artefacts:
            assert artefact.url.startswith("https://") and 100 < entry.size < 1000
            assert name == "imagenet_subset" or len(artefact.md5) == 32


@pytest.mark.parametrize(
    "name, words", [("folder", "the folder with its images"), ("mindrecord", "--output of `prepare`")]
)
def test_what_is_published_nowhere_needs_a_data_dir(name, words):
    message = error_of(open_dataset, name)
    assert f"dataset {name!r} needs --data_dir, " in message and words in message


def test_names_that_are_close_are_proposed():
    assert "did you mean 'cifar10' or 'cifar100'?" in error_of(open_dataset, "cifar-10")
    assert photos.FLOWERS.count(",") == 101
