"""The whole way, as the commands go it: train, evaluate, predict, and what they write."""

import csv
import inspect
import json
import re
import subprocess
import sys
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
import yaml
from images import make_folder
from PIL import Image

import vit_ms
from vit_ms import engine, training
from vit_ms.cli import main
from vit_ms.data.batches import TrainBatches
from vit_ms.data.digits import Digits
from vit_ms.data.transforms import Preprocessing
from vit_ms.engine import TrainStep
from vit_ms.optim import learning_rates
from vit_ms.recipe import FOLDER, load_recipe

pytestmark = pytest.mark.fused

SAMPLES = Path(vit_ms.__file__).parent / "data" / "samples" / "digits"


def _weights(path):
    return {name: value.asnumpy() for name, value in ms.load_checkpoint(str(path)).items() if name != "vit_ms"}


def _equal(one, other):
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


@pytest.fixture(scope="module")
def digits_run(tmp_path_factory):
    """A short real training run on digits, shared by the tests that only read it."""
    folder = tmp_path_factory.mktemp("runs") / "digits"
    assert main(["train", "--config", "digits", "--epoch_size", "15", "--ckpt_save_dir", str(folder)]) == 0
    return folder


def test_training_learns_and_keeps_what_the_design_lays_out(digits_run):
    names = {path.name for path in digits_run.iterdir()}
    assert {"best.ckpt", "last.ckpt", "run.json", "log.csv", "curve.png", "metrics.json"} <= names
    with (digits_run / "log.csv").open() as file:
        rows = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]
    assert [row["epoch"] for row in rows] == list(range(1, 16))
    assert rows[-1]["val_acc"] > 0.85 and rows[-1]["train_loss"] < rows[0]["train_loss"]
    assert rows[0]["lr"] == pytest.approx(3e-3) and rows[-1]["lr"] == pytest.approx(0, abs=1e-9)
    best = json.loads((digits_run / "metrics.json").read_text())["val"]
    assert best["top1"] == max(row["val_acc"] for row in rows) and best["images"] == 180
    run = json.loads((digits_run / "run.json").read_text())
    assert {"model", "overrides", "numerics", "classes", "preprocessing", "recipe", "versions", "device"} == run.keys()
    assert (
        run["device"].startswith("CPU, graph mode, fp32") and run["device"] in (digits_run / "report.html").read_text()
    )
    assert run["recipe"]["seed"] == 0 and run["versions"]["vit_ms"] == vit_ms.__version__


def test_evaluation_is_of_the_checkpoint_that_training_wrote(digits_run, capsys):
    best = json.loads((digits_run / "metrics.json").read_text())["val"]
    assert main(["eval", "--ckpt_path", str(digits_run / "best.ckpt"), "--split", "val"]) == 0
    again = json.loads((digits_run / "metrics.json").read_text())["val"]
    assert again["checkpoint"] == "best.ckpt" and again["top1"] == best["top1"]
    assert again["loss"] == pytest.approx(best["loss"], abs=1e-5)

    capsys.readouterr()
    # Without a split: the held-out one, whole, though 360 is no multiple of the batch.
    assert main(["eval", "--ckpt_path", str(digits_run / "best.ckpt"), "--batch_size", "100"]) == 0
    said = capsys.readouterr().out
    test = json.loads((digits_run / "metrics.json").read_text())["test"]
    assert test["images"] == 360 and test["top1"] > 0.85 and test["top5"] > 0.97
    assert f"test: 360 images, top-1 {test['top1']:.2%}" in said
    assert sorted(test["per_class"]) == list("0123456789")
    for name in ("confusion.png", "predictions.png"):
        assert f"{digits_run / name}" in said and Image.open(digits_run / name).size[0] > 400


