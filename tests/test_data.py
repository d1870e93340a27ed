"""Datasets, transforms and batches."""

import hashlib
from pathlib import Path

import mindspore as ms
import mindspore.dataset as ds
import numpy as np
import pytest
from images import make_folder
from PIL import Image

import vit_ms
from vit_ms.data.catalog import open_dataset
from vit_ms.data.digits import Digits
from vit_ms.data.folder import Folder
from vit_ms.data.transforms import Preprocessing, eval_batches, train_batches
from vit_ms.errors import UserError

RGB = Preprocessing(16, 3, [0.5] * 3, [0.5] * 3, "bilinear", 0.875)
GREY = Preprocessing(16, 1, [0.5], [0.5], "bicubic", 1.0)


def _train(dataset, preprocessing=RGB, batch_size=4, augment="crop", workers=1):
    return train_batches(dataset, preprocessing, batch_size, augment, [0.08, 1.0], 0.5, workers)


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


def test_train_batches_are_shuffled_random_and_reproducible():
    def epochs():
        ms.set_seed(3)
        iterator = _train(Digits(), GREY, 64, "affine").create_tuple_iterator(num_epochs=2, output_numpy=True)
        return [list(iterator) for _ in range(2)]

    one, two = epochs(), epochs()
    assert [len(epoch) for epoch in one] == [19, 19]
    assert all(images.shape == (64, 1, 16, 16) for images, _ in one[0])
    for a, b in zip(one[0] + one[1], two[0] + two[1], strict=True):
        assert np.array_equal(a[0], b[0]) and np.array_equal(a[1], b[1])
    assert not np.array_equal(one[0][0][1], one[1][0][1])


def test_affine_views_are_shifted_both_ways():
    # A square in the middle: over many views its centre must lie around the middle, not to one side of it.
    class Square:
        encoded, splits = False, ("train",)

        def read(self, split, shuffle, num_parallel_workers):
            image = np.zeros((16, 16, 1), np.uint8)
            image[6:10, 6:10] = 255
            labels = np.zeros(200, np.int32)
            return ds.NumpySlicesDataset({"image": np.repeat(image[None], 200, 0), "label": labels}, shuffle=shuffle)

    batches = _train(Square(), GREY, 200, "affine").create_tuple_iterator(num_epochs=1, output_numpy=True)
    views = (next(iter(batches))[0][:, 0] + 1) / 2
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
    batches = list(_train(Folder(make_folder(tmp_path)), augment=augment).create_tuple_iterator(output_numpy=True))
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
    for name in ("train", "val"):
        (tmp_path / name / "empty").mkdir(parents=True)
    with pytest.raises(UserError, match="has no images: put"):
        eval_batches(Folder(tmp_path), "val", RGB, 4, 1)
    with pytest.raises(UserError, match="no split 'dev'; it has train, val, test"):
        eval_batches(Digits(), "dev", GREY, 4, 1)
    with pytest.raises(UserError, match="batch_size 2000 is more than the 1257 images"):
        _train(Digits(), GREY, 2000)
    with pytest.raises(UserError, match=r"absent\.png does not exist"):
        RGB.read_image("absent.png")
    (tmp_path / "text.jpg").write_text("no image")
    with pytest.raises(UserError, match="cannot be read as an image"):
        RGB.read_image(tmp_path / "text.jpg")
