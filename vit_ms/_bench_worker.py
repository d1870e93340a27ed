"""One contender of the benchmark, in a process of its own, which carries out the orders of vit_ms.benchmark.

    python -m vit_ms._bench_worker PEER PRECISION PARENT_PID

Orders come as lines of JSON, and each is answered with one, {"error": ...} if it failed:

    {"load": true}                                    import the libraries
    {"prepare": "a", "case": {...}, "warm_up": true}  build the step "a", run it for the first time, and once more
    {"time": "a", "seconds": 1.0}                     run it for that long, at least once

A case is {"product": N}, or {"network": {...}, "batch_size": B, "train": true or false} with model, overrides and arguments
of the network as vit_ms knows it, and name, the peer's for it.

Libraries are imported by the contender that they belong to: a process that has PyTorch must not load MindSpore.
"""

import ctypes
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

# The training step of every contender.
LABEL_SMOOTHING, CLIP_GRAD, WEIGHT_DECAY, LEARNING_RATE = 0.1, 1.0, 0.05, 1e-4
# vit_ms trains with a table of learning rates, one a step: as long as anybody's patience.
MOST_STEPS = 200_000

OURS = ("vit_ms", "product")  # these run as vit_ms does


def random_batch(case: dict) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels for a case, the same for every contender."""
    arguments = case["network"]["arguments"]
    rng = np.random.default_rng(0)
    shape = (case["batch_size"], arguments["input_channels"], arguments["image_size"], arguments["image_size"])
    labels = rng.integers(0, arguments["num_classes"], case["batch_size"])
    return rng.standard_normal(shape, np.float32), labels


class OnMindSpore:
    """vit_ms, vit_ms with the course's operations ("reference"), mindcv's network in the training step of vit_ms, or a
    product of matrices.

    Args:
        peer (str): `"vit_ms"`, `"reference"`, `"mindcv"` or `"product"`.
        precision (str): `"fp32"` or `"bf16"`.
    """

    def __init__(self, peer: str, precision: str):
        from vit_ms import runtime

        self.peer = peer
        implementation = "fast" if peer in OURS else "reference"
        self.note = runtime.setup(precision=precision, implementation=implementation).note
        self.built = None
        if peer == "mindcv":
            import mindcv  # noqa: F401  before anything is timed

    def step(self, case: dict) -> Callable[[], None]:
        """A function that runs one step of a case until its result is there."""
        from mindspore import Tensor, int32

        if "product" in case:
            return self._product(case["product"])
        images, labels = random_batch(case)
        images, labels = Tensor(images), Tensor(labels, int32)
        network = self._network(case["network"])
        network.set_train(case["train"])
        if not case["train"]:
            return lambda: network(images).asnumpy()
        from vit_ms.engine import TrainStep
        from vit_ms.losses import CrossEntropySmooth
        from vit_ms.optim import create_optimizer

        num_classes = case["network"]["arguments"]["num_classes"]
        loss_fn = CrossEntropySmooth(smooth_factor=LABEL_SMOOTHING, num_classes=num_classes)
        rates = [LEARNING_RATE] * MOST_STEPS
        optimizer = create_optimizer(network.trainable_params(), "adamw", rates, WEIGHT_DECAY)
        train_step = TrainStep(network, loss_fn, optimizer, CLIP_GRAD)
        return lambda: train_step(images, labels)[0].asnumpy()

    def _network(self, wanted: dict):
        # The forward pass, the training and the batch sizes of a network share it.
        if self.built is not None and self.built[0] == wanted:
            return self.built[1]
        self.built = None
        if self.peer == "mindcv":
            import mindcv

            network = mindcv.create_model(wanted["name"])
        else:
            from vit_ms.registry import MODELS, create_model

            course = self.peer == "reference" and "course" in MODELS[wanted["model"]].numerics
            numerics = "course" if course else "timm"
            network = create_model(wanted["model"], numerics, **wanted["overrides"])
        self.built = wanted, network
        return network

    @staticmethod
    def _product(side: int) -> Callable[[], None]:
        import mindspore as ms
        from mindspore import Tensor, ops

        left, right = map(Tensor, np.random.default_rng(0).standard_normal((2, side, side), np.float32))
        matmul = ops.MatMul()

        @ms.jit
        def product(left, right):
            return matmul(left, right)

        return lambda: product(left, right).asnumpy()


class OnOnnxRuntime:
    """vit_ms's network as an ONNX file, run by onnxruntime.

    Args:
        peer (str): `"onnx"`.
        precision (str): `"fp32"`.
    """

    note = ""

    def __init__(self, peer: str, precision: str):
        import onnxruntime  # noqa: F401  before anything is timed

        self.built = None

    def step(self, case: dict) -> Callable[[], None]:
        """A function that runs one step of a case until its result is there."""
        images, _ = random_batch(case)
        if self.built is None or self.built[0] != case["network"]:
            self.built = case["network"], self._session(case["network"])
        session = self.built[1]
        (name,) = (item.name for item in session.get_inputs())
        return lambda: session.run(None, {name: images})

    @staticmethod
    def _session(wanted: dict):
        from vit_ms.onnx_model import open_session

        with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
            path = Path(folder) / "network.onnx"
            # MindSpore makes the file in a process of its own: its memory and its threads are not the contender's.
            write = f"import json, sys, {__spec__.name} as worker; worker.write_onnx(*map(json.loads, sys.argv[1:]))"
            words = [sys.executable, "-c", write, json.dumps(wanted), json.dumps(str(path))]
            subprocess.run(words, check=True, stdin=subprocess.DEVNULL)
            return open_session(path)


def write_onnx(wanted: dict, path: str) -> None:
    """Write the network of a case, with initial weights, as an ONNX file."""
    import onnx

    from vit_ms import runtime
    from vit_ms.onnx_graph import to_onnx
    from vit_ms.registry import create_model

    runtime.setup("CPU", "pynative")
    network = create_model(wanted["model"], "timm", **wanted["overrides"]).set_train(False)
    arguments = wanted["arguments"]
    shape = (arguments["input_channels"], arguments["image_size"], arguments["image_size"])
    onnx.save(to_onnx(network, shape, arguments["num_classes"], {}), path)


class OnPyTorch:
    """timm's network in PyTorch's training step, eager, as its users run it on CPU.

    Args:
        peer (str): `"timm"`.
        precision (str): `"fp32"`, or `"bf16"` by autocast.
    """

    note = ""

    def __init__(self, peer: str, precision: str):
        from vit_ms import _torchvision

        _torchvision.install()
        import timm  # noqa: F401  before anything is timed
        import torch

        self.autocast = lambda: torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16")

    def step(self, case: dict) -> Callable[[], None]:
        """A function that runs one step of a case until its result is there."""
        import torch
        from torch import nn

        images, labels = map(torch.from_numpy, random_batch(case))
        network = self._network(case["network"])
        network.train(case["train"])
        if not case["train"]:

            def forward():
                with torch.inference_mode(), self.autocast():
                    network(images)

            return forward
        loss_fn = nn.CrossEntropyLoss(label_smoothing=LABEL_SMOOTHING)
        optimizer = torch.optim.AdamW(network.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)

        def train():
            with self.autocast():
                loss = loss_fn(network(images), labels)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), CLIP_GRAD)
            optimizer.step()

        return train

    @staticmethod
    def _network(wanted: dict):
        import timm
        from timm.models.vision_transformer import VisionTransformer

        arguments = wanted["arguments"]
        shape = {"in_chans": arguments["input_channels"], "num_classes": arguments["num_classes"]}
        if not wanted["model"].startswith("convnext"):
            shape["img_size"] = arguments["image_size"]
        if wanted["model"].startswith(("vit", "deit")):
            shape["global_pool"] = {"cls": "token", "mean": "avg"}[arguments.get("pool", "cls")]
        if wanted["name"] != "VisionTransformer":
            return timm.create_model(wanted["name"], **shape)
        return VisionTransformer(
            **shape,
            patch_size=arguments["patch_size"],
            embed_dim=arguments["embed_dim"],
            depth=arguments["num_layers"],
            num_heads=arguments["num_heads"],
            mlp_ratio=arguments["mlp_dim"] / arguments["embed_dim"],
        )


def prepare(build: Callable[[dict], Callable[[], None]], case: dict, warm_up: bool) -> tuple[Callable[[], None], dict]:
    """A case's step, and the answer: the time of its first run, which compiles it, and how many kernels it compiled."""
    step = build(case)
    kernels = _compiled_kernels()
    start = time.perf_counter()
    step()
    answer = {"first_step": time.perf_counter() - start, "kernels": _compiled_kernels() - kernels}
    if warm_up:
        step()
    return step, answer


