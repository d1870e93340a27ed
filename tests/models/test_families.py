"""Every family against the libraries that its weights come from: logits and features with the weights of their own files."""

from dataclasses import replace

import mindspore as ms
import numpy as np
import pytest
from helpers import DATA
from library_models import LIBRARIES, stored, weights_file
from mindspore import Tensor, nn

from vit_ms import runtime
from vit_ms.layers import Numerics
from vit_ms.weights import load_weights

pytestmark = pytest.mark.fused

# How far the logits may be off: mindcv's move little with the epsilon, the hybrid's are longer sums.
LIMITS = dict.fromkeys(LIBRARIES, 2e-5) | {"mindcv_vit": 3e-6, "timm_hybrid": 1e-4}


def loaded(folder: str) -> nn.Cell:
    """The network of a fixture with the weights of its file, of which nothing is left out or resized."""
    network = LIBRARIES[folder].network()
    assert str(load_weights(network, weights_file(folder))) == f"weights of {LIBRARIES[folder].source}"
    return network


def test_every_fixture_is_in_the_table():
    assert {path.parent.name for path in DATA.glob("*/logits.npy")} == set(LIBRARIES)


@pytest.mark.parametrize("folder", LIBRARIES)
def test_logits_are_those_of_the_library(folder, mode):
    logits = loaded(folder)(Tensor(stored(folder, "input"))).asnumpy()
    assert logits.shape == (2, 7)
    assert np.abs(logits - stored(folder, "logits")).max() < LIMITS[folder]


def changed(numerics: Numerics) -> list[Numerics]:
    """The numerics with each of their choices another."""
    others = []
    for name in ("epsilon", "head_epsilon", "group_epsilon"):
        value = getattr(numerics, name)
        if value is not None:
            others += [replace(numerics, **{name: value * 100 if value > 1e-9 else 1e-4})]
    others += [replace(numerics, gelu="tanh" if numerics.gelu == "erf" else "erf")]
    if numerics.standardize:
        others += [replace(numerics, standardize="std")]
    return others


@pytest.mark.parametrize("folder", LIBRARIES)
def test_other_numerics_move_the_logits(folder):
    """What makes the tests of parity mean something."""
    runtime.setup("CPU", "pynative")
    right, library = loaded(folder), LIBRARIES[folder]
    for numerics in changed(library.known[library.source]):
        network = library.network(numerics)
        ms.load_param_into_net(network, right.parameters_dict())
        logits = network(Tensor(stored(folder, "input"))).asnumpy()
        assert np.abs(logits - stored(folder, "logits")).max() > 2 * LIMITS[folder], numerics


# What `features` gives for each family, as the library's features are.


def tokens(network, x):
    return network.features(x).asnumpy()


def normed_map(network, x):
    return network.norm(network.features(x)[-1].transpose(0, 2, 3, 1)).asnumpy()


def last_map(network, x):
    return network.features(x)[-1].asnumpy()


FEATURES = {
    "timm_vit": tokens,
    "timm_deit_distilled": tokens,
    "timm_hybrid": tokens,
    "timm_swin": normed_map,
    "timm_convnext": last_map,
}


@pytest.mark.parametrize("folder", FEATURES)
def test_features_are_those_of_the_library(folder):
    runtime.setup("CPU", "pynative")
    found = FEATURES[folder](loaded(folder), Tensor(stored(folder, "input")))
    wanted = stored(folder, "features")
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() < LIMITS[folder]


def test_every_stored_feature_is_compared():
    assert {path.parent.name for path in DATA.glob("*/features.npy")} == set(FEATURES)
