"""A tiny network of each family learns a task that it has not seen: bars at random places, in noise, upright or lying."""

import mindspore as ms
import mindspore.dataset as ds
import numpy as np
import pytest
from mindspore import nn

from vit_ms import engine, runtime
from vit_ms.layers import NUMERICS
from vit_ms.losses import CrossEntropySmooth
from vit_ms.models import convnext, resnetv2, swin
from vit_ms.models.convnext import ConvNeXt
from vit_ms.models.hybrid import HybridViT
from vit_ms.models.resnetv2 import ResNetV2
from vit_ms.models.road import RoadNet
from vit_ms.models.swin import Swin
from vit_ms.models.vit import ViT


def bars(n: int, seed: int, size: int = 16) -> tuple[np.ndarray, np.ndarray]:
    """Images (n, 1, size, size) with a bar of two by eight pixels in noise, and 1 where it stands upright."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n).astype(np.int32)
    images = rng.normal(0, 0.3, (n, 1, size, size)).astype(np.float32)
    for image, label in zip(images, labels, strict=True):
        height, width = (8, 2) if label else (2, 8)
        top, left = rng.integers(0, size - height + 1), rng.integers(0, size - width + 1)
        image[0, top : top + height, left : left + width] += 1.5
    return images, labels


_VIT = {"image_size": 16, "patch_size": 4, "embed_dim": 32, "num_layers": 2, "num_heads": 2, "mlp_dim": 64}
_RESNET = {"image_size": 16, "depths": [1], "stem_channels": 8, "num_groups": 4}
TINY = {
    "vit": (ViT, _VIT, NUMERICS["timm"]),
    "vit, relative positions": (ViT, {**_VIT, "position": "relative"}, NUMERICS["timm"]),
    "hybrid": (
        HybridViT,
        {**_RESNET, "embed_dim": 32, "num_layers": 1, "num_heads": 2, "mlp_dim": 64},
        NUMERICS["timm"],
    ),
    "resnet": (ResNetV2, _RESNET, resnetv2.NUMERICS["timm"]),
    "swin": (
        Swin,
        {"image_size": 16, "patch_size": 2, "embed_dim": 16, "depths": [2, 2], "num_heads": [2, 4], "window_size": 4},
        swin.NUMERICS["timm"],
    ),
    "convnext": (
        ConvNeXt,
        {
            "image_size": 16,
            "patch_size": 2,
            "depths": [1, 1],
            "embed_dims": [16, 32],
            "kernel_size": 5,
            "layer_scale": 0.1,
        },
        convnext.NUMERICS["timm"],
    ),
    "road": (RoadNet, {"image_size": 16, "depths": [1], "channels": [32]}, None),
}


# Compiling a step of these takes long.
SLOW = ("swin", "convnext", "hybrid", "resnet")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in TINY]
)
def test_it_learns_to_tell_upright_bars_from_lying_ones(name):
    runtime.setup("CPU", "graph", 1)
    cell, arguments, numerics = TINY[name]
    network = cell(**arguments, input_channels=1, num_classes=2, **(numerics.cells() if numerics else {}))
    images, labels = bars(1024, seed=0)
    step = engine.TrainStep(network, CrossEntropySmooth(num_classes=2), nn.Adam(network.trainable_params(), 3e-3), 1.0)
    data = ds.NumpySlicesDataset({"image": images, "label": labels}, shuffle=True).batch(64)
    engine.fit(step, data, 8, lambda done: {})
    images, labels = bars(256, seed=1)
    predicted = network.set_train(False)(ms.Tensor(images)).asnumpy().argmax(1)
    assert (predicted == labels).mean() > 0.9


def test_the_task_cannot_be_learnt_from_brightness_alone():
    images, labels = bars(2000, seed=0)
    brightness = images.mean((1, 2, 3))
    assert abs(np.corrcoef(brightness, labels)[0, 1]) < 0.1
