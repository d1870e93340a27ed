"""Few-shot evaluation: the right features, the paper's least squares, and nothing else learned."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from helpers import error_of, images, random, randomize
from images import make_folder
from library_models import LIBRARIES, stored
from mindspore import Tensor, nn
from mindspore import dataset as ds
from PIL import Image

from vit_ms import fewshot, registry, run, runtime, training, visualize
from vit_ms.data.batches import eval_batches
from vit_ms.data.catalog import open_dataset
from vit_ms.models.resnetv2 import ResNetV2
from vit_ms.models.road import RoadNet
from vit_ms.models.vit import ViT
from vit_ms.recipe import Recipe, load_recipe
from vit_ms.weights import load_weights, save_weights

# A network of each family, and ViT's other ways from tokens to the head.
_VIT = LIBRARIES["timm_vit"].arguments
_SMALL = {"image_size": 32, "depths": [1], "num_classes": 7}
NETWORKS = {
    **{name: LIBRARIES[name].network for name in LIBRARIES if name.startswith("timm_")},
    "vit, mean": lambda: ViT(**_VIT, pool="mean"),
    "vit, representation layer": lambda: ViT(**_VIT, representation_size=20),
    "resnet": lambda: ResNetV2(**_SMALL, stem_channels=8, num_groups=4),
    "road": lambda: RoadNet(**_SMALL, channels=[32]),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_head_reads_the_representation(name):
    runtime.setup("CPU", "pynative")
    network = randomize(NETWORKS[name]()).set_train(False)
    x = Tensor(stored(name, "input")) if name in LIBRARIES else images({"input_channels": 3, "image_size": 32})
    weight, bias = network.dense.weight.asnumpy(), network.dense.bias.asnumpy()
    if hasattr(network, "distillation_dense"):
        second = network.distillation_dense
        weight = np.concatenate([weight, second.weight.asnumpy()], axis=1) / 2
        bias = (bias + second.bias.asnumpy()) / 2
    representation = network.representation(x).asnumpy()
    logits = network(x).asnumpy()
    assert representation.shape == (len(logits), weight.shape[1])
    assert np.abs(representation @ weight.T + bias - logits).max() < 1e-4 * np.abs(logits).max()


def test_no_family_is_left_out():
    assert {type(make()) for make in NETWORKS.values()} == {cell for cell, _, _ in registry.MODELS.values()}


class Flat(nn.Cell):
    """Its representation of an image are the pixels, so that the order can be seen."""

    def construct(self, x):
        raise AssertionError("the head is not asked")

    def representation(self, x):
        return x.reshape(x.shape[0], -1)


@pytest.mark.parametrize("n", [1, 4, 11])
def test_every_image_has_its_features_once_and_in_order(n, mode):
    pixels, labels = random(n, 1, 2, 3), np.arange(n, dtype=np.int32)
    batches = ds.NumpySlicesDataset({"image": pixels, "label": labels}, shuffle=False).batch(4)
    found, truth = fewshot.features(Flat(), batches)
    assert found.dtype == np.float32 and np.array_equal(found, pixels.reshape(n, 6)) and np.array_equal(truth, labels)


def closed_form(x, labels, strength, asked, classes):
    """The scores of big_vision's regression, as its comments state it: standardised, targets -1 and 1, offset for free."""
    mean, std = x.mean(0), x.std(0)
    x, asked = (x - mean) / std, (asked - mean) / std
    targets = 2.0 * np.eye(classes)[labels] - 1.0
    weight = np.linalg.solve(x.T @ x + strength * np.eye(x.shape[1]), x.T @ (targets - targets.mean(0)))
    return asked @ weight + targets.mean(0)


