"""The ablation: every run once, whatever interrupts it, and a table that says what the runs say."""

import json
import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
import yaml
from helpers import error_of
from PIL import Image

from vit_ms import ablation, visualize
from vit_ms.errors import Interrupted, UserError


def script(text: str, log) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", text], stdout=log, stderr=subprocess.STDOUT)


@pytest.fixture
def started(monkeypatch):
    """Stands for the runs' processes: they only write results, made of position and seed. The folders that were started."""
    folders = []

    def start(folder, log, one_thread):
        folders.append(folder.name)
        position, seed = folder.name.rsplit("_", 1)
        base = {"none": 0.9, "learned_1d": 0.95, "relative": 0.97}[position]
        metrics = {"val": {"top1": base + 0.01 * int(seed)}, "test": {"top1": base - 0.02 * int(seed) ** 2}}
        (folder / "metrics.json").write_text(json.dumps(metrics))
        return script("", log)

    monkeypatch.setattr(ablation, "start", start)
    return folders


def ablate(said=None, **options):
    options = {"positions": ["none", "relative"], "seeds": 2, "output": "out", **options}
    return ablation.ablate(say=(said if said is not None else []).append, **options)


def test_every_position_is_run_with_every_seed_and_only_once(started, tmp_path):
    said = []
    written = ablate(said)
    assert started == ["none_0", "none_1", "relative_0", "relative_1"]
    assert [path.name for path in written] == ["ablation.json", "ablation.md", "ablation.png"]
    assert said[0] == "4 runs of 60 epochs, 0 of them finished already"
    settings = yaml.safe_load((tmp_path / "out" / "relative_1" / "recipe.yaml").read_text())
    assert settings["seed"] == 1 and settings["overrides"] == {"pool": "mean", "position": "relative"}

    # Again nothing is run; more seeds and positions add to what is there; a lost result is measured anew.
    before = written[0].read_bytes()
    ablate()
    assert len(started) == 4 and written[0].read_bytes() == before
    (tmp_path / "out" / "none_1" / "metrics.json").write_text('{"val": {"top1": 1.0}}')
    ablate(seeds=3, positions=["none", "relative", "learned_1d"])
    assert started[4:] == ["none_1", "none_2", "relative_2", "learned_1d_0", "learned_1d_1", "learned_1d_2"]


def test_the_table_and_the_picture_say_what_the_runs_say(started, tmp_path):
    said = []
    written = ablate(said, seeds=3)
    result = json.loads(written[0].read_text())
    assert [(row["position"], row["seed"]) for row in result["runs"]] == [
        (position, seed) for position in ("none", "relative") for seed in range(3)
    ]
    none, relative = result["summary"]
    # val 0.90, 0.91, 0.92; test 0.90, 0.88, 0.82.
    assert none["val"] == pytest.approx({"mean": 0.91, "std": 0.01})
    assert none["test"] == pytest.approx({"mean": 2.6 / 3, "std": np.std([0.9, 0.88, 0.82], ddof=1)})
    assert "gain" not in none
    assert relative["gain"] == pytest.approx({"mean": 0.07, "standard_error": 0.0}, abs=1e-12)
    assert "| none | 3 | 91.00 ± 1.00 | 86.67 ± 4.16 |  |" in said
    assert "| relative | 3 | 98.00 ± 1.00 | 93.67 ± 4.16 | +7.00 ± 0.00 |" in said
    assert written[1].read_text().splitlines() == said[1:]
    assert Image.open(written[2]).size[0] > 400


def test_the_gain_is_of_runs_with_the_same_seed():
    tests = {"none": [0.8, 0.9], "relative": [0.85, 0.91], "learned_1d": [0.7, 1.0]}
    rows = [
        {"position": position, "seed": seed, "val": 0.5, "test": values[seed]}
        for position, values in tests.items()
        for seed in (0, 1)
    ]
    _, relative, learned = ablation.summary(rows)
    assert relative["gain"] == pytest.approx({"mean": 0.03, "standard_error": 0.02})
    assert learned["gain"] == pytest.approx({"mean": 0.0, "standard_error": 0.1})
    # Without the runs to compare with, and with one seed.
    (alone,) = ablation.summary(rows[-1:])
    assert "gain" not in alone and alone["test"] == {"mean": 1.0, "std": 0.0}


