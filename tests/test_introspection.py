"""What is shown of a network is what the network does."""

from importlib import import_module
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from helpers import SMALL, error_of, images, random, randomize, same, values
from library_models import LIBRARIES
from mindspore import Tensor, nn

from vit_ms import introspection, runtime
from vit_ms.introspection import (
    attention_distance,
    attention_maps,
    attention_rollout,
    embedding_filters,
    position_similarity,
)
from vit_ms.layers import sincos_positions
from vit_ms.models.deit import DistilledViT
from vit_ms.models.vit import POSITIONS, ViT

NETWORKS = {
    "vit": lambda: ViT(**SMALL),
    "distilled": lambda: DistilledViT(**SMALL),
    "relative positions": lambda: ViT(**SMALL, position="relative"),
    "oblong": lambda: ViT(**{**SMALL, "image_size": (8, 12)}, position="relative"),
    "with dropout": lambda: ViT(**SMALL, keep_prob=0.5, attention_keep_prob=0.5, drop_path_keep_prob=0.5),
    "hybrid": LIBRARIES["timm_hybrid"].network,
}


def network_of(name):
    network = randomize(NETWORKS[name]()).set_train(True)
    if name == "hybrid":
        return network, Tensor(random(2, 3, 48, 48, seed=3))
    channels, height, width = network.patch_embedding.image_shape
    return network, Tensor(random(2, channels, height, width, seed=3))