def timed(step: Callable[[], None], seconds: float) -> dict:
    """Run a step again and again until the time is up, at least once; the answer: how often, and the time it took."""
    steps, start, cpu_start = 0, time.perf_counter(), time.process_time()
    while True:
        step()
        steps += 1
        taken = time.perf_counter() - start
        if taken >= seconds:
            return {"steps": steps, "seconds": taken, "cpu_seconds": time.process_time() - cpu_start}


def _compiled_kernels() -> int:
    """How many fused kernels lie on the disk, where later processes find them."""
    return len(list(Path(os.environ["MS_COMPILER_CACHE_PATH"]).glob("akg_kernel_meta/*.so")))


def peak_memory() -> int | None:
    """The most memory that this process has had, in bytes; None where the system does not tell."""
    try:
        # Not getrusage: what the parent had when it started this process counts in its figure.
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        pass
    try:
        import resource
    except ImportError:  # Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _die_with(parent: int) -> None:
    """A stopped process does not see that its pipe is closed; Linux can kill it when the parent ends, however that does."""
    if sys.platform == "linux":
        set_parent_death_signal = 1
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)
        if os.getppid() != parent:  # it ended before
            os._exit(1)


class Worker:
    """Who carries out the orders.

    Args:
        peer (str): `"vit_ms"`, `"reference"`, `"onnx"`, `"mindcv"`, `"timm"` or `"product"`.
        precision (str): `"fp32"` or `"bf16"`.
    """

    def __init__(self, peer: str, precision: str):
        self.peer, self.precision = peer, precision
        self.contender, self.steps = None, {}

    def carry_out(self, order: dict) -> dict:
        """Do what the order says, and what the answer to it says."""
        if "load" in order:
            contender = {"timm": OnPyTorch, "onnx": OnOnnxRuntime}.get(self.peer, OnMindSpore)
            self.contender = contender(self.peer, self.precision)
            return {"note": self.contender.note}
        if "prepare" in order:
            self.steps.pop(order["prepare"], None)  # before the new one, for its memory
            step, answer = prepare(self.contender.step, order["case"], order["warm_up"])
            self.steps[order["prepare"]] = step
        else:
            answer = timed(self.steps[order["time"]], order["seconds"])
        return answer | {"memory": peak_memory()}


def main(peer: str, precision: str, parent: str) -> None:
    """Carry out orders until there are no more."""
    _die_with(int(parent))
    # What a library prints must not come between the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    if peer not in OURS:
        # vit_ms sets it for its fused kernels. The others wait between two kernels as they do for their users.
        os.environ.pop("GOMP_SPINCOUNT", None)
    worker = Worker(peer, precision)
    for line in sys.stdin:
        try:
            answer = worker.carry_out(json.loads(line))
        except Exception as error:
            # MindSpore's messages are pages long, and say in the first line what is wrong.
            said = [line for line in map(str.strip, str(error).splitlines()) if line] or [""]
            answer = {"error": f"{type(error).__name__}: {said[0]}"}
        print(json.dumps(answer), file=answers, flush=True)
    os._exit(0)  # there is nothing to put away, and MindSpore takes long to do it


if __name__ == "__main__":
    main(*sys.argv[1:])
