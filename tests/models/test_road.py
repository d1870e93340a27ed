"""The road from ResNet-50 to ConvNeXt: every step runs."""

import numpy as np
import pytest
from helpers import error_of, random
from mindspore import Tensor

from vit_ms import runtime
from vit_ms.models.road import VARIANTS, RoadNet

SMALLER = {"depths": [1, 1, 1, 1], "num_classes": 5}


@pytest.mark.parametrize("name", VARIANTS)
def test_a_step_of_the_road_runs(name):
    runtime.setup("CPU", "pynative")
    row = VARIANTS[name]
    channels = [c // 8 for c in row.get("channels", (256, 512, 1024, 2048))]
    network = RoadNet(**{**row, **SMALLER, "channels": channels}).set_train(False)
    x = Tensor(random(2, 3, 64, 32))
    maps = network.features(x)
    assert [tuple(m.shape) for m in maps] == [(2, c, 16 // 2**i, 8 // 2**i) for i, c in enumerate(channels)]
    logits = network(x).asnumpy()
    assert logits.shape == (2, 5) and np.isfinite(logits).all() and np.ptp(logits) > 0


def test_impossible_arguments_are_refused():
    assert error_of(lambda: RoadNet(stem="x")) == "stem is 'x'; choose resnet or patchify"
    assert error_of(lambda: RoadNet(block="x")).startswith("block is 'x'; choose one of bottleneck, depthwise, ")
    assert error_of(lambda: RoadNet(channels=[8])).startswith("channels is [8]; it must have one for each of depths")
