"""ConvNeXt: layer scale, odd maps, images of other sizes."""

import numpy as np
import pytest
from helpers import error_of, random, randomize
from mindspore import Tensor

from vit_ms import runtime
from vit_ms.layers import DropPath
from vit_ms.models.convnext import ConvNeXt, LayerScale

TINY = {"image_size": 64, "depths": [1, 2, 1], "embed_dims": [8, 12, 16], "num_classes": 5}


@pytest.fixture(autouse=True)
def pynative(clean_state):
    runtime.setup("CPU", "pynative")


@pytest.mark.parametrize("size", [(64, 64), (52, 37)])
def test_features_are_the_maps_of_images_of_any_size(size):
    network = randomize(ConvNeXt(**TINY)).set_train(False)
    x = Tensor(random(2, 3, *size))
    maps = network.features(x)
    sides = [tuple(side // stride for side in size) for stride in (4, 8, 16)]  # what is left over is left out
    assert [tuple(m.shape) for m in maps] == [(2, d, *s) for d, s in zip((8, 12, 16), sides, strict=True)]
    pooled = network.norm(maps[-1].mean(axis=(2, 3))).asnumpy()
    wanted = pooled @ network.dense.weight.asnumpy().T + network.dense.bias.asnumpy()
    assert np.allclose(network(x).asnumpy(), wanted, atol=1e-5)


def test_layer_scale_starts_small_and_multiplies_each_channel():
    network = ConvNeXt(**TINY)
    scales = [cell.gamma.asnumpy() for _, cell in network.cells_and_names() if isinstance(cell, LayerScale)]
    assert len(scales) == 4 and all((scale == np.float32(1e-6)).all() for scale in scales)
    cell, x = randomize(LayerScale(6)), random(2, 3, 4, 6)
    assert np.allclose(cell(Tensor(x)).asnumpy(), x * cell.gamma.asnumpy())
    # A block whose scale is 0 is its input.
    block = ConvNeXt(**TINY, layer_scale=0.0).stages[0].blocks
    x = random(1, 5, 5, 8)
    assert np.array_equal(block(Tensor(x)).asnumpy(), x)


def test_drop_path_rises_over_all_blocks():
    network = ConvNeXt(**TINY, drop_path_keep_prob=0.7)
    rates = [cell.keep_prob for _, cell in network.cells_and_names() if isinstance(cell, DropPath)]
    assert rates == pytest.approx([1.0, 0.9, 0.8, 0.7])


REFUSED = {
    "dims": ({"embed_dims": [8, 12]}, "embed_dims is [8, 12]; it must have one for each of depths [1, 2, 1]"),
    "kernel": ({"kernel_size": 4}, "kernel_size is 4; it must be odd"),
    "depths": ({"depths": [1, 0, 1]}, "depths is 0; it must be at least 1"),
    "path": ({"drop_path_keep_prob": 0.0}, "drop_path_keep_prob is 0.0"),
    "size": ({"image_size": 0}, "image_size is 0; it must be at least 1"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_impossible_arguments_are_refused(case):
    overrides, message = REFUSED[case]
    assert error_of(lambda: ConvNeXt(**{**TINY, **overrides})).startswith(message)
