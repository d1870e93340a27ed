"""The benchmark counts and divides rightly, its processes neither disturb nor outlive it, and a mistake costs no waiting.

Nothing here is about how long something takes.
"""

import importlib
import inspect
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vit_ms import _bench_processes, _torchvision, benchmark, visualize
from vit_ms._bench_worker import OnMindSpore, prepare, timed
from vit_ms.benchmark import Contender
from vit_ms.cli import main
from vit_ms.registry import list_models, model_arguments

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

VIT_MS, BF16, REFERENCE, TIMM = (
    Contender(*words.split()) for words in ("vit_ms fp32", "vit_ms bf16", "reference fp32", "timm fp32")
)

# Speaks as a contender's process does, with made-up times: a step takes vit_ms 2 s, the product 0.1 s and all others 6 s;
# with --scaling, as its batch, depth and number of pixels. Its first argument is a file that says who fails at what.
FAKE = """
import json, os, sys
from pathlib import Path

faults, (peer, precision) = json.loads(Path(sys.argv[1]).read_text()), sys.argv[2:4]
sizes = {}
for line in sys.stdin:
    order = json.loads(line)
    word = next(iter(order))
    fault = faults.get(f"{peer} {precision} {word}") or faults.get(order.get("prepare"))
    if fault == "dies":
        print("Traceback\\n  the last line\\n", file=sys.stderr, flush=True)
        os._exit(3)
    if fault:
        answer = {"error": "RuntimeError: no room"}
    elif word == "load":
        answer = {"note": ""}
    elif word == "prepare":
        answer = {"first_step": 1.5, "kernels": int(peer == "vit_ms"), "memory": 2_000_000_000}
        if order["prepare"] != "step":
            arguments = order["case"]["network"]["arguments"]
            pixels = arguments["image_size"] ** 2
            sizes[order["prepare"]] = order["case"]["batch_size"] * arguments["num_layers"] * pixels
    else:
        seconds = 1e-4 * sizes[order["time"]] if sizes else {"vit_ms": 4.0, "product": 0.2}.get(peer, 12.0)
        answer = {"steps": 2, "seconds": seconds, "memory": 3_000_000_000, "cpu_seconds": 0.0}
    print(json.dumps(answer), flush=True)
"""


@pytest.fixture
def faults(tmp_path, monkeypatch):
    """The contenders' processes are made up and all peers installed; what is put into the file fails."""
    path = tmp_path / "faults.json"
    path.write_text("{}", encoding="utf-8")
    monkeypatch.setattr(_bench_processes, "WORKER", [sys.executable, "-c", FAKE, str(path)])
    monkeypatch.setattr(benchmark, "installed", lambda peer: True)
    monkeypatch.setattr(benchmark, "_busy_seconds", lambda: None)
    return lambda kinds: path.write_text(json.dumps(kinds), encoding="utf-8")


def _turns(*seconds, steps=1, first=1):
    return [{"round": first + i, "steps": steps, "seconds": s} for i, s in enumerate(seconds)]


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def _drawn(path: Path) -> bool:
    """Whether a picture shows something: many colours, and ink in every third of its width."""
    pixels = np.asarray(Image.open(path).convert("L"))
    return all((part < 128).mean() > 0.005 for part in np.array_split(pixels, 3, axis=1))


# Counting


def test_flops_of_known_networks():
    # Multiplications and additions of one image, in billions: timm's tables, and for the paper's Huge its own arithmetic.
    for name, billions in (("vit_b_16", 17.56), ("vit_l_16", 61.55), ("vit_s_16", 4.60), ("vit_ti_16", 1.25)):
        counted = benchmark.flops(**model_arguments(name, {}))
        assert counted / 2e9 == pytest.approx(billions, rel=0.01), name
        assert benchmark.flops(**model_arguments(name, {}), train=True) == 3 * counted


def test_flops_counted_by_hand():
    # 4 patches of 4 numbers, 5 tokens of 3 numbers, two blocks, an MLP of 5, 7 classes.
    tiny = {"image_size": 4, "patch_size": 2, "embed_dim": 3, "num_layers": 2, "mlp_dim": 5, "input_channels": 1}
    embedding = 4 * 4 * 3
    block = (
        5 * 3 * 9 + 5 * 5 * 3 + 5 * 5 * 3 + 5 * 3 * 3 + 5 * 3 * 5 + 5 * 5 * 3
    )  # qkv, scores, sum, out, and the MLP's two
    assert benchmark.flops(**tiny, num_classes=7) == 2 * (embedding + 2 * block + 3 * 7)
    with_representation = 2 * (embedding + 2 * block + 3 * 4 + 4 * 7)
    assert benchmark.flops(**tiny, num_classes=7, representation_size=4) == with_representation


