"""Helpers of the tests: arrays in and out of MindSpore, small networks."""

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
    """Give every parameter random values: initial ones hide faults, for zeros and ones stay what they are."""
    rng = np.random.default_rng(seed)
    for parameter in cell.get_parameters():
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


class _Call(nn.Cell):
    """A function as a cell, for only cells are compiled; `weights` sums what it gives to a scalar."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def construct(self, weights, *inputs):
        y = self.function(*inputs)
        return (y * weights).sum(), y


def value_and_grads(function, output_shape: tuple, *inputs: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """A function's value in the mode that is set, and its gradients by all inputs.

    The output is weighted with random numbers: sums alone have no gradient where a row always sums to 1 or 0.
    """
    weights = Tensor(random(*output_shape, seed=77))
    position = tuple(range(1, 1 + len(inputs)))
    both = ms.value_and_grad(_Call(function), grad_position=position, has_aux=True)
    (_, value), grads = both(weights, *map(Tensor, inputs))
    grads = grads if isinstance(grads, tuple) else (grads,)
    return value.asnumpy(), [grad.asnumpy() for grad in grads]


def run(function, *inputs: np.ndarray) -> np.ndarray:
    """A function's value in the mode that is set."""
    return _Call(function)(Tensor(1.0, ms.float32), *map(Tensor, inputs))[1].asnumpy()


def error_of(call, *args, **kwargs) -> str:
    """The message of the UserError that a call must raise; it must be one line."""
    with pytest.raises(UserError) as caught:
        call(*args, **kwargs)
    message = str(caught.value)
    assert "\n" not in message
    return message
