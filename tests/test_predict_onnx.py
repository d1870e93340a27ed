"""An exported file answers as the checkpoint does, where there is no MindSpore."""

import json
import re
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import onnx
import pytest
from exported import checkpoint, run_info, save
from helpers import ROOT, error_of, python, randomize
from PIL import Image
from sklearn.datasets import load_sample_images

from vit_ms import onnx_model
from vit_ms.cli import main
from vit_ms.data.transforms import Preprocessing
from vit_ms.export import export
from vit_ms.onnx_model import Inputs, OnnxModel

SAMPLES = ROOT / "vit_ms" / "data" / "samples" / "digits"


@pytest.fixture
def photos(tmp_path) -> Path:
    """scikit-learn's two photographs, and one of them upright."""
    place = tmp_path / "photos"
    place.mkdir()
    for number, image in enumerate(load_sample_images().images):
        Image.fromarray(image).save(place / f"{number}.png")
    Image.fromarray(image.transpose(1, 0, 2)).save(place / "upright.png")
    return place


def digits(tmp_path) -> Path:
    """A network as the digits recipe has it, with random weights, exported."""
    info = run_info(
        "vit_nano_4", "timm", {"pool": "mean"}, channels=1, classes=10, interpolation="bicubic", crop_pct=1.0
    )
    path = save(info, randomize(info.network(), scale=0.2), tmp_path)
    return export(info, path, "onnx")[0]


def shares(said: str) -> dict[str, list[tuple[str, float]]]:
    """For each file the classes with their percentages, as they were printed."""
    lines = re.findall(r"^(\S+): (.+ [\d.]+%)$", said, re.MULTILINE)
    words = {file: [word.rpartition(" ") for word in answer.split(", ")] for file, answer in lines}
    return {file: [(name, float(share[:-1])) for name, _, share in parts] for file, parts in words.items()}


# Inputs


@pytest.mark.parametrize("size", [224, [96, 160], [161, 96]])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("eval_crop, crop_pct", [("center", 0.875), ("center", 1.0), ("squash", 0.9)])
def test_photographs_come_to_the_network_as_with_mindspore(size, interpolation, eval_crop, crop_pct, photos):
    mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    theirs = Preprocessing(size, 3, mean, std, interpolation, crop_pct, eval_crop)
    ours = Inputs(**asdict(theirs))
    for path in sorted(photos.iterdir()):
        image = ours.read_image(path)
        assert np.array_equal(image, theirs.read_image(path))
        found, wanted = ours.prepare(image), theirs.prepare(image)
        assert found.shape == wanted.shape and found.dtype == wanted.dtype == np.float32
        levels = np.abs(found - wanted) * np.array(std).reshape(-1, 1, 1) * 255
        assert levels.max() < 1.01 and (levels > 0.01).mean() < 0.01  # one level, in one value of a hundred


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_small_images_come_to_it_too(interpolation):
    rng = np.random.default_rng(0)
    for shape in ((1, 1), (1, 7), (9, 13), (40, 32), (200, 3)):
        for channels in (1, 3):
            theirs = Preprocessing(32, channels, [0.5] * channels, [0.5] * channels, interpolation)
            image = rng.integers(0, 256, (*shape, channels), dtype=np.uint8)
            difference = np.abs(Inputs(**asdict(theirs)).prepare(image) - theirs.prepare(image))
            assert difference.max() < 1.01 / 127.5 and (difference > 1e-4).mean() < 0.02, shape


# Answers


def test_digits_are_answered_as_the_checkpoint_answers_them(tmp_path, capsys):
    digits(tmp_path)
    assert main(["predict", "--engine", "onnx", "best.onnx", str(SAMPLES), "--output", "onnx.png"]) == 0
    found = shares(capsys.readouterr().out)
    assert main(["predict", str(SAMPLES), "--ckpt_path", "best.ckpt", "--mode", "pynative"]) == 0
    wanted = shares(capsys.readouterr().out)
    assert len(found) == 10 and found.keys() == wanted.keys()
    for file, answer in wanted.items():
        assert len(answer) == 5 and [name for name, _ in found[file]] == [name for name, _ in answer]
        assert [share for _, share in found[file]] == pytest.approx([share for _, share in answer], abs=0.11)
    pictures = [np.asarray(Image.open(name).convert("RGB"), float) for name in ("onnx.png", "predict.png")]
    assert pictures[0].shape == pictures[1].shape and np.abs(pictures[0] - pictures[1]).mean() < 0.1


def test_photographs_are_answered_as_the_checkpoint_answers_them(tmp_path, photos, capsys):
    info, path = checkpoint("swin, padded", tmp_path, interpolation="bicubic")
    export(info, path, "onnx")
    capsys.readouterr()
    assert main(["predict", "--engine", "onnx", "best.onnx", "photos"]) == 0
    found = shares(capsys.readouterr().out)
    assert main(["predict", "photos", "--ckpt_path", "best.ckpt", "--mode", "pynative"]) == 0
    wanted = shares(capsys.readouterr().out)
    assert found.keys() == wanted.keys() and len(found) == 3
    for file, answer in wanted.items():
        assert dict(found[file]) == pytest.approx(dict(answer), abs=0.3)


