"""Schedules by their landmarks, AdamW against float64, and what decays."""

import mindspore as ms
import numpy as np
import pytest
from helpers import SMALL, random
from mindspore import Parameter, Tensor, nn

from vit_ms.models.vit import ViT
from vit_ms.optim import OPTIMIZERS, SCHEDULERS, AdamW, create_optimizer, decay_groups, learning_rates

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


# AdamW.

SHAPES = {"weight": (4, 3), "bias": (4,)}
RATES = [0.1, 0.02, 0.3, 0.05, 0.01, 0.2]


def parameters() -> list[Parameter]:
    return [Parameter(Tensor(random(*shape, seed=i)), name=name) for i, (name, shape) in enumerate(SHAPES.items())]


def gradients(step: int) -> tuple[np.ndarray, ...]:
    # The size changes from step to step and parameter to parameter, down to where eps matters.
    scale = 10.0 ** -(step % 3)
    return tuple(
        random(*shape, seed=10 * step + i, scale=scale * 10.0 ** (-6 * i)) for i, shape in enumerate(SHAPES.values())
    )


def numpy_adamw(decays, beta1=0.9, beta2=0.999, eps=1e-8) -> list[np.ndarray]:
    """Loshchilov & Hutter 2019, algorithm 2, in float64; torch.optim.AdamW's decay of lr * weight_decay."""
    found = []
    for index, (parameter, decay) in enumerate(zip(parameters(), decays, strict=True)):
        w = parameter.asnumpy().astype(np.float64)
        m, v = np.zeros_like(w), np.zeros_like(w)
        for step, lr in enumerate(RATES, start=1):
            g = gradients(step)[index].astype(np.float64)
            w -= lr * decay * w
            m = beta1 * m + (1 - beta1) * g
            v = beta2 * v + (1 - beta2) * g * g
            w -= lr * (m / (1 - beta1**step)) / (np.sqrt(v / (1 - beta2**step)) + eps)
        found.append(w)
    return found


def take_steps(optimizer):
    for step in range(1, len(RATES) + 1):
        optimizer(tuple(Tensor(g) for g in gradients(step)))


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
