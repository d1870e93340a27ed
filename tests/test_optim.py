"""Schedules by their landmarks, the optimizers against float64, what decays, and which layer learns how fast."""

import mindspore as ms
import numpy as np
import pytest
from helpers import SMALL, error_of, random
from mindspore import Parameter, Tensor, nn

from vit_ms import create_model
from vit_ms.models.vit import ViT
from vit_ms.optim import (
    OPTIMIZERS,
    SCHEDULERS,
    AdamW,
    create_optimizer,
    decay_groups,
    freeze,
    layer_groups,
    layers_below_head,
    learning_rates,
    scaled_rate,
)

pytestmark = pytest.mark.fused

# Learning rates.


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("warmup", [0, 2, 10])
def test_there_is_a_rate_for_every_step_and_the_warm_up_ends_at_lr(scheduler, warmup):
    rates = learning_rates(scheduler, 0.4, 0.1, warmup, 10, 3)
    assert len(rates) == 30 and min(rates) > 0.0 and max(rates) == pytest.approx(0.4, abs=0.3 / 24)
    if warmup:
        assert np.allclose(rates[: warmup * 3], 0.4 * np.arange(1, warmup * 3 + 1) / (warmup * 3))
        assert rates[warmup * 3 - 1] == pytest.approx(0.4)


def test_cosine_decay():
    rates = learning_rates("cosine_decay", 0.4, 0.1, 2, 10, 3)
    assert rates[6 + 12 - 1] == pytest.approx(0.25)  # half way down
    assert rates[6 + 8 - 1] == pytest.approx(0.1 + 0.3 * 0.75)  # cos(pi / 3) = 1/2
    assert rates[-1] == pytest.approx(0.1)
    assert (np.diff(rates[5:]) < 0).all()


def test_linear_decay():
    rates = learning_rates("linear_decay", 0.4, 0.1, 2, 10, 3)
    assert rates[-1] == pytest.approx(0.1)
    assert np.allclose(np.diff(rates[5:]), -0.3 / 24)


def test_constant_rate():
    assert learning_rates("constant", 0.4, 0.1, 0, 10, 3) == [0.4] * 30
    assert learning_rates("constant", 0.4, 0.1, 1, 10, 3)[3:] == [0.4] * 27


def test_without_warm_up_the_first_step_is_the_first_of_the_decay():
    assert learning_rates("linear_decay", 0.4, 0.0, 0, 4, 1) == pytest.approx([0.3, 0.2, 0.1, 0.0])


def test_the_warm_up_starts_where_it_is_told():
    rates = learning_rates("cosine_decay", 0.4, 0.1, 2, 10, 2, warmup_lr=0.2)
    assert rates[:4] == pytest.approx([0.25, 0.3, 0.35, 0.4])
    assert rates[4:] == learning_rates("cosine_decay", 0.4, 0.1, 2, 10, 2)[4:]


def test_the_rate_grows_with_the_batch():
    assert scaled_rate(5e-4, 1024, 512) == pytest.approx(1e-3)  # DeiT's and Swin's
    assert scaled_rate(5e-4, 64, 512) == pytest.approx(6.25e-5)
    assert scaled_rate(5e-4, 64, None) == 5e-4


# Weight decay.


def test_matrices_decay_and_nothing_else():
    params = ViT(**SMALL, representation_size=6).trainable_params()
    decaying, others, order = decay_groups(params, 0.3)
    assert decaying["weight_decay"] == 0.3 and others["weight_decay"] == 0.0
    blocks = [f"transformer.layers.{block}" for block in range(2)]
    wanted = ["patch_embedding.conv.weight"]
    for block in blocks:
        wanted += [f"{block}.0.cell.1.qkv.weight", f"{block}.0.cell.1.out.weight"]
        wanted += [f"{block}.1.cell.1.dense1.weight", f"{block}.1.cell.1.dense2.weight"]
    wanted += ["pre_logits.0.weight", "dense.weight"]
    names = [p.name for p in decaying["params"]]
    left = [p.name for p in others["params"]]
    assert sorted(names) == sorted(wanted)
    assert {"cls", "pos_embedding", "norm.gamma", "norm.beta", "dense.bias", f"{blocks[0]}.0.cell.1.qkv.bias"} <= set(
        left
    )
    # Nothing twice, nothing missing, and the gradients' order is the network's.
    assert sorted(names + left) == sorted(p.name for p in params)
    assert [p.name for p in order["order_params"]] == [p.name for p in params]


