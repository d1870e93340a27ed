"""DeiT: the distillation token and its head."""

import numpy as np
import pytest
from helpers import DATA, SMALL, error_of, images, randomize
from mindspore import Tensor

from vit_ms import runtime
from vit_ms.layers import NUMERICS
from vit_ms.models.deit import DistilledViT
from vit_ms.weights import load_weights


@pytest.fixture(autouse=True)
def pynative(clean_state):
    runtime.setup("CPU", "pynative")


def test_the_two_heads_are_those_of_timm():
    folder = DATA / "timm_deit_distilled"
    sizes = {"image_size": 32, "patch_size": 8, "embed_dim": 48, "num_layers": 3, "num_heads": 3, "mlp_dim": 96}
    network = DistilledViT(**sizes, num_classes=7, **NUMERICS["timm"].cells())
    load_weights(network, folder / "weights.safetensors")
    x = Tensor(np.load(folder / "input.npy"))
    first, second = network.set_train(True)(x)
    assert np.abs(first.asnumpy() - np.load(folder / "logits_cls.npy")).max() < 2e-5
    assert np.abs(second.asnumpy() - np.load(folder / "logits_dist.npy")).max() < 2e-5
    mean = network.set_train(False)(x).asnumpy()
    assert np.allclose(mean, (first.asnumpy() + second.asnumpy()) / 2, atol=1e-6)


def test_a_head_reads_its_token():
    network = randomize(DistilledViT(**SMALL)).set_train(True)
    tokens = network.features(images()).asnumpy()
    assert tokens.shape == (2, 2 + 4, 16)
    for token, (head, logits) in enumerate(
        zip((network.dense, network.distillation_dense), network(images()), strict=True)
    ):
        wanted = tokens[:, token] @ head.weight.asnumpy().T + head.bias.asnumpy()
        assert np.allclose(logits.asnumpy(), wanted, atol=1e-5)


def test_zero_heads_and_what_is_refused():
    logits = DistilledViT(**SMALL, zero_head=True).set_train(True)(images())
    assert all((head.asnumpy() == 0).all() for head in logits)
    for name, value in (("pool", "cls"), ("representation_size", 8)):
        assert error_of(DistilledViT, **SMALL, **{name: value}).startswith(f"a distilled network has no {name}")
