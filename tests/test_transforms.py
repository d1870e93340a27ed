"""What is random in training images: that it is what was asked for, and the same again from the same seed."""

import hashlib

import numpy as np
import pytest
from helpers import error_of, python
from images import make_folder
from mindspore import Tensor
from mindspore.dataset import vision

from vit_ms import runtime
from vit_ms.data.batches import TrainBatches
from vit_ms.data.sources import Arrays, Files
from vit_ms.data.transforms import Augmentation, Preprocessing, erase
from vit_ms.losses import CrossEntropySmooth
from vit_ms.pretrained import PRETRAINED, inputs

# Pixels are what was stored, over 255.
PLAIN = {"mean": [0.0] * 3, "std": [1.0] * 3, "crop_pct": 1.0}
EVERYTHING = Augmentation(rand_augment=[2, 9], color_jitter=0.4, re_prob=0.5, mixup=0.8, cutmix=1.0)


@pytest.fixture(autouse=True)
def eager(clean_state, tmp_path, monkeypatch):
    runtime.setup("CPU", "pynative")
    monkeypatch.setenv("VIT_MS_HOME", str(tmp_path / "home"))  # where it is kept which images are good


def _copies(image: np.ndarray, count: int, **augmentation) -> np.ndarray:
    """As many views of one image, (count, 3, height, width), with nothing random but what is given."""
    copies = Arrays({"train": np.repeat(image[None], count, 0)}, {"train": np.arange(count) % 2}, "ab")
    preprocessing = Preprocessing(list(image.shape[:2]), image.shape[-1], **PLAIN)
    batches = TrainBatches(copies, preprocessing, count, Augmentation("none", **augmentation))
    return next(batches.epoch(1))[0].asnumpy()


def _photo() -> np.ndarray:
    """(32, 32, 3) uint8: smooth, and different everywhere."""
    y, x = np.mgrid[0:32, 0:32]
    return np.stack([7 * x, 7 * y, 3 * (x + y) + 20], -1).astype(np.uint8)


# The same again.

SCRIPT = """
import sys
import mindspore as ms, numpy as np
sys.path.insert(0, sys.argv[1])
ms.set_seed(99), np.random.seed(99)
from test_transforms import digests
from pathlib import Path
print(digests(Path(sys.argv[2]), 2, [2]))
"""


def digests(root, workers: int, epochs: list[int], **options) -> list[str]:
    """A hash of every batch of these epochs, which are run in this order, with everything random that there is."""
    files = sorted(root.glob("train/*/*.jpg"))
    photos = Files({"train": files}, {"train": [int(file.parent.name[-1]) for file in files]}, "012")
    preprocessing = Preprocessing(24, 3, [0.5] * 3, [0.5] * 3, "bicubic")
    batches = TrainBatches(photos, preprocessing, 8, EVERYTHING, workers, **{"seed": 7, **options})
    return [
        hashlib.sha256(images.asnumpy().tobytes() + labels.asnumpy().tobytes()).hexdigest()[:8]
        for epoch in epochs
        for images, labels in batches.epoch(epoch)
    ]


def test_batches_follow_from_seed_epoch_rank_and_threads_alone(tmp_path):
    make_folder(tmp_path, train=32, val=0)
    for workers in (1, 2):
        first, second = np.split(np.array(digests(tmp_path, workers, [1, 2])), 2)
        assert len({*first, *second}) == 24
        np.random.seed(1)
        assert digests(tmp_path, workers, [2, 2, 1]) == [*second, *second, *first]
    other_process = python("-c", SCRIPT, __file__.rpartition("/")[0], str(tmp_path))
    assert other_process.stdout.strip() == str(list(map(str, second))), other_process.stderr
    for options in ({"seed": 8}, {"rank": 1, "ranks": 2}):
        assert not {*digests(tmp_path, 2, [2], **options)} & {*second}


# Mixing.

MIXES = {
    "mixup": {"mixup": 0.8},
    "cutmix": {"cutmix": 1.0},
    "both": {"mixup": 0.8, "cutmix": 1.0},
    "sometimes": {"mixup": 0.8, "mix_prob": 0.25},
}