def test_ratios_are_taken_within_a_round():
    # The machine is five times slower in the second round: the ratio of the medians would be 2.5 / 3.
    mine, peer = _turns(1.0, 5.0, 2.5), _turns(4.0, 10.0, 3.0, 9.0)
    assert benchmark.speedup(mine, peer) == {"median": 2.0, "lower": 1.6, "upper": 3.0}
    assert benchmark.speedup(_turns(3.0, steps=3), _turns(4.0, steps=2))["median"] == 2.0
    assert benchmark.speedup(_turns(1.0), _turns(1.0, first=2)) is None
    assert benchmark.quartiles([4, 1, 2, 3, 5]) == {"median": 3.0, "lower": 2.0, "upper": 4.0}


def test_the_exponent_is_that_of_a_power():
    sizes = [224, 288, 384, 512]
    assert benchmark.exponent(sizes, [3e-6 * size**2.25 for size in sizes]) == pytest.approx(2.25)
    assert benchmark.exponent([8], [1.0]) is None


def test_every_peers_name_belongs_to_a_model():
    assert {model for model, _ in benchmark.MINDCV} | {*benchmark.TIMM} <= set(list_models())
    for model, _ in benchmark.MINDCV:
        assert (model, model_arguments(model, {})["image_size"]) in benchmark.MINDCV


# The worker


def test_a_step_is_timed_until_the_time_is_up():
    calls = []
    answer = timed(lambda: calls.append(time.sleep(0.002)), 0.01)
    assert answer["steps"] == len(calls) > 1 and answer["seconds"] >= 0.01
    assert timed(lambda: None, 0.0)["steps"] == 1


def test_a_training_step_trains():
    overrides = {"num_layers": 1, "embed_dim": 16, "mlp_dim": 16}
    network = benchmark.network("vit_nano_4", overrides) | {"name": "vit_nano_4"}
    contender = OnMindSpore("reference", "fp32")
    case = {"network": network, "batch_size": 4, "train": True}
    step, answer = prepare(contender.step, case, warm_up=False)
    built = contender.built[1]
    before = built.dense.weight.asnumpy().copy()
    loss = step()
    assert np.isfinite(loss) and answer["first_step"] > 0
    assert not np.array_equal(before, built.dense.weight.asnumpy())
    # A forward pass of the same network, and the same batch.
    assert contender.step({**case, "train": False})().shape == (4, 10) and contender.built[1] is built


def test_the_product_is_one():
    product = OnMindSpore("product", "fp32").step({"product": 8})()
    left, right = np.random.default_rng(0).standard_normal((2, 8, 8), np.float32)
    assert np.allclose(product, left @ right, atol=1e-5)


def test_the_stand_in_for_torchvision(monkeypatch):
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path])
    assert not _torchvision.install("json")
    assert _torchvision.install("vision_of_a_torch")
    misc = importlib.import_module("vision_of_a_torch.ops.misc")
    assert inspect.isclass(misc.FrozenBatchNorm2d) and misc.FrozenBatchNorm2d is misc.FrozenBatchNorm2d

    class Derived(misc.FrozenBatchNorm2d):
        pass

    from vision_of_a_torch import transforms
    from vision_of_a_torch.transforms import functional
    from vision_of_a_torch.transforms.functional import InterpolationMode

    assert {InterpolationMode.NEAREST: "nearest"}[InterpolationMode.NEAREST] == "nearest"
    assert inspect.isclass(transforms.Compose) and functional.__name__ == "vision_of_a_torch.transforms.functional"
    assert not hasattr(transforms, "__wrapped__") and not hasattr(InterpolationMode, "__wrapped__")
    for name in [name for name in sys.modules if name.startswith("vision_of_a_torch")]:
        del sys.modules[name]


# The processes


def test_only_the_one_asked_runs(faults):
    with benchmark.Processes() as processes:
        for contender in (VIT_MS, TIMM):
            processes.start(contender)
        pids = [process.process.pid for process in processes._running.values()]
        processes.ask(VIT_MS, prepare="step", case={"product": 8}, warm_up=True)
        if sys.platform == "linux":
            # A signal takes its time to arrive.
            for _ in range(100):
                states = [Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] for pid in pids]
                if states == ["T", "T"]:
                    break
                time.sleep(0.01)
            assert states == ["T", "T"]
        folder = processes._folder.name
        assert Path(folder).is_dir()
    assert not any(map(_alive, pids)) and not Path(folder).exists()