@pytest.mark.parametrize("name", NETWORKS)
def test_the_maps_are_what_attention_multiplies_v_by(name):
    runtime.setup("CPU", "pynative")
    network, x = network_of(name)
    before = values(network)
    maps = attention_maps(network, x.asnumpy())
    assert same(before, values(network)), "looking changes nothing"
    tokens = network.NUM_PREFIX + network.patch_embedding.num_patches
    layers = list(network.transformer.layers)
    heads = layers[0][0].cell[1].num_heads
    assert maps.shape == (len(layers), 2, heads, tokens, tokens) and maps.dtype == np.float32
    assert np.abs(maps.sum(axis=-1) - 1).max() < 1e-5 and maps.min() >= 0
    assert maps.std(axis=-1).max() > 0.01, "not all equal"

    z = network.embed_tokens(network.embed_patches(x))
    for block, weights in zip(layers, maps, strict=True):
        norm, attention = block[0].cell[0], block[0].cell[1]
        b, n, d = z.shape
        v = attention.qkv(norm(z)).asnumpy().reshape(b, n, 3, heads, d // heads)[:, :, 2]  # (B, N, H, d)
        mixed = np.einsum("bhij,bjhd->bihd", weights, v).reshape(b, n, d)
        wanted = attention(norm(z)).asnumpy()
        found = mixed @ attention.out.weight.asnumpy().T + attention.out.bias.asnumpy()
        assert np.abs(found - wanted).max() < 1e-4 * np.abs(wanted).max()
        z = block(z)


def test_the_maps_are_the_same_in_both_modes():
    network, x = network_of("relative positions")
    in_graph = attention_maps(network, x)
    names = [parameter.name for parameter in network.get_parameters()]
    runtime.setup("CPU", "pynative")
    assert np.abs(attention_maps(network, x) - in_graph).max() < 1e-5
    assert [parameter.name for parameter in network.get_parameters()] == names
    assert names[:2] == ["cls", "patch_embedding.conv.weight"]


class _Function(nn.Cell):
    def __init__(self, call):
        super().__init__()
        self.call = call

    def construct(self, *inputs):
        return self.call(*inputs)


def test_the_maps_compile_after_other_graphs(monkeypatch):
    """After these two MindSpore lost a SequentialCell that was called and indexed in one construct."""
    monkeypatch.syspath_prepend(Path(__file__).parent / "checkin" / "solutions")
    convolution, attention = import_module("depthwise_conv"), import_module("multi_head_attention")
    _Function(convolution.joined)(*(Tensor(random(*shape)) for shape in ((1, 3, 4, 5), (3, 1, 1), (3,)))).asnumpy()
    tensors = [Tensor(random(*shape)) for shape in ((3, 4, 6), (18, 6), (18,), (6, 6), (6,))]
    _Function(attention.head_by_head)(*tensors, 1).asnumpy()
    network, x = network_of("vit")
    assert attention_maps(network, x).shape[1] == len(x)


def test_the_maps_of_an_image_do_not_depend_on_its_neighbours():
    runtime.setup("CPU", "pynative")
    network, x = network_of("vit")
    assert np.abs(attention_maps(network, x[1:])[:, 0] - attention_maps(network, x)[:, 1]).max() < 1e-6


def stochastic(*shape: int, seed: int = 0) -> np.ndarray:
    """Random rows that sum to 1."""
    weights = np.exp(random(*shape, seed=seed))
    return weights / weights.sum(axis=-1, keepdims=True)


def test_rollout_multiplies_the_later_block_from_the_left():
    maps = stochastic(3, 2, 4, 5, 5)
    found = attention_rollout(maps)
    assert found.shape == (2, 5, 5) and found.dtype == np.float32
    first, second, third = 0.5 * maps[:, 1].mean(axis=1) + 0.5 * np.eye(5)
    assert np.abs(found[1] - third @ second @ first).max() < 1e-6
    assert np.abs(found.sum(axis=-1) - 1).max() < 1e-6


def test_rollout_of_tokens_that_see_themselves_alone_is_the_identity():
    maps = np.broadcast_to(np.eye(4, dtype=np.float32), (2, 1, 3, 4, 4))
    assert np.array_equal(attention_rollout(maps), np.eye(4)[None])


@pytest.mark.parametrize("prefix", [0, 1, 2])
def test_distances_of_known_attention(prefix):
    """2 x 3 patches of 4 pixels: a head for each kind of attention."""
    n = prefix + 6
    maps = np.zeros((2, 3, 4, n, n), np.float32)
    right = [1, 2, 2, 4, 5, 5]  # the neighbour; the last column sees itself
    below = [3, 4, 5, 3, 4, 5]
    across = [4, 4, 4, 4, 4, 4]
    for head, seen in enumerate((range(6), right, below, across)):
        for query, key in enumerate(seen):
            maps[:, :, head, prefix + query, prefix + key] = 0.25
            maps[:, :, head, prefix + query, :prefix] = 0.75 / max(prefix, 1)
    # A second block that attends to all alike.
    maps[1] = 1 / n
    found = attention_distance(maps, (2, 3), 4)
    assert found.shape == (2, 4) and found.dtype == np.float32
    diagonal = 4 * 2**0.5
    wanted = [0.0, 4 * 4 / 6, 4 * 3 / 6, (2 * diagonal + 4 + 2 * 4) / 6]
    assert np.allclose(found[0], wanted, atol=1e-5)
    places = [(row, column) for row in range(2) for column in range(3)]
    alike = np.mean([4 * np.hypot(a - c, b - d) for a, b in places for c, d in places])
    assert np.allclose(found[1], alike, atol=1e-5)


def test_distance_is_the_mean_over_images():
    maps = np.zeros((1, 2, 1, 4, 4), np.float32)
    maps[0, 0, 0] = np.eye(4)
    maps[0, 1, 0, np.arange(4), [1, 0, 3, 2]] = 1.0
    assert attention_distance(maps, (2, 2), 8)[0, 0] == 4.0


@pytest.mark.parametrize("position", POSITIONS)
def test_similarity_is_the_cosine_of_positions(position):
    runtime.setup("CPU", "pynative")
    network = randomize(ViT(**{**SMALL, "image_size": (8, 12)}, position=position))
    if position in ("relative", "none"):
        assert f"position is {position!r}" in error_of(position_similarity, network)
        return
    found = position_similarity(network)
    assert found.shape == (2, 3, 2, 3) and found.dtype == np.float32
    assert np.allclose(np.einsum("ijij->ij", found), 1.0) and np.allclose(found, found.transpose(2, 3, 0, 1))
    if position == "learned_1d":
        vectors = network.pos_embedding.asnumpy()[0, 1:]  # without the class token's
    elif position == "sincos_2d":
        vectors = sincos_positions((2, 3), 16)
    else:
        rows, columns = network.pos_embedding_2d.rows.asnumpy(), network.pos_embedding_2d.columns.asnumpy()
        vectors = np.array([np.concatenate([row, column]) for row in rows for column in columns])
    one, other = vectors[1 * 3 + 2], vectors[0 * 3 + 1]
    wanted = one @ other / np.linalg.norm(one) / np.linalg.norm(other)
    assert found[1, 2, 0, 1] == pytest.approx(wanted, abs=1e-6)


def test_a_distilled_network_has_two_tokens_before_the_patches():
    runtime.setup("CPU", "pynative")
    network = randomize(DistilledViT(**SMALL))
    vectors = network.pos_embedding.asnumpy()[0, 2:]
    wanted = vectors[0] @ vectors[3] / np.linalg.norm(vectors[0]) / np.linalg.norm(vectors[3])
    assert position_similarity(network)[0, 0, 1, 1] == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize(("width", "components"), [(16, 16), (64, 48)])
def test_filters_are_principal_components(width, components):
    network = ViT(**{**SMALL, "embed_dim": width})
    mixing = random(48, 48, seed=5) * np.linspace(0.1, 2, 48)[:, None].astype(np.float32)
    weight = (random(width, 48, seed=6) @ mixing).reshape(width, 3, 4, 4) + 0.5
    network.patch_embedding.conv.weight.set_data(Tensor(weight, ms.float32))
    found = embedding_filters(network)
    assert found.shape == (components, 4, 4, 3) and found.dtype == np.float32
    # The covariance of the filters is the sum of the components' outer products.
    filters = weight.transpose(0, 2, 3, 1).reshape(width, -1)
    rows = found.reshape(components, -1)
    covariance = np.cov(filters.T, bias=True)
    assert np.abs(rows.T @ rows - covariance).max() < 1e-4 * np.abs(covariance).max()
    variances = (rows.astype(np.float64) ** 2).sum(axis=1)
    assert (np.diff(variances) <= 1e-6).all()
    angles = rows[:8] @ rows[:8].T / np.sqrt(np.outer(variances[:8], variances[:8]))
    assert np.abs(angles - np.eye(8)).max() < 1e-4
    assert (rows[:8].max(axis=1) >= -rows[:8].min(axis=1)).all()


def test_what_cannot_be_looked_at_is_said():
    swin = LIBRARIES["timm_swin"].network()
    for look in (position_similarity, embedding_filters):
        assert "the network is a Swin" in error_of(look, swin)
    assert "the network is a Swin" in error_of(attention_maps, swin, images())
    maps = stochastic(1, 1, 1, 5, 5)
    assert "more patches than the 5 tokens" in error_of(attention_distance, maps, (2, 3), 4)
    assert "patch_size is 0" in error_of(attention_distance, maps, (2, 2), 0)
    for look in (attention_rollout, lambda maps: attention_distance(maps, (2, 2), 4)):
        assert "it must be (L, B, H, N, N)" in error_of(look, maps[0])
    assert introspection.attention_distance(maps, (2, 2), 4).shape == (1, 1)
