"""How fast vit_ms is on this machine, beside the course's operations, mindcv and timm, and as its networks grow.

A shared machine is faster in one minute and slower in the next. So nobody is timed for long: in every round each contender
has a turn, and what is compared are turns of the same round. Each contender is a process of its own (_bench_worker.py), and
only the one whose turn it is runs: the others are stopped, for their waiting threads would take its cores.
"""

import importlib.util
import json
import os
import platform
import shlex
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

import numpy as np
from tqdm import tqdm

import vit_ms
from vit_ms import runtime, visualize
from vit_ms._bench_processes import Contender, ContenderFailed, Processes
from vit_ms.errors import UserError, check_positive, did_you_mean
from vit_ms.files import whole_file
from vit_ms.layers import PatchEmbedding
from vit_ms.recipe import load_recipe
from vit_ms.registry import model_arguments

PEERS = ("vit_ms", "reference", "onnx", "mindcv", "timm")
PASSES = ("forward", "train")
PRECISIONS = ("fp32", "bf16")
RECIPES = ("digits", "none")

# What the others call our models. mindcv has one name a size; timm's take any, and its class any shape.
MINDCV = {
    ("vit_b_16", 224): "vit_b_16_224",
    ("vit_b_16", 384): "vit_b_16_384",
    ("vit_b_32", 224): "vit_b_32_224",
    ("vit_b_32", 384): "vit_b_32_384",
    ("vit_l_16", 224): "vit_l_16_224",
    ("vit_l_16", 384): "vit_l_16_384",
    ("vit_l_32", 224): "vit_l_32_224",
    ("swin_t", 224): "swin_tiny",
    ("convnext_t", 224): "convnext_tiny",
    ("convnext_s", 224): "convnext_small",
    ("convnext_b", 224): "convnext_base",
    ("convnext_l", 224): "convnext_large",
}
TIMM = {
    "vit_nano_4": "VisionTransformer",
    "vit_ti_16": "vit_tiny_patch16_224",
    "vit_s_16": "vit_small_patch16_224",
    "vit_s_32": "vit_small_patch32_224",
    "vit_b_16": "vit_base_patch16_224",
    "vit_b_32": "vit_base_patch32_224",
    "vit_l_16": "vit_large_patch16_224",
    "vit_l_32": "vit_large_patch32_224",
    "vit_h_14": "vit_huge_patch14_224",
    "vit_r26_s_32": "vit_small_r26_s32_224",
    "vit_r50_b_16": "vit_base_r50_s16_224",
    "vit_r50_l_32": "vit_large_r50_s32_224",
    "deit_ti_16": "deit_tiny_patch16_224",
    "deit_s_16": "deit_small_patch16_224",
    "deit_b_16": "deit_base_patch16_224",
    "deit_ti_16_distilled": "deit_tiny_distilled_patch16_224",
    "deit_s_16_distilled": "deit_small_distilled_patch16_224",
    "deit_b_16_distilled": "deit_base_distilled_patch16_224",
    "swin_t": "swin_tiny_patch4_window7_224",
    "swin_s": "swin_small_patch4_window7_224",
    "swin_b": "swin_base_patch4_window7_224",
    "swin_l": "swin_large_patch4_window7_224",
    "convnext_t": "convnext_tiny",
    "convnext_s": "convnext_small",
    "convnext_b": "convnext_base",
    "convnext_l": "convnext_large",
}
PACKAGES = {"onnx": ("onnx", "onnxruntime"), "mindcv": ("mindcv",), "timm": ("timm", "torch")}

ROUNDS, SECONDS = 7, 1.0  # seconds are of a turn, which is one step at least
# --quick: three minutes for ViT-B/16 on two cores, of which compiling takes half. mindcv would take another minute.
QUICK_ROUNDS, QUICK_SECONDS, QUICK_PEERS = {"forward": 3, "train": 2}, 0.3, ("vit_ms", "reference", "timm")
SLOW = ("reference", "mindcv")  # they are the course's operations: in fp32 alone, and --quick gives them one turn
FP32_ONLY = (*SLOW, "onnx")
OURS = ("vit_ms", "onnx")  # whose speed is compared with that of the others; onnx is our network, run by onnxruntime
DISTURBING = 0.2  # cores: where other programs use more, the user is told
STEP = "step"  # what the case of a process that has one is called
PRODUCT = 2048  # side of the square matrices whose product is the machine's peak


