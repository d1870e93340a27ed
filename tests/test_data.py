"""Datasets, transforms and batches."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from images import make_folder
from PIL import Image

import vit_ms
from vit_ms.data.batches import TrainBatches, eval_batches
from vit_ms.data.catalog import open_dataset
from vit_ms.data.digits import Digits
from vit_ms.data.folder import Folder
from vit_ms.data.sources import Arrays
from vit_ms.data.transforms import Augmentation, Preprocessing
from vit_ms.errors import UserError

RGB = Preprocessing(16, 3, [0.5] * 3, [0.5] * 3, "bilinear", 0.875)
GREY = Preprocessing(16, 1, [0.5], [0.5], "bicubic", 1.0)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch, clean_state):
    monkeypatch.setenv("VIT_MS_HOME", str(tmp_path / "home"))  # where it is kept which images are good


def _train(dataset, preprocessing=RGB, batch_size=4, augment="crop", workers=1, **options) -> TrainBatches:
    return TrainBatches(dataset, preprocessing, batch_size, Augmentation(augment), workers, **options)


def _epoch(batches: TrainBatches, number: int = 1, start: int = 0) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(images.asnumpy(), labels.asnumpy()) for images, labels in batches.epoch(number, start)]


def _same(one: list, two: list) -> bool:
    return all(
        np.array_equal(a, b) for left, right in zip(one, two, strict=True) for a, b in zip(left, right, strict=True)
    )


def test_digits_are_split_once_for_all():
    digits = Digits()
    parts = {split: digits.arrays(split) for split in digits.splits}
    assert {split: len(labels) for split, (_, labels) in parts.items()} == {"train": 1257, "val": 180, "test": 360}
    keys = [image.tobytes() for images, _ in parts.values() for image in images]
    # scikit-learn's digits hold no image twice, so no image is in two parts.
    assert len(set(keys)) == 1797
    for images, labels in parts.values():
        assert images.shape[1:] == (8, 8, 1) and images.dtype == np.uint8 and images.max() == 255
        shares = np.bincount(labels, minlength=10) / len(labels)
        assert abs(shares - 0.1).max() < 0.01
    # Every published result rests on this very split: another version of scikit-learn must not change it.
    digests = {s: hashlib.sha256(parts[s][0].tobytes() + parts[s][1].tobytes()).hexdigest()[:8] for s in digits.splits}
    assert digests == {"train": "68ab6fc2", "val": "92814d72", "test": "eb33daa4"}


def test_sample_images_are_held_out_digits():
    images, labels = Digits().arrays("test")
    folder = Path(vit_ms.__file__).parent / "data" / "samples" / "digits"
    files = sorted(folder.glob("*.png"))
    assert [file.stem for file in files] == [str(digit) for digit in range(10)]
    for file in files:
        pixels = np.asarray(Image.open(file))[..., None]
        matches = (images == pixels).all(axis=(1, 2, 3))
        assert matches.sum() == 1 and labels[matches.argmax()] == int(file.stem)


def test_eval_batches_hold_every_digit_once_in_order():
    digits = Digits()
    images, labels = digits.arrays("val")
    batches = list(eval_batches(digits, "val", GREY, 50, 2).create_tuple_iterator(output_numpy=True))
    assert [len(truth) for _, truth in batches] == [50, 50, 50, 30]
    assert np.array_equal(np.concatenate([truth for _, truth in batches]), labels)
    first = batches[0][0]
    assert first.shape == (50, 1, 16, 16) and first.dtype == np.float32
    assert np.array_equal(first[7], GREY.prepare(images[7]))


def test_train_batches_are_shuffled_random_and_follow_from_seed_epoch_and_rank():
    one, two = _train(Digits(), GREY, 64, "affine", seed=3), _train(Digits(), GREY, 64, "affine", seed=3)
    first, second = _epoch(one, 1), _epoch(one, 2)
    assert [len(epoch) for epoch in (first, second)] == [19, 19]
    assert all(images.shape == (64, 1, 16, 16) for images, _ in first)
    # Epochs that were not run before change nothing, nor do batches that a resumed run does not need.
    assert _same(_epoch(two, 2), second)
    assert _same(_epoch(two, 1, start=16), first[16:])
    others = [second, _epoch(_train(Digits(), GREY, 64, "affine", seed=4))]
    for other in others:
        assert not np.array_equal(other[0][1], first[0][1])
    # The same images on another device would be other views.
    ranks = [_train(Digits(), GREY, 1, "affine", rank=rank, ranks=2) for rank in (0, 1)]
    for batches in ranks:
        batches.order = lambda epoch: np.zeros((3, 1), int)
    assert not np.array_equal(*(_epoch(batches)[0][0] for batches in ranks))


def test_the_order_is_each_epochs_own_and_shared_by_the_devices_step_by_step():
    digits = Digits()
    alone = _train(digits, GREY, 24, seed=5)
    devices = [_train(digits, GREY, 8, seed=5, rank=rank, ranks=3) for rank in range(3)]
    for epoch in (1, 2):
        order = alone.order(epoch)
        assert order.shape == (1257 // 24, 24) and len(np.unique(order)) == order.size
        together = np.concatenate([device.order(epoch) for device in devices], axis=1)
        assert np.array_equal(together, order)
    assert not np.array_equal(alone.order(1), alone.order(2))
    # What epochs leave over is not always the same.
    left_out = [set(range(1257)) - set(alone.order(epoch).ravel()) for epoch in (1, 2, 3)]
    assert not set.intersection(*left_out)
    labels = digits.labels["train"]
    for (_, truth), expected in zip(_epoch(devices[1]), devices[1].order(1), strict=True):
        assert np.array_equal(truth, labels[expected])
    assert _train(digits, GREY, 24, accumulate=5).batches == 50
    assert devices[1].describe(1, 0) == [f"train[{index}]" for index in devices[1].order(1)[0]]


def test_affine_views_are_shifted_both_ways():
    # A square in the middle: over many views its centre must lie around the middle, not to one side of it.
    image = np.zeros((16, 16, 1), np.uint8)
    image[6:10, 6:10] = 255
    squares = Arrays({"train": np.repeat(image[None], 200, 0)}, {"train": np.zeros(200, np.int32)}, "0")
    views = (_epoch(_train(squares, GREY, 200, "affine"))[0][0][:, 0] + 1) / 2
    centres = [(views * axis).sum((1, 2)) / views.sum((1, 2)) for axis in np.mgrid[0:16, 0:16].astype(np.float32)]
    for centre in centres:
        assert abs(centre.mean() - 7.5) < 0.2
        assert centre.min() < 7 and centre.max() > 8


def test_folder_reads_every_image_under_its_class(tmp_path):
    make_folder(tmp_path, val=5)
    (tmp_path / "val" / "class 0" / "notes.txt").write_text("no image")
    first = tmp_path / "val" / "class 0" / "0.jpg"
    first.rename(first.with_suffix(".Jpg"))
    folder = Folder(tmp_path)
    assert folder.classes == ("class 0", "class 1", "class 2") and folder.splits == ("train", "val")
    batches = list(eval_batches(folder, "val", RGB, 4, 2).create_tuple_iterator(output_numpy=True))
    assert [len(truth) for _, truth in batches] == [4, 4, 4, 3]
    for images, truth in batches:
        # The class is the colour of the strongest channel.
        assert np.array_equal(images.mean(axis=(2, 3)).argmax(axis=1), truth)


@pytest.mark.parametrize("augment", ["crop", "affine", "none"])
def test_folder_trains_on_views_of_the_right_size(tmp_path, augment):
    batches = _epoch(_train(Folder(make_folder(tmp_path)), augment=augment, workers=2))
    assert len(batches) == 6
    for images, labels in batches:
        assert images.shape == (4, 3, 16, 16) and labels.dtype == np.int32
        assert np.array_equal(images.mean(axis=(2, 3)).argmax(axis=1), labels)


def test_a_class_without_validation_images_keeps_the_labels_of_the_others(tmp_path):
    make_folder(tmp_path)
    for file in (tmp_path / "val" / "class 1").iterdir():
        file.unlink()
    (tmp_path / "val" / "class 1").rmdir()
    batches = eval_batches(Folder(tmp_path), "val", RGB, 32, 1).create_tuple_iterator(output_numpy=True)
    assert sorted(set(next(iter(batches))[1])) == [0, 2]


def test_evaluation_keeps_the_proportions():
    # A tall image of stripes: resized by its shorter side and cropped, the stripes keep their width.
    image = np.zeros((64, 32, 3), np.uint8)
    image[16:48] = 255
    whole = Preprocessing(32, 3, [0.5] * 3, [0.5] * 3, "bilinear", 1.0)
    assert (whole.prepare(image) == 1).all()
    half = Preprocessing(16, 3, [0.0] * 3, [1.0] * 3, "bilinear", 0.5)
    assert half.prepare(image).shape == (3, 16, 16)


def test_normalisation_and_back():
    image = np.arange(16 * 16 * 3, dtype=np.uint8).reshape(16, 16, 3)
    preprocessing = Preprocessing(16, 3, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225], "bilinear", 1.0)
    prepared = preprocessing.prepare(image)
    expected = (image / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    assert np.allclose(prepared, expected.transpose(2, 0, 1), atol=1e-5)
    assert np.array_equal(preprocessing.restore(prepared[None])[0], image)


def test_images_are_read_upright_in_the_channels_of_the_network(tmp_path):
    pixels = np.zeros((4, 8, 3), np.uint8)
    pixels[:, :4, 0] = 255
    image = Image.fromarray(pixels)
    exif = image.getexif()
    exif[0x0112] = 6  # the camera was held turned to the right
    image.save(tmp_path / "turned.png", exif=exif)
    assert RGB.read_image(tmp_path / "turned.png").shape == (8, 4, 3)
    assert GREY.read_image(tmp_path / "turned.png").shape == (8, 4, 1)
    grey = np.linspace(0, 65535, 32, dtype=np.uint16).reshape(4, 8)
    Image.fromarray(grey).save(tmp_path / "deep.png")
    for preprocessing in (RGB, GREY):
        assert np.array_equal(preprocessing.read_image(tmp_path / "deep.png")[..., 0], grey // 257)
    image.convert("P").save(tmp_path / "palette.gif")
    assert RGB.read_image(tmp_path / "palette.gif")[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda root: None, "is not a folder"),
        (lambda root: root.mkdir(), "has no folder train or val"),
        (lambda root: (root / "train").mkdir(parents=True), "has no class folders"),
        (lambda root: make_folder(root).joinpath("val", "new").mkdir(), "has classes that train has not: new"),
    ],
)
def test_a_folder_that_is_not_in_the_layout_is_refused(tmp_path, prepare, message):
    root = tmp_path / "images"
    prepare(root)
    with pytest.raises(UserError, match=message):
        open_dataset("folder", str(root))


def test_other_mistakes_name_themselves(tmp_path):
    with pytest.raises(UserError, match="'digit' is unknown; did you mean 'digits'"):
        open_dataset("digit")
    with pytest.raises(UserError, match="--data_dir"):
        open_dataset("folder")
    with pytest.raises(UserError, match=r"'digits' has no files.*try --dataset folder"):
        open_dataset("digits", str(tmp_path))
    for name in ("train", "val"):
        (tmp_path / name / "empty").mkdir(parents=True)
    with pytest.raises(UserError, match="has no images: put"):
        eval_batches(Folder(tmp_path), "val", RGB, 4, 1)
    with pytest.raises(UserError, match="no split 'dev'; it has train, val, test"):
        eval_batches(Digits(), "dev", GREY, 4, 1)
    with pytest.raises(
        UserError, match="a step takes 2000 images, which is more than the 1257 to train on: lower batch_size"
    ):
        _train(Digits(), GREY, 2000)
    with pytest.raises(UserError, match=r"a step takes 2000 images \(500 x 2 devices x 2 accumulated\)"):
        _train(Digits(), GREY, 500, ranks=2, accumulate=2)
    with pytest.raises(UserError, match=r"absent\.png does not exist"):
        RGB.read_image("absent.png")
    (tmp_path / "text.jpg").write_text("no image")
    with pytest.raises(UserError, match="cannot be read as an image"):
        RGB.read_image(tmp_path / "text.jpg")
