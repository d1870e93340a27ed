"""Gradients reach every parameter of every variant, and those of a tiny network of each family are the same however they are
computed."""

import mindspore as ms
import numpy as np
import pytest
from helpers import random, randomize
from mindspore import Tensor, nn

from vit_ms import runtime
from vit_ms.models.convnext import ConvNeXt
from vit_ms.models.deit import DistilledViT
from vit_ms.models.hybrid import HybridViT
from vit_ms.models.resnetv2 import ResNetV2
from vit_ms.models.road import RoadNet
from vit_ms.models.swin import Swin
from vit_ms.models.vit import ViT
from vit_ms.registry import MODELS, create_model

pytestmark = pytest.mark.fused

_VIT = {"image_size": (8, 12), "patch_size": 4, "embed_dim": 16, "num_layers": 1, "num_heads": 2, "mlp_dim": 24}
_RESNET = {"image_size": 32, "depths": [1, 1], "stem_channels": 8, "num_groups": 4}
_ROAD = {"image_size": 32, "depths": [1, 1], "channels": [16, 32]}

# Images that are no squares where the family takes them, odd maps, windows that divide no map.
TINY = {
    "vit, learned 2-D positions": (ViT, {**_VIT, "position": "learned_2d"}),
    "vit, relative positions": (ViT, {**_VIT, "position": "relative"}),
    "deit": (DistilledViT, _VIT),
    "hybrid": (HybridViT, {**_RESNET, "embed_dim": 16, "num_layers": 1, "num_heads": 2, "mlp_dim": 24}),
    "resnet": (ResNetV2, _RESNET),
    "swin": (Swin, {"image_size": (20, 28), "embed_dim": 8, "depths": [2, 1], "num_heads": [2, 2], "window_size": 3}),
    "convnext": (ConvNeXt, {"image_size": (20, 28), "depths": [1, 1], "embed_dims": [8, 16]}),
    "road, bottleneck": (RoadNet, _ROAD),
    "road, moved up": (RoadNet, {**_ROAD, "stem": "patchify", "block": "moved_up", "kernel_size": 7}),
}


def tiny(name: str) -> nn.Cell:
    cell, arguments = TINY[name]
    return randomize(cell(**arguments, num_classes=5), scale=0.4)


class Loss(nn.Cell):
    """The mean cross entropy against fixed labels; of two heads, of the sum of their logits' squares too."""

    def __init__(self, network):
        super().__init__(auto_prefix=False)
        self.network = network
        self.loss = nn.CrossEntropyLoss()

    def construct(self, x, labels):
        logits = self.network(x)
        if isinstance(logits, tuple):
            return self.loss(logits[0], labels) + (logits[1] * logits[1]).mean()
        return self.loss(logits, labels)


def gradients(name: str, recompute: bool = False) -> dict[str, np.ndarray]:
    network = tiny(name)
    if recompute:
        network.recompute_blocks()
    size = TINY[name][1]["image_size"]
    return gradients_of(network, random(4, 3, *((size, size) if isinstance(size, int) else size)))


def gradients_of(network: nn.Cell, x: np.ndarray) -> dict[str, np.ndarray]:
    weights = network.set_train(True).trainable_params()
    grad = ms.grad(Loss(network), grad_position=None, weights=weights)
    found = grad(Tensor(x), Tensor([0, 3, 4, 1], ms.int32))
    return {p.name: g.asnumpy() for p, g in zip(weights, found, strict=True)}


def check_reached(found: dict) -> None:
    for name, gradient in found.items():
        assert np.isfinite(gradient).all() and np.abs(gradient).max() > 1e-6, name


def check_same(found: dict, wanted: dict) -> None:
    assert found.keys() == wanted.keys()
    for name, gradient in wanted.items():
        scale = np.abs(gradient).max()
        assert np.allclose(found[name], gradient, rtol=1e-3, atol=1e-4 * scale + 1e-7), name


@pytest.mark.parametrize("name", TINY)
def test_the_gradient_reaches_every_parameter_the_same_in_both_modes(name):
    fast = gradients(name)
    check_reached(fast)
    runtime.setup("CPU", "pynative")
    check_same(fast, gradients(name))


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_the_gradient_reaches_every_parameter_of_every_variant(name):
    """At the variant's own width, with a block for each stage or two, on the smallest images that fill its last map."""
    runtime.setup("CPU", "pynative")
    row = MODELS[name].row
    patch = row.get("patch_size", 32)
    shorter = {"num_classes": 5, "image_size": 64 // patch * patch}
    if "drop_path_keep_prob" in row:
        shorter["drop_path_keep_prob"] = 1.0  # with a dropped block its gradient is zero
    if "num_layers" in row:
        shorter["num_layers"] = 2
    if "depths" in row:
        shorter["depths"] = [1] * len(row["depths"])
    network = randomize(create_model(name, **shorter), scale=0.05)
    check_reached(gradients_of(network, random(4, row.get("input_channels", 3), *[shorter["image_size"]] * 2)))


@pytest.mark.parametrize("name", TINY)
def test_the_reference_operations_have_the_same_gradients(name):
    runtime.setup("CPU", "pynative")
    fast = gradients(name)
    runtime.setup("CPU", "pynative", implementation="reference")
    check_same(fast, gradients(name))


def test_recomputed_blocks_have_the_same_gradients():
    check_same(gradients("convnext", recompute=True), gradients("convnext"))


@pytest.mark.parametrize("name", TINY)
def test_the_blocks_can_be_recomputed(name):
    runtime.setup("CPU", "pynative")
    tiny(name).recompute_blocks()