def flops(
    image_size: int,
    patch_size: int,
    embed_dim: int,
    num_layers: int,
    mlp_dim: int,
    input_channels: int = 3,
    num_classes: int = 1000,
    representation_size: int | None = None,
    train: bool = False,
    **_,
) -> int:
    """Floating-point operations in the matrix products of a ViT for one image: two for each multiplication and addition.

    Args:
        image_size, patch_size, embed_dim, num_layers, mlp_dim, input_channels, num_classes, representation_size: as ViT
            takes them; its other arguments are welcome and change nothing.
        train (bool): forward and backward: three times as many, for each product has two in its gradient.
    """
    patches = (image_size // patch_size) ** 2
    tokens = patches + 1
    embedding = patches * input_channels * patch_size**2 * embed_dim
    attention = tokens * embed_dim * 4 * embed_dim + 2 * tokens**2 * embed_dim  # qkv and out; scores and weighted sum
    mlp = 2 * tokens * embed_dim * mlp_dim
    head = embed_dim * num_classes
    if representation_size is not None:
        head = embed_dim * representation_size + representation_size * num_classes
    return 2 * (embedding + num_layers * (attention + mlp) + head) * (3 if train else 1)


def quartiles(values: Iterable[float]) -> dict[str, float]:
    """Median, lower and upper quartile."""
    lower, median, upper = np.percentile(list(values), (25, 50, 75)).tolist()
    return {"median": median, "lower": lower, "upper": upper}


def step_times(turns: list[dict]) -> dict[int, float]:
    """Seconds a step in each round of a contender's turns, {"round", "steps", "seconds"} each."""
    return {turn["round"]: turn["seconds"] / turn["steps"] for turn in turns}


def speedup(turns: list[dict], other: list[dict]) -> dict[str, float] | None:
    """How many times as fast as the other the first is, as quartiles over the rounds of both; None: they share none."""
    mine, its = step_times(turns), step_times(other)
    ratios = [its[number] / mine[number] for number in mine if number in its]
    return quartiles(ratios) if ratios else None


def exponent(sizes: Sequence[float], times: Sequence[float]) -> float | None:
    """The p of time = c size^p, by least squares of the logarithms; None for fewer than two sizes."""
    if len(set(sizes)) < 2:
        return None
    return float(np.polyfit(np.log(sizes), np.log(times), 1)[0])


PEAK = Contender("product", "fp32")


@dataclass(frozen=True)
class Row:
    """What is compared in one group of rounds.

    Args:
        title (str): over its table.
        network (dict): model, overrides and arguments, as `create_model` takes and completes them.
        batch_size (int): images a step.
        train (bool): training steps, else forward passes.
        names (dict[Contender, str]): the contenders, with the name that each has for the model.
    """

    title: str
    network: dict
    batch_size: int
    train: bool
    names: dict[Contender, str]

    def case(self, contender: Contender) -> dict:
        """The work as the contender's process takes it."""
        network = {**self.network, "name": self.names[contender]}
        return {"network": network, "batch_size": self.batch_size, "train": self.train}

    @property
    def kind(self) -> str:
        """Of PASSES."""
        return "train" if self.train else "forward"

    @property
    def flops(self) -> int | None:
        """Of a step; None for networks whose products nobody has counted."""
        arguments = self.network["arguments"]
        if "patch_size" not in arguments or "mlp_dim" not in arguments:
            return None
        return self.batch_size * flops(**arguments, train=self.train)


@dataclass
class Meter:
    """Prepares contenders and gives them their turns.

    Args:
        processes (Processes): theirs.
        bar (tqdm): goes on with each preparation and each turn.
        quick (bool): short turns without a step to warm up, and a single one for the slow contenders; processes go on from
            row to row.
        notes (list[str]): what the user was told besides the results.
    """

    processes: Processes
    bar: tqdm
    quick: bool = False
    notes: list[str] = field(default_factory=list)

    def say(self, note: str) -> None:
        """Tell the user, once."""
        if note not in self.notes:
            self.notes.append(note)
            self.bar.write(note)

    def prepare(self, contender: Contender, case: dict, name: str = STEP) -> dict | None:
        """Have a contender build a case and run it for the first time.

        Args:
            contender (Contender): who.
            case (dict): what.
            name (str): what `turn` calls the case; one of the same name is put away.

        Returns:
            dict, what is known of it now, with an empty list of turns; None: it failed, and the user was told.
        """
        self.bar.set_description(f"{contender}, first step")
        try:
            if note := self.processes.start(contender):
                self.say(f"{contender}: {note}")
            answer = self.processes.ask(contender, prepare=name, case=case, warm_up=not self.quick)
        except ContenderFailed as failure:
            return self._failed(contender, name, failure)
        finally:
            self.bar.update()
        measured = {"first_step_s": answer["first_step"], "compiled_kernels": answer["kernels"], "turns": []}
        return {**contender._asdict(), **measured, "memory_bytes": answer["memory"]}

    def turn(self, contender: Contender, result: dict, number: int, name: str = STEP) -> bool:
        """Have a contender run a case for a turn's time, and add that to its result; False: it failed."""
        seconds = QUICK_SECONDS if self.quick else SECONDS
        start, busy = time.perf_counter(), _busy_seconds()
        try:
            answer = self.processes.ask(contender, time=name, seconds=seconds)
        except ContenderFailed as failure:
            self._failed(contender, name, failure)
            return False
        finally:
            self.bar.update()
        turn = {"round": number, "steps": answer["steps"], "seconds": answer["seconds"]}
        if busy is not None:
            taken = time.perf_counter() - start
            turn["others_cores"] = others_cores((_busy_seconds() - busy) / taken, answer["cpu_seconds"] / taken)
        result["turns"].append(turn)
        result["memory_bytes"] = answer["memory"]
        return True

    def _failed(self, contender: Contender, name: str, failure: ContenderFailed) -> None:
        if name == STEP:
            self.say(f"{contender} is left out: {failure}")
            self.processes.end([contender])
        else:  # the process has other cases
            self.say(f"{name} is left out: {failure}")

    def row(self, row: Row, rounds: int) -> dict:
        """Compare the contenders of a row, and the product that is the machine's peak.

        They run in one group of rounds, or, where memory does not suffice for all of them at once, in several, vit_ms and
        the product in each.

        Returns:
            dict, what bench.json says of the row.
        """

        def stays(contender: Contender) -> bool:
            return contender.peer in ("vit_ms", PEAK.peer)

        results: dict[Contender, dict] = {}
        present, waiting, number = [], [PEAK, *row.names], 0
        while waiting:
            self.processes.end(contender for contender in present if not stays(contender))
            present = list(filter(stays, present))
            self.bar.total += len(present) * rounds
            while waiting:
                need = 1.25 * max((result["memory_bytes"] or 0 for result in results.values()), default=0)
                if not stays(waiting[0]) and not all(map(stays, present)) and _free_memory() < need:
                    self.say(f"{row.title}: memory does not suffice for all at once, so the rounds are run in groups")
                    break
                contender = waiting.pop(0)
                case = {"product": PRODUCT} if contender == PEAK else row.case(contender)
                if result := self.prepare(contender, case):
                    results[contender] = result
                    present.append(contender)
            for _ in range(rounds):
                number += 1
                self.bar.set_description(f"{row.title}, round {number}")
                for contender in list(present):
                    if self.quick and contender.peer in SLOW and results[contender]["turns"]:
                        self.bar.update()
                    elif not self.turn(contender, results[contender], number):
                        present.remove(contender)
        if not self.quick:
            self.processes.end(contender for contender in present if contender != PEAK)
        return evaluated(row, [result for result in results.values() if result["turns"]])

    def settings(self, contender: Contender, cases: dict[str, dict], rounds: int) -> dict[str, dict]:
        """Time the cases of one contender, all in one process, in rounds.

        Returns:
            dict, of each case that did not fail, by its name: first_step_s, turns and ms_per_step as quartiles.
        """
        results = {}
        for name, case in cases.items():
            if result := self.prepare(contender, case, name):
                results[name] = result
        for number in range(rounds):
            self.bar.set_description(f"{contender}, round {number + 1}")
            for name in list(results):
                if not self.turn(contender, results[name], number, name):
                    del results[name]
        self.processes.end([contender])
        if warning := disturbance(results.values()):
            self.say(warning)
        for name, result in results.items():
            times = quartiles(1000 * time for time in step_times(result["turns"]).values())
            results[name] = {"first_step_s": result["first_step_s"], "turns": result["turns"], "ms_per_step": times}
        return results


def evaluated(row: Row, results: list[dict]) -> dict:
    """What the turns of a row's contenders come to.

    Args:
        row (Row): what they did.
        results (list[dict]): of each, PEAK among them, what `Meter.prepare` knows and its turns.

    Returns:
        dict, the row as bench.json has it: of each contender images_per_s and share_of_peak as quartiles, and ms_per_step;
        and the speedups of vit_ms.
    """
    peak = next((result["turns"] for result in results if result["peer"] == PEAK.peer), [])
    contenders = []
    for result in results:
        if result["peer"] == PEAK.peer:
            continue
        times = step_times(result["turns"])
        result = result | {
            "images_per_s": quartiles(row.batch_size / time for time in times.values()),
            "ms_per_step": 1000 * quartiles(times.values())["median"],
            "share_of_peak": None,
        }
        if row.flops is not None and (ratio := speedup(result["turns"], peak)):
            # How many times as fast as a product it does its step, in which there are that many products.
            products = row.flops / (2 * PRODUCT**3)
            result["share_of_peak"] = {name: products * value for name, value in ratio.items()}
        contenders.append(result)
    return {
        "title": row.title,
        "model": row.network["model"],
        "overrides": row.network["overrides"],
        "image_size": row.network["arguments"].get("image_size"),
        "batch_size": row.batch_size,
        "pass": row.kind,
        "flops_per_step": row.flops,
        "peak_flops": quartiles(2 * PRODUCT**3 / time for time in step_times(peak).values()) if peak else None,
        "peak_turns": peak,
        "contenders": contenders,
        "speedups": _speedups(contenders),
        "disturbance": disturbance(results),
    }


def _speedups(contenders: list[dict]) -> list[dict]:
    """Of vit_ms and onnx in each precision over the others in the same one, or in the only one that they have."""
    found = []
    for mine in contenders:
        for peer in contenders:
            comparable = peer["peer"] in FP32_ONLY or peer["precision"] == mine["precision"]
            if mine["peer"] in OURS and mine["peer"] != peer["peer"] and comparable:
                names = {"of": f"{mine['peer']} {mine['precision']}", "over": f"{peer['peer']} {peer['precision']}"}
                if ratio := speedup(mine["turns"], peer["turns"]):
                    found.append({**names, **ratio})
    return found


def disturbance(results: Iterable[dict]) -> str | None:
    """What the user should know of other programs during these contenders' turns; None: nothing, or nothing is known."""
    others = [turn.get("others_cores", 0.0) for result in results for turn in result["turns"]]
    if not others or (cores := float(np.median(others))) < DISTURBING:
        return None
    return f"  other programs used {cores:.1f} of the {_cores()} cores meanwhile: measure again on an idle machine"


def others_cores(busy: float, own: float) -> float:
    """How many of the cores that we may use others used, at the least.

    Args:
        busy (float): cores of the machine that somebody used.
        own (float): cores that we used.
    """
    free_to_others = os.cpu_count() - _cores()
    return max(0.0, busy - own - free_to_others)


def _cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _busy_seconds() -> float | None:
    """What all cores together have worked since the start; None where the system does not tell."""
    try:
        words = Path("/proc/stat").read_text(encoding="utf-8").split("\n", 1)[0].split()
        user, nice, system, _, _, interrupts, soft_interrupts, stolen = map(int, words[1:9])
        return (user + nice + system + interrupts + soft_interrupts + stolen) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError):
        return None


