"""Every fast form against a formula in float64 and against the plain operation it replaces, values and gradients."""

import numpy as np
import pytest
from helpers import random, run, value_and_grads
from mindspore import Tensor, nn, ops
from scipy.special import erf

from vit_ms import functional as F
from vit_ms import runtime

# The plain forms: what a reader of the paper would write, with the operations that the fast forms avoid.


def plain_dense(x, weight, bias):
    return ops.matmul(x, weight.T) + bias


def plain_tanh(x):
    return 1.0 - 2.0 / (ops.exp(2.0 * x) + 1.0)  # ops.tanh on CPU is off by 1e-4, its gradient by 1e-3


def plain_gelu_tanh(x):
    z = 0.7978845608028654 * (x + 0.044715 * x * x * x)
    return 0.5 * x * (1.0 + plain_tanh(z))


def plain_gelu_erf(x):
    return 0.5 * x * (1.0 + ops.erf(x / 2.0**0.5))


def plain_layer_norm(x, gamma, beta):
    centred = x - x.mean(axis=-1, keep_dims=True)
    variance = (centred * centred).mean(axis=-1, keep_dims=True)
    return centred / ops.sqrt(variance + 1e-6) * gamma + beta


def plain_patch_embed(x, weight, bias):
    y = ops.conv2d(x, weight, bias, stride=weight.shape[-1])
    return y.reshape(y.shape[0], y.shape[1], -1).transpose(0, 2, 1)


def plain_attention_weights(q, k):
    scores = ops.matmul(q, k.transpose(0, 1, 3, 2)) / q.shape[-1] ** 0.5
    e = ops.exp(scores)
    return e / e.sum(axis=-1, keepdims=True)


# The fast forms with their constants bound, for graph mode compiles no lambda.


def gelu_tanh(x):
    return F.gelu(x, True)


def gelu_erf(x):
    return F.gelu(x, False)


def layer_norm(x, gamma, beta):
    return F.layer_norm(x, gamma, beta, 1e-6)


def gelu64(x, approximate):
    x = x.astype(np.float64)
    if approximate:
        return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
    return 0.5 * x * (1 + erf(x / np.sqrt(2)))


def layer_norm64(x, gamma, beta, epsilon=1e-6):
    x = x.astype(np.float64)
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + epsilon) * gamma + beta


