"""Every hot operation, each way it runs, against a formula in float64 and the reference operation, values and gradients."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass

import mindspore as ms
import numpy as np
import pytest
from helpers import random, run, values_and_grads, weights_of
from mindspore import Tensor, nn, ops
from scipy.special import expit, ndtr

from vit_ms import environment, runtime
from vit_ms import functional as F

pytestmark = pytest.mark.fused

# The formulas, and their gradients by each input where `dy` comes from above, all in float64.


def dense64(x, weight, bias):
    return x @ weight.T + bias


def dense64_grads(dy, x, weight, bias):
    rows, drows = x.reshape(-1, x.shape[-1]), dy.reshape(-1, dy.shape[-1])
    return dy @ weight, drows.T @ rows, drows.sum(0)


def gelu_erf64(x):
    return x * ndtr(x)


def gelu_erf64_grads(dy, x):
    return (dy * (ndtr(x) + x * np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi)),)


def gelu_tanh64(x):
    return x * expit(2 * np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))  # (1 + tanh(z)) / 2 = expit(2z), also for z < -20


def gelu_tanh64_grads(dy, x):
    u = 2 * np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)
    slope = 2 * np.sqrt(2 / np.pi) * (1 + 3 * 0.044715 * x**2)
    return (dy * (expit(u) + x * expit(u) * expit(-u) * slope),)


def tanh64_grads(dy, x):
    return (dy * (1 - np.tanh(x) ** 2),)


def layer_norm64(x, gamma, beta, epsilon=1e-6):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + epsilon) * gamma + beta


def layer_norm64_grads(dy, x, gamma, beta, epsilon=1e-6):
    deviation = np.sqrt(x.var(-1, keepdims=True) + epsilon)
    h, g = (x - x.mean(-1, keepdims=True)) / deviation, dy * gamma
    dx = (g - g.mean(-1, keepdims=True) - h * (g * h).mean(-1, keepdims=True)) / deviation
    rows = tuple(range(x.ndim - 1))
    return dx, (dy * h).sum(rows), dy.sum(rows)


def patches_by_loop(x, p):
    rows = []
    for image in x:
        grid = [(i, j) for i in range(0, x.shape[2], p) for j in range(0, x.shape[3], p)]
        rows.append([image[:, i : i + p, j : j + p].ravel() for i, j in grid])
    return np.array(rows)


def patch_embed64(x, weight, bias):
    d, _, p, _ = weight.shape
    return dense64(patches_by_loop(x, p), weight.reshape(d, -1), bias)


def patch_embed64_grads(dy, x, weight, bias):
    d, _, p, _ = weight.shape
    dpatches, dweight, dbias = dense64_grads(dy, patches_by_loop(x, p), weight.reshape(d, -1), bias)
    origin = patches_by_loop(np.arange(x.size).reshape(x.shape), p)  # where each number of a patch comes from
    dx = np.empty(x.size)
    dx[origin.ravel()] = dpatches.ravel()
    return dx.reshape(x.shape), dweight.reshape(weight.shape), dbias


def transposed(x):
    return x.swapaxes(-1, -2)


def attention_weights64(q, k):
    scores = q @ transposed(k) / np.sqrt(q.shape[-1])
    e = np.exp(scores - scores.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def attention_weights64_grads(dy, q, k):
    w = attention_weights64(q, k)
    dscores = w * (dy - (dy * w).sum(-1, keepdims=True)) / np.sqrt(q.shape[-1])
    return dscores @ k, transposed(dscores) @ q


def attention64(q, k, v):
    return attention_weights64(q, k) @ v


def attention64_grads(dy, q, k, v):
    return *attention_weights64_grads(dy @ transposed(v), q, k), transposed(attention_weights64(q, k)) @ dy


def dense_without_bias64(x, weight):
    return x @ weight.T


def dense_without_bias64_grads(dy, x, weight):
    return dense64_grads(dy, x, weight, None)[:2]


def group_norm64(x, gamma, beta):
    groups = x.reshape(len(x), len(x), -1)  # see group_norm: as many groups as images
    normed = layer_norm64(groups, 1.0, 0.0).reshape(x.shape)
    return normed * gamma[:, None, None] + beta[:, None, None]


def group_norm64_grads(dy, x, gamma, beta):
    groups = x.reshape(len(x), len(x), -1)
    normed = layer_norm64(groups, 1.0, 0.0).reshape(x.shape)
    dx, _, _ = layer_norm64_grads((dy * gamma[:, None, None]).reshape(groups.shape), groups, 1.0, 0.0)
    return dx.reshape(x.shape), (dy * normed).sum((0, 2, 3)), dy.sum((0, 2, 3))


def same_padding(side, kernel_size, stride):
    """Zeros before and after a side, of which TensorFlow's SAME puts the odd one after it."""
    total = max((-(-side // stride) - 1) * stride + kernel_size - side, 0)
    return total // 2, total - total // 2


def even_padding(side, kernel_size, stride):
    return kernel_size // 2, kernel_size // 2


def taps64(x, kernel_size, stride, padding):
    """The padded x, where x is in it, and for each tap of the kernel what it reads of it."""
    height, width = x.shape[2:]
    (above, below), (left, right) = (padding(side, kernel_size, stride) for side in (height, width))
    padded = np.pad(x, ((0, 0), (0, 0), (above, below), (left, right)))
    rows, columns = stride * -(-height // stride), stride * -(-width // stride)
    taps = {
        (i, j): (slice(None), slice(None), slice(i, i + rows, stride), slice(j, j + columns, stride))
        for i in range(kernel_size)
        for j in range(kernel_size)
    }
    # What no tap of the last place reads is not there; the slices must be of one length.
    missing = [
        max(0, stop - size)
        for stop, size in zip((rows + kernel_size, columns + kernel_size), padded.shape[2:], strict=True)
    ]
    padded = np.pad(padded, ((0, 0), (0, 0), (0, missing[0]), (0, missing[1])))
    return padded, (slice(None), slice(None), slice(above, above + height), slice(left, left + width)), taps


def convolution64(x, weight, stride, padding, product):
    """A convolution with weight (D, C, P, P), or one of each channel with (C, P, P)."""
    padded, _, taps = taps64(x, weight.shape[-1], stride, padding)
    return sum(np.einsum(product, padded[tap], weight[..., i, j]) for (i, j), tap in taps.items())


def convolution64_grads(dy, x, weight, stride, padding, product):
    padded, inside, taps = taps64(x, weight.shape[-1], stride, padding)
    dpadded, dweight = np.zeros_like(padded), np.zeros_like(weight)
    inputs, result = product.split("->")
    of_x, of_weight = inputs.split(",")
    for (i, j), tap in taps.items():
        dpadded[tap] += np.einsum(f"{result},{of_weight}->{of_x}", dy, weight[..., i, j])
        dweight[..., i, j] = np.einsum(f"{result},{of_x}->{of_weight}", dy, padded[tap])
    return dpadded[inside], dweight


FULL, DEPTHWISE = "bchw,dc->bdhw", "bchw,c->bchw"


def conv2d64(x, weight):
    return convolution64(x, weight, len(x) - 1, same_padding, FULL)  # see conv2d for the stride


def conv2d64_grads(dy, x, weight):
    return convolution64_grads(dy, x, weight, len(x) - 1, same_padding, FULL)


def channels_first(x):
    return x.transpose(0, 3, 1, 2)


def channels_last(x):
    return x.transpose(0, 2, 3, 1)


def depthwise_conv2d64(x, weight, bias):
    return channels_last(convolution64(channels_first(x), weight[:, 0], len(x) - 1, even_padding, DEPTHWISE)) + bias


def depthwise_conv2d64_grads(dy, x, weight, bias):
    dx, dweight = convolution64_grads(
        channels_first(dy), channels_first(x), weight[:, 0], len(x) - 1, even_padding, DEPTHWISE
    )
    return channels_last(dx), dweight[:, None], dy.sum((0, 1, 2))


def patch_conv64(x, weight, bias):
    p = weight.shape[-1]
    rows, columns = x.shape[1] // p, x.shape[2] // p
    whole = channels_first(x)[:, :, : rows * p, : columns * p]
    return patch_embed64(whole, weight, bias).reshape(len(x), rows, columns, -1)


def patch_conv64_grads(dy, x, weight, bias):
    p = weight.shape[-1]
    rows, columns = x.shape[1] // p, x.shape[2] // p
    whole = channels_first(x)[:, :, : rows * p, : columns * p]
    dwhole, dweight, dbias = patch_embed64_grads(dy.reshape(len(x), rows * columns, -1), whole, weight, bias)
    dx = np.zeros(x.shape)
    dx[:, : rows * p, : columns * p] = channels_last(dwhole)
    return dx, dweight, dbias


def standardize64(weight):
    centred = weight - weight.mean((1, 2, 3), keepdims=True)
    variance = weight.var((1, 2, 3), keepdims=True)
    return np.concatenate([centred / (np.sqrt(variance) + 1e-5), centred / np.sqrt(variance + 1e-8)])


def standardize64_grads(dy, weight):
    """The gradient of c f(v), with c = w - mean and v the mean of c^2, is that of g = dy f(v) + c mean(dy c) 2 f'(v), less
    its mean."""
    axes = (1, 2, 3)
    c, v = weight - weight.mean(axes, keepdims=True), weight.var(axes, keepdims=True)
    of_std, of_variance = np.split(dy, 2)
    root = np.sqrt(np.maximum(v, 1e-300))
    forms = (
        (of_std, 1 / (root + 1e-5), -0.5 / (root * (root + 1e-5) ** 2)),
        (of_variance, (v + 1e-8) ** -0.5, -0.5 * (v + 1e-8) ** -1.5),
    )
    total = 0.0
    for part, f, slope in forms:
        g = part * f + c * (part * c).mean(axes, keepdims=True) * np.where(c == 0, 0.0, 2 * slope)
        total = total + g - g.mean(axes, keepdims=True)
    return (total,)


ROLLS = ((0, 0), (1, 2), (0, 1), (2, 0), (2, 3))


def roll64(x):
    return np.concatenate([np.roll(x, (-rows, -columns), (1, 2)) for rows, columns in ROLLS])


def roll64_grads(dy, x):
    parts = zip(np.split(dy, len(ROLLS)), ROLLS, strict=True)
    return (sum(np.roll(part, shift, (1, 2)) for part, shift in parts),)


def biased(q, bias):
    """A bias for each sequence: that of its window, if there are windows."""
    return (
        np.tile(bias, (len(q) // len(bias), 1, 1, 1))
        if bias.ndim == 4
        else np.broadcast_to(bias, (len(q), *bias.shape))
    )


def attention_with_bias64(q, k, v, bias):
    scores = q @ transposed(k) / np.sqrt(q.shape[-1]) + biased(q, bias)
    e = np.exp(scores - scores.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True) @ v


def attention_with_bias64_grads(dy, q, k, v, bias):
    scores = q @ transposed(k) / np.sqrt(q.shape[-1]) + biased(q, bias)
    e = np.exp(scores - scores.max(-1, keepdims=True))
    w = e / e.sum(-1, keepdims=True)
    dw = dy @ transposed(v)
    dscores = w * (dw - (dw * w).sum(-1, keepdims=True))
    dbias = dscores.reshape(-1, *bias.shape).sum(0) if bias.ndim == 4 else dscores.sum(0)
    scale = np.sqrt(q.shape[-1])
    return dscores @ k / scale, transposed(dscores) @ q / scale, transposed(w) @ dy, dbias


# The functions with their constants bound, for graph mode compiles no lambda. Where a table of shapes is to try several
# constants, the batch says which.


def gelu_erf(x):
    return F.gelu(x, False)


def gelu_tanh(x):
    return F.gelu(x, True)


def exp(x):
    return F._exp(x)


def layer_norm(x, gamma, beta):
    return F.layer_norm(x, gamma, beta, 1e-6)


def dense_without_bias(x, weight):
    return F.dense(x, weight, None)


def group_norm(x, gamma, beta):
    return F.group_norm(x, gamma, beta, x.shape[0], 1e-6)


def conv2d(x, weight):
    return F.conv2d(x, weight, x.shape[0] - 1)


def depthwise_conv2d(x, weight, bias):
    return F.depthwise_conv2d(x, weight, bias, x.shape[0] - 1)


def standardize(weight):
    return ops.concat((F.standardize(weight, "std"), F.standardize(weight, "variance")))


def roll(x):
    return ops.concat([F.roll(x, rows, columns) for rows, columns in ROLLS])


class Attention(nn.Cell):
    """`F.attention` with the dropout that it is given."""

    def __init__(self, p: float = 0.0):
        super().__init__()
        self.dropout = nn.Dropout(p=p)

    def construct(self, q, k, v, bias=None):
        return F.attention(q, k, v, self.dropout, bias)


@dataclass(frozen=True)
class Form:
    """An operation, its formula, and the shapes that it is tried on; `native_off` is the error of the native operation."""

    function: Callable
    formula: Callable
    grads: Callable
    shapes: tuple[tuple[tuple, ...], ...]
    native_off: float = 5e-6
    half: bool = True

    def cases(self) -> list[tuple[np.ndarray, ...]]:
        """Inputs of all shapes; the first shape once more with the first input in float16, as half precision has it."""
        cases = [tuple(random(*shape, seed=seed) for seed, shape in enumerate(shapes)) for shapes in self.shapes]
        if not self.half:
            return cases
        half = tuple(array.astype(np.float16) for array in cases[0])
        return [*cases, half if self.all_half else (half[0], *cases[0][1:])]

    @property
    def all_half(self) -> bool:
        return self.function is F.attention_weights or isinstance(self.function, Attention)


# Sizes of 1, primes, what is no multiple of 8 or 16, and one that fills the vectors and all the cores. In the first, no two
# sizes are equal: an exchanged pair of axes cannot pass.
FORMS = {
    "dense": Form(
        F.dense,
        dense64,
        dense64_grads,
        (
            ((2, 3, 7), (5, 7), (5,)),
            ((1, 1), (1, 1), (1,)),
            ((13,), (11, 13), (11,)),
            ((3, 50, 96), (192, 96), (192,)),
        ),
    ),
    "tanh": Form(F.tanh, np.tanh, tanh64_grads, (((3, 5, 7),), ((1,),), ((8, 50, 384),)), native_off=2e-4),
    "layer_norm": Form(
        layer_norm,
        layer_norm64,
        layer_norm64_grads,
        (
            ((2, 3, 9), (9,), (9,)),
            ((1, 1), (1,), (1,)),
            ((13,), (13,), (13,)),
            ((3, 197, 768), (768,), (768,)),
        ),
    ),
    "patch_embed": Form(
        F.patch_embed,
        patch_embed64,
        patch_embed64_grads,
        (
            ((2, 5, 9, 12), (7, 5, 3, 3), (7,)),
            ((1, 1, 1, 1), (1, 1, 1, 1), (1,)),
            ((4, 3, 64, 48), (40, 3, 16, 16), (40,)),
        ),
    ),
    "attention_weights": Form(
        F.attention_weights,
        attention_weights64,
        attention_weights64_grads,
        (
            ((2, 3, 5, 7), (2, 3, 5, 7)),
            ((1, 1, 1, 1), (1, 1, 1, 1)),
            ((1, 2, 17, 13), (1, 2, 17, 13)),
            ((2, 6, 197, 64), (2, 6, 197, 64)),
        ),
    ),
    "attention": Form(
        Attention(),
        attention64,
        attention64_grads,
        (
            ((2, 3, 5, 7),) * 3,
            ((1, 1, 1, 1),) * 3,
            ((1, 2, 17, 13),) * 3,
            ((2, 6, 197, 64),) * 3,
        ),
    ),
    "dense without bias": Form(
        dense_without_bias,
        dense_without_bias64,
        dense_without_bias64_grads,
        (((2, 3, 7), (5, 7)), ((3, 50, 96), (192, 96))),
    ),
    # One bias for all sequences, and one for each of three windows.
    "attention with a bias": Form(
        Attention(),
        attention_with_bias64,
        attention_with_bias64_grads,
        (
            (*((2, 3, 5, 7),) * 3, (3, 5, 5)),
            (*((6, 2, 5, 7),) * 3, (3, 2, 5, 5)),
            (*((1, 1, 1, 1),) * 3, (1, 1, 1)),
            (*((8, 3, 49, 32),) * 3, (4, 3, 49, 49)),
        ),
    ),
    # Two and three groups.
    "group_norm": Form(
        group_norm,
        group_norm64,
        group_norm64_grads,
        (((2, 6, 5, 3), (6,), (6,)), ((3, 3, 1, 2), (3,), (3,)), ((2, 64, 14, 15), (64,), (64,))),
    ),
    # Strides 1, 2 and 4; odd maps, maps narrower than the kernel, one channel, a stride that is the kernel.
    "conv2d": Form(
        conv2d,
        conv2d64,
        conv2d64_grads,
        (
            ((2, 3, 5, 7), (4, 3, 1, 1)),
            ((2, 3, 5, 7), (4, 3, 3, 3)),
            ((3, 3, 5, 7), (4, 3, 1, 1)),
            ((3, 3, 6, 9), (4, 3, 3, 3)),
            ((3, 1, 9, 8), (5, 1, 7, 7)),
            ((3, 2, 3, 2), (2, 2, 5, 5)),
            ((5, 2, 8, 12), (3, 2, 4, 4)),
            ((5, 2, 7, 9), (3, 2, 4, 4)),
            ((3, 64, 16, 15), (96, 64, 1, 1)),
        ),
    ),
    # Strides 1 and 2; kernels of 7, 5, 3 and 1; maps narrower than the kernel, and one too wide for the bands.
    "depthwise_conv2d": Form(
        depthwise_conv2d,
        depthwise_conv2d64,
        depthwise_conv2d64_grads,
        (
            ((2, 5, 9, 4), (4, 1, 7, 7), (4,)),
            ((2, 3, 2, 3), (3, 1, 7, 7), (3,)),
            ((2, 1, 1, 1), (1, 1, 5, 5), (1,)),
            ((2, 6, 5, 2), (2, 1, 3, 3), (2,)),
            ((2, 3, 4, 2), (2, 1, 1, 1), (2,)),
            ((2, 2, 113, 2), (2, 1, 3, 3), (2,)),
            ((3, 7, 6, 3), (3, 1, 3, 3), (3,)),
            ((3, 5, 7, 3), (3, 1, 7, 7), (3,)),
            ((2, 14, 14, 48), (48, 1, 7, 7), (48,)),
        ),
    ),
    # The second and third have rows and columns that make no whole patch.
    "patch_conv": Form(
        F.patch_conv,
        patch_conv64,
        patch_conv64_grads,
        (
            ((2, 6, 9, 5), (7, 5, 3, 3), (7,)),
            ((2, 5, 7, 4), (3, 4, 2, 2), (3,)),
            ((1, 9, 8, 1), (1, 1, 4, 4), (1,)),
            ((2, 14, 28, 24), (48, 24, 2, 2), (48,)),
        ),
    ),
    "standardize": Form(
        standardize,
        standardize64,
        standardize64_grads,
        (((5, 3, 3, 2),), ((4, 1, 1, 2),), ((96, 64, 3, 3),)),
        half=False,
    ),
    "roll": Form(roll, roll64, roll64_grads, (((2, 3, 4, 5),), ((1, 14, 15, 8),))),
}


@pytest.fixture(params=["fused", "not fused", "pynative"])
def way(request, clean_state, monkeypatch) -> str:
    """The test runs with the fast forms, each way they can be compiled."""
    if request.param == "not fused":
        monkeypatch.setattr(environment, "fusion_lacks", lambda: "the test will not have it")
    elif request.param == "fused" and environment.fusion_lacks():
        pytest.skip(environment.fusion_lacks())
    chosen = runtime.setup("CPU", "pynative" if request.param == "pynative" else "graph")
    assert chosen.fused == (request.param == "fused")
    return request.param


def formula(name: str) -> list[tuple[np.ndarray, tuple]]:
    """What an operation must give for each of its cases, and the gradients."""
    form, wanted = FORMS[name], []
    for case in form.cases():
        exact = [array.astype(np.float64) for array in case]
        value = form.formula(*exact)
        wanted.append((value, form.grads(weights_of(value.shape).astype(np.float64), *exact)))
    return wanted


def computed(name: str) -> list[tuple[np.ndarray, list]]:
    """What it does give in the way that is set."""
    shapes = [value.shape for value, _ in formula(name)]
    return values_and_grads(FORMS[name].function, shapes, FORMS[name].cases())


@functools.cache
def reference(name: str) -> list[tuple[np.ndarray, list]]:
    """What the reference operations give."""
    before = runtime.settings()
    runtime.setup("CPU", "graph", implementation="reference")
    try:
        return computed(name)
    finally:
        runtime.setup("CPU", before.mode)


def off(got: np.ndarray, wanted: np.ndarray) -> float:
    """The largest error; of what is larger than 1 (in the root of its mean square), relative to that."""
    wanted = wanted.astype(np.float64)
    assert got.shape == wanted.shape
    return np.abs(got - wanted).max() / max(1.0, np.sqrt((wanted**2).mean()))


@pytest.mark.parametrize("name", FORMS)
def test_values_and_gradients(name, way):
    results = computed(name)
    for case, result, wanted, native in zip(FORMS[name].cases(), results, formula(name), reference(name), strict=True):
        where = [array.shape for array in case]
        limit = 4e-3 if case[0].dtype == np.float16 else 5e-6
        sources = [case[0], *case]  # the value has the dtype of the first input, each gradient that of its own
        outputs = ([value, *grads] for value, grads in (result, wanted, native))
        for source, got, exact, other in zip(sources, *outputs, strict=True):
            assert got.dtype == source.dtype, where
            assert off(got, exact) < limit, where
            assert off(got, other) < limit + FORMS[name].native_off, where


# The two GELUs and what they are made of. Outside [-12, 12] they are 0 and x to more than float32 holds.

GRID = np.linspace(-12, 12, 1_000_000, dtype=np.float32).reshape(8, 50, 2500)
EDGES = np.array([-500, -100, -30, -20, -1e-6, -1e-30, -0.0, 0.0, 1e-30, 1e-6, 20, 30, 100, 500, 3], np.float32)
GELUS = {"erf": (gelu_erf, gelu_erf64, gelu_erf64_grads), "tanh": (gelu_tanh, gelu_tanh64, gelu_tanh64_grads)}


def check_gelu(name, *arrays):
    """To 1e-6, of which float32 needs half at 12, and the gradient to 2e-6."""
    function, formula, grads = GELUS[name]
    results = values_and_grads(function, [x.shape for x in arrays], [(x,) for x in arrays])
    for x, (value, (grad,)) in zip(arrays, results, strict=True):
        exact, dy = x.astype(np.float64), weights_of(x.shape).astype(np.float64)
        assert value.dtype == grad.dtype == np.float32 and value.shape == grad.shape == x.shape
        assert np.allclose(value, formula(exact), rtol=0 if np.abs(x).max() <= 12 else 1e-7, atol=1e-6)
        assert np.allclose(grad, grads(dy, exact)[0], rtol=0, atol=2e-6)


@pytest.mark.parametrize("name", GELUS)
def test_gelu(name, way):
    check_gelu(name, GRID, EDGES.reshape(3, 5))


@pytest.mark.parametrize("name", GELUS)
def test_the_reference_gelu_is_the_same_function(name):
    runtime.setup("CPU", "graph", implementation="reference")
    check_gelu(name, GRID, EDGES)


@pytest.mark.parametrize("name", GELUS)
def test_gelu_in_half_precision(name, way):
    function, formula, grads = GELUS[name]
    x = np.concatenate([np.linspace(-12, 12, 999), [0.0]]).astype(np.float16)
    ((value, (grad,)),) = values_and_grads(function, [x.shape], [(x,)])
    exact, dy = x.astype(np.float64), weights_of(x.shape).astype(np.float64)
    assert value.dtype == grad.dtype == np.float16
    assert np.allclose(value, formula(exact), rtol=2e-3, atol=2e-3)
    assert np.allclose(grad, grads(dy, exact)[0], rtol=2e-3, atol=2e-3)


def test_the_two_gelus_differ():
    assert np.abs(gelu_erf64(GRID) - gelu_tanh64(GRID)).max() > 3e-4  # so neither passes for the other above


def test_exp(way):
    x = -np.concatenate([np.linspace(0, 40, 1_000_001), [100.0, 1e4, 1e38]]).astype(np.float32)
    error = np.abs(run(exp, x) - np.exp(x.astype(np.float64)))
    # The operation itself is less exact than the fused form.
    assert error.max() < (3e-7 if way == "fused" else 3e-6)
    # GELU's gradient multiplies it by x^3.
    assert error[x < -16].max() < 2e-10 and error[x < -32].max() < 1e-13


# What a table of shapes does not show.


def three_epsilons(x, gamma, beta):
    return ops.concat([F.layer_norm(x, gamma, beta, epsilon) for epsilon in (1e-7, 1e-6, 1e-5)])


def test_layer_norm_adds_its_epsilon_to_the_variance(mode):
    case = random(4, 16, scale=1e-3), random(16, seed=1), random(16, seed=2)  # variance 1e-6: each epsilon matters
    ((value, grads),) = values_and_grads(three_epsilons, [(12, 16)], [case])
    exact, dy = [array.astype(np.float64) for array in case], weights_of((12, 16)).astype(np.float64)
    epsilons = (1e-7, 1e-6, 1e-5)
    assert np.allclose(value, np.concatenate([layer_norm64(*exact, epsilon) for epsilon in epsilons]), atol=5e-6)
    parts = [layer_norm64_grads(part, *exact, epsilon) for part, epsilon in zip(np.split(dy, 3), epsilons, strict=True)]
    for grad, wanted in zip(grads, map(sum, zip(*parts, strict=True)), strict=True):
        assert np.allclose(grad, wanted, rtol=1e-5, atol=1e-5)


def test_layer_norm_of_a_constant_row_is_beta(mode):
    beta = random(16, seed=2)
    y = run(layer_norm, np.full((2, 16), 3.0, np.float32), np.ones(16, np.float32), beta)
    assert np.allclose(y, [beta, beta], atol=1e-3)


def test_layer_norm_far_from_zero_loses_no_more_than_the_native_one(mode):
    x = random(64, 96, offset=1000.0)  # a variance as E[x^2] - E[x]^2 would be off by 0.1
    ones, zeros = np.ones(96, np.float32), np.zeros(96, np.float32)
    wanted = layer_norm64(x.astype(np.float64), ones, zeros)
    native_error = np.abs(nn.LayerNorm((96,), epsilon=1e-6)(Tensor(x)).asnumpy() - wanted).max()
    assert np.abs(run(layer_norm, x, ones, zeros) - wanted).max() < max(5e-4, 2 * native_error)


@pytest.mark.parametrize("shape, p", [((1, 1, 2, 2), 2), ((2, 3, 6, 4), 2), ((3, 2, 5, 15), 5), ((2, 3, 4, 6), 1)])
def test_patchify_cuts_as_a_loop_does(shape, p):
    x = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    runtime.setup("CPU", "pynative")  # in the graph it is a part of patch_embed
    assert np.array_equal(F.patchify(Tensor(x), p).asnumpy(), patches_by_loop(x, p))


def test_attention_weights_stand_large_scores(mode):
    q, k = random(1, 2, 5, 4, scale=30.0), random(1, 2, 5, 4, seed=1, scale=30.0)  # exp(scores) overflows
    weights = run(F.attention_weights, q, k)
    assert np.allclose(weights, attention_weights64(q.astype(np.float64), k.astype(np.float64)), atol=1e-3)
    assert np.allclose(weights.sum(-1), 1.0, atol=1e-5)


def test_attention_weights_are_softmaxed_in_float32(monkeypatch):
    runtime.setup("CPU", "pynative")
    seen, softmax = [], ops.softmax

    def watched(scores, axis):
        seen.append(scores.dtype)
        return softmax(scores, axis)

    monkeypatch.setattr(ops, "softmax", watched)
    q, k = random(2, 2, 33, 8).astype(np.float16), random(2, 2, 33, 8, seed=1).astype(np.float16)
    weights = F.attention_weights(Tensor(q), Tensor(k)).asnumpy()
    assert seen == [ms.float32]
    assert weights.dtype == np.float16 and np.allclose(weights, attention_weights64(q.astype(float), k), atol=2e-3)


def test_dropout_is_of_the_weights_and_its_gradient_has_the_same_mask(way):
    n, keep = 37, 0.8
    # The values are unit vectors: what comes out is the weights as they were after the dropout.
    q, k, v = random(4, 3, n, n), random(4, 3, n, n, seed=1), np.broadcast_to(np.eye(n, dtype=np.float32), (4, 3, n, n))
    ((dropped, grads),) = values_and_grads(Attention(1 - keep).set_train(), [q.shape], [(q, k, v)])
    weights = attention_weights64(q.astype(np.float64), k.astype(np.float64))
    mask = (dropped != 0) / keep
    assert abs((dropped != 0).mean() - keep) < 0.02  # five standard deviations
    assert np.allclose(dropped, weights * mask, atol=1e-6)
    dy = weights_of(q.shape).astype(np.float64)
    wanted = *attention_weights64_grads(dy * mask, q, k), transposed(weights * mask) @ dy
    for grad, wanted_grad in zip(grads, wanted, strict=True):
        assert np.allclose(grad, wanted_grad, atol=1e-5)


def test_dropout_draws_anew_follows_the_seed_and_ends_with_training(mode):
    inputs = [random(2, 3, 11, 5, seed=seed) for seed in range(3)]

    def drawn(seed):
        runtime.setup("CPU", mode, seed)
        cell = Attention(0.3).set_train()
        return [cell(*map(Tensor, inputs)).asnumpy() for _ in range(2)]

    first, again, other = drawn(1), drawn(1), drawn(2)
    assert np.array_equal(first, again)
    assert not np.allclose(first[0], first[1]) and not np.allclose(first[0], other[0])
    wanted = attention64(*[array.astype(np.float64) for array in inputs])
    assert np.allclose(run(Attention(0.3).set_train(False), *inputs), wanted, atol=1e-6)


# The native operations: on Ascend, and where the reference implementation is chosen.


@pytest.mark.parametrize("name", FORMS)
def test_on_ascend_the_results_are_those_of_the_reference(name, monkeypatch):
    wanted = reference(name)
    runtime.setup("CPU", "pynative")
    monkeypatch.setattr(runtime, "_settings", runtime.Settings("Ascend", "pynative"))
    for case, result, native in zip(FORMS[name].cases(), computed(name), wanted, strict=True):
        for got, other in zip([result[0], *result[1]], [native[0], *native[1]], strict=True):
            assert off(got, other) < (4e-3 if case[0].dtype == np.float16 else 2e-6)


NATIVE = {
    "dense": (F, "_bias_add"),
    "gelu": (ops, "gelu"),
    "tanh": (ops, "tanh"),
    "layer_norm": (ops, "LayerNorm"),
    "patch_embed": (ops, "conv2d"),
    "conv2d": (ops, "Conv2D"),  # the first case has a kernel of 1
    "depthwise_conv2d": (ops, "Conv2D"),
}


@pytest.mark.parametrize("name", NATIVE)
def test_the_native_operation_is_called_there_and_nowhere_else(name, monkeypatch):
    called, (owner, attribute) = [], NATIVE[name]
    native = getattr(owner, attribute)

    def watched(*args, **kwargs):
        called.append(attribute)
        return native(*args, **kwargs)

    monkeypatch.setattr(owner, attribute, watched)
    function = gelu_erf if name == "gelu" else FORMS[name].function
    case = (random(3),) if name == "gelu" else FORMS[name].cases()[0]
    runtime.setup("CPU", "pynative")
    run(function, *case)
    assert called == []
    runtime.setup("CPU", "pynative", implementation="reference")
    run(function, *case)
    assert called == [attribute]
    monkeypatch.setattr(runtime, "_settings", runtime.Settings("Ascend", "pynative"))
    run(function, *case)
    assert called == [attribute] * 2


# Ascend's fused attention.


@pytest.mark.parametrize(
    "dtype, head_dim, keep_prob, device, serves",
    [
        (ms.float16, 64, 1.0, "Ascend", True),
        (ms.bfloat16, 64, 1.0, "Ascend", True),
        (ms.float16, 16, 1.0, "Ascend", True),
        (ms.float16, 80, 1.0, "Ascend", True),
        (ms.float16, 512, 1.0, "Ascend", True),
        (ms.float32, 64, 1.0, "Ascend", False),
        (ms.float64, 64, 1.0, "Ascend", False),
        (ms.float16, 528, 1.0, "Ascend", False),
        (ms.float16, 8, 1.0, "Ascend", False),
        (ms.float16, 72, 1.0, "Ascend", False),
        (ms.float16, 64, 0.9, "Ascend", False),
        (ms.float16, 64, 0.0, "Ascend", False),
        (ms.float16, 64, 1.0, "CPU", False),
        (ms.bfloat16, 64, 1.0, "CPU", False),
    ],
)
def test_flash_attention_serves(dtype, head_dim, keep_prob, device, serves, monkeypatch):
    monkeypatch.setattr(runtime, "_settings", runtime.Settings(device))
    monkeypatch.setattr(runtime, "_chip", lambda: "ascend910b")
    assert F.flash_serves(dtype, head_dim, keep_prob) is serves


@pytest.mark.parametrize(
    ("chip", "serves"), [("ascend910b", True), ("ascend910_93", True), ("ascend910", False), ("ascend310b", False)]
)
def test_flash_attention_is_asked_of_the_chips_that_have_it(chip, serves, monkeypatch):
    monkeypatch.setattr(runtime, "_settings", runtime.Settings("Ascend"))
    monkeypatch.setattr(runtime, "_chip", lambda: chip)
    assert F.flash_serves(ms.float16, 64, 1.0) is serves


@pytest.fixture
def flash(monkeypatch) -> list[dict]:
    """The arguments of each call of Ascend's fused attention, for which a plain one stands in."""
    runtime.setup("CPU", "pynative")
    monkeypatch.setattr(runtime, "_chip", lambda: "ascend910b")
    monkeypatch.setattr(runtime, "_settings", runtime.Settings("Ascend", "pynative"))
    calls, signature = [], inspect.signature(ops.flash_attention_score)

    def stand_in(*args, **kwargs):
        call = signature.bind(*args, **kwargs)
        call.apply_defaults()
        calls.append(call.arguments)
        q, k, v = (call.arguments[name].astype(ms.float32) for name in ("query", "key", "value"))
        weights = ops.softmax(ops.matmul(q, k.swapaxes(-1, -2)) * call.arguments["scalar_value"], axis=-1)
        return ops.matmul(weights, v).astype(call.arguments["query"].dtype)

    monkeypatch.setattr(ops, "flash_attention_score", stand_in)
    return calls


def test_flash_attention_is_called_with_what_it_takes(flash):
    q, k, v = (random(2, 3, 7, 16, seed=seed).astype(np.float16) for seed in range(3))
    y = run(Attention(), q, k, v)
    assert y.dtype == np.float16
    assert np.allclose(y, attention64(*[array.astype(np.float64) for array in (q, k, v)]), atol=3e-3)
    (call,) = flash
    assert call["query"].shape == call["key"].shape == call["value"].shape == (2, 3, 7, 16)
    for name, array in (("query", q), ("key", k), ("value", v)):
        assert call[name].dtype == ms.float16 and np.array_equal(call[name].asnumpy(), array)
    assert call["head_num"] == 3
    assert call["input_layout"] == "BNSD"  # B, heads, tokens, d
    assert call["scalar_value"] == pytest.approx(16**-0.5)
    # All else is left: no mask, nothing dropped.
    assert call["keep_prob"] == 1.0 and call["attn_mask"] is None and call["drop_mask"] is None


@pytest.mark.parametrize(
    "shape, dtype, p",
    [((2, 3, 7, 16), np.float32, 0.0), ((2, 3, 7, 24), np.float16, 0.0), ((2, 3, 7, 16), np.float16, 0.2)],
)
def test_flash_attention_is_not_called_with_what_it_does_not_take(shape, dtype, p, flash):
    inputs = [random(*shape, seed=seed).astype(dtype) for seed in range(3)]
    y = run(Attention(p).set_train(False), *inputs)
    assert flash == []
    assert y.dtype == dtype
    assert np.allclose(y, attention64(*[array.astype(np.float64) for array in inputs]), atol=3e-3)


def test_flash_attention_is_compiled_into_the_graph_on_ascend_only(monkeypatch):
    def stand_in(query, key, value, head_num, scalar_value, input_layout):
        return query + head_num * scalar_value

    monkeypatch.setattr(ops, "flash_attention_score", stand_in)
    q, k, v = (random(1, 2, 5, 16, seed=seed).astype(np.float16) for seed in range(3))
    monkeypatch.setattr(runtime, "_settings", runtime.Settings("Ascend"))
    monkeypatch.setattr(runtime, "_chip", lambda: "ascend910b")
    assert np.allclose(run(Attention(), q, k, v), q + 2 / 4, atol=2e-3)
    monkeypatch.setattr(runtime, "_settings", runtime.Settings("CPU"))
    assert np.allclose(run(Attention(), q, k, v), attention64(q.astype(np.float64), k, v), atol=3e-3)


# Half precision as it is set for Ascend.


def test_products_take_the_precision_that_is_set(monkeypatch):
    runtime.setup("CPU", "pynative")
    x, image = Tensor(random(2, 7)), Tensor(random(1, 2, 4, 6))
    weight, bias, kernel = Tensor(random(5, 7)), Tensor(random(5)), Tensor(random(5, 2, 2, 2))
    for precision, dtype in (("fp32", ms.float32), ("fp16", ms.float16)):
        monkeypatch.setattr(runtime, "_settings", runtime.Settings("Ascend", "pynative", precision))
        assert F.dense(x, weight, bias).dtype == dtype
        assert F.patch_embed(image, kernel, bias).dtype == dtype
        assert F.layer_norm(x, weight[0], weight[1], 1e-6).dtype == ms.float32
    assert np.allclose(
        F.dense(x, weight, bias).asnumpy(), dense64(x.asnumpy(), weight.asnumpy(), bias.asnumpy()), atol=1e-2
    )