def _free_memory() -> float:
    """Bytes that programs can have without swapping; infinite where the system does not tell."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return float("inf")


COLUMNS = ("", "images/s", "quartiles", "ms/step", "first step", "memory", "of peak")


def table(row: dict) -> str:
    """A row of bench.json as text.

    Args:
        row (dict): as `evaluated` gives it.
    """
    mine = [f"{item['peer']} {item['precision']}" for item in row["contenders"] if item["peer"] in OURS]
    speedups = {(item["of"], item["over"]): item["median"] for item in row["speedups"]}
    lines = [[*COLUMNS, *(f"{name} is" for name in mine)] if speedups else list(COLUMNS)]
    for item in row["contenders"]:
        name = f"{item['peer']} {item['precision']}"
        rate, memory, share = item["images_per_s"], item["memory_bytes"], item["share_of_peak"]
        cells = [
            name,
            _number(rate["median"]),
            f"{_number(rate['lower'])} - {_number(rate['upper'])}",
            _number(item["ms_per_step"]),
            f"{item['first_step_s']:.1f} s{'*' if item['compiled_kernels'] else ' '}",
            f"{memory / 1e9:.2f} GB" if memory else "",
            f"{share['median']:.0%}" if share else "",
        ]
        ratios = [speedups.get((of, name)) for of in mine] if speedups else []
        lines.append(cells + [f"{ratio:.2f}x" if ratio else "" for ratio in ratios])
    return "\n".join(["", row["title"], *_aligned(lines), *filter(None, [row["disturbance"]])])


def _aligned(lines: list[list[str]]) -> list[str]:
    """Cells below each other: the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  " + "  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]).rstrip() for line in lines
    ]