@pytest.mark.parametrize(("shots", "width"), [(5, 40), (30, 8)])
def test_the_regression_is_the_closed_form_with_the_best_strength(shots, width):
    """More features than images, and fewer."""
    labels = np.repeat(np.arange(4), shots)
    x = random(len(labels), width, seed=3, scale=3.0, offset=5.0) + random(4, width, seed=4)[labels]
    asked = random(50, width, seed=5, scale=3.0, offset=5.0)
    classifier = fewshot.least_squares().fit(x, labels)
    scaled = (x - x.mean(0)) / x.std(0)

    def left_out_error(strength):
        error = 0.0
        for index in range(len(labels)):
            rest = np.arange(len(labels)) != index
            centre = scaled[rest].mean(0)
            part, targets = scaled[rest] - centre, 2.0 * np.eye(4)[labels] - 1.0
            mean = targets[rest].mean(0)
            weight = np.linalg.solve(part.T @ part + strength * np.eye(width), part.T @ (targets[rest] - mean))
            error += (((scaled[index] - centre) @ weight + mean - targets[index]) ** 2).sum()
        return error

    best = min(fewshot.STRENGTHS, key=left_out_error)
    assert fewshot.STRENGTHS[0] < best < fewshot.STRENGTHS[-1]
    assert classifier[-1].alpha_ == best
    wanted = closed_form(x.astype(float), labels, best, asked.astype(float), 4)
    assert np.abs(classifier.decision_function(asked) - wanted).max() < 1e-4
    assert np.array_equal(classifier.predict(asked), wanted.argmax(1))


def test_the_nearest_by_angle_vote():
    # By angle the point (10, 1) is of the class of (1, 0), by distance of the other.
    classifier = fewshot.nearest(1).fit(np.array([[1.0, 0.0], [8.0, 5.0]]), [0, 1])
    assert classifier.predict(np.array([[10.0, 1.0]])) == [0]


def test_each_choice_has_the_same_number_of_each_class():
    labels = np.random.default_rng(0).integers(0, 3, 60)
    chosen = fewshot.choose(labels, 5, 0, "abc")
    assert [set(labels[row]) for row in chosen] == [{0}, {1}, {2}]
    assert len(np.unique(chosen)) == 15
    assert np.array_equal(fewshot.choose(labels, 2, 0, "abc"), chosen[:, :2])
    assert not np.array_equal(fewshot.choose(labels, 5, 1, "abc"), chosen)


def untrained(folder: Path, recipe: Recipe, data_dir: str | None = None, **changes) -> tuple[run.RunInfo, Path]:
    """A run's folder with initial weights: what a checkpoint is, and where it lies."""
    info = dataclasses.replace(run.RunInfo.of(recipe, open_dataset(recipe.dataset, data_dir)), **changes)
    run.write_json(folder / "run.json", dataclasses.asdict(info))
    save_weights(info.network(), folder / "best.ckpt")
    return run.RunInfo.read(folder / "best.ckpt"), folder / "best.ckpt"


def test_what_comes_out_is_written_drawn_and_said(tmp_path):
    """Of a network with random weights, whose features tell digits apart, too, but other weights do so otherwise."""
    runtime.setup("CPU", "pynative", 5)
    info, checkpoint = untrained(tmp_path, load_recipe("digits", {"batch_size": 90, "overrides": {"num_layers": 1}}))
    said = []
    written = fewshot.few_shot(info, checkpoint, shots=(10, 2), seeds=3, knn=3, say=said.append)
    assert written == [tmp_path / "fewshot.json", tmp_path / "fewshot.png"]
    assert Image.open(written[1]).size[0] > 400
    result = json.loads(written[0].read_text())
    assert [result[name] for name in ("checkpoint", "dataset", "split", "images")] == [
        "best.ckpt",
        "digits",
        "test",
        360,
    ]
    rows = {(row["method"], row["shots"]): row for row in result["rows"]}
    assert list(rows) == [("least squares", 2), ("3-NN", 2), ("least squares", 10), ("3-NN", 10)]
    for row in rows.values():
        assert len(set(row["accuracies"])) == 3
        assert row["mean"] == pytest.approx(np.mean(row["accuracies"]))
        assert row["std"] == pytest.approx(np.std(row["accuracies"], ddof=1))
        assert any(f"{row['shots']} images a class, {row['method']}" in line for line in said)
        assert row["mean"] > (0.3 if row["shots"] == 10 else 0.15)

    # The same from the weights in the file, by hand, for the second choice of images.
    network = info.network()
    load_weights(network, checkpoint)
    digits = open_dataset("digits")
    shown, asked = (
        fewshot.features(network, eval_batches(digits, split, info.preprocessing, 90)) for split in ("train", "test")
    )
    chosen = fewshot.choose(shown[1], 10, 1, digits.classes).ravel()
    wanted = (fewshot.least_squares().fit(shown[0][chosen], shown[1][chosen]).predict(asked[0]) == asked[1]).mean()
    assert rows["least squares", 10]["accuracies"][1] == pytest.approx(wanted, abs=1e-9)