def test_more_images_than_a_batch_and_broken_ones(tmp_path, photos, capsys):
    info, path = checkpoint("vit", tmp_path)
    export(info, path, "onnx")
    for number in range(19):
        Image.new("RGB", (20, 30), (13 * number, 90, 200)).save(photos / f"plain {number}.jpg")
    (photos / "broken.png").write_bytes(b"\x89PNG")
    capsys.readouterr()
    assert main(["predict", "--engine", "onnx", "best.onnx", "photos", "photos/0.png"]) == 0
    said = capsys.readouterr().out
    assert said.count("%") == 23 * 5 and "left out: photos/broken.png cannot be read" in said
    assert Image.open("predict.png").size[1] > 1000


def test_it_needs_no_mindspore(tmp_path):
    digits(tmp_path)
    blocked = tmp_path / "blocked" / "mindspore"
    blocked.mkdir(parents=True)
    (blocked / "__init__.py").write_text("raise ImportError('there is no MindSpore here')\n")
    command = (
        "import sys\n"
        "from importlib import metadata\n"
        "from vit_ms.cli import main\n"
        "known = metadata.version\n"
        "def version(package):\n"
        "    if package == 'mindspore':\n"
        "        raise metadata.PackageNotFoundError(package)\n"
        "    return known(package)\n"
        "metadata.version = version\n"
        "code = main(['predict', '--engine', 'onnx', 'best.onnx', *sys.argv[1:]])\n"
        "found = {name.partition('.')[0] for name in sys.modules} & {'mindspore', 'mindcv', 'onnx', 'torch'}\n"
        "print('imported:', sorted(found))\n"
        "sys.exit(code)\n"
    )
    done = python("-c", command, str(SAMPLES), cwd=tmp_path, first_on_path=blocked.parent)
    assert done.returncode == 0, done.stderr
    assert "imported: []" in done.stdout and len(shares(done.stdout)) == 10
    assert Image.open(tmp_path / "predict.png").size[1] > 1000
    # The block holds: the other engine needs MindSpore.
    other = python(
        "-m", "vit_ms", "predict", "x.png", "--ckpt_path", "best.ckpt", cwd=tmp_path, first_on_path=blocked.parent
    )
    assert "there is no MindSpore here" in other.stderr


# Mistakes


def test_without_onnxruntime_a_line_says_what_to_install(tmp_path, monkeypatch, capsys):
    Path("net.onnx").touch()
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert main(["predict", "--engine", "onnx", "net.onnx", str(SAMPLES)]) == 2
    error = capsys.readouterr().err
    assert error == f"vit_ms: an ONNX file needs onnxruntime, which is not installed: {onnx_model._INSTALL}\n"
    required = (ROOT / "requirements-export.txt").read_text(encoding="utf-8")
    assert re.search(r'"(.+)"', onnx_model._INSTALL)[1] in required


def test_files_that_are_none_of_ours_are_refused(tmp_path):
    path = digits(tmp_path)
    assert error_of(OnnxModel, "absent.onnx") == "there is no ONNX file absent.onnx"
    whole = path.read_bytes()
    for content in (b"", b"<html>404 not found</html>", whole[: len(whole) // 2], bytes(1000)):
        Path("damaged.onnx").write_bytes(content)
        assert error_of(OnnxModel, "damaged.onnx").startswith("damaged.onnx is no ONNX file that onnxruntime runs: ")

    def changed(**metadata) -> str:
        model = onnx.load(path)
        said = {item.key: item.value for item in model.metadata_props} | metadata
        del model.metadata_props[:]
        onnx.helper.set_model_props(model, {key: value for key, value in said.items() if value is not None})
        onnx.save(model, "changed.onnx")
        return error_of(OnnxModel, "changed.onnx")

    nine = json.dumps([str(digit) for digit in range(9)])
    for metadata in (
        {"classes": None},
        {"classes": "["},
        {"classes": nine},
        {"preprocessing": "{}"},
        {"preprocessing": "7"},
    ):
        assert changed(**metadata).startswith("changed.onnx does not say what its classes and inputs are: make it with")


MISTAKES = (
    ("best.onnx", "with --engine onnx the first word is the exported file, then images: model.onnx photo.jpg"),
    ("photo.jpg best.onnx", "with --engine onnx the first word is the exported file"),
    ("best.onnx photo.jpg --ckpt_path best.ckpt", "--ckpt_path does not go with --engine onnx"),
    ("best.onnx photo.jpg --mode pynative", "--mode does not go with --engine onnx"),
    ("best.onnx photo.jpg --output answers", "output is answers; it must end in one of .png"),
    ("best.onnx photo.jpg", "there is no ONNX file best.onnx"),
)


@pytest.mark.parametrize("words, message", MISTAKES)
def test_a_mistake_is_told_in_a_line(words, message, capsys):
    assert main(["predict", "--engine", "onnx", *words.split()]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"vit_ms: {message}") and error.count("\n") == 1


def test_engines_are_named_and_mindspore_needs_a_checkpoint(capsys):
    assert main(["predict", "x.png", "--engine", "tensorrt"]) == 2
    assert capsys.readouterr().err == "vit_ms: --engine tensorrt is unknown: choose mindspore or onnx\n"
    assert main(["predict", "x.png"]) == 2
    assert capsys.readouterr().err.startswith("vit_ms: --ckpt_path is missing")


def test_the_images_are_looked_for(tmp_path, capsys):
    digits(tmp_path)
    capsys.readouterr()
    assert main(["predict", "--engine", "onnx", "best.onnx", "absent.png"]) == 2
    assert "absent.png does not exist" in capsys.readouterr().err
    assert not Path("predict.png").exists()