def _number(value: float) -> str:
    """Three digits of it, and all those before the point."""
    return f"{value:,.{0 if value >= 99.95 else 1 if value >= 9.995 else 2}f}"


def machine() -> dict:
    """What the figures are measured on: processor, cores that this process may use, memory, operating system."""
    processor = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        processor = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        memory = None
    return {
        "processor": processor,
        "amx_bf16": runtime.has_bf16_units(),
        "cores": _cores(),
        "memory_bytes": memory,
        "system": platform.system(),
    }


def versions() -> dict[str, str]:
    """Of Python, vit_ms, and of the frameworks and peers that are installed."""
    found = {"python": platform.python_version(), "vit_ms": vit_ms.__version__}
    for package in ("mindspore", "numpy", *(package for packages in PACKAGES.values() for package in packages)):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def installed(peer: str) -> bool:
    """Whether all packages that a peer needs are there."""
    return all(importlib.util.find_spec(package) is not None for package in PACKAGES.get(peer, ()))


def network(name: str, overrides: dict) -> dict:
    """A model as the contenders' processes take it.

    Raises:
        UserError: If the name or an override is unknown, or an image size impossible.
    """
    arguments = model_arguments(name, overrides)
    channels = arguments.setdefault("input_channels", 3)
    if "patch_size" in arguments:
        PatchEmbedding(arguments["image_size"], arguments["patch_size"], 1, channels)  # it says what is wrong
    arguments.setdefault("num_classes", 1000)
    return {"model": name, "overrides": overrides, "arguments": arguments}