@pytest.mark.slow
def test_a_trained_network_needs_fewer_images_than_an_untrained_one(tmp_path):
    options = {"epoch_size": 8, "ckpt_save_dir": str(tmp_path / "digits")}
    training.train(load_recipe("digits", options), say=lambda line: None)
    trained = run.RunInfo.read(tmp_path / "digits/best.ckpt"), tmp_path / "digits/best.ckpt"
    means = []
    for which in (trained, untrained(tmp_path / "new", load_recipe("digits"))):
        path, _ = fewshot.few_shot(*which, shots=(5,), seeds=3)
        means.append(json.loads(path.read_text())["rows"][0]["mean"])
    assert means[0] > 0.6 and means[0] > means[1] + 0.1


def test_the_classes_may_be_others_than_those_it_was_trained_on(tmp_path):
    runtime.setup("CPU", "pynative")
    folder = make_folder(tmp_path / "images")
    overrides = {"image_size": 16, "patch_size": 8, "embed_dim": 16, "num_layers": 1, "num_heads": 2, "mlp_dim": 16}
    recipe = load_recipe("course", {"data_dir": str(folder), "overrides": overrides, "batch_size": 4})
    nine = {"overrides": {**overrides, "num_classes": 9, "input_channels": 3}, "classes": list("abcdefghi")}
    which = untrained(tmp_path, recipe, str(folder), **nine)
    (path, _) = fewshot.few_shot(*which, shots=[2], seeds=1, knn=1, output=tmp_path / "out")
    result = json.loads(path.read_text())
    # Three classes that colour tells, and no test among the splits.
    assert path.parent == tmp_path / "out" and (result["split"], result["images"]) == ("val", 15)
    assert [row["mean"] for row in result["rows"]] == [1.0, 1.0]
    assert [row["std"] for row in result["rows"]] == [0.0, 0.0]


def test_labels_are_read_where_they_are_not_at_hand():
    digits = open_dataset("digits")

    class Shards:
        def read(self, split, order=None, num_parallel_workers=1):
            return digits.read(split, order)

    assert np.array_equal(fewshot._labels(Shards()), digits.labels["train"])


def test_what_cannot_be_measured_is_refused_before_anything_is_computed(tmp_path, monkeypatch):
    which = untrained(tmp_path, load_recipe("digits"))
    monkeypatch.setattr(run.RunInfo, "network", None)
    folder = make_folder(tmp_path / "images")
    for wanted, options in [
        ("shots is 200, but class '0' has 12", {"shots": (5, 200)}),
        ("shots is 0", {"shots": (0, 5)}),
        ("shots is 0", {"shots": ()}),
        ("seeds is 0", {"seeds": 0}),
        ("knn is 0", {"knn": 0}),
        ("knn is 51; with 5 shots it must be at most 50", {"knn": 51}),
        ("folder has 3 channels, but the network takes 1", {"dataset": "folder", "data_dir": str(folder)}),
    ]:
        assert wanted in error_of(fewshot.few_shot, *which, **options)


def test_the_picture_has_every_choice_and_the_means():
    rows = [
        {"method": method, "shots": shots, "accuracies": [mean - 0.1, mean + 0.1]}
        for method, shots, mean in (("least squares", 5, 0.5), ("3-NN", 5, 0.4), ("least squares", 10, 0.7))
    ]
    (axes,) = visualize.plot_few_shot(rows, "a $title", 0.1).axes
    drawn = [[round(y, 6) for y in line.get_ydata()] for line in axes.lines]
    assert drawn == [[0.4, 0.6], [0.6, 0.8], [0.3, 0.5], []]
    assert [text.get_text() for text in axes.texts] == ["50.00%", "70.00%", "40.00%"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["5", "10"]
    legend = axes.get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["least squares", "3-NN"]
    assert legend.get_title().get_text().endswith("guessing: 10.0%")
