"""Masked patch prediction against the paper's words, written in NumPy."""

import csv
import json
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
import yaml
from helpers import SMALL, error_of, images, random, randomize, values
from mindspore import Tensor, nn

from vit_ms import create_model, masked_patches, runtime
from vit_ms.data.digits import Digits
from vit_ms.masked_patches import LEVELS, Few, MaskedPatches, MaskedPatchLoss, MaskedPatchStep
from vit_ms.models.vit import ViT
from vit_ms.recipe import load_recipe
from vit_ms.weights import load_weights

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def _masked(draw=(3, 1, 0), **changes) -> MaskedPatches:
    cell = MaskedPatches(ViT(**{**SMALL, **changes}), MEAN, STD)
    cell.draw = Tensor(draw, ms.int32)
    return cell


class Parts(nn.Cell):
    """What goes on within a MaskedPatches, in one graph: (B, N, D) embeddings and (B, C, height, width) images."""

    def __init__(self, cell: MaskedPatches):
        super().__init__(auto_prefix=False)
        self.cell = cell

    def construct(self, x, pictures):
        b = x.shape[0]
        return self.cell.corrupt(x), self.cell.corrupted(b), self.cell.colours(pictures), self.cell.targets(pictures)


def _parts(cell: MaskedPatches, x: np.ndarray, pictures: np.ndarray) -> list[np.ndarray]:
    return [part.asnumpy() for part in Parts(cell)(Tensor(x), Tensor(pictures))]