def _names(work: dict, peers: Sequence[str], precision: Sequence[str], notes: list[str]) -> dict[Contender, str]:
    """Who can take part with a network, and what it calls it; those that have it not are noted."""
    model, size = work["model"], work["arguments"].get("image_size")
    known = {
        "mindcv": MINDCV.get((model, size)),
        "timm": TIMM.get(model),
    }
    names = {}
    for peer in peers:
        name = known.get(peer, model)
        if name is None:
            if (note := f"{peer} has no {model} for {size} px and is left out there") not in notes:
                notes.append(note)
            continue
        for kind in ["fp32"] if peer in FP32_ONLY else precision:
            names[Contender(peer, kind)] = name
    return names


def _check_known(what: str, values: Sequence[str], known: Sequence[str]) -> None:
    for value in values:
        if value not in known:
            raise UserError(f"{what} {value!r} is unknown{did_you_mean(value, known)}")


def _rounds(given: int | None, quick: bool) -> dict[str, int]:
    """How many rounds forward passes and training steps have."""
    if given is None:
        return QUICK_ROUNDS if quick else dict.fromkeys(PASSES, ROUNDS)
    check_positive(rounds=given)
    return dict.fromkeys(PASSES, given)


def _report(options: dict, notes: list[str]) -> dict:
    """The beginning of a JSON file; prints what it holds."""
    words = []
    for name, value in options.items():
        if value is True:
            words.append(f"--{name}")
        elif value is not None and value is not False:
            values = [value] if isinstance(value, (str, int)) else value
            words += [f"--{name}", *map(str, values)]
    report = {
        "command": shlex.join(["python", "-m", "vit_ms", "bench", *words]),
        "machine": machine(),
        "versions": versions(),
        "notes": notes,
    }
    print("\n".join([_subtitle(report), *notes]))
    return report