def test_the_picture_has_a_dot_for_each_run():
    rows = [
        {"position": position, "seed": seed, "val": 0.9 + 0.01 * seed, "test": 0.8 + 0.02 * seed}
        for position in ("none", "learned_2d")
        for seed in range(3)
    ]
    (axes,) = visualize.plot_ablation(rows, "digits").axes
    dots = [list(line.get_ydata()) for line in axes.lines]
    assert np.allclose(dots, [[0.9, 0.91, 0.92]] * 2 + [[0.8, 0.82, 0.84]] * 2)
    means = [collection.get_segments()[0][0, 1] for collection in axes.collections]
    assert means == pytest.approx([0.91, 0.91, 0.82, 0.82])
    assert [label.get_text() for label in axes.get_xticklabels()] == ["none", "learned_2d"]
    # No two dots at one place, even of equal results.
    places = np.concatenate([line.get_xdata() for line in axes.lines])
    assert len(np.unique(places.round(6))) == 12


def test_other_runs_in_the_folder_are_not_taken_for_these(started):
    ablate(epoch_size=7)
    message = error_of(ablate, epoch_size=9)
    assert message.startswith("out/none_0 holds another run (epoch_size 7 -> 9): choose another")
    assert len(started) == 4


def test_the_folder_may_be_moved(started, tmp_path):
    ablate()
    (tmp_path / "out").rename(tmp_path / "moved")
    ablate(output=tmp_path / "moved")
    assert len(started) == 4


def test_a_run_that_fails_ends_the_others_and_says_why(started, monkeypatch, tmp_path):
    good, processes = ablation.start, []

    def start(folder, log, one_thread):
        if folder.name == "none_0":
            return good(folder, log, one_thread)
        assert one_thread
        text = (
            "import time; time.sleep(60)"
            if folder.name == "none_1"
            else "import sys; print('hm'); sys.exit('no memory')"
        )
        processes.append(script(text, log))
        return processes[-1]

    monkeypatch.setattr(ablation, "start", start)
    message = error_of(ablate, jobs=2)
    assert message == "the run in out/relative_0 failed (no memory): see its log.txt, then start again to go on"
    assert len(processes) == 2  # the fourth has not begun
    assert processes[0].returncode < 0
    monkeypatch.setattr(ablation, "start", good)
    ablate()
    assert started == ["none_0", "none_1", "relative_0", "relative_1"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_told_to_stop_it_ends_its_runs(started, monkeypatch, number):
    processes = []

    def start(folder, log, one_thread):
        processes.append(script("import time; time.sleep(60)", log))
        threading.Timer(0.5, os.kill, (os.getpid(), number)).start()
        return processes[-1]

    monkeypatch.setattr(ablation, "start", start)
    before = signal.getsignal(number)
    with pytest.raises(Interrupted, match="the same command goes on") as caught:
        ablate()
    assert caught.value.signal == number and signal.getsignal(number) is before
    assert len(processes) == 1 and processes[0].returncode < 0


def test_what_cannot_be_run_is_refused_before_anything_runs(started, tmp_path):
    swin = tmp_path / "swin.yaml"
    swin.write_text("model: swin_t\ndataset: digits\nmean: [0.5]\nstd: [0.5]\n")
    for wanted, options in [
        ("swin_t has no argument 'position'", {"config": str(swin)}),
        ("position is '3d'; choose one of", {"positions": ["none", "3d"]}),
        ("positions is 0", {"positions": []}),
        ("seeds is 0", {"seeds": 0}),
        ("jobs is 0", {"jobs": 0}),
    ]:
        assert wanted in error_of(ablate, **options)
    assert started == [] and not (tmp_path / "out").exists()


@pytest.mark.slow
def test_the_processes_train_and_measure(tmp_path):
    """One real run."""
    written = ablate(positions=["relative"], seeds=1, epoch_size=1)
    folder = tmp_path / "out" / "relative_0"
    assert json.loads((folder / "run.json").read_text())["overrides"]["position"] == "relative"
    measured = json.loads((folder / "metrics.json").read_text())
    assert measured["test"]["images"] == 360 and measured["val"]["images"] == 180
    (row,) = json.loads(written[0].read_text())["runs"]
    assert row == {
        "position": "relative",
        "seed": 0,
        "val": measured["val"]["top1"],
        "test": measured["test"]["top1"],
    }
    assert (
        "best validation accuracy" in (folder / "log.txt").read_text()
        and "it/s" not in (folder / "log.txt").read_text()
    )


def test_a_mistake_in_a_run_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setitem(os.environ, "GLOG_v", "3")
    base = {"model": "vit_nano_4", "dataset": "digits", "mean": [0.5], "std": [0.5], "batch_size": 5000}
    (tmp_path / "broken.yaml").write_text(yaml.safe_dump(base))
    with pytest.raises(UserError, match=r"failed \(vit_ms: .*5000") as caught:
        ablate(config=str(tmp_path / "broken.yaml"))
    assert "Traceback" not in (tmp_path / "out" / "none_0" / "log.txt").read_text() and "\n" not in str(caught.value)