def test_a_group_without_parameters_is_left_out():
    bias = Parameter(Tensor(random(3)), name="bias")
    assert [set(group) for group in decay_groups([bias], 0.1)] == [{"params", "weight_decay"}, {"order_params"}]
    weight = Parameter(Tensor(random(3, 2)), name="weight")
    assert decay_groups(iter([weight]), 0.1)[0]["params"] == [weight]
    scale = Parameter(Tensor(random(3)), name="norm.weight")  # a vector, whatever its name
    assert decay_groups([scale], 0.1)[0]["weight_decay"] == 0.0


# Layers.


# Of each family its number of blocks, and how far below the head its landmarks are.
DEPTHS = {
    "vit_nano_4": (4, {"cls": 5, "pos_embedding": 5, "transformer.layers.0.0.cell.1.qkv.weight": 4}),
    "deit_ti_16_distilled": (12, {"distillation": 13, "transformer.layers.10.0.cell.0.beta": 2}),
    "vit_r26_s_32": (12, {"backbone.stages.3.1.conv3.conv.weight": 13, "patch_embedding.conv.bias": 13}),
    "swin_t": (
        12,
        {
            "patch_norm.gamma": 13,
            "stages.0.blocks.1.0.cell.0.beta": 11,
            "stages.1.downsample.reduction.weight": 10,
            "stages.1.blocks.0.0.cell.0.beta": 10,
            "stages.2.blocks.5.1.cell.1.dense2.bias": 3,
            "stages.3.blocks.1.0.cell.1.attention.position_bias.relative_position_bias_table": 1,
        },
    ),
    "convnext_t": (18, {"stem.1.beta": 19, "stages.2.downsample.1.weight": 12, "stages.3.blocks.2.cell.3.gamma": 1}),
    "resnet_r50x1": (
        16,
        {"stem.conv.weight": 17, "stages.0.0.shortcut.conv.weight": 16, "stages.3.2.conv1.norm.beta": 1},
    ),
    "road_large_kernel": (18, {"stem.0.norm.beta": 19, "stages.2.8.convs.4.weight": 4}),
}


@pytest.mark.parametrize("name", DEPTHS)
def test_every_family_s_names_tell_the_layer(name):
    layers, landmarks = DEPTHS[name]
    network = create_model(name)
    below = layers_below_head(p.name for p in network.trainable_params())
    assert {parameter: below[parameter] for parameter in landmarks} == landmarks
    assert set(below.values()) == set(range(layers + 2))
    head = {parameter.split(".")[0] for parameter, depth in below.items() if depth == 0}
    assert {"dense"} <= head <= {"dense", "distillation_dense", "norm", "pre_logits"}
    # Nothing but the embedding is as far from the head.
    first = {parameter.split(".")[0] for parameter, depth in below.items() if depth == layers + 1}
    assert first <= {"cls", "distillation", "pos_embedding", "patch_embedding", "patch_norm", "stem", "backbone"}


def test_positions_are_embeddings_and_relative_ones_of_their_block():
    for position, where in (("learned_2d", {3}), ("relative", {1, 2})):
        below = layers_below_head(p.name for p in ViT(**SMALL, position=position).trainable_params())
        assert {depth for name, depth in below.items() if "position" in name or "pos_" in name} == where


def test_a_layer_has_the_rate_of_the_one_above_times_the_decay():
    params = ViT(**SMALL, representation_size=6).trainable_params()
    *groups, order = layer_groups(decay_groups(params, 0.3), [0.8, 0.4], 0.5)
    rates = {p.name: group["lr"] for group in groups for p in group["params"]}
    # Bao et al. 2022: lr * decay^(L + 1 - layer), the embedding being layer 0 and the head layer L + 1.
    wanted = {
        "dense.weight": 1,
        "pre_logits.0.bias": 1,
        "norm.gamma": 1,
        "transformer.layers.1.1.cell.1.dense2.bias": 0.5,
    }
    wanted |= {"transformer.layers.0.0.cell.1.qkv.weight": 0.25, "patch_embedding.conv.weight": 0.125, "cls": 0.125}
    for name, factor in wanted.items():
        assert rates[name] == pytest.approx([0.8 * factor, 0.4 * factor]), name
    decays = {p.name: group["weight_decay"] for group in groups for p in group["params"]}
    assert (decays["dense.weight"], decays["dense.bias"], decays["cls"]) == (0.3, 0.0, 0.0)
    assert [p.name for p in order["order_params"]] == [p.name for p in params]
    assert sum(len(group["params"]) for group in groups) == len(rates) == len(params)