def _subtitle(report: dict) -> str:
    where = report["machine"]
    memory = f", {where['memory_bytes'] / 1e9:.0f} GB" if where["memory_bytes"] else ""
    packages = [f"{name} {version}" for name, version in report["versions"].items() if name not in ("python", "numpy")]
    return f"{where['processor']}, {where['cores']} cores{memory}; {', '.join(packages)}"


def _write(report: dict, path: Path) -> None:
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(report, indent=1), encoding="utf-8")


def bench(
    model: Sequence[str] = ("vit_b_16",),
    batch_size: Sequence[int] = (8,),
    image_size: Sequence[int] | None = None,
    passes: Sequence[str] = PASSES,
    precision: Sequence[str] | None = None,
    peers: Sequence[str] | None = None,
    recipe: str = "digits",
    rounds: int | None = None,
    quick: bool = False,
    output: str | Path = "runs/bench",
) -> list[Path]:
    """Compare vit_ms with its peers, print a table and draw bars.

    Args:
        model (Sequence[str]): of `list_models()`.
        batch_size (Sequence[int]): images a step.
        image_size (Sequence[int]): in pixels; None: the models' own.
        passes (Sequence[str]): `"forward"`, `"train"`, or both.
        precision (Sequence[str]): `"fp32"`, `"bf16"`, or both. The reference and mindcv have only the first. None: both, but
            if quick and the processor has no units for bf16, where it is slow in PyTorch, fp32.
        peers (Sequence[str]): of PEERS; None: all, or those of QUICK_PEERS if quick, of which the
            reference then trains on the recipe only. Who is not installed is left out.
        recipe (str): `"digits"`: its training step is compared too; `"none"`.
        rounds (int): turns of each contender; None: 7, or if quick, 3 of forward passes and 2 of training steps.
        quick (bool): as few steps as tell something.
        output (str or Path): the folder for the files.

    Returns:
        list[Path], what was written: bench.json with every time, and bench.png.

    Raises:
        UserError: If a model or word is unknown, or a number impossible.
        ChildProcessError: If no contender could do anything.
    """
    turns = _rounds(rounds, quick)
    if peers is None:
        peers = QUICK_PEERS if quick else PEERS
        patient = SLOW if quick else ()  # their training step alone would take a fourth of the three minutes
    else:
        patient = ()
    if precision is None:
        precision = PRECISIONS if runtime.has_bf16_units() or not quick else PRECISIONS[:1]
    for name, values, known in (("pass", passes, PASSES), ("precision", precision, PRECISIONS), ("peer", peers, PEERS)):
        _check_known(name, values, known)
    _check_known("recipe", [recipe], RECIPES)
    sizes = [None] if image_size is None else image_size
    networks = [network(name, {} if size is None else {"image_size": size}) for name in model for size in sizes]
    check_positive(batch_size=min(batch_size))
    notes, present = [], [peer for peer in peers if installed(peer)]
    if missing := [peer for peer in peers if peer not in present]:
        files = dict.fromkeys(
            "requirements-export.txt" if peer == "onnx" else "requirements-bench.txt" for peer in missing
        )
        notes.append(f"{', '.join(missing)} not installed and left out: pip install -r {' -r '.join(files)}")
    if not present:
        raise UserError(notes[0])

    rows = []
    if recipe != "none" and "train" in passes and "fp32" in precision:
        digits = load_recipe(recipe)
        title = f"{recipe} recipe ({digits.model}, batch {digits.batch_size}), training step"
        work = network(digits.model, digits.overrides), digits.batch_size, True
        trained = [peer for peer in present if peer != "onnx"]
        rows.append(Row(title, *work, _names(work[0], trained, ["fp32"], notes)))
    for work in networks:
        names = _names(work, present, precision, notes)
        for size in batch_size:
            for kind in passes:
                title = f"{work['model']}, batch {size}, {work['arguments'].get('image_size')} px, "
                title += "training step" if kind == "train" else "forward"
                absent = (*patient, "onnx") if kind == "train" else ()  # an ONNX file is not trained
                part = {one: name for one, name in names.items() if one.peer not in absent}
                rows.append(Row(title, work, size, kind == "train", part))

    rows = [row for row in rows if row.names]
    if not rows:
        raise UserError(notes[-1] if notes else "onnx is not trained: choose --pass forward, or other --peers")

    options = {"model": model, "batch_size": batch_size, "image_size": image_size, "pass": passes}
    options |= {"precision": precision, "peers": peers, "recipe": recipe, "rounds": rounds, "quick": quick}
    report = _report(options, notes)
    folder = Path(output)
    folder.mkdir(parents=True, exist_ok=True)  # a folder that cannot be written to is to be met now
    report["rows"] = []
    total = sum((len(row.names) + 1) * (1 + turns[row.kind]) for row in rows)
    with Processes() as processes, tqdm(total=total, unit="turn") as bar:
        meter = Meter(processes, bar, quick, report["notes"])
        for row in rows:
            result = meter.row(row, turns[row.kind])
            if result["contenders"]:
                bar.write(table(result))
                report["rows"].append(result)
                _write(report, folder / "bench.json")
    if not report["rows"]:
        raise ChildProcessError(f"nothing was measured: {report['notes'][-1]}")
    print(FOOTNOTES + (QUICK_FOOTNOTE if quick else ""))
    visualize.plot_bench(report["rows"], _subtitle(report), folder / "bench.png")
    return [folder / "bench.json", folder / "bench.png"]