@on_linux
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_process_outlives_the_command(end, tmp_path):
    script = textwrap.dedent("""
        import time
        from vit_ms._bench_processes import Contender, Processes
        with Processes() as processes:
            processes.start(Contender("product", "fp32"))
            print(*(process.process.pid for process in processes._running.values()), flush=True)
            time.sleep(60)
    """)
    env = {**os.environ, "TMPDIR": str(tmp_path)}  # what the killed command could not put away
    command = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=env
    )
    pid = int(command.stdout.readline())
    assert _alive(pid)
    command.send_signal(end)
    command.wait()
    command.stdout.close()
    for _ in range(200):
        if not _alive(pid):
            return
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    pytest.fail("the stopped process lives on")


# The command


def test_the_comparison(faults, capsys, monkeypatch):
    assert main(["bench", "--rounds", "2", "--output", "out"]) == 0
    said, _ = capsys.readouterr()
    report = json.loads(Path("out/bench.json").read_text(encoding="utf-8"))
    assert [row["title"] for row in report["rows"]] == [
        "digits recipe (vit_nano_4, batch 64), training step",
        "vit_b_16, batch 8, 224 px, forward",
        "vit_b_16, batch 8, 224 px, training step",
    ]
    assert report["command"] == (
        "python -m vit_ms bench --model vit_b_16 --batch_size 8 --pass forward train --precision fp32 bf16 "
        "--peers vit_ms reference onnx mindcv timm --recipe digits --rounds 2"
    )
    assert "mindcv has no vit_nano_4 for 16 px and is left out there" in report["notes"]
    assert report["machine"]["cores"] >= 1 and report["versions"]["mindspore"]
    digits, forward, train = report["rows"]
    assert [item["peer"] for item in digits["contenders"]] == ["vit_ms", "reference", "timm"]
    assert "onnx" not in [item["peer"] for item in train["contenders"]]  # which cannot be trained
    names = [f"{item['peer']} {item['precision']}" for item in forward["contenders"]]
    assert names[:4] == ["vit_ms fp32", "vit_ms bf16", "reference fp32", "onnx fp32"]
    assert names[4:] == ["mindcv fp32", "timm fp32", "timm bf16"]
    first = forward["contenders"][0]
    assert first["turns"] == _turns(4.0, 4.0, steps=2) and first["images_per_s"]["median"] == 4.0
    assert (first["ms_per_step"], first["first_step_s"], first["memory_bytes"]) == (2000.0, 1.5, 3e9)
    assert forward["flops_per_step"] == 8 * benchmark.flops(**model_arguments("vit_b_16", {}))
    assert forward["peak_flops"]["median"] == pytest.approx(2 * 2048**3 / 0.1)
    share = forward["flops_per_step"] / 2.0 / (2 * 2048**3 / 0.1)
    assert first["share_of_peak"]["median"] == pytest.approx(share)
    # bf16 is held against fp32 where the peer has nothing else.
    assert {(item["of"], item["over"]): item["median"] for item in forward["speedups"]} == {
        (f"vit_ms {mine}", over): 3.0
        for mine in ("fp32", "bf16")
        for over in ("reference fp32", "onnx fp32", "mindcv fp32", f"timm {mine}")
    } | {
        ("onnx fp32", over): 1 / 3 if over == "vit_ms fp32" else 1.0
        for over in ("vit_ms fp32", "reference fp32", "mindcv fp32", "timm fp32")
    }
    line = next(line for line in said.splitlines() if line.startswith("  timm fp32") and line.count("x") == 2)
    assert line.endswith(f"{'3.00x':>14}{'':>16}{'1.00x':>14}")  # under vit_ms fp32, vit_ms bf16 and onnx fp32
    line = next(line for line in said.splitlines() if line.startswith("  timm bf16"))
    assert " ".join(line.split()) == "timm bf16 1.33 1.33 - 1.33 6,000 1.5 s 3.00 GB 27% 3.00x"
    assert "1.5 s*" in said and said.count("vit_ms fp32 is") == 3
    assert _drawn(Path("out/bench.png"))


def test_peers_that_are_not_installed_are_named_once(faults, monkeypatch, capsys):
    monkeypatch.setattr(benchmark, "installed", lambda peer: peer in ("vit_ms", "reference"))
    assert main(["bench", "--pass", "forward", "--rounds", "1"]) == 0
    said = capsys.readouterr().out
    files = "requirements-export.txt -r requirements-bench.txt"
    assert said.count(f"onnx, mindcv, timm not installed and left out: pip install -r {files}") == 1
    rows = json.loads(Path("runs/bench/bench.json").read_text(encoding="utf-8"))["rows"]
    assert [item["peer"] for item in rows[0]["contenders"]] == ["vit_ms", "vit_ms", "reference"]
    assert main(["bench", "--peers", "timm"]) == 2
    monkeypatch.setattr(benchmark, "installed", lambda peer: True)
    assert main(["bench", "--peers", "mindcv", "--model", "vit_ti_16"]) == 2
    assert capsys.readouterr().err.endswith("vit_ms: mindcv has no vit_ti_16 for 224 px and is left out there\n")
    assert main(["bench", "--peers", "onnx", "--pass", "train"]) == 2
    assert "onnx is not trained: choose --pass forward" in capsys.readouterr().err