def test_freezing_leaves_the_head():
    network = ViT(**SMALL)
    assert freeze(network) == 16 * 5 + 5
    assert [p.name for p in network.trainable_params()] == ["dense.weight", "dense.bias"]
    network = ViT(**SMALL)
    assert freeze(network, keep=("dense.", "norm.")) == 16 * 5 + 5 + 2 * 16
    message = error_of(freeze, ViT(**SMALL), keep=("head.",))
    assert message == "no parameter's name begins with head.: freezing leaves nothing to train"


# The optimizers.

SHAPES = {"weight": (4, 3), "bias": (4,)}
RATES = [0.1, 0.02, 0.3, 0.05, 0.01, 0.2]


def parameters(prefixes: tuple[str, str] = ("", "")) -> list[Parameter]:
    names = [prefix + name for prefix, name in zip(prefixes, SHAPES, strict=True)]
    return [
        Parameter(Tensor(random(*shape, seed=i)), name=name)
        for i, (name, shape) in enumerate(zip(names, SHAPES.values(), strict=True))
    ]


def gradients(step: int) -> tuple[np.ndarray, ...]:
    # The size changes from step to step and parameter to parameter, down to where eps matters.
    scale = 10.0 ** -(step % 3)
    return tuple(
        random(*shape, seed=10 * step + i, scale=scale * 10.0 ** (-6 * i)) for i, shape in enumerate(SHAPES.values())
    )


def numpy_steps(update, decays, factors=(1.0, 1.0)) -> list[np.ndarray]:
    """What an update, (step, rate, weights, gradient, decay, state) to weights, makes of the parameters in float64."""
    found = []
    for index, (parameter, decay, factor) in enumerate(zip(parameters(), decays, factors, strict=True)):
        w = parameter.asnumpy().astype(np.float64)
        state = [np.zeros_like(w), np.zeros_like(w)]
        for step, rate in enumerate(RATES, start=1):
            w = update(step, rate * factor, w, gradients(step)[index].astype(np.float64), decay, state)
        found.append(w)
    return found


def numpy_adamw(decays, beta1=0.9, beta2=0.999, eps=1e-8, factors=(1.0, 1.0), decoupled=True) -> list[np.ndarray]:
    """Loshchilov & Hutter 2019, algorithm 2, with torch.optim.AdamW's decay of lr * weight_decay.

    Not decoupled it is MindSpore's Adam: an L2 term, and eps beside the root of the uncorrected moment (the epsilon hat of
    Kingma & Ba 2015, section 2).
    """

    def update(step, lr, w, g, decay, state):
        if not decoupled:
            g = g + decay * w
        state[0] = beta1 * state[0] + (1 - beta1) * g
        state[1] = beta2 * state[1] + (1 - beta2) * g * g
        m, v = state[0] / (1 - beta1**step), state[1] / (1 - beta2**step)
        scaled_eps = eps if decoupled else eps / np.sqrt(1 - beta2**step)
        return w - lr * (m / (np.sqrt(v) + scaled_eps) + decoupled * decay * w)

    return numpy_steps(update, decays, factors)


def numpy_sgd(decays, momentum=0.9, factors=(1.0, 1.0)) -> list[np.ndarray]:
    """Heavy ball, without dampening and Nesterov's step: v = momentum v + g, w = w - lr v."""

    def update(step, lr, w, g, decay, state):
        state[0] = momentum * state[0] + g + decay * w
        return w - lr * state[0]

    return numpy_steps(update, decays, factors)


def take_steps(optimizer):
    for step in range(1, len(RATES) + 1):
        optimizer(tuple(Tensor(g) for g in gradients(step)))


def close(params, wanted) -> bool:
    return all(np.allclose(p.asnumpy(), w, rtol=1e-5, atol=2e-6) for p, w in zip(params, wanted, strict=True))


def test_sgd_is_heavy_ball_from_the_first_step(mode):
    params = parameters()
    optimizer = create_optimizer(params, "sgd", RATES, 0.0, momentum=0.8)
    before = [p.asnumpy().copy() for p in params]
    optimizer(tuple(Tensor(g) for g in gradients(1)))
    # MindSpore's own counter moves with the step, so that the first step has the first rate and the whole gradient.
    for parameter, w, g in zip(params, before, gradients(1), strict=True):
        assert np.allclose(parameter.asnumpy(), w - RATES[0] * g, rtol=1e-6, atol=1e-7)
    for step in range(2, len(RATES) + 1):
        optimizer(tuple(Tensor(g) for g in gradients(step)))
    assert close(params, numpy_sgd([0.0, 0.0], 0.8))