def _shares(augmentation: Augmentation, draws: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """For each draw the share of the first image, and whether the images were cut, after the labels have been checked."""
    images = np.broadcast_to(np.arange(4, dtype=np.float32)[:, None, None, None], (4, 3, 20, 30))
    shares, cut = [], []
    for draw in range(draws):
        before = images.copy()
        mixed, labels = augmentation.mix(before, np.eye(4, dtype=np.float32), np.random.default_rng([3, draw]))
        assert np.array_equal(before, images)
        assert mixed.dtype == labels.dtype == np.float32 and mixed.shape == images.shape
        assert np.array_equal(mixed, np.broadcast_to(mixed[:, :1], mixed.shape))  # all channels alike
        # The image of zeros is mixed with that of threes, ones with twos.
        shares.append(1 - mixed[0].mean(dtype=float) / 3)
        other = 1 - shares[-1]
        expected = np.eye(4) * shares[-1] + np.eye(4)[::-1] * other
        assert abs(labels - expected).max() < 1e-6
        assert np.allclose(
            mixed.mean((1, 2, 3), dtype=float), [3 * other, 1 + other, 2 - other, 3 - 3 * other], atol=1e-5
        )
        cut.append(bool(np.isin(mixed, images).all()) and 0 < other < 1)
    return np.array(shares), np.array(cut)


@pytest.mark.parametrize("case", MIXES)
def test_labels_are_mixed_as_the_pixels_are(case):
    shares, cut = _shares(Augmentation(**MIXES[case]))
    if case == "mixup":
        assert not cut.any()
        # Beta(a, a) has the mean 1/2 and the variance 1 / (4 (2 a + 1)).
        assert abs(shares.mean() - 0.5) < 0.05 and abs(shares.var() - 1 / (4 * 2.6)) < 0.015
    elif case == "cutmix":
        assert cut.mean() > 0.9  # the others are boxes without a pixel
        # Some boxes lose a part to the border: less than the half is exchanged.
        assert 0.6 < shares.mean() < 0.8 and shares.min() < 0.2
    elif case == "both":
        assert 0.4 < cut.mean() < 0.6
    else:
        assert abs((shares == 1).mean() - 0.75) < 0.07


def test_boxes_are_everywhere():
    images = np.zeros((2, 1, 20, 30), np.float32)
    images[1] = 1
    rngs = [np.random.default_rng(draw) for draw in range(300)]
    mixed = np.stack([Augmentation(cutmix=1.0).mix(images, np.eye(2), rng)[0][0, 0] for rng in rngs])
    for one in mixed:
        rows, columns = one.any(1), one.any(0)
        assert np.array_equal(one, np.outer(rows, columns))
        for line in (rows, columns):
            assert (np.diff(np.flatnonzero(line)) == 1).all()
    # At every pixel, in the middle the most often.
    seen = mixed.mean(0)
    assert seen.min() > 0.05 and abs(seen - seen[::-1, ::-1]).max() < 0.15


@pytest.mark.parametrize("case", MIXES)
def test_mixed_batches_reach_the_loss(case):
    # Each image is of its class's brightness: 0, 60, 120 or 180.
    classes = np.arange(40) % 4
    pictures = np.repeat((60 * classes).astype(np.uint8), 8 * 8 * 3).reshape(40, 8, 8, 3)
    dataset = Arrays({"train": pictures}, {"train": classes}, "abcd")
    augmentation = Augmentation("none", **MIXES[case])
    batches = list(TrainBatches(dataset, Preprocessing(8, 3, **PLAIN), 10, augmentation, 2).epoch(1))
    assert len(batches) == 4 and augmentation.mixes
    kinds = set()
    for images, labels in batches:
        images, labels = images.asnumpy(), labels.asnumpy()
        assert images.dtype == labels.dtype == np.float32 and labels.shape == (10, 4)
        assert np.allclose(labels.sum(1), 1, atol=1e-6)
        assert np.allclose(images.mean((1, 2, 3)) * 255, labels @ [0, 60, 120, 180], atol=1e-2)
        kinds.add(round(float(labels[0].max()), 4))
    assert len(kinds) > 1
    logits = np.random.default_rng(0).standard_normal((10, 4)).astype(np.float32)
    loss = CrossEntropySmooth(sparse=False, num_classes=4)(Tensor(logits), Tensor(labels)).asnumpy()
    log_probs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    assert abs(loss + (log_probs * labels).sum(1).mean()) < 1e-5


def test_without_mixing_labels_are_classes():
    augmentation = Augmentation("none", re_prob=1.0)
    dataset = Arrays({"train": np.zeros((6, 8, 8, 3), np.uint8)}, {"train": [0, 1, 2, 3, 4, 5]}, "abcdef")
    _, labels = next(TrainBatches(dataset, Preprocessing(8, 3, **PLAIN), 6, augmentation).epoch(1))
    assert not augmentation.mixes
    assert sorted(labels.asnumpy()) == list(range(6)) and labels.asnumpy().dtype == np.int32


# Erasing.


def test_an_erased_part_is_a_rectangle_of_noise():
    corners, areas, ratios, noise = [], [], [], []
    for draw in range(500):
        image = np.full((3, 40, 60), 9, np.float32)
        erase(image, np.random.default_rng(draw))
        gone = (image != 9).all(0)
        assert np.array_equal(gone, (image != 9).any(0))
        rows, columns = np.flatnonzero(gone.any(1)), np.flatnonzero(gone.any(0))
        assert gone.sum() == (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
        corners.append((rows[0], columns[0], 39 - rows[-1], 59 - columns[-1]))
        areas.append(gone.mean())
        ratios.append(len(rows) / len(columns))
        noise.append(image[:, gone].ravel())
    assert np.min(corners, axis=0).tolist() == [0, 0, 0, 0]
    assert 0.01 < min(areas) < 0.04 and 0.3 < max(areas) < 0.35 and abs(np.mean(areas) - (0.02 + 1 / 3) / 2) < 0.02
    assert min(ratios) < 0.4 and max(ratios) > 2 and abs(np.median(np.log(ratios))) < 0.2
    noise = np.concatenate(noise)
    assert abs(noise.mean()) < 0.01 and abs(noise.std() - 1) < 0.01
    tiny = np.full((3, 1, 1), 9, np.float32)
    erase(tiny, np.random.default_rng(0))  # nothing smaller than it fits into it
    assert (tiny == 9).all()


def test_as_many_images_are_erased_as_was_asked_for():
    views = _copies(_photo(), 400, re_prob=0.25)
    changed = (views != _copies(_photo(), 1)).any((1, 2, 3))
    assert abs(changed.mean() - 0.25) < 0.07
    # After normalisation: what is erased is not between 0 and 1 as the pixels are.
    assert views.min() < -2 and views.max() > 2


# Colours.


def _change(**augmentation) -> tuple[float, float]:
    """How many of 1,500 views are not the image, and by how much they differ from it."""
    differences = abs(_copies(_photo(), 1500, **augmentation) - _copies(_photo(), 1)).mean((1, 2, 3))
    return (differences > 0).mean(), differences.mean()


def test_rand_augment_does_half_of_the_operations_as_strongly_as_was_asked_for():
    assert _change() == (0, 0)
    # One of the 14 operations changes nothing, and one not this image.
    (one, _), (two, _), (_, strong) = (_change(rand_augment=given) for given in ([1, 1], [2, 9], [1, 9]))
    assert 0.35 < one < 0.52 and 0.6 < two < 0.76
    assert 0.06 < strong < 0.11  # 9 of 30 would be 0.05


def test_rand_augment_leaves_something_of_an_image():
    views = _copies(_photo(), 1500, rand_augment=[1, 9])
    assert views.std((1, 2, 3)).min() > 0.02  # a view of the fill colour alone has 0
    # The fill is the mean that is subtracted, in the order of the channels: 0 after normalisation where it was shifted away.
    preprocessing = Preprocessing(16, 3, [0.2, 0.5, 0.8], [1.0, 1.0, 1.0])
    image, filled = np.full((64, 64, 3), 255, np.uint8), 0
    for operation in preprocessing._rand_augment(1, 9).transforms:
        view = operation(image)
        if isinstance(operation.transforms[0], vision.Affine):
            filled += 1
            assert (view == [51, 128, 204]).all(-1).any() and not (view == [204, 128, 51]).all(-1).any()
    assert filled == 10  # five operations, each way


def test_color_jitter_stays_in_its_range():
    # Of one colour: contrast and saturation change nothing, brightness multiplies.
    views = _copies(np.full((4, 4, 3), 100, np.uint8), 300, color_jitter=0.4) * 255
    assert views.min() > 58 and views.max() < 142
    assert views.min() < 65 and views.max() > 135
    # Brightness keeps the ratio of the greys, and with contrast that of the red to their distance.
    image = np.array([[[40, 40, 40], [80, 80, 80], [90, 60, 60]]], np.uint8)
    dark, grey, red = _copies(image, 300, color_jitter=0.4)[:, :, 0].transpose(2, 0, 1).astype(float)
    assert (grey / dark)[:, 0].std() > 0.03
    assert ((red[:, 0] - red[:, 1]) / (grey - dark)[:, 0]).std() > 0.1


@pytest.mark.parametrize("given", [{"rand_augment": [2, 9]}, {"color_jitter": 0.4}])
def test_grey_images_have_no_colours(given):
    digits = Arrays({"train": np.zeros((4, 8, 8, 1), np.uint8)}, {"train": [0, 1, 2, 3]}, "0123")
    preprocessing = Preprocessing(8, 1, [0.5], [0.5])
    message = error_of(TrainBatches, digits, preprocessing, 4, Augmentation("affine", **given))
    name, value = next(iter(given.items()))
    assert message == f"{name} is {value}, but is for RGB, and the images have one channel: leave it out"


# What evaluation sees.


def test_a_squashed_image_is_seen_whole_and_a_cropped_one_in_its_proportions():
    # A tall image, white in the middle half of its height.
    image = np.zeros((64, 32, 3), np.uint8)
    image[16:48] = 255
    assert (Preprocessing(32, 3, **PLAIN).prepare(image) == 1).all()
    for size in (32, [16, 48]):
        squashed = Preprocessing(size, 3, **{**PLAIN, "crop_pct": 0.5}, eval_crop="squash").prepare(image)
        assert squashed.shape[1:] == (tuple(size) if isinstance(size, list) else (size, size))
        assert abs(squashed.mean() - 0.5) < 0.02
        assert squashed[:, 0].max() == 0 and squashed[:, -1].max() == 0


# What follows from the weights.

HALF, IMAGENET = [0.5, 0.5, 0.5], [0.485, 0.456, 0.406]
INPUTS = {
    ("vit_b_16", "google"): (HALF, "bilinear", "squash", 1.0),
    ("vit_r26_s_32", "google"): (HALF, "bilinear", "squash", 1.0),
    ("resnet_r50x1", "google"): (HALF, "bilinear", "squash", 1.0),
    ("vit_b_16", "hf"): (HALF, "bilinear", "squash", 1.0),
    ("vit_b_16", "timm"): (HALF, "bicubic", "center", 0.9),
    ("vit_b_16", "course"): (IMAGENET, "bilinear", "center", 0.875),
    ("deit_b_16", "timm"): (IMAGENET, "bicubic", "center", 0.9),
    ("deit_b_16_384", "timm"): (IMAGENET, "bicubic", "center", 1.0),
    ("deit_s_16", "hf"): (IMAGENET, "bicubic", "center", 0.9),
    ("swin_t", "mindcv"): (IMAGENET, "bicubic", "center", 0.875),
    ("convnext_t", "timm"): (IMAGENET, "bicubic", "center", 0.875),
    ("convnext_t", "mindcv"): (IMAGENET, "bicubic", "center", 0.95),
}


@pytest.mark.parametrize("model, source", INPUTS)
def test_inputs_follow_the_weights(model, source):
    mean, interpolation, eval_crop, crop_pct = INPUTS[model, source]
    std = HALF if mean == HALF else [0.229, 0.224, 0.225]
    expected = {"interpolation": interpolation, "eval_crop": eval_crop, "crop_pct": crop_pct}
    assert inputs(model, source) == {"mean": mean, "std": std, **expected}


def test_every_published_weight_has_inputs_that_images_can_be_brought_to():
    image = np.zeros((30, 40, 3), np.uint8)
    for model, artefacts in PRETRAINED.items():
        for artefact in artefacts:
            assert Preprocessing(16, 3, **inputs(model, artefact.source)).prepare(image).shape == (3, 16, 16)
    assert inputs("vit_b_16", "vit_ms") == {}