def test_who_fails_is_told_in_a_line_and_the_others_go_on(faults, capsys):
    failing = {"mindcv fp32 prepare": "dies", "timm fp32 time": "fails", "reference fp32 load": "fails"}
    faults({**failing, "onnx fp32 prepare": "fails"})
    options = ["--rounds", "2", "--recipe", "none", "--pass", "forward", "--precision", "fp32"]
    assert main(["bench", *options]) == 0
    said = capsys.readouterr().out.splitlines()
    assert "mindcv fp32 is left out: its process ended with exit code 3: the last line" in said
    assert "timm fp32 is left out: RuntimeError: no room" in said
    assert "reference fp32 is left out: RuntimeError: no room" in said
    report = json.loads(Path("runs/bench/bench.json").read_text(encoding="utf-8"))
    assert [len(item["turns"]) for item in report["rows"][0]["contenders"]] == [2]
    assert sum("left out" in note for note in report["notes"]) == 4
    faults({f"{peer} fp32 load": "fails" for peer in benchmark.PEERS})
    assert main(["bench", *options]) == 1
    assert "vit_ms: nothing was measured" in capsys.readouterr().err


def test_a_disturbed_machine_is_told_of(faults, monkeypatch, capsys):
    monkeypatch.setattr(benchmark.os, "cpu_count", lambda: 8)
    monkeypatch.setattr(benchmark, "_cores", lambda: 6)
    assert benchmark.others_cores(7.0, 1.5) == 3.5  # two of the cores that others used are not ours
    assert benchmark.others_cores(3.0, 1.5) == 0.0
    monkeypatch.setattr(benchmark, "_busy_seconds", lambda: 0.0)
    monkeypatch.setattr(benchmark, "others_cores", lambda busy, own: 2.0)
    assert main(["bench", "--recipe", "none", "--pass", "train", "--precision", "fp32", "--rounds", "1"]) == 0
    said = capsys.readouterr().out
    told = "  other programs used 2.0 of the 6 cores meanwhile: measure again on an idle machine"
    assert told in said.splitlines()
    report = json.loads(Path("runs/bench/bench.json").read_text(encoding="utf-8"))
    assert {turn["others_cores"] for item in report["rows"][0]["contenders"] for turn in item["turns"]} == {2.0}
    assert report["rows"][0]["disturbance"] == told
    assert main(["bench", "--scaling", "--rounds", "1"]) == 0
    assert told in capsys.readouterr().out.splitlines()


def test_quick_gives_the_slow_ones_one_turn(faults):
    assert main(["bench", "--quick"]) == 0
    for row in json.loads(Path("runs/bench/bench.json").read_text(encoding="utf-8"))["rows"]:
        for item in row["contenders"]:
            turns = 1 if item["peer"] == "reference" else 3 if row["pass"] == "forward" else 2
            assert item["peer"] != "mindcv" and len(item["turns"]) == turns
            assert item["peer"] != "reference" or row["pass"] == "forward" or row["title"].startswith("digits")


def test_short_memory_makes_groups_each_with_vit_ms(faults, monkeypatch):
    monkeypatch.setattr(benchmark, "_free_memory", lambda: 1e9)
    assert main(["bench", "--recipe", "none", "--pass", "train", "--rounds", "2"]) == 0
    report = json.loads(Path("runs/bench/bench.json").read_text(encoding="utf-8"))
    turns = {(item["peer"], item["precision"]): len(item["turns"]) for item in report["rows"][0]["contenders"]}
    assert turns.pop(VIT_MS) == turns.pop(BF16) == 8 and set(turns.values()) == {2}
    assert {item["median"] for item in report["rows"][0]["speedups"]} == {3.0}
    assert any("memory does not suffice" in note for note in report["notes"])