EMBEDDING_AND_BLOCK = ("patch_embedding.conv.", "transformer.layers.0.1.cell.1.dense1.")


@pytest.mark.parametrize(
    ("opt", "wanted", "keywords"),
    [
        ("adamw", numpy_adamw, {"beta1": 0.8, "beta2": 0.95}),
        ("adam", numpy_adamw, {"beta1": 0.8, "beta2": 0.95, "decoupled": False}),
        ("sgd", numpy_sgd, {"momentum": 0.7}),
    ],
)
def test_each_layer_is_updated_at_its_own_rate(mode, opt, wanted, keywords):
    params = parameters(EMBEDDING_AND_BLOCK)
    take_steps(create_optimizer(params, opt, RATES, 0.5, betas=(0.8, 0.95), momentum=0.7, layer_decay=0.6))
    assert close(params, wanted([0.5, 0.0], factors=(0.36, 0.6), **keywords))


def test_adamw_is_the_paper_s_with_a_decay_for_each_group(mode):
    params = parameters()
    take_steps(create_optimizer(params, "adamw", RATES, 0.5))
    for parameter, wanted in zip(params, numpy_adamw([0.5, 0.0]), strict=True):
        assert np.allclose(parameter.asnumpy(), wanted, rtol=1e-5, atol=1e-6), parameter.name


def test_adamw_takes_its_own_betas_and_one_decay_for_all(mode):
    params = parameters()
    take_steps(AdamW(params, RATES, beta1=0.8, beta2=0.95, eps=1e-4, weight_decay=0.1))
    for parameter, wanted in zip(params, numpy_adamw([0.1, 0.1], 0.8, 0.95, 1e-4), strict=True):
        assert np.allclose(parameter.asnumpy(), wanted, rtol=1e-5, atol=1e-6), parameter.name


def first_step(optimizer_class) -> float:
    parameter = Parameter(Tensor(random(20)), name="bias")
    before = parameter.asnumpy().copy()
    optimizer_class([parameter], 0.01)((Tensor(random(20, seed=1)),))
    moved = np.abs(parameter.asnumpy() - before)
    assert moved.max() == pytest.approx(moved.min(), rel=1e-2)
    return moved.mean()


def test_the_first_step_is_as_long_as_the_learning_rate():
    assert first_step(AdamW) == pytest.approx(0.01, rel=1e-3)
    # Why it is not nn.AdamWeightDecay: without bias correction 0.1 / sqrt(0.001) times as long.
    assert first_step(nn.AdamWeightDecay) == pytest.approx(0.0316, rel=1e-2)


@pytest.mark.parametrize("opt", OPTIMIZERS)
def test_without_a_gradient_only_matrices_shrink(opt):
    params = parameters()
    weight, bias = (p.asnumpy().copy() for p in params)
    create_optimizer(params, opt, [0.1, 0.1], 0.5)(tuple(ms.ops.zeros_like(p) for p in params))
    assert np.array_equal(params[1].asnumpy(), bias)
    if opt == "adamw":
        assert np.allclose(params[0].asnumpy(), weight * (1 - 0.1 * 0.5), rtol=1e-5)
    elif opt == "sgd":  # the decay is the gradient
        assert np.allclose(params[0].asnumpy(), weight - 0.1 * 0.5 * weight, rtol=1e-5)
    else:  # the decay is a gradient, which Adam brings to length lr
        assert np.allclose(params[0].asnumpy(), weight - 0.1 * np.sign(weight), atol=1e-5)


def test_adam_has_its_own_betas():
    # The course passes a momentum in the place of beta1.
    optimizer = create_optimizer(parameters(), "adam", RATES, 0.0)
    assert isinstance(optimizer, nn.Adam)
    assert float(optimizer.beta1) == pytest.approx(0.9) and float(optimizer.beta2) == pytest.approx(0.999)


def test_the_optimizer_leaves_the_names_of_the_parameters():
    params = parameters()
    optimizer = create_optimizer(params, "adamw", RATES, 0.1)
    assert [p.name for p in params] == list(SHAPES)
    assert len({p.name for p in optimizer.get_parameters()}) == len(list(optimizer.get_parameters()))
