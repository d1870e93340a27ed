"""The Vision Transformer: the course's call, arguments, positions, initial values and gradients."""

import json

import mindspore as ms
import numpy as np
import pytest
from helpers import DATA, SMALL, error_of, images, random, randomize
from mindspore import Tensor, nn

from vit_ms import runtime
from vit_ms.layers import NUMERICS, DropPath, LayerNorm
from vit_ms.models.vit import ViT
from vit_ms.weights import load_weights


def course_config() -> dict:
    return json.loads((DATA / "course_vit" / "config.json").read_text())


def test_parameters_have_the_names_shapes_and_order_of_the_course():
    config = course_config()
    network = ViT(**config["config"], num_classes=7)
    found = {p.name: list(p.shape) for p in network.get_parameters()}
    assert found == config["tensors"]
    assert sum(p.size for p in network.get_parameters()) == config["params"]
    assert all(p.requires_grad for p in network.get_parameters())


def test_a_call_of_the_course_runs_and_gives_its_logits(mode):
    # With every argument of the course's ViT, and MindSpore's own cells as the course has them.
    network = ViT(
        image_size=32,
        input_channels=3,
        patch_size=8,
        embed_dim=48,
        num_layers=3,
        num_heads=4,
        mlp_dim=96,
        keep_prob=1.0,
        attention_keep_prob=1.0,
        drop_path_keep_prob=1.0,
        activation=nn.GELU,
        norm=nn.LayerNorm,
        pool="cls",
        num_classes=7,
    )
    load_weights(network, DATA / "course_vit" / "weights.ckpt")
    stored = {name: np.load(DATA / "course_vit" / f"{name}.npy") for name in ("input", "logits")}
    logits = network.set_train(False)(Tensor(stored["input"])).asnumpy()
    assert np.abs(logits - stored["logits"]).max() < 2e-5


def test_without_arguments_it_is_the_course_s_vit_b_16():
    from mindspore.nn.utils import no_init_parameters

    with no_init_parameters():
        network = ViT()
    shapes = {p.name: tuple(p.shape) for p in network.get_parameters()}
    assert shapes["pos_embedding"] == (1, 197, 768) and shapes["patch_embedding.conv.weight"] == (768, 3, 16, 16)
    assert shapes["transformer.layers.11.1.cell.1.dense1.weight"] == (3072, 768)
    assert shapes["dense.weight"] == (1000, 768)
    assert isinstance(network.norm, LayerNorm) and network.norm.epsilon == 1e-7


# The head.


def small(**overrides) -> ViT:
    return randomize(ViT(**{**SMALL, **overrides})).set_train(False)


def head(network: ViT, pooled: np.ndarray) -> np.ndarray:
    return pooled @ network.dense.weight.asnumpy().T + network.dense.bias.asnumpy()


def test_pool_chooses_what_the_head_reads():
    runtime.setup("CPU", "pynative")
    x = images()
    network = small(pool="cls")
    tokens = network.features(x).asnumpy()
    assert tokens.shape == (2, 1 + 4, 16)
    assert np.allclose(network(x).asnumpy(), head(network, tokens[:, 0]), atol=1e-5)
    network = small(pool="mean")
    assert np.allclose(network(x).asnumpy(), head(network, tokens[:, 1:].mean(1)), atol=1e-5)


def test_representation_size_adds_a_dense_and_tanh():
    runtime.setup("CPU", "pynative")
    x = images()
    network = small(representation_size=9)
    shapes = {p.name: tuple(p.shape) for p in network.get_parameters()}
    assert shapes["pre_logits.0.weight"] == (9, 16) and shapes["dense.weight"] == (5, 9)
    pre = network.pre_logits[0]
    pooled = np.tanh(network.features(x).asnumpy()[:, 0] @ pre.weight.asnumpy().T + pre.bias.asnumpy())
    assert np.abs(pooled).max() > 0.5
    assert np.allclose(network(x).asnumpy(), head(network, pooled), atol=1e-5)


def test_zero_head_starts_with_equal_logits():
    assert (ViT(**SMALL, zero_head=True)(images()).asnumpy() == 0).all()
    assert np.abs(ViT(**SMALL)(images()).asnumpy()).max() > 1e-2