def test_scaling(faults, capsys):
    faults({"512 px, batch 8, depth 12": "fails"})
    assert main(["bench", "--scaling", "--rounds", "2", "--pass", "forward", "train", "--output", "out"]) == 0
    said = capsys.readouterr().out
    report = json.loads(Path("out/scaling.json").read_text(encoding="utf-8"))
    assert "512 px, batch 8, depth 12 is left out: RuntimeError: no room" in said
    series = {(item["pass"], item["vary"]): item for item in report["series"]}
    assert list(series) == [(kind, vary) for kind in benchmark.PASSES for vary in ("image_size", "batch_size", "depth")]
    # The made-up times are as batch, depth and the square of the image size.
    for (_, vary), item in series.items():
        assert item["exponent"] == pytest.approx(2.0 if vary == "image_size" else 1.0)
    assert [point["image_size"] for point in series["train", "image_size"]["points"]] == [224, 288, 384, 448]
    assert {point["batch_size"] for point in series["train", "depth"]["points"]} == {8}
    assert "forward fp32 by image_size: time grows as image_size^2.00" in said
    assert _drawn(Path("out/scaling.png"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--model vit_b_61", "model 'vit_b_61' is unknown; did you mean 'vit_b_16'"),
        ("--batch_size 8 0", "batch_size is 0; it must be at least 1"),
        ("--rounds 0", "rounds is 0"),
        ("--image_size 224 230", "image_size 230 is not divisible by patch_size 16"),
        ("--peers tim", "peer 'tim' is unknown; did you mean 'timm'"),
        ("--pass backward", "pass 'backward' is unknown"),
        ("--precision fp16", "precision 'fp16' is unknown"),
        ("--recipe course", "recipe 'course' is unknown"),
        ("--depth 3", "--depth does not go without --scaling"),
        ("--scaling --peers timm", "--peers does not go with --scaling"),
        ("--scaling --depth 0", "depth is 0"),
        ("--scaling --model vit_b_16 vit_s_16", "--scaling takes one"),
        ("--scaling --batch_size 0", "batch_size is 0"),
    ],
)
def test_a_mistake_is_one_line_before_anything_starts(words, message, capsys, monkeypatch):
    monkeypatch.setattr(_bench_processes, "WORKER", ["/nothing/that/could/start"])
    assert main(["bench", *words.split()]) == 2
    error = capsys.readouterr().err
    assert error.startswith("vit_ms: ") and message in error and error.count("\n") == 1
    assert not Path("runs").exists()


def test_a_run_of_the_command(tmp_path):
    command = [sys.executable, "-m", "vit_ms", "bench", "--model", "vit_nano_4"]
    command += ["--peers", "vit_ms", "reference", "onnx"]
    options = ["--pass", "forward", "--precision", "fp32", "--rounds", "2"]
    run = subprocess.run([*command, *options], capture_output=True, text=True, cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert "vit_nano_4, batch 8, 16 px, forward" in run.stdout and "reference fp32" in run.stdout
    report = json.loads((tmp_path / "runs/bench/bench.json").read_text(encoding="utf-8"))
    (row,) = report["rows"]
    assert [item["peer"] for item in row["contenders"]] == ["vit_ms", "reference", "onnx"]
    assert len(row["peak_turns"]) == 2
    for item in row["contenders"]:
        assert len(item["turns"]) == 2 and item["images_per_s"]["median"] > 0 and item["memory_bytes"] > 1e7
        assert item["share_of_peak"]["median"] > 0
    assert len(row["speedups"]) == 4  # of vit_ms and onnx over each other and the reference
    # Nothing is left in the folder that the command was started in.
    assert sorted(path.name for path in tmp_path.iterdir()) == ["runs"]
    assert sorted(path.name for path in (tmp_path / "runs/bench").iterdir()) == ["bench.json", "bench.png"]
    with Image.open(tmp_path / "runs/bench/bench.png") as picture:
        assert picture.format == "PNG" and len(picture.convert("RGB").getcolors(1 << 20)) > 10


def test_bars_stand_for_the_rates_and_say_the_ratio_to_timm():
    rate = {"median": 4.0, "lower": 3.0, "upper": 6.0}
    row = {
        "title": "a row",
        "contenders": [
            {"peer": "vit_ms", "precision": "bf16", "images_per_s": rate},
            {"peer": "timm", "precision": "bf16", "images_per_s": rate | {"median": 3.5}},
        ],
        "speedups": [{"of": "vit_ms bf16", "over": "timm bf16", "median": 1.25}],
    }
    figure = visualize.plot_bench([row] * 4)
    drawn = [axes for axes in figure.axes if axes.axison]
    assert len(drawn) == 4
    assert [bar.get_height() for bar in drawn[0].patches] == [4.0, 3.5]
    assert [text.get_text() for text in drawn[0].texts] == ["1.25x\ntimm"]
    assert drawn[0].patches[0].get_hatch() and drawn[0].get_title() == "a row"
