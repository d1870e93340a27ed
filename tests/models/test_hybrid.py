"""The hybrid and its ResNet: strides, grids, odd sizes."""

import numpy as np
import pytest
from helpers import error_of, random, randomize
from mindspore import Tensor

from vit_ms import runtime
from vit_ms.models.hybrid import HybridViT
from vit_ms.models.resnetv2 import ResNetV2, StdConv2d

RESNET = {"stem_channels": 8, "num_groups": 4}
VIT = {"embed_dim": 16, "num_layers": 1, "num_heads": 2, "mlp_dim": 24, "num_classes": 5}


@pytest.fixture(autouse=True)
def pynative(clean_state):
    runtime.setup("CPU", "pynative")


@pytest.mark.parametrize(
    "size, depths, grid",
    [
        ((64, 96), [1, 1, 1], (4, 6)),
        ((64, 96), [1, 1, 1, 1], (2, 3)),
        ((50, 33), [1, 1], (7, 5)),
        ((33, 17), [1], (9, 5)),
    ],
)
def test_the_grid_is_the_size_over_the_stride_rounded_up(size, depths, grid):
    network = HybridViT(image_size=size, depths=depths, **RESNET, **VIT).set_train(False)
    x = Tensor(random(1, 3, *size))
    assert network.patch_embedding.grid == grid == tuple(network.backbone(x).shape[2:])
    assert network.features(x).shape == (1, 1 + grid[0] * grid[1], 16) and network(x).shape == (1, 5)


def test_features_of_the_resnet_are_its_maps():
    network = randomize(ResNetV2(depths=[1, 2, 1], num_classes=5, **RESNET)).set_train(False)
    maps = network.features(Tensor(random(2, 3, 37, 50)))
    assert [tuple(m.shape) for m in maps] == [(2, 32, 10, 13), (2, 64, 5, 7), (2, 128, 3, 4)]
    wanted = maps[-1].asnumpy().mean((2, 3)) @ network.dense.weight.asnumpy().T + network.dense.bias.asnumpy()
    assert np.allclose(network(Tensor(random(2, 3, 37, 50))).asnumpy(), wanted, atol=1e-5)


def test_a_new_block_is_its_shortcut():
    network = ResNetV2(depths=[2], num_classes=0, **RESNET)
    assert (network.stages[0][1].conv3.norm.gamma.asnumpy() == 0).all()
    x = np.abs(random(1, 32, 6, 6))
    assert np.allclose(network.stages[0][1](Tensor(x)).asnumpy(), x)


def test_impossible_arguments_are_refused():
    assert error_of(lambda: HybridViT(**VIT, patch_size=16)).startswith("a hybrid has no patch_size")
    assert error_of(lambda: ResNetV2(stem_channels=10)).startswith("10 channels are not divisible by num_groups 32")
    assert error_of(lambda: StdConv2d(3, 8, 3, standardize="no")) == "standardize is 'no'; choose std or variance"
