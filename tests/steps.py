"""A program for test_fusion.py: the loss and the gradients of tiny networks that differ in one thing each.

python steps.py FILE MODE [NAME ...] writes them into FILE, those of the names or all.
"""

import json
import sys
from pathlib import Path

from vit_ms import runtime  # before MindSpore

# isort: split
import mindspore as ms
import numpy as np
from mindspore import Tensor, nn

from vit_ms.layers import Dense, LayerNorm, ResidualCell
from vit_ms.losses import CrossEntropySmooth


class Scaled(nn.Cell):
    """Has a constant that is no parameter."""

    def __init__(self, factor: float):
        super().__init__()
        self.factor = factor

    def construct(self, x):
        return x * self.factor + 1.0


class MeanSquare(nn.Cell):
    """Another loss."""

    def construct(self, logits, labels):
        return (logits * logits).mean()


def step(factor=0.5, depth=1, batch=3, loss=CrossEntropySmooth) -> list[float]:
    """The loss, and the sum of the absolute gradients of each parameter."""
    ms.set_seed(0)
    blocks = [ResidualCell(nn.SequentialCell(Dense(7, 7), LayerNorm((7,)))) for _ in range(depth)]
    network, loss_fn = nn.SequentialCell(Scaled(factor), *blocks), loss()
    images = np.random.default_rng(0).standard_normal((batch, 7)).astype(np.float32)
    labels = Tensor(np.arange(batch) % 7, ms.int32)

    def forward(x, y):
        return loss_fn(network(x), y)

    value, grads = ms.value_and_grad(forward, None, network.trainable_params())(Tensor(images), labels)
    return [float(value), *(float(np.abs(grad.asnumpy()).sum()) for grad in grads)]


CASES = {
    "base": {},
    "constant": {"factor": 0.25},
    "depth": {"depth": 2},
    "batch": {"batch": 4},
    "loss": {"loss": MeanSquare},
}

if __name__ == "__main__":
    file, mode, *names = sys.argv[1:]
    fused = runtime.setup("CPU", mode).fused
    results = {name: step(**CASES[name]) for name in names or CASES}
    Path(file).write_text(json.dumps({"fused": fused, "results": results}))