def test_prediction_takes_files_and_folders(digits_run, tmp_path, capsys):
    (tmp_path / "more" / "deeper").mkdir(parents=True)
    upscaled = Image.open(SAMPLES / "3.png").resize((64, 64), Image.Resampling.BICUBIC).convert("RGB")
    upscaled.save(tmp_path / "more" / "deeper" / "photo.JPG")
    (tmp_path / "more" / "broken.png").write_bytes(b"\x89PNG")
    Image.open(SAMPLES / "4.png").save(tmp_path / "more" / "4$_$.png")
    arguments = [str(SAMPLES), str(tmp_path / "more"), "--ckpt_path", str(digits_run / "best.ckpt")]
    assert main(["predict", *arguments, "--output", "answers.png"]) == 0
    said = capsys.readouterr().out
    lines = re.findall(r"(\w+)\.(?:png|JPG): (\d) ([\d.]+)%, \d .*", said)
    assert len(lines) == 11 and "4$_$.png: " in said and "left out" in said and "broken.png" in said
    right = sum(name == digit for name, digit, _ in lines if name != "photo")
    assert right >= 8 and dict((name, digit) for name, digit, _ in lines)["photo"] == "3"
    shares = [
        [float(share) for share in re.findall(r"([\d.]+)%", line)] for line in said.splitlines() if ".png: " in line
    ]
    assert all(len(row) == 5 and row == sorted(row, reverse=True) and sum(row) <= 100.3 for row in shares)
    assert Image.open("answers.png").size[1] > 1000
    assert main(["predict", *arguments, "--output", "answers"]) == 2
    assert "output is answers; it must end in one of .png" in capsys.readouterr().err
    assert main(["eval", "--ckpt_path", str(digits_run / "best.ckpt"), "--batch_size", "0"]) == 2
    assert "batch_size is 0; it must be at least 1" in capsys.readouterr().err


@pytest.fixture
def short(tmp_path):
    """The digits recipe cut to two epochs."""
    settings = yaml.safe_load((FOLDER / "digits.yaml").read_text(encoding="utf-8"))
    path = tmp_path / "short.yaml"
    path.write_text(yaml.safe_dump(settings | {"epoch_size": 2, "warmup_epochs": 0}))
    return str(path)


