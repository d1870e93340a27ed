"""What goes wrong in a run, and must not matter: broken images, a full disk, no memory left."""

import json
import re
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from helpers import python
from images import make_folder, odd_images
from PIL import Image

from vit_ms import training
from vit_ms.cli import main
from vit_ms.data import checking

TINY = {"image_size": 16, "patch_size": 8, "embed_dim": 8, "num_layers": 1, "num_heads": 2, "mlp_dim": 8}


def _recipe(folder: Path, **changes) -> str:
    settings = {
        "model": "vit_ti_16",
        "overrides": TINY,
        "dataset": "folder",
        "data_dir": str(folder),
        "mode": "pynative",
    }
    settings |= {"batch_size": 4, "epoch_size": 1, "opt": "sgd", "ckpt_save_dir": "run"} | changes
    Path("recipe.yaml").write_text(yaml.safe_dump(settings))
    return "recipe.yaml"


def test_training_goes_on_with_the_images_that_are_whole(tmp_path, capsys):
    folder = make_folder(tmp_path / "images")
    verdicts = odd_images(folder / "train" / "class 1") | odd_images(folder / "val" / "class 2")
    (folder / "train" / "class 3").mkdir()  # an empty class
    broken = [str(file) for file, reason in verdicts.items() if reason is not None]
    assert main(["train", "--config", _recipe(folder)]) == 0
    said = capsys.readouterr().out
    listed = Path("run/left_out.txt").read_text().splitlines()
    left_out = [line for line in listed if any(line.startswith(name) for name in broken)]
    assert f"{len(listed)} images cannot be read and are left out; the list is" in said
    assert len(left_out) == len(listed) >= 10
    classes = json.loads(Path("run/run.json").read_text())["classes"]
    assert classes == ["class 0", "class 1", "class 2", "class 3"]


def test_without_one_whole_image_nothing_begins(tmp_path, capsys):
    folder = make_folder(tmp_path / "images", classes=2, train=3, val=3)
    for file in (folder / "train").glob("*/*.jpg"):
        file.write_bytes(file.read_bytes()[:100])
    assert main(["train", "--config", _recipe(folder)]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("vit_ms: no image of train can be read: ")
    assert not list(Path("run").glob("*.ckpt"))


def test_a_disk_that_fills_up_ends_the_run_in_one_line_and_leaves_the_last_state(tmp_path):
    """The largest file that the process may write stands for the room on the disk."""
    words = ["train", "--config", "digits", "--ckpt_save_dir", "run", "--set", "overrides={num_layers: 1, pool: mean}"]
    words += ["mode=pynative", "epoch_size=3", "warmup_epochs=0", "batch_size=512"]
    script = f"""
import resource, signal, sys
from vit_ms import training
from vit_ms.cli import main
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
epochs = []
validate = training._Training.on_epoch_end
def on_epoch_end(self, done):
    epochs.append(done)
    if len(epochs) == 2:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    return validate(self, done)
training._Training.on_epoch_end = on_epoch_end
sys.exit(main({words!r}))
"""
    done = python("-c", script, cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("vit_ms: ") and re.search("File too large|cannot be written", last), last
    assert "Traceback" not in done.stderr
    run = tmp_path / "run"
    (state,) = (run / "state").glob("*.safetensors")
    assert state.stem == f"{1257 // 512:09d}"
    done = python("-m", "vit_ms", *words, "--resume", cwd=tmp_path)
    assert done.returncode == 0 and "going on in epoch 2" in done.stdout, done.stdout + done.stderr
    assert not [path for path in run.rglob(".*") if path.name != ".lock"]


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("Allocate memory failed, size: 1"), RuntimeError("std::bad_alloc")]
)
def test_without_memory_the_message_says_what_takes_less(monkeypatch, capsys, error):
    def exhausted(*args, **kwargs):
        raise error

    monkeypatch.setattr(training.engine, "fit", exhausted)
    assert main(["train", "--config", "digits", "--ckpt_save_dir", "run"]) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    for word in ("--batch_size (64)", "--gradient_accumulation_steps (1)", "--recompute"):
        assert word in last


def test_other_errors_are_not_taken_for_a_lack_of_memory(monkeypatch):
    def broken(*args, **kwargs):
        raise RuntimeError("For 'MatMul', the shapes do not fit")

    monkeypatch.setattr(training.engine, "fit", broken)
    with pytest.raises(RuntimeError, match="do not fit"):
        main(["train", "--config", "digits", "--ckpt_save_dir", "run"])


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["graph", "pynative"])
def test_a_process_that_may_have_little_memory_says_what_takes_less(tmp_path, mode):
    words = ["train", "--config", "digits", "--mode", mode, "--batch_size", "1024", "--ckpt_save_dir", "run"]
    overrides = "overrides={image_size: 224, patch_size: 4}"  # 3,136 tokens: 160 GB of attention weights

    def little():
        resource.setrlimit(resource.RLIMIT_AS, (12 * 2**30, 12 * 2**30))

    command = [sys.executable, "-m", "vit_ms", *words, "--set", overrides]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, preexec_fn=little, timeout=300)
    assert done.returncode == 1, done.stderr
    assert "memory ran out: halve --batch_size (1024)" in done.stderr.splitlines()[-1]


@pytest.mark.slow
def test_an_epoch_of_ten_thousand_images_of_which_two_hundred_are_broken(tmp_path, capsys):
    folder = tmp_path / "images"
    rng = np.random.default_rng(0)
    for index in range(4):
        for split, count in (("train", 2400), ("val", 100)):
            place = folder / split / f"class {index}"
            place.mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(0, 255, (24, 32, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(place / f"{number}.jpg")
    files = sorted((folder / "train").glob("*/*.jpg"))
    kinds = odd_images(tmp_path / "odd")
    broken = [file for file, reason in kinds.items() if reason is not None and file.is_file() and not file.is_symlink()]
    for number, file in enumerate(files[:: len(files) // 200][:200]):
        file.write_bytes(broken[number % len(broken)].read_bytes())
    assert main(["train", "--config", _recipe(folder, batch_size=64, mode="graph")]) == 0
    said = capsys.readouterr().out
    assert "200 images cannot be read and are left out" in said and "146 steps of 64 images an epoch" in said
    listed = {line.split(": ")[0] for line in Path("run/left_out.txt").read_text().splitlines()}
    assert listed == {str(file) for file in files[:: len(files) // 200][:200]}
    assert len(checking.check_images(files, progress=False)) == 9600