REFUSED = {
    "pool": ({"pool": "max"}, "pool is 'max'; choose 'cls' or 'mean'"),
    "classes": ({"num_classes": 0}, "num_classes is 0; it must be at least 1"),
    "layers": ({"num_layers": 0}, "num_layers is 0; it must be at least 1"),
    "mlp": ({"mlp_dim": 0}, "mlp_dim is 0; it must be at least 1"),
    "heads": ({"num_heads": 3}, "embed_dim 16 is not divisible by num_heads 3: choose a divisor of 16"),
    "image": ({"image_size": 10}, "image_size 10 is not divisible by patch_size 4: the nearest that is divisible is 8"),
    "patches": ({"patch_size": 8}, "image_size 8 with patch_size 8 makes 1 patch(es), fewer than MIN_NUM_PATCHES = 4"),
    "keep": ({"keep_prob": 0.0}, "keep_prob is 0.0; it must be above 0 and at most 1"),
    "attention keep": ({"attention_keep_prob": 1.1}, "attention_keep_prob is 1.1; it must be above 0 and at most 1"),
    "path keep": ({"drop_path_keep_prob": 0.0}, "drop_path_keep_prob is 0.0; it must be above 0 and at most 1"),
    "representation": ({"representation_size": -1}, "representation_size is -1; it must be at least 1"),
    "no representation": ({"representation_size": 0}, "representation_size is 0; it must be at least 1"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_impossible_arguments_are_refused(case):
    overrides, message = REFUSED[case]
    assert error_of(lambda: ViT(**{**SMALL, **overrides})).startswith(message)


def test_images_of_another_size_are_refused_and_both_shapes_told(mode):
    with pytest.raises(ValueError) as caught:
        small()(Tensor(random(2, 3, 12, 8)))
    line = str(caught.value).splitlines()[0]
    assert "(2, 3, 12, 8)" in line and "(3, 8, 8)" in line


# Initial values.


def test_initial_values():
    network = ViT(**{**SMALL, "image_size": 32, "embed_dim": 64})
    values = {p.name: p.asnumpy() for p in network.get_parameters()}
    assert (values["cls"] == 0).all()
    assert values["pos_embedding"].std() == pytest.approx(0.02, rel=0.05)
    assert all((value == 0).all() for name, value in values.items() if name.endswith(("bias", "beta")))
    assert all((value == 1).all() for name, value in values.items() if name.endswith("gamma"))
    bound = np.sqrt(6 / (64 + 64))
    for block in range(2):
        qkv = values[f"transformer.layers.{block}.0.cell.1.qkv.weight"]
        assert 0.97 * bound < np.abs(qkv).max() <= bound
    assert np.abs(values["dense.weight"]).max() <= np.sqrt(6 / (64 + 5))
    pre_logits = ViT(**SMALL, representation_size=400).pre_logits[0]
    assert pre_logits.weight.asnumpy().std() == pytest.approx(16**-0.5, rel=0.05)


def test_the_seed_decides_the_initial_values():
    def weights(seed):
        runtime.setup("CPU", "graph", seed)
        return [p.asnumpy() for p in ViT(**SMALL).get_parameters()]

    first, again, other = weights(1), weights(1), weights(2)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert any(not np.array_equal(a, b) for a, b in zip(first, other, strict=True))


# Dropouts.


def test_the_chance_to_keep_a_branch_falls_linearly_with_depth():
    network = ViT(**{**SMALL, "num_layers": 5}, drop_path_keep_prob=0.6)
    rates = {name: cell.keep_prob for name, cell in network.cells_and_names() if isinstance(cell, DropPath)}
    wanted = {
        f"transformer.layers.{block}.{branch}.cell.2": pytest.approx(1.0 - 0.1 * block)
        for block in range(5)
        for branch in (0, 1)
    }
    assert rates == wanted


@pytest.mark.parametrize("name", ["keep_prob", "attention_keep_prob", "drop_path_keep_prob"])
def test_keep_probabilities_act_in_training_only(name, mode):
    x = images(batch=8)
    network = small(**{name: 0.5})
    runtime.setup("CPU", "pynative")  # saves a compilation
    wanted = small()(x).asnumpy()
    runtime.setup("CPU", mode)
    assert np.allclose(network(x).asnumpy(), wanted, atol=1e-5)
    network.set_train(True)
    first, second = network(x).asnumpy(), network(x).asnumpy()
    assert not np.allclose(first, second) and not np.allclose(first, wanted)


def test_keep_prob_reaches_every_dropout():
    network = ViT(**SMALL, keep_prob=0.75, attention_keep_prob=0.5)
    rates = {name: cell.p for name, cell in network.cells_and_names() if isinstance(cell, nn.Dropout)}
    rates = {name: rate for name, rate in rates.items() if not name.endswith("cell.2.dropout")}  # drop path's
    assert rates.pop("pos_dropout") == rates.pop("dropout") == 0.25
    for block in range(2):
        assert rates.pop(f"transformer.layers.{block}.0.cell.1.attn_drop") == 0.5
        assert rates.pop(f"transformer.layers.{block}.0.cell.1.out_drop") == 0.25
    feedforwards = {name.split(".cell.1.")[0]: rate for name, rate in rates.items()}
    assert feedforwards == {f"transformer.layers.{block}.1": 0.25 for block in range(2)}


# Gradients.


class Loss(nn.Cell):
    """The mean cross entropy against fixed labels."""

    def __init__(self, network):
        super().__init__(auto_prefix=False)
        self.network = network
        self.loss = nn.CrossEntropyLoss()

    def construct(self, x, labels):
        return self.loss(self.network(x), labels)


def gradients(network: ViT) -> dict[str, np.ndarray]:
    weights = network.trainable_params()
    grad = ms.grad(Loss(network.set_train(True)), grad_position=None, weights=weights)
    found = grad(images(batch=3), Tensor([0, 3, 4], ms.int32))
    return {p.name: g.asnumpy() for p, g in zip(weights, found, strict=True)}


@pytest.mark.parametrize("overrides", [{}, {"pool": "mean"}, {"representation_size": 6}], ids=["cls", "mean", "pre"])
def test_the_gradient_reaches_every_parameter_the_same_in_both_modes(overrides):
    found = gradients(small(**overrides))
    for name, gradient in found.items():
        assert np.isfinite(gradient).all() and np.abs(gradient).max() > 1e-6, name
    runtime.setup("CPU", "pynative")
    for name, gradient in gradients(small(**overrides)).items():
        assert np.allclose(found[name], gradient, rtol=1e-4, atol=1e-6), name


@pytest.mark.parametrize("overrides", [{}, {"pool": "mean"}, NUMERICS["timm"].cells()], ids=["cls", "mean", "timm"])
def test_gradients_are_the_slopes_of_the_loss(overrides):
    """Central differences, one parameter after the other, along its gradient with some noise.

    Along the gradient the slope is as large as it can be: float32 losses resolve it.
    """
    network = small(**overrides)
    found = gradients(network)
    loss = Loss(network)
    x, labels = images(batch=3), Tensor([0, 3, 4], ms.int32)
    rng = np.random.default_rng(5)
    for parameter in network.trainable_params():
        at, gradient = parameter.asnumpy().copy(), found[parameter.name]
        direction = gradient / np.linalg.norm(gradient) + 0.5 * rng.standard_normal(at.shape) / np.sqrt(at.size)
        losses = []
        for step in (1e-2, -1e-2):
            parameter.set_data(Tensor((at + step * direction).astype(np.float32)))
            losses.append(float(loss(x, labels)))
        parameter.set_data(Tensor(at))
        slope = (losses[0] - losses[1]) / 2e-2
        assert slope == pytest.approx((gradient * direction).sum(), rel=2e-2, abs=2e-4), parameter.name


def test_half_precision_gives_nearly_the_same_logits(mode):
    x = images()
    runtime.setup("CPU", "pynative")
    wanted = small()(x).asnumpy()
    runtime.setup("CPU", mode)
    logits = small().to_float(ms.float16)(x)
    assert logits.dtype == ms.float16
    assert np.allclose(logits.asnumpy(), wanted, atol=2e-2)


# How tokens know their places.


@pytest.mark.parametrize("position", ["learned_1d", "learned_2d", "sincos_2d", "relative", "none"])
def test_only_without_positions_the_order_of_patches_does_not_matter(position):
    runtime.setup("CPU", "pynative")
    network = small(image_size=(8, 12), position=position)
    x = random(1, 3, 8, 12)
    swapped = np.concatenate([x[:, :, :, 8:], x[:, :, :, 4:8], x[:, :, :, :4]], axis=3)  # whole columns of patches
    moved = np.abs(network(Tensor(x)).asnumpy() - network(Tensor(swapped)).asnumpy()).max()
    assert moved < 1e-5 if position == "none" else moved > 1e-4


def test_positions_have_their_parameters():
    wanted = {
        "learned_1d": {"pos_embedding": (1, 7, 16)},
        "learned_2d": {"pos_embedding_2d.rows": (2, 8), "pos_embedding_2d.columns": (3, 8)},
        "sincos_2d": {},
        "none": {},
    }
    plain = {p.name for p in small(position="none").get_parameters()}
    for position, shapes in wanted.items():
        found = {p.name: tuple(p.shape) for p in small(image_size=(8, 12), position=position).get_parameters()}
        assert {name: shape for name, shape in found.items() if name not in plain} == shapes
    tables = [p for p in small(image_size=(8, 12), position="relative").get_parameters() if p.name not in plain]
    assert [tuple(p.shape) for p in tables] == [(3 * 5 + 3, 2)] * 2
    message = "position is 'x'; choose one of learned_1d, learned_2d, sincos_2d, relative, none"
    assert error_of(lambda: ViT(**SMALL, position="x")) == message