@pytest.mark.slow
def test_the_same_command_gives_the_same_numbers_and_another_seed_others(tmp_path, short):
    arguments = ["--config", short]
    for name, seed in (("one", "5"), ("other", "6")):
        assert main(["train", *arguments, "--seed", seed, "--ckpt_save_dir", name]) == 0
    # The second time in a process of its own, as a user repeats a command.
    command = [sys.executable, "-m", "vit_ms", "train", *arguments, "--seed", "5", "--ckpt_save_dir", "again"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert _equal(_weights("one/last.ckpt"), _weights("again/last.ckpt"))
    assert not _equal(_weights("one/last.ckpt"), _weights("other/last.ckpt"))
    assert "val_acc=" in done.stderr and "again/best.ckpt" in done.stdout
    # MindSpore's warnings and droppings stay away.
    assert "WARNING" not in done.stdout + done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again", "one", "other", "short.yaml"]


def test_a_folder_keeps_its_run(short, capsys):
    arguments = ["train", "--config", short, "--ckpt_save_dir", "kept"]
    assert main(arguments) == 0
    before = Path("kept/best.ckpt").read_bytes()
    assert main([*arguments, "--lr", "0.5"]) == 2
    assert "kept holds another run (lr 0.003 -> 0.5)" in capsys.readouterr().err
    assert Path("kept/best.ckpt").read_bytes() == before
    assert main(arguments) == 0  # the same run again is welcome


def test_a_run_that_came_to_nothing_is_in_nobodys_way(short, capsys):
    arguments = ["train", "--config", short, "--ckpt_save_dir", "again"]
    assert main([*arguments, "--lr", "1e30"]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    found = re.fullmatch(
        r"vit_ms: the loss is nan at step (\d+) of epoch 1: lower lr or set clip_grad; "
        r"the images of that step are listed in (\S+)",
        error,
    )
    listed = Path(found[2]).read_text().splitlines()
    digits = Digits()
    batches = TrainBatches(digits, Preprocessing(16, 1, [0.5], [0.5]), 64)
    assert listed == batches.describe(1, int(found[1]) - 1) and len(set(listed)) == 64
    assert not Path("again/best.ckpt").exists()
    assert main(arguments) == 0


def test_a_run_is_what_the_recipe_says(short, monkeypatch):
    seen = {}

    def watch(name, function):
        def watched(*args, **kwargs):
            seen[name] = inspect.signature(function).bind(*args, **kwargs).arguments
            return function(*args, **kwargs)

        monkeypatch.setattr(training, name, watched)

    for name in ("create_optimizer", "TrainBatches", "learning_rates", "CrossEntropySmooth"):
        watch(name, getattr(training, name))
    steps = []
    monkeypatch.setattr(engine, "TrainStep", lambda *args, **kw: steps.append(args) or TrainStep(*args, **kw))
    recipe = load_recipe(short, {"ckpt_save_dir": "run", "seed": 3})
    training.train(recipe)
    assert (seen["create_optimizer"]["opt"], seen["create_optimizer"]["weight_decay"]) == ("adamw", 0.05)
    assert seen["create_optimizer"]["learning_rate"] == learning_rates("cosine_decay", 3e-3, 0.0, 0, 2, 19)
    assert seen["CrossEntropySmooth"].items() >= {"sparse": True, "smooth_factor": 0.1, "num_classes": 10}.items()
    assert seen["TrainBatches"]["augmentation"].augment == "affine" and seen["TrainBatches"]["batch_size"] == 64
    assert seen["TrainBatches"]["seed"] == 3
    assert steps[0][3] == 1.0  # clip_grad


def test_the_best_checkpoint_is_of_the_best_epoch_and_of_equals_the_last(short, monkeypatch):
    shares = iter([0.5, 0.8, 0.8, 0.6])
    metrics = engine.Predictions.metrics

    def fake(self, classes):
        return metrics(self, classes) | {"top1": next(shares)}

    monkeypatch.setattr(engine.Predictions, "metrics", fake)
    saved = []
    monkeypatch.setattr(training, "save_weights", lambda network, path: saved.append(path.name))
    training.train(load_recipe(short, {"epoch_size": 4, "ckpt_save_dir": "run"}))
    last = ["last.ckpt"]
    assert saved == ["best.ckpt", *last, "best.ckpt", *last, "best.ckpt", *last, *last]
    assert json.loads(Path("run/metrics.json").read_text())["val"]["epoch"] == 3


def _folder_recipe(tmp_path, **changes):
    make_folder(tmp_path / "images", train=16)
    settings = {
        "model": "vit_ti_16",
        "overrides": {
            "image_size": 32,
            "patch_size": 8,
            "embed_dim": 24,
            "num_layers": 1,
            "num_heads": 3,
            "mlp_dim": 48,
            "drop_path_keep_prob": 0.9,
        },
        "dataset": "folder",
        "data_dir": str(tmp_path / "images"),
        "batch_size": 8,
        "epoch_size": 4,
        "lr": 3e-3,
    }
    (tmp_path / "colours.yaml").write_text(yaml.safe_dump(settings | changes))


def test_a_folder_of_images_trains_in_either_mode(tmp_path, mode, monkeypatch):
    _folder_recipe(tmp_path, data_dir="images", num_parallel_workers=64)
    assert main(["train", "--config", "colours.yaml", "--mode", mode]) == 0
    # From any folder, whatever it finds of an earlier evaluation.
    monkeypatch.chdir(tmp_path / "images")
    Path("../runs/colours/metrics.json").write_text("")
    assert main(["eval", "--ckpt_path", "../runs/colours/last.ckpt", "--mode", mode]) == 0
    monkeypatch.chdir(tmp_path)
    metrics = json.loads(Path("runs/colours/metrics.json").read_text())["val"]
    assert metrics["images"] == 15 and metrics["top1"] > 0.9
    assert sorted(metrics["per_class"]) == ["class 0", "class 1", "class 2"]


def test_training_starts_from_weights_that_are_given(tmp_path, capsys):
    _folder_recipe(tmp_path)
    assert main(["train", "--config", "colours.yaml", "--ckpt_save_dir", "first"]) == 0
    tuned = ["train", "--config", "colours.yaml", "--epoch_size", "1", "--lr", "1e-9", "--ckpt_save_dir", "second"]
    assert main([*tuned, "--ckpt_path", "first/last.ckpt"]) == 0
    first, second = _weights("first/last.ckpt"), _weights("second/last.ckpt")
    assert all(np.allclose(first[name], second[name], atol=1e-6) for name in first)
    # The weights know their numerics: another set would give other logits.
    _folder = Path("colours.yaml")
    _folder.write_text(_folder.read_text() + "numerics: course\n")
    capsys.readouterr()
    assert main([*tuned, "--ckpt_save_dir", "third", "--ckpt_path", "first/last.ckpt"]) == 2
    assert "numerics='timm'" in capsys.readouterr().err and not Path("third").exists()


def test_a_head_for_other_classes_starts_anew_when_asked_for(tmp_path, capsys):
    _folder_recipe(tmp_path)
    assert main(["train", "--config", "colours.yaml", "--ckpt_save_dir", "three", "--epoch_size", "1"]) == 0
    make_folder(tmp_path / "four", classes=4, train=4, val=1)
    tuned = ["train", "--config", "colours.yaml", "--data_dir", "four", "--ckpt_path", "three/last.ckpt"]
    tuned += ["--epoch_size", "1", "--lr", "1e-9", "--ckpt_save_dir", "tuned"]
    assert main(tuned) == 2
    assert "dense.bias has shape (3,), the network's has (4,)" in capsys.readouterr().err
    assert main([*tuned, "--ckpt_skip", "dense."]) == 0
    assert "starting from three/last.ckpt: weights of vit_ms; kept: dense.weight, dense.bias" in capsys.readouterr().out
    three, four = _weights("three/last.ckpt"), _weights("tuned/last.ckpt")
    assert four["dense.weight"].shape == (4, 24)
    assert all(np.allclose(three[name], four[name], atol=1e-6) for name in three if not name.startswith("dense."))


def test_weights_without_a_run_json_need_the_recipe(tmp_path, capsys):
    _folder_recipe(tmp_path)
    assert main(["train", "--config", "colours.yaml", "--ckpt_save_dir", "run"]) == 0
    Path("bare").mkdir()
    Path("bare/weights.ckpt").write_bytes(Path("run/last.ckpt").read_bytes())
    assert main(["eval", "--ckpt_path", "bare/weights.ckpt"]) == 2
    assert "no run.json beside it: give --config" in capsys.readouterr().err
    assert main(["eval", "--ckpt_path", "bare/weights.ckpt", "--config", "colours.yaml"]) == 0
    assert json.loads(Path("bare/metrics.json").read_text())["val"]["images"] == 15


def test_other_images_than_the_runs_are_refused(tmp_path, capsys):
    _folder_recipe(tmp_path)
    assert main(["train", "--config", "colours.yaml", "--ckpt_save_dir", "run"]) == 0
    make_folder(tmp_path / "four", classes=4, train=1, val=1)
    assert main(["eval", "--ckpt_path", "run/last.ckpt", "--data_dir", "four"]) == 2
    assert "the classes of the data are not those of the run: 4 classes instead of 3" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"overrides": {"image_size": 30, "patch_size": 8}}, "image_size 30 is not divisible by patch_size 8"),
        ({"overrides": {"embed_dim": 50}}, "embed_dim 50 is not divisible by num_heads 3"),
        ({"overrides": {"keep_prob": 0}}, "keep_prob is 0.0; it must be above 0 and at most 1"),
        ({"overrides": {"num_layers": 0}}, "num_layers is 0; it must be at least 1"),
        ({"overrides": {"pool": "max"}}, "pool is 'max'; choose 'cls' or 'mean'"),
        ({"overrides": {"num_classes": 2}}, "num_classes is 2, but the data has 3 classes"),
        ({"overrides": {"input_channels": 1}}, "input_channels is 1, but the images have 3"),
        ({"mean": [0.5]}, "mean is [0.5]; the images have 3 channels"),
        ({"overrides": {"num_classes": 10}}, "num_classes is 10, but the data has 3 classes"),
        ({"data_dir": "nowhere"}, "nowhere is not a folder"),
        ({"ckpt_path": "nothing.ckpt"}, "there is no weight file nothing.ckpt"),
        ({"batch_size": 100}, "a step takes 100 images, which is more than the 48 to train on: lower batch_size"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_starts(tmp_path, changes, message, capsys):
    _folder_recipe(tmp_path, **changes)
    assert main(["train", "--config", "colours.yaml"]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not Path("runs").exists()
