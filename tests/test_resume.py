"""A run that is interrupted, in whatever way, and gone on with ends where one that was not ends, to the last bit."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from helpers import ROOT
from safetensors.numpy import load_file

# Dropout of every kind, averages, accumulation and augmentation: all that draws random numbers or keeps a state.
RUN = [
    *("train", "--config", "digits", "--epoch_size", "3", "--gradient_accumulation_steps", "2", "--batch_size", "32"),
    *("--set", "ema_decay=0.9", "ckpt_interval=1", "mixup=0.2", "re_prob=0.2", "warmup_epochs=1"),
    "overrides={num_layers: 1, embed_dim: 16, num_heads: 2, mlp_dim: 16, keep_prob: 0.9, attention_keep_prob: 0.9, "
    "drop_path_keep_prob: 0.9, pool: mean}",
]


def start(folder: Path, *options: str, **variables: str) -> subprocess.Popen:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", **variables}
    command = [sys.executable, "-m", "vit_ms", *RUN, "--ckpt_save_dir", str(folder), *options]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finished(folder: Path, *options: str) -> str:
    process = start(folder, *options)
    said = process.communicate(timeout=300)[0]
    assert process.returncode == 0, said
    return said


def outcome(folder: Path) -> tuple[dict, list]:
    """All that a run ends with: weights, moments, averages, counters; and its log but for the times."""
    newest = max((folder / "state").glob("*.safetensors"))
    with (folder / "log.csv").open() as file:
        rows = [line.rsplit(",", 1)[0] for line in file]
    return load_file(newest), rows


def check_same(folder: Path, other: Path) -> None:
    (arrays, rows), (wanted, wanted_rows) = outcome(folder), outcome(other)
    assert rows == wanted_rows
    assert arrays.keys() == wanted.keys()
    for name, array in wanted.items():
        assert np.array_equal(arrays[name], array), name
    for name in ("best.ckpt", "last.ckpt"):
        assert (folder / name).read_bytes() == (other / name).read_bytes()


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> tuple[Path, float]:
    folder = tmp_path_factory.mktemp("runs") / "whole"
    began = time.monotonic()
    finished(folder)
    return folder, time.monotonic() - began


def wait_for_state(folder: Path, process: subprocess.Popen) -> None:
    while not list((folder / "state").glob("*.sha256")):
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.05)


def test_the_same_run_twice_is_the_same(uninterrupted, tmp_path):
    finished(tmp_path / "again")
    check_same(tmp_path / "again", uninterrupted[0])


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_run_that_is_told_to_stop_saves_its_state_and_says_how_to_go_on(uninterrupted, tmp_path, number):
    folder = tmp_path / "run"
    process = start(folder)
    wait_for_state(folder, process)
    process.send_signal(number)
    said = process.communicate(timeout=120)[0]
    # MindSpore's data pipeline makes a SIGTERM of a SIGINT.
    assert process.returncode in (128 + number, 128 + signal.SIGTERM), said
    assert said.splitlines()[-1].startswith("vit_ms: stopped in epoch") and "--resume" in said.splitlines()[-1]
    assert "Traceback" not in said
    said = finished(folder, "--resume")
    assert "going on in epoch" in said
    check_same(folder, uninterrupted[0])


def test_a_second_run_in_the_folder_is_refused(tmp_path):
    process = start(tmp_path / "run")
    wait_for_state(tmp_path / "run", process)
    second = start(tmp_path / "run", "--resume")
    said = second.communicate(timeout=120)[0]
    process.kill()
    process.communicate()
    assert second.returncode == 2
    assert f"in use by another run (process {process.pid})" in said.splitlines()[-1]


def kill_at_random(folder: Path, whole: Path, seconds: float, kills: int, seed: int) -> None:
    """Run and kill, run and kill, until so many kills; runs that come to their end must be the same as the whole one."""
    chance, done, runs = random.Random(seed), 0, 0
    while done < kills:
        run = folder / f"run {runs}"
        began, whole_run = time.monotonic(), not run.exists()
        process = start(run, "--resume")
        # Before the training, in its first compilation, within an epoch, in the validation, while a file is written.
        try:
            process.wait(chance.uniform(0.3, 1.05) * seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            done += 1
            continue
        assert process.returncode == 0, process.communicate()[0]
        check_same(run, whole)
        runs += 1
        if whole_run:
            seconds = time.monotonic() - began  # the machine may have less to do than it had
    finished(folder / f"run {runs}", "--resume")
    check_same(folder / f"run {runs}", whole)


@pytest.mark.slow
def test_a_run_killed_at_twenty_random_moments_goes_on_to_the_same_end(uninterrupted, tmp_path):
    kill_at_random(tmp_path, *uninterrupted, kills=20, seed=1)


@pytest.mark.slow
def test_a_state_damaged_on_the_disk_is_passed_over(uninterrupted, tmp_path):
    folder = tmp_path / "run"
    process = start(folder)
    while len(list((folder / "state").glob("*.sha256"))) < 2:
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.02)
    process.kill()
    process.communicate()
    # Of the whole ones: the kill may have left one without its sum, which nobody takes for a state.
    newest = max((folder / "state").glob("*.sha256")).with_suffix(".safetensors")
    newest.write_bytes(newest.read_bytes()[:-1000])
    said = finished(folder, "--resume")
    assert f"{newest} is damaged, and passed over" in said
    check_same(folder, uninterrupted[0])


def test_the_draws_of_the_dropout_are_in_the_state(uninterrupted):
    arrays, _ = outcome(uninterrupted[0])
    steps = 3 * (1257 // 64)
    assert arrays["draw"].tolist() == [0, steps, 0] and arrays["global_step"] == steps
    assert json.loads((uninterrupted[0] / "run.json").read_text())["recipe"]["ema_decay"] == 0.9
