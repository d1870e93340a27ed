"""Several processes train as one: the data they share, the weights they end with, and what happens when one of them dies."""

import csv
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from helpers import ROOT

from vit_ms.data.batches import TrainBatches, eval_batches
from vit_ms.data.digits import Digits
from vit_ms.data.transforms import Augmentation, Preprocessing

PREPROCESSING = Preprocessing(16, 1, [0.5], [0.5], "bicubic", 1.0)
WORKER = Path(__file__).parent / "distributed_worker.py"
RUN = [
    *(
        "--config",
        "digits",
        "--device_target",
        "CPU",
        "--epoch_size",
        "2",
        "--set",
        "augment=none",
        "opt=sgd",
        "lr=0.1",
    ),
    "overrides={num_layers: 1, embed_dim: 16, num_heads: 2, mlp_dim: 16, pool: mean, keep_prob: 0.9}",
    "warmup_epochs=0",
]


def _environment(**variables: str) -> dict:
    paths = os.pathsep.join([str(ROOT), str(Path(__file__).parent)])
    return {**os.environ, "PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1", "PYTHON": sys.executable, **variables}


def _free_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


def _script(folder: Path, processes: int, *options: str) -> subprocess.Popen:
    """scripts/run_distribute_train.sh, in a session of its own, so that a test can end all that it started."""
    command = ["bash", str(ROOT / "scripts" / "run_distribute_train.sh"), str(processes), "digits", *RUN[2:], *options]
    environment = _environment(PORT=_free_port(), LOG_DIR=str(folder / "logs"))
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
    )  # fmt: skip


WORKS = b"MS_ROLE=MS_WORKER"


def _processes(folder: Path) -> list[str]:
    """Those whose command names the folder."""
    return subprocess.run(["pgrep", "-f", str(folder)], capture_output=True, text=True).stdout.split()


@pytest.fixture(autouse=True)
def nothing_runs_on(tmp_path):
    yield
    subprocess.run(["pkill", "-KILL", "-f", str(tmp_path)])


def _weights(folder: Path, processes: int, *options: str) -> list[dict]:
    """What each of so many processes of one run ends with."""
    folder.mkdir()
    words = ["python", str(WORKER), str(folder), *RUN, "--ckpt_save_dir", str(folder / "run"), *options]
    if processes > 1:
        under = ["--worker_num", "--local_worker_num"]
        words = [
            *("python", "-m", "mindspore.parallel.cluster.run", *(f"{word}={processes}" for word in under)),
            *(f"--master_port={_free_port()}", f"--log_dir={folder / 'logs'}", "--join=True", *words),
        ]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(words, cwd=folder, env=_environment(PATH=path), capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stdout + done.stderr
    return [dict(np.load(folder / f"rank{rank}.npz")) for rank in range(processes)]


def _log(folder: Path) -> list[dict]:
    with (folder / "run" / "log.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("accumulate", [1, 2])
def test_devices_share_what_one_would_see(accumulate):
    digits = Digits()
    one = TrainBatches(digits, PREPROCESSING, 60, Augmentation("none"), accumulate=accumulate)
    three = [
        TrainBatches(digits, PREPROCESSING, 20, Augmentation("none"), rank=rank, ranks=3, accumulate=accumulate)
        for rank in range(3)
    ]
    for epoch in (1, 2):
        assert np.array_equal(np.concatenate([part.order(epoch) for part in three], axis=1), one.order(epoch))
        assert len(set(one.order(epoch).ravel())) == one.batches * 60  # no image twice
    assert not np.array_equal(one.order(1), one.order(2))


@pytest.mark.parametrize("ranks", [2, 7])
def test_devices_validate_every_image_once(ranks):
    digits = Digits()
    images, _ = digits.arrays("val")
    whole = np.concatenate(
        [x for x, _ in eval_batches(digits, "val", PREPROCESSING, 50).create_tuple_iterator(output_numpy=True)]
    )
    found = np.full_like(whole, np.nan)
    for rank in range(ranks):
        part = eval_batches(digits, "val", PREPROCESSING, 50, rank=rank, ranks=ranks)
        found[rank::ranks] = np.concatenate([x for x, _ in part.create_tuple_iterator(output_numpy=True)])
    assert len(whole) == len(images) and np.array_equal(found, whole)


@pytest.mark.parametrize("mode", ["graph", pytest.param("pynative", marks=pytest.mark.slow)])
def test_two_processes_end_as_one_with_the_double_batch(tmp_path, mode):
    first, second = _weights(tmp_path / "two", 2, "--batch_size", "32", "--mode", mode)
    (alone,) = _weights(tmp_path / "one", 1, "--batch_size", "64", "--mode", mode)
    for name, weight in alone.items():
        assert np.array_equal(first[name], second[name]), name
        assert np.abs(first[name] - weight).max() < 1e-5, name
    for row, wanted in zip(_log(tmp_path / "two"), _log(tmp_path / "one"), strict=True):
        for key in ("lr", "train_loss", "train_acc", "val_loss", "val_acc"):
            assert float(row[key]) == pytest.approx(float(wanted[key]), abs=1e-5), key


@pytest.mark.slow
def test_a_process_that_dies_ends_the_run_with_the_last_lines_of_its_log(tmp_path):
    script = _script(tmp_path, 2, "--epoch_size", "500", "--ckpt_save_dir", str(tmp_path / "run"))
    state = tmp_path / "run" / "state"
    while not list(state.glob("*.sha256")):
        assert script.poll() is None, script.communicate()[0]
        time.sleep(0.1)
    environments = {pid: Path(f"/proc/{pid}/environ").read_bytes() for pid in _processes(tmp_path)}
    (second,) = [pid for pid, content in environments.items() if {b"RANK_ID=1", WORKS} <= set(content.split(b"\0"))]
    os.kill(int(second), signal.SIGKILL)
    said = script.communicate(timeout=60)[0]
    assert script.returncode != 0 and "--- the end of" in said and "worker_1.log" in said, said
    time.sleep(1)
    assert _processes(tmp_path) == []


@pytest.mark.slow
def test_a_run_goes_on_with_another_number_of_processes(tmp_path):
    options = ["--ckpt_save_dir", str(tmp_path / "run"), "--batch_size", "32", "--set", "ckpt_interval=1"]
    script = _script(tmp_path, 2, *options)
    while not list((tmp_path / "run" / "state").glob("*.sha256")):
        assert script.poll() is None, script.communicate()[0]
        time.sleep(0.05)
    script.terminate()
    said = script.communicate(timeout=90)[0]
    assert script.returncode != 0 and "stopped in epoch" in said, said
    folder = tmp_path / "alone"
    folder.mkdir()
    command = [sys.executable, str(WORKER), str(folder), *RUN, *options, "--resume"]
    done = subprocess.run(command, cwd=folder, env=_environment(), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and "going on in epoch" in done.stdout, done.stdout + done.stderr
    (whole,) = _weights(tmp_path / "whole", 1, "--batch_size", "64")
    resumed = dict(np.load(folder / "rank0.npz"))
    for name, weight in whole.items():
        assert np.abs(resumed[name] - weight).max() < 1e-5, name


@pytest.mark.parametrize("words", [["0", "digits"], ["two", "digits"], ["2"], ["2", "--resume"]])
def test_the_script_says_how_it_is_called(words):
    script = str(ROOT / "scripts" / "run_distribute_train.sh")
    done = subprocess.run(["bash", script, *words], capture_output=True, text=True, env=_environment())
    assert done.returncode == 2 and ("usage:" in done.stderr or "number of devices" in done.stderr)