FOOTNOTES = f"""
quartiles   of the rounds; images/s and ms/step are medians
first step  from its call until its result is there; *: fused kernels were compiled, which later runs find on the disk
of peak     operations a second in the step's matrix products, over those in a float32 product ({PRODUCT} x {PRODUCT})
vit_ms is   times as fast as the contender of the line, median of the ratios within a round; so is onnx"""
QUICK_FOOTNOTE = """
memory      with --quick of all the rows so far, for each process serves them all"""


def _title(setting: dict) -> str:
    return f"{setting['image_size']} px, batch {setting['batch_size']}, depth {setting['depth']}"


def _series(vary: str, kind: str, precision: str, points: list[dict]) -> dict:
    """Points of which one thing varies, with the exponent of their times."""
    sizes, times = [point[vary] for point in points], [point["ms_per_step"]["median"] for point in points]
    return {"vary": vary, "pass": kind, "precision": precision, "exponent": exponent(sizes, times), "points": points}


def scaling_table(series: dict) -> str:
    """A series of scaling.json as text."""
    lines = [["image_size", "batch_size", "depth", "ms/step", "quartiles", "first step"]]
    for point in series["points"]:
        times = point["ms_per_step"]
        lines.append(
            [str(point[name]) for name in lines[0][:3]]
            + [_number(times["median"]), f"{_number(times['lower'])} - {_number(times['upper'])}"]
            + [f"{point['first_step_s']:.1f} s"]
        )
    kind = "training step" if series["pass"] == "train" else "forward"
    title = f"{kind} {series['precision']} by {series['vary']}"
    if series["exponent"] is not None:
        title += f": time grows as {series['vary']}^{series['exponent']:.2f}"
    return "\n".join(["", title, *_aligned(lines)])


