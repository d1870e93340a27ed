"""Every family against the libraries that its weights come from: logits and features with the weights of their own files."""

from dataclasses import replace
from typing import NamedTuple

import mindspore as ms
import numpy as np
import pytest
from helpers import DATA
from mindspore import Tensor, nn

from vit_ms import runtime
from vit_ms.layers import NUMERICS, Numerics
from vit_ms.models import convnext, deit, hybrid, swin, vit
from vit_ms.weights import load_weights

pytestmark = pytest.mark.fused

_VIT = {
    "image_size": 32,
    "patch_size": 8,
    "embed_dim": 48,
    "num_layers": 3,
    "num_heads": 4,
    "mlp_dim": 96,
    "num_classes": 7,
}
_DEIT = {**_VIT, "num_heads": 3}
_SWIN = {"image_size": 56, "embed_dim": 16, "depths": [2, 2], "num_heads": [2, 4], "num_classes": 7}
_CONVNEXT = {"depths": [1, 2, 2, 1], "embed_dims": [12, 24, 32, 48], "num_classes": 7}
_HYBRID = {
    "image_size": 48,
    "embed_dim": 24,
    "num_layers": 2,
    "num_heads": 3,
    "mlp_dim": 48,
    "num_classes": 7,
    "depths": [1, 1],
    "stem_channels": 32,
}


class Fixture(NamedTuple):
    """The network that a folder of tests/data is of, and how far its logits may be off."""

    cell: type[nn.Cell]
    arguments: dict
    numerics: Numerics
    source: str
    limit: float = 2e-5

    def network(self, numerics: Numerics | None = None) -> nn.Cell:
        return self.cell(**self.arguments, **(numerics or self.numerics).cells()).set_train(False)


FIXTURES = {
    "course_vit": Fixture(vit.ViT, _VIT, NUMERICS["course"], "course"),
    # These logits move little with the epsilon.
    "mindcv_vit": Fixture(vit.ViT, _VIT, NUMERICS["mindcv"], "mindcv", 3e-6),
    "timm_vit": Fixture(vit.ViT, _VIT, NUMERICS["timm"], "timm"),
    "hf_vit": Fixture(vit.ViT, _VIT, NUMERICS["hf"], "hf"),
    "google_vit": Fixture(vit.ViT, _VIT, NUMERICS["google"], "google"),
    "timm_deit_distilled": Fixture(deit.DistilledViT, _DEIT, deit.NUMERICS["timm"], "timm"),
    "hf_deit_distilled": Fixture(deit.DistilledViT, {**_DEIT, "num_layers": 2}, deit.NUMERICS["hf"], "hf"),
    "timm_swin": Fixture(swin.Swin, _SWIN, swin.NUMERICS["timm"], "timm"),
    "hf_swin": Fixture(swin.Swin, _SWIN, swin.NUMERICS["hf"], "hf"),
    "timm_convnext": Fixture(convnext.ConvNeXt, _CONVNEXT, convnext.NUMERICS["timm"], "timm"),
    "hf_convnext": Fixture(convnext.ConvNeXt, _CONVNEXT, convnext.NUMERICS["hf"], "hf"),
    "timm_hybrid": Fixture(hybrid.HybridViT, _HYBRID, hybrid.NUMERICS["timm"], "timm", 1e-4),
}


def stored(folder: str, name: str) -> np.ndarray:
    return np.load(DATA / folder / f"{name}.npy")


def loaded(folder: str) -> nn.Cell:
    """The network of a fixture with the weights of its file, of which nothing is left out or resized."""
    fixture = FIXTURES[folder]
    network = fixture.network()
    (path,) = (DATA / folder).glob("weights.*")
    report = load_weights(network, path)
    assert str(report) == f"weights of {fixture.source}"
    return network


def test_every_fixture_is_in_the_table():
    assert {path.parent.name for path in DATA.glob("*/logits.npy")} == set(FIXTURES)


@pytest.mark.parametrize("folder", FIXTURES)
def test_logits_are_those_of_the_library(folder, mode):
    logits = loaded(folder)(Tensor(stored(folder, "input"))).asnumpy()
    assert logits.shape == (2, 7)
    assert np.abs(logits - stored(folder, "logits")).max() < FIXTURES[folder].limit


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


@pytest.mark.parametrize("folder", FIXTURES)
def test_other_numerics_move_the_logits(folder):
    """What makes the tests of parity mean something."""
    runtime.setup("CPU", "pynative")
    right, fixture = loaded(folder), FIXTURES[folder]
    for numerics in changed(fixture.numerics):
        network = fixture.network(numerics)
        ms.load_param_into_net(network, right.parameters_dict())
        logits = network(Tensor(stored(folder, "input"))).asnumpy()
        assert np.abs(logits - stored(folder, "logits")).max() > 2 * fixture.limit, numerics


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
    assert np.abs(found - wanted).max() < FIXTURES[folder].limit


def test_every_stored_feature_is_compared():
    assert {path.parent.name for path in DATA.glob("*/features.npy")} == set(FEATURES)