def test_half_the_patches_are_corrupted_and_of_those_80_10_and_10_percent_are_masked_replaced_and_kept(mode):
    b, n = 512, 64
    cell = _masked(image_size=32)
    # Every embedding says where it is from, and the mask's is none of them.
    x = np.arange(1, b * n + 1, dtype=np.float32).reshape(b, n, 1).repeat(16, axis=2)
    cell.mask_embedding.set_data(Tensor(np.full((1, 1, 16), -1, np.float32)))
    seen, corrupted, *_ = _parts(cell, x, np.zeros((b, 3, 32, 32), np.float32))
    assert (seen == seen[..., :1]).all()
    seen, own = seen[..., 0], x[..., 0]
    assert (corrupted.sum(axis=1) == n // 2).all() and (seen[~corrupted] == own[~corrupted]).all()
    share = corrupted.mean(axis=0)
    assert abs(share - 0.5).max() < 0.1  # at every place alike

    masked, kept = seen == -1, corrupted & (seen == own)
    replaced = corrupted & ~masked & ~kept
    for found, wanted in ((masked, 0.8), (replaced, 0.1), (kept, 0.1)):
        assert found.sum() / corrupted.sum() == pytest.approx(wanted, abs=4 * 0.4 / corrupted.sum() ** 0.5)
    # The other patch is one of the same image, and any of them.
    image, place = np.divmod(seen[replaced].astype(int) - 1, n)
    assert (image == np.nonzero(replaced)[0]).all()
    distances = np.bincount((place - np.nonzero(replaced)[1]) % n, minlength=n)
    assert distances[0] == 0 and distances[1:].min() > 0.4 * distances[1:].mean()


def test_masks_follow_from_the_draw_alone():
    runtime.setup("CPU", "pynative")
    cell, again = _masked(), _masked()
    first = cell.corrupted(8).asnumpy()
    assert np.array_equal(first, cell.corrupted(8).asnumpy())
    assert np.array_equal(first, again.corrupted(8).asnumpy())
    for other in ((4, 1, 0), (3, 2, 0), (3, 1, 1)):  # seed, step, part of the batch
        assert not np.array_equal(first, _masked(other).corrupted(8).asnumpy())


def _numpy_colours(pictures: np.ndarray, patch: int) -> np.ndarray:
    """The paper's targets of pictures on the scale of 0 to 1, patch by patch."""
    b, c, h, w = pictures.shape
    found = np.zeros((b, h // patch, w // patch), int)
    for i in range(h // patch):
        for j in range(w // patch):
            part = pictures[:, :, i * patch : (i + 1) * patch, j * patch : (j + 1) * patch]
            for channel in range(c):
                bits = np.minimum(np.floor(8 * part[:, channel].mean(axis=(1, 2))), 7)
                found[:, i, j] = found[:, i, j] * 8 + bits
    return found.reshape(b, -1)


def test_targets_are_the_three_bit_mean_colours_of_the_corrupted_patches(mode):
    rng = np.random.default_rng(5)
    # Rows of flat colour patches in a wide range, with noise within them; not square, so that no axes are swapped.
    pictures = rng.uniform(0, 1, (6, 3, 2, 4)).repeat(4, axis=2).repeat(4, axis=3)
    pictures = (pictures + rng.normal(0, 0.05, pictures.shape)).clip(0, 1)
    pictures[0, :, :4, :4] = np.reshape([1, 0, 0.5], (3, 1, 1))  # red 7, green 0, blue 4
    pictures[0, :, :4, 4:8] = 1  # white is 7, not 8
    given = ((pictures - np.reshape(MEAN, (3, 1, 1))) / np.reshape(STD, (3, 1, 1))).astype(np.float32)
    cell = _masked(image_size=(8, 16))
    _, corrupted, colours, targets = _parts(cell, np.zeros((6, 8, 16), np.float32), given)
    assert np.array_equal(colours, _numpy_colours(pictures, 4))
    assert colours[0, 0] == 7 * 64 + 0 * 8 + 4 and colours[0, 1] == 511
    assert targets.dtype == np.int32
    assert np.array_equal(targets.reshape(6, 8), np.where(corrupted, colours, -1))
    assert cell.head.weight.shape == (512, 16)


def test_grey_images_have_eight_levels():
    runtime.setup("CPU", "pynative")
    cell = MaskedPatches(ViT(**{**SMALL, "input_channels": 1}), [0.5], [0.25])
    levels = np.array([0, 0.124, 0.126, 0.99]).reshape(1, 1, 2, 2).repeat(4, axis=2).repeat(4, axis=3)
    assert cell.colours(Tensor(((levels - 0.5) / 0.25).astype(np.float32))).asnumpy().tolist() == [[0, 0, 1, 7]]
    assert cell.head.weight.shape == (8, 16)


def test_the_loss_is_the_mean_over_corrupted_patches_and_no_other_has_a_gradient(mode):
    logits, targets = random(12, 5), np.array([0, -1, 3, 4, -1, -1, 2, 2, -1, 1, -1, 0], np.int32)
    loss_fn = MaskedPatchLoss()
    loss, grad = ms.value_and_grad(loss_fn)(Tensor(logits), Tensor(targets))
    rows = np.nonzero(targets >= 0)[0]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert float(loss) == pytest.approx(-np.log(probabilities[rows, targets[rows]]).mean(), rel=1e-5)
    wanted = np.zeros_like(logits)
    wanted[rows] = (probabilities[rows] - np.eye(5)[targets[rows]]) / len(rows)
    assert np.allclose(grad.asnumpy(), wanted, atol=1e-6) and not grad.asnumpy()[targets < 0].any()
    assert float(loss_fn(Tensor(logits), Tensor(np.full(12, -1, np.int32)))) == 0.0


def test_the_network_learns_with_its_mask_embedding_but_for_the_head_that_is_not_asked():
    runtime.setup("CPU", "pynative")
    cell = randomize(_masked())
    given = images(batch=8)
    parameters = cell.trainable_params()
    names = [parameter.name for parameter in parameters]
    assert {"mask_embedding", "colour_head.weight", "colour_head.bias", "cls", "pos_embedding"} <= set(names)

    def loss():
        return MaskedPatchLoss()(cell(given), cell.targets(given))

    _, grads = ms.value_and_grad(loss, None, parameters)()
    without = [name for name, grad in zip(names, grads, strict=True) if not grad.asnumpy().any()]
    assert without == ["dense.weight", "dense.bias"]


def test_where_nothing_is_corrupted_the_tokens_are_those_of_the_network():
    runtime.setup("CPU", "pynative")
    cell = randomize(_masked()).set_train(False)
    given = images()
    cell.corrupt = lambda x: x
    tokens = cell.vit.features(given)[:, 1:]
    assert np.allclose(cell(given).asnumpy(), cell.head(tokens).asnumpy().reshape(-1, 512), atol=1e-6)


@pytest.mark.parametrize(
    ("name", "more"),
    [("deit_ti_16_distilled", {"patch_size": 32}), ("vit_r26_s_32", {"stem_channels": 32, "depths": [1, 1, 1, 1]})],
)
def test_the_kin_of_the_vit_can_be_trained_so_too(name, more):
    runtime.setup("CPU", "pynative")
    size = {"image_size": 64, "embed_dim": 24, "num_layers": 1, "num_heads": 2, "mlp_dim": 24}
    cell = MaskedPatches(create_model(name, **size, **more), MEAN, STD).set_train()
    given = Tensor(random(2, 3, 64, 64))
    assert cell(given).shape == (8, 512) and cell.targets(given).shape == (8,)


def test_what_is_no_vit_or_has_other_channels_is_refused():
    assert "Dense is none: choose a vit_*" in error_of(MaskedPatches, nn.Dense(1, 1), MEAN, STD)
    assert "one value for each channel" in error_of(MaskedPatches, ViT(**SMALL), MEAN, [0.5])
    with pytest.raises(ValueError, match="have 3 channels, mean has 1"):
        MaskedPatches(ViT(**SMALL), [0.5], [0.5]).colours(images())


def _digits() -> np.ndarray:
    from sklearn.datasets import load_digits

    return (load_digits().images.astype(np.float32) / 16)[:, None]  # (n, 1, 8, 8) on the scale of 0 to 1


def test_on_digits_the_loss_falls_below_that_of_guessing_by_frequency():
    pictures = _digits()
    vit = ViT(8, 1, 2, embed_dim=32, num_layers=2, num_heads=2, mlp_dim=64, num_classes=10)
    cell = MaskedPatches(vit, [0.5], [0.5])
    step = MaskedPatchStep(cell.set_train(), MaskedPatchLoss(), nn.Adam(cell.trainable_params(), 3e-3), seed=1)
    shares = np.bincount(_numpy_colours(pictures, 2).ravel(), minlength=LEVELS) / (16 * len(pictures))
    entropy = -(shares * np.log(shares)).sum()
    rng, losses, rights, masks = np.random.default_rng(0), [], [], []
    for number in range(110):
        batch = Tensor((pictures[rng.choice(len(pictures), 64)] - 0.5) / 0.5)
        if number in (0, 1):
            masks.append(cell.targets(batch).asnumpy() >= 0)
        loss, correct = step(batch, Tensor(np.zeros(64, np.int32)))
        losses.append(float(loss))
        rights.append(int(correct) / (64 * 8))
    assert losses[0] > entropy - 0.1
    assert np.mean(losses[-20:]) < entropy - 0.3
    assert np.mean(rights[-20:]) > shares.max() + 0.05
    assert not np.array_equal(*masks)  # each step draws anew


@pytest.fixture
def tiny(tmp_path) -> str:
    """A recipe for digits with a network that compiles fast."""
    size = {"embed_dim": 16, "num_layers": 1, "num_heads": 2, "mlp_dim": 16, "keep_prob": 0.9, "patch_size": 8}
    settings = {"model": "vit_nano_4", "dataset": "digits", "overrides": size, "mean": [0.5], "std": [0.5]}
    settings |= {"augment": "affine", "batch_size": 512, "lr": 0.003, "weight_decay": 0.05}
    settings |= {"device_target": "CPU", "num_parallel_workers": 1}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(settings))
    return str(tmp_path / "tiny.yaml")


def test_pretrained_weights_are_for_the_same_network_with_a_new_head(tiny):
    recipe = load_recipe(tiny, {"epoch_size": 2, "ckpt_save_dir": "run"})
    written = masked_patches.pretrain(recipe, say=lambda line: None)
    assert written == [Path("run/masked_patches.ckpt"), Path("run/masked_patches.csv")]
    network = create_model("vit_nano_4", **recipe.overrides)
    before = values(network)
    assert load_weights(network, written[0], skip=["dense."]).kept == ("dense.weight", "dense.bias")
    after = values(network)
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    assert changed == {name for name in before if not name.startswith("dense.")}
    with written[1].open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"] and 0 <= float(rows[1]["accuracy"]) <= 1
    # Of the four patches of each image two are corrupted, and counted.
    assert masked_patches._pretraining(recipe, Digits())[2].get_batch_size() == 2 * 512


def test_few_images_are_so_many_of_each_class_again_and_again():
    digits = Digits()
    few = Few(digits, 7, seed=3)
    assert few.size("train") == 1257 and few.classes == digits.classes
    everything = list(few.read("train").create_tuple_iterator(num_epochs=1, output_numpy=True))
    labels = np.array([label for _, label in everything])
    different, times = np.unique(np.stack([image for image, _ in everything]), axis=0, return_counts=True)
    assert len(different) == 70 and set(times) == {17, 18}  # 1257 / 70
    assert set(np.bincount(labels)) <= set(range(7 * 17, 7 * 18 + 1))
    order = [5, 900, 5]
    some = [label for _, label in few.read("train", order).create_tuple_iterator(num_epochs=1, output_numpy=True)]
    assert [int(label) for label in some] == [int(labels[index]) for index in order]
    assert sorted(few.indices) == sorted(Few(digits, 7, seed=3).indices)
    assert sorted(few.indices) != sorted(Few(digits, 7, seed=4).indices)
    assert few.read("val").get_dataset_size() == 180
    assert np.array_equal(Few(digits, None, 0).indices, np.arange(1257))
    assert "shots is 500; a class has only" in error_of(Few, digits, 500, 0)


OF_THE_TASK = {"mask_embedding", "colour_head.weight", "colour_head.bias"}


@pytest.mark.slow
def test_the_gain_is_measured_run_by_run_and_what_is_finished_is_not_run_again(tiny, monkeypatch):
    def gain(**changes):
        said = []
        given = {"config": tiny, "shots": [5], "seeds": 2, "pretrain_epochs": 1, "epoch_size": 1, "output": "out"}
        return masked_patches.masked_patch_gain(**{**given, **changes}, say=said.append), said

    # A run does not know what ran before it on the same compiled steps.
    recipe = load_recipe(tiny, {"epoch_size": 1})
    bench = masked_patches._Bench(recipe, recipe, Digits(), [5, None])
    monkeypatch.setattr(masked_patches, "_Bench", lambda *args: bench)
    again = list(bench.measure(1))
    chosen, begun, accuracy = [], [], bench.accuracy
    monkeypatch.setattr(masked_patches, "Few", lambda data, *which: chosen.append(which) or Few(data, *which))
    monkeypatch.setattr(bench, "accuracy", lambda *args: begun.append(args[-1]) or accuracy(*args))
    written, said = gain()
    assert chosen == [(shots, seed) for seed in (0, 1) for shots in (5, 5, None, None)]
    scratch, learnt, _, _, other, *_ = begun
    heads = {name for name in learnt if name.startswith("dense.")}
    assert len(heads) == 2 and all(np.array_equal(scratch[name], learnt[name]) for name in heads)
    assert not any(np.array_equal(scratch[name], learnt[name]) for name in set(learnt) - heads - OF_THE_TASK)
    assert not np.array_equal(scratch["dense.weight"], other["dense.weight"])
    assert [path.name for path in written] == [f"masked_patches.{kind}" for kind in ("json", "md", "png")]
    rows = json.loads(written[0].read_text())["rows"]
    assert [(row["seed"], row["shots"], row["method"]) for row in rows] == [
        (seed, shots, method) for seed in (0, 1) for shots in (5, 125) for method in ("from scratch", "pretrained")
    ]
    assert said[-6:] == [*masked_patches.markdown(rows)] and written[2].stat().st_size > 10000
    assert rows[4:] == again and rows[:4] != rows[4:]

    monkeypatch.setattr(masked_patches, "_Bench", None)
    assert gain()[0] == written and json.loads(written[0].read_text())["rows"] == rows
    assert "holds other results (epoch_size 1 -> 2): choose another output" in error_of(gain, epoch_size=2)
    written[0].write_text("{")
    assert "masked_patches.json is damaged" in error_of(gain)


def test_the_table_compares_seed_by_seed():
    shares = {"from scratch": (0.5, 0.7), "pretrained": (0.6, 0.9)}
    rows = [
        {"seed": seed, "shots": 10, "method": method, "top1": share}
        for method, both in shares.items()
        for seed, share in enumerate(both)
    ]
    assert masked_patches.markdown(rows)[2] == "| 10 | 2 | 60.00 ± 14.14 | 75.00 ± 21.21 | +15.00 ± 5.00 |"