def scaling(
    model: Sequence[str] = ("vit_s_16",),
    image_size: Sequence[int] = (224, 288, 384, 448, 512),
    batch_size: Sequence[int] = (1, 2, 4, 8, 16),
    depth: Sequence[int] = (3, 6, 12, 24),
    passes: Sequence[str] = ("forward",),
    precision: Sequence[str] = ("fp32",),
    rounds: int | None = None,
    quick: bool = False,
    output: str | Path = "runs/bench",
) -> list[Path]:
    """Time vit_ms as the image size, the batch and the depth grow, one of them at a time; print a table and draw it.

    Args:
        model (Sequence[str]): one of `list_models()`.
        image_size, batch_size, depth (Sequence[int]): the values to try. What does not vary has the model's own value, or
            the first to try if that is not among them; a batch has 8 images, or the most to try.
        passes (Sequence[str]): `"forward"`, `"train"`, or both.
        precision (Sequence[str]): `"fp32"`, `"bf16"`, or both.
        rounds (int): turns of each setting; None: 7, or if quick, 3 of forward passes and 2 of training steps.
        quick (bool): short turns.
        output (str or Path): the folder for the files.

    Returns:
        list[Path], what was written: scaling.json with every time, and scaling.png.

    Raises:
        UserError: If a model or word is unknown, or a number impossible.
        ChildProcessError: If nothing could be timed.
    """
    turns = _rounds(rounds, quick)
    for name, values, known in (("pass", passes, PASSES), ("precision", precision, PRECISIONS)):
        _check_known(name, values, known)
    if len(model) > 1:
        raise UserError(f"model is {' '.join(model)}; --scaling takes one")
    check_positive(batch_size=min(batch_size), depth=min(depth))
    own = model_arguments(model[0], {"num_layers": 1}) | model_arguments(model[0], {})
    base = {
        "image_size": own["image_size"] if own["image_size"] in image_size else image_size[0],
        "batch_size": 8 if 8 in batch_size else max(batch_size),
        "depth": own["num_layers"] if own["num_layers"] in depth else depth[0],
    }
    tried = {"image_size": image_size, "batch_size": batch_size, "depth": depth}
    settings = {vary: [base | {vary: value} for value in sorted(set(tried[vary]))] for vary in tried}
    cases = {}
    for setting in (point for points in settings.values() for point in points):
        work = network(model[0], {"image_size": setting["image_size"], "num_layers": setting["depth"]})
        cases[_title(setting)] = {"network": work, "batch_size": setting["batch_size"]}

    options = {"scaling": True, "model": model, **tried, "pass": passes, "precision": precision}
    report = _report(options | {"rounds": rounds, "quick": quick}, [])
    folder = Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    report |= {"model": model[0], "base": base, "series": []}
    total = len(precision) * len(cases) * sum(1 + turns[kind] for kind in passes)
    with Processes() as processes, tqdm(total=total, unit="turn") as bar:
        meter = Meter(processes, bar, quick, report["notes"])
        for contender in (Contender("vit_ms", name) for name in precision):
            for kind in passes:
                work = {title: {**case, "train": kind == "train"} for title, case in cases.items()}
                results = meter.settings(contender, work, turns[kind])
                for vary, points in settings.items():
                    points = [point | results[_title(point)] for point in points if _title(point) in results]
                    if points:
                        report["series"].append(_series(vary, kind, contender.precision, points))
                        bar.write(scaling_table(report["series"][-1]))
                _write(report, folder / "scaling.json")
    if not report["series"]:
        raise ChildProcessError(f"nothing was measured: {report['notes'][-1]}")
    visualize.plot_scaling(report["series"], f"{model[0]}: {_subtitle(report)}", folder / "scaling.png")
    return [folder / "scaling.json", folder / "scaling.png"]