def attention_weights64(q, k):
    scores = q.astype(np.float64) @ k.swapaxes(-1, -2).astype(np.float64) / np.sqrt(q.shape[-1])
    e = np.exp(scores - scores.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def patches_by_loop(x, p):
    rows = []
    for image in x:
        grid = [(i, j) for i in range(0, x.shape[2], p) for j in range(0, x.shape[3], p)]
        rows.append([image[:, i : i + p, j : j + p].ravel() for i, j in grid])
    return np.array(rows)


def patch_embed64(x, weight, bias):
    d, _, p, _ = weight.shape
    return patches_by_loop(x.astype(np.float64), p) @ weight.reshape(d, -1).T + bias


# name -> fast form, plain form, formula, inputs (odd sizes, more than one of everything).
FORMS = {
    "dense": (
        F.dense,
        plain_dense,
        lambda x, w, b: x.astype(np.float64) @ w.T + b,
        (random(2, 3, 7), random(5, 7, seed=1), random(5, seed=2)),
    ),
    "gelu_tanh": (gelu_tanh, plain_gelu_tanh, lambda x: gelu64(x, True), (random(3, 5, 7, scale=3.0),)),
    "gelu_erf": (gelu_erf, plain_gelu_erf, lambda x: gelu64(x, False), (random(3, 5, 7, scale=3.0),)),
    "tanh": (F.tanh, plain_tanh, lambda x: np.tanh(x.astype(np.float64)), (random(3, 5, 7, scale=3.0),)),
    "layer_norm": (
        layer_norm,
        plain_layer_norm,
        layer_norm64,
        (random(2, 3, 9, scale=2.0, offset=1.0), random(9, seed=1), random(9, seed=2)),
    ),
    "patch_embed": (
        F.patch_embed,
        plain_patch_embed,
        patch_embed64,
        # Height and width differ, and so do all other sizes: an exchanged pair of axes cannot pass.
        (random(2, 5, 9, 12), random(7, 5, 3, 3, seed=1), random(7, seed=2)),
    ),
    "attention_weights": (
        F.attention_weights,
        plain_attention_weights,
        attention_weights64,
        (random(2, 3, 5, 7), random(2, 3, 5, 7, seed=1)),
    ),
    "attend": (
        F.attend,
        ops.matmul,
        lambda w, v: w.astype(np.float64) @ v,
        (random(2, 3, 5, 5), random(2, 3, 5, 7, seed=1)),
    ),
}


@pytest.fixture
def native(monkeypatch):
    """on_ascend() says yes, so that the forms for Ascend run here; gives the list of the times it was asked."""
    asked = []

    @ops.constexpr
    def yes() -> bool:
        asked.append(True)
        return True

    monkeypatch.setattr("vit_ms.functional.on_ascend", yes)
    return asked


def check(name):
    fast, plain, formula, inputs = FORMS[name]
    wanted = formula(*inputs)
    value, grads = value_and_grads(fast, wanted.shape, *inputs)
    assert value.shape == wanted.shape and value.dtype == np.float32
    assert np.allclose(value, wanted, rtol=1e-5, atol=1e-5)
    plain_value, plain_grads = value_and_grads(plain, wanted.shape, *inputs)
    assert np.allclose(plain_value, wanted, rtol=1e-5, atol=1e-5)
    for grad, plain_grad, source in zip(grads, plain_grads, inputs, strict=True):
        assert grad.shape == source.shape
        assert np.allclose(grad, plain_grad, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("name", FORMS)
def test_values_and_gradients(name, mode):
    check(name)


@pytest.mark.parametrize("name", ["gelu_tanh", "gelu_erf", "layer_norm", "patch_embed"])
def test_values_and_gradients_of_the_forms_for_ascend(name, mode, native):
    check(name)
    assert native or name == "gelu_erf"  # the exact GELU has one form


def test_here_the_forms_for_ascend_are_not_taken():
    assert runtime.on_ascend() is False


@pytest.mark.parametrize("shape", [(7,), (4, 7), (2, 2, 3, 7)])
def test_dense_takes_any_number_of_axes(shape):
    x, weight, bias = random(*shape), random(5, 7, seed=1), random(5, seed=2)
    y = F.dense(Tensor(x), Tensor(weight), Tensor(bias)).asnumpy()
    assert y.shape == (*shape[:-1], 5) and np.allclose(y, x @ weight.T + bias, atol=1e-5)


@pytest.mark.parametrize("approximate", [True, False])
def test_gelu_in_the_tails(approximate, mode):
    x = np.array([-1000.0, -20.0, -5.0, -1e-6, 0.0, 1e-6, 5.0, 20.0, 1000.0], np.float32)
    value, (grad,) = value_and_grads(gelu_tanh if approximate else gelu_erf, x.shape, x)
    assert np.allclose(value, gelu64(x, approximate), rtol=1e-5, atol=2e-6)
    assert np.isfinite(grad).all()


def test_the_two_gelus_differ():
    x = Tensor(np.linspace(-4, 4, 101, dtype=np.float32))
    assert np.abs((F.gelu(x, True) - F.gelu(x, False)).asnumpy()).max() > 3e-4


def test_gelu_is_the_native_cell():
    x = Tensor(random(50, scale=3.0))
    assert np.allclose(F.gelu(x, True).asnumpy(), nn.GELU()(x).asnumpy(), atol=2e-6)
    assert np.allclose(F.gelu(x, False).asnumpy(), nn.GELU(approximate=False)(x).asnumpy(), atol=2e-6)


@pytest.mark.parametrize("epsilon", [1e-7, 1e-6, 1e-5])
def test_layer_norm_adds_its_epsilon_to_the_variance(epsilon):
    x = random(4, 16, scale=1e-3)  # variance 1e-6: each epsilon gives quite another result
    gamma, beta = random(16, seed=1), random(16, seed=2)
    y = F.layer_norm(Tensor(x), Tensor(gamma), Tensor(beta), epsilon).asnumpy()
    assert np.allclose(y, layer_norm64(x, gamma, beta, epsilon), rtol=1e-5, atol=1e-5)


def test_layer_norm_of_a_constant_row_is_beta():
    beta = random(16, seed=2)
    y = F.layer_norm(Tensor(np.full((2, 16), 3.0, np.float32)), ops.ones(16), Tensor(beta), 1e-6).asnumpy()
    assert np.allclose(y, [beta, beta], atol=1e-3)


def test_layer_norm_far_from_zero_loses_no_more_than_the_native_one():
    x = random(64, 96, offset=1000.0)  # a variance as E[x^2] - E[x]^2 would be off by 0.1
    ones, zeros = np.ones(96, np.float32), np.zeros(96, np.float32)
    wanted = layer_norm64(x, ones, zeros)
    native_error = np.abs(nn.LayerNorm((96,), epsilon=1e-6)(Tensor(x)).asnumpy() - wanted).max()
    error = np.abs(F.layer_norm(Tensor(x), Tensor(ones), Tensor(zeros), 1e-6).asnumpy() - wanted).max()
    assert error < max(5e-4, 2 * native_error)


def test_layer_norm_keeps_the_dtype_of_its_input(mode):
    # Under mixed precision gamma and beta stay float32.
    x, gamma, beta = random(3, 16), random(16, seed=1), random(16, seed=2)
    y = run(layer_norm, x.astype(np.float16), gamma, beta)
    assert y.dtype == np.float16 and np.allclose(y, layer_norm64(x, gamma, beta), atol=1e-2)


@pytest.mark.parametrize("shape, p", [((1, 1, 2, 2), 2), ((2, 3, 6, 4), 2), ((3, 2, 5, 15), 5), ((2, 3, 4, 6), 1)])
def test_patchify_cuts_as_a_loop_does(shape, p, mode):
    x = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)

    def cut(images):
        return F.patchify(images, p)

    assert np.array_equal(run(cut, x), patches_by_loop(x, p))


def test_patch_embed_is_the_convolution():
    x = Tensor(random(2, 3, 12, 8))
    conv = nn.Conv2d(3, 6, 4, stride=4, pad_mode="valid", has_bias=True, bias_init="normal")
    y = F.patch_embed(x, conv.weight, conv.bias).asnumpy()
    assert np.allclose(y, conv(x).asnumpy().reshape(2, 6, 6).transpose(0, 2, 1), atol=1e-5)


def test_attention_weights_stand_large_scores(mode):
    q, k = random(1, 2, 5, 4, scale=30.0), random(1, 2, 5, 4, seed=1, scale=30.0)  # exp(scores) overflows
    weights = run(F.attention_weights, q, k)
    assert np.allclose(weights, attention_weights64(q, k), atol=1e-3)
    assert np.allclose(weights.sum(-1), 1.0, atol=1e-5)


def test_attention_weights_are_softmaxed_in_float32(monkeypatch):
    seen = []
    softmax = ops.softmax

    def watched(scores, axis):
        seen.append(scores.dtype)
        return softmax(scores, axis)

    monkeypatch.setattr(ops, "softmax", watched)
    q, k = random(2, 2, 33, 8).astype(np.float16), random(2, 2, 33, 8, seed=1).astype(np.float16)
    weights = F.attention_weights(Tensor(q), Tensor(k)).asnumpy()
    assert [str(dtype) for dtype in seen] == ["Float32"]
    assert weights.dtype == np.float16 and np.allclose(weights, attention_weights64(q, k), atol=2e-3)
