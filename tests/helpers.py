"""Helpers of the tests: arrays in and out of MindSpore, small networks."""

import os
import subprocess
import sys
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn

from vit_ms.errors import UserError

DATA = Path(__file__).parent / "data"
ROOT = Path(__file__).parents[1]

# The smallest network that has everything a ViT has: two blocks, two heads, four patches of three channels.
SMALL = {
    "image_size": 8,
    "input_channels": 3,
    "patch_size": 4,
    "embed_dim": 16,
    "num_layers": 2,
    "num_heads": 2,
    "mlp_dim": 24,
    "num_classes": 5,
}


def random(*shape: int, seed: int = 0, scale: float = 1.0, offset: float = 0.0) -> np.ndarray:
    """Normal numbers, the same at every call."""
    return (offset + scale * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


def images(config: dict = SMALL, batch: int = 2, seed: int = 9) -> Tensor:
    """Random images that a network of this configuration takes."""
    return Tensor(random(batch, config["input_channels"], config["image_size"], config["image_size"], seed=seed))


def randomize(cell: nn.Cell, seed: int = 1, scale: float = 0.3) -> nn.Cell:
    """Give every trained parameter random values: initial ones hide faults, for zeros and ones stay what they are."""
    rng = np.random.default_rng(seed)
    for parameter in cell.trainable_params():
        values = scale * rng.standard_normal(tuple(parameter.shape))
        if parameter.name.endswith("gamma"):
            values += 1.0
        parameter.set_data(Tensor(values.astype(np.float32)))
    return cell


def values(cell: nn.Cell) -> dict[str, np.ndarray]:
    """A copy of every parameter."""
    return {p.name: p.asnumpy().copy() for p in cell.get_parameters()}


def same(before: dict, after: dict) -> bool:
    """Whether two results of `values` agree in every bit."""
    return before.keys() == after.keys() and all(np.array_equal(before[name], after[name]) for name in before)


class _Calls(nn.Cell):
    """A function of `arity` tensors, called on several inputs: one graph for all, for compiling is what takes the time.

    The first inputs are weights, one for each call, which sum what the function gives to a scalar.
    """

    def __init__(self, function, arity: int):
        super().__init__()
        self.function = function
        self.arity = arity

    def construct(self, *tensors):
        calls = len(tensors) // (1 + self.arity)
        total, values = 0.0, ()
        for i in range(calls):
            start = calls + i * self.arity
            y = self.function(*tensors[start : start + self.arity])
            total = total + (y * tensors[i]).sum()
            values += (y,)
        return total, values


def weights_of(shape: tuple) -> np.ndarray:
    """What `values_and_grads` weights an output of this shape with: the gradient that comes from above."""
    return np.random.default_rng(77).uniform(-1, 1, shape).astype(np.float32)


def values_and_grads(
    function, output_shapes: list[tuple], cases: list[tuple]
) -> list[tuple[np.ndarray, list[np.ndarray]]]:
    """For each case (a tuple of arrays) a function's value in the mode that is set, and its gradients by all of them.

    The output is weighted with random numbers: sums alone have no gradient where a row always sums to 1 or 0.
    """
    arity, calls = len(cases[0]), len(cases)
    weights = [weights_of(shape) for shape in output_shapes]
    tensors = [Tensor(array) for array in [*weights, *(array for case in cases for array in case)]]
    position = tuple(range(calls, len(tensors)))
    (_, values), grads = ms.value_and_grad(_Calls(function, arity), position, has_aux=True)(*tensors)
    grads = [grad.asnumpy() for grad in (grads if isinstance(grads, tuple) else (grads,))]  # one comes as it is
    return [(values[i].asnumpy(), grads[i * arity : (i + 1) * arity]) for i in range(calls)]


def run(function, *inputs: np.ndarray) -> np.ndarray:
    """A function's value in the mode that is set."""
    return _Calls(function, len(inputs))(Tensor(1.0, ms.float32), *map(Tensor, inputs))[1][0].asnumpy()


def error_of(call, *args, **kwargs) -> str:
    """The message of the UserError that a call must raise; it must be one line."""
    with pytest.raises(UserError) as caught:
        call(*args, **kwargs)
    message = str(caught.value)
    assert "\n" not in message
    return message


def python(
    *arguments: str, cwd: Path | None = None, first_on_path: Path | None = None, **variables: str | None
) -> subprocess.CompletedProcess:
    """Run Python in a process of its own, as a user does, with these environment variables changed (None: unset)."""
    paths = [str(path) for path in (first_on_path, ROOT) if path]
    changed = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONDONTWRITEBYTECODE": "1", **variables}
    environ = {name: value for name, value in changed.items() if value is not None}
    return subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=environ, capture_output=True, text=True, timeout=120, check=False
    )
