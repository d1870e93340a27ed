"""The hot operations, one function each, in the form that is fastest on the device.

MindSpore's own operations are written for Ascend, and there, or where `runtime.setup` chose the reference implementation,
these functions call them. On a CPU some of them cost many times what their arithmetic does. There the forms below are built
of what MindSpore's kernel compiler joins into one pass over the data: a chain of elementwise operations costs as much as its
reads and writes. Both forms are the same function up to rounding.

Shape comments: B images, C channels, P patch size, N tokens, D embed_dim, H heads, d = D / H.
"""

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

from vit_ms.runtime import fast_on_cpu, fused, half_precision, on_ascend

_matmul = ops.MatMul()
_matmul_nt = ops.MatMul(transpose_b=True)
_batch_matmul = ops.BatchMatMul()
_batch_matmul_nt = ops.BatchMatMul(transpose_b=True)
_reshape = ops.Reshape()
_bias_add = ops.BiasAdd()
_abs, _cast, _divide, _exp_native = ops.Abs(), ops.Cast(), ops.RealDiv(), ops.Exp()
_maximum, _minimum, _rsqrt = ops.Maximum(), ops.Minimum(), ops.Rsqrt()


def _compute_cast(x: Tensor) -> Tensor:
    """x in the precision that products are computed in."""
    dtype = half_precision()
    return x if dtype is None else _cast(x, dtype)


def dense(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """x w^T + b over the last axis.

    One product of two matrices with the weight as stored, (out, in). On CPU the gradient of the native bias addition costs
    as much as a product.

    Args:
        x (Tensor): (..., in), float.
        weight (Tensor): (out, in).
        bias (Tensor): (out,).

    Returns:
        Tensor, (..., out), dtype of x, or the half precision that is set.
    """
    x = _compute_cast(x)
    weight, bias = _cast(weight, x.dtype), _cast(bias, x.dtype)
    y = _matmul_nt(_reshape(x, (-1, x.shape[-1])), weight)
    y = y + bias if fast_on_cpu() else _bias_add(y, bias)
    return _reshape(y, x.shape[:-1] + (weight.shape[0],))


def _exp(x: Tensor) -> Tensor:
    """e^x for x <= 0, to an absolute 2e-7.

    The fused kernels' own is off by 5e-6 in the middle and 3e-4 at -20. This one is e^(x/16) - 1 as a Taylor polynomial,
    then three times e^2y - 1 = (e^y - 1)(e^y - 1 + 2), which keeps the rounding errors small near 0, and last a square,
    which keeps them smaller than e^x far from it: the gradient of GELU multiplies it by x^3. Below -32, at 1e-14, it is
    held.
    """
    if not fused():
        return _exp_native(x)
    y = _maximum(x, -32.0) * 0.0625
    m = y * (
        1.0
        + y * (1 / 2 + y * (1 / 6 + y * (1 / 24 + y * (1 / 120 + y * (1 / 720 + y * (1 / 5040 + y * (1 / 40320)))))))
    )
    m = m * (m + 2.0)
    m = m * (m + 2.0)
    e = m * (m + 2.0) + 1.0
    return e * e


def _again(x: Tensor, gradient: Tensor) -> Tensor:
    """x, for a backward pass that computes intermediate results again and does not keep the forward pass's.

    Without the dependence the compiler finds both to be the same and keeps them in memory.
    """
    return ops.depend(x, gradient)


def _phi(x: Tensor, q: Tensor) -> Tensor:
    """1 - q for x > 0, q for x < 0; q is 1/2 at 0. Comparisons are not fused."""
    sign = _maximum(_minimum(x * 1e30, 1.0), -1.0)
    return 0.5 + sign * (0.5 - q)


class _GeluErf(nn.Cell):
    """x Phi(x) = max(x, 0) - |x| Q(|x|), where Q(a) = 1 - Phi(a) is the upper tail of the normal distribution.

    Q(a) = e^(-a^2 / 2) times a polynomial in t = 1 / (1 + 0.28 a) (the form of Abramowitz & Stegun, 7.1.26, with one term
    more and our own fit: off by 9e-9 at most, less than float32 can hold). The operation Erf takes eight times as long as
    all of this.
    """

    def tail(self, x):
        a = _abs(x)
        e = _exp(-0.5 * x * x)
        t = _divide(1.0, 1.0 + 0.28 * a)
        p = 0.26891312 + t * (-0.23699714 + t * (0.38987627 - 0.1058088 * t))
        return a, e, e * t * (0.11652097 + t * (0.06749557 + t * p))

    def construct(self, x):
        a, _, q = self.tail(x)
        return _maximum(x, 0.0) - a * q

    def bprop(self, x, out, dy):
        _, e, q = self.tail(_again(x, dy))
        return (dy * (_phi(x, q) + 0.3989422804014327 * x * e),)


class _GeluTanh(nn.Cell):
    """x s(u) = max(x, 0) - |x| s(-|u|), with the logistic function s and u = 2 sqrt(2 / pi) (x + 0.044715 x^3).

    It is the tanh form, for tanh(z) = 2 s(2z) - 1. Its gradient is s(u) + x s(u) s(-u) u'.
    """

    def tail(self, x):
        a = _abs(x)
        e = _exp(a * (-1.5957691216057308 - 0.07135481282553394 * x * x))
        return a, _divide(e, 1.0 + e)

    def construct(self, x):
        a, q = self.tail(x)
        return _maximum(x, 0.0) - a * q

    def bprop(self, x, out, dy):
        _, q = self.tail(_again(x, dy))
        return (dy * (_phi(x, q) + x * q * (1.0 - q) * (1.5957691216057308 + 0.2140644384766018 * x * x)),)


_gelu_erf, _gelu_tanh = _GeluErf(), _GeluTanh()


def gelu(x: Tensor, approximate: bool) -> Tensor:
    """x Phi(x), the Gaussian error linear unit (Hendrycks & Gimpel 2016, section 2).

    Args:
        x (Tensor): any shape, float.
        approximate (bool): the tanh form (Google, the course) or the exact one with erf (timm, PyTorch).

    Returns:
        Tensor, shape and dtype of x.
    """
    if not fast_on_cpu():
        return ops.gelu(x, approximate="tanh" if approximate else "none")
    return _gelu_tanh(x) if approximate else _gelu_erf(x)


def tanh(x: Tensor) -> Tensor:
    """The hyperbolic tangent; on CPU as 2 sigmoid(2x) - 1, for the native operation is off by 1e-4 near |x| = 5."""
    if not fast_on_cpu():
        return ops.tanh(x)
    return 2.0 * ops.sigmoid(2.0 * x) - 1.0


@ops.constexpr
def _averaging(d: int) -> Tensor:
    return Tensor(np.full((d, 1), 1.0 / d), ms.float32)


def _means(rows: Tensor) -> Tensor:
    """(rows, D) -> (rows, 1)"""
    return _matmul(rows, _averaging(rows.shape[-1]))


class _LayerNorm(nn.Cell):
    """Rows normalised, with the means as products with a vector of 1/D.

    With h the normalised rows and g = dy gamma, the gradient is (g - mean(g) - h mean(g h)) / sqrt(variance + epsilon).
    """

    def normalise(self, rows, epsilon):
        centred = rows - _means(rows)
        scale = _rsqrt(_means(centred * centred) + epsilon)
        return centred * scale, scale

    def construct(self, rows, gamma, beta, epsilon):
        return self.normalise(rows, epsilon)[0] * gamma + beta

    def bprop(self, rows, gamma, beta, epsilon, out, dy):
        h, scale = self.normalise(_again(rows, dy), epsilon)
        g = dy * gamma
        drows = (g - _means(g) - h * _means(g * h)) * scale
        return drows, (dy * h).sum(axis=0), dy.sum(axis=0), 0.0


_layer_norm = _LayerNorm()


def layer_norm(x: Tensor, gamma: Tensor, beta: Tensor, epsilon: float) -> Tensor:
    """Layer normalisation over the last axis (Ba, Kiros & Hinton 2016, equation 3).

    In float32 whatever the input is. On CPU the two means are products with a vector of 1/D: the native gradient takes four
    times as long.

    Args:
        x (Tensor): (..., D), float.
        gamma, beta (Tensor): (D,), float32.
        epsilon (float): added to the variance.

    Returns:
        Tensor, shape and dtype of x.
    """
    rows = _cast(_reshape(x, (-1, x.shape[-1])), ms.float32)
    if fast_on_cpu() and x.ndim > 1:  # MindSpore cannot fuse the gradient of a single vector
        rows = _layer_norm(rows, gamma, beta, epsilon)
    else:
        rows, _, _ = ops.LayerNorm(-1, -1, epsilon)(rows, gamma, beta)
    return _cast(_reshape(rows, x.shape), x.dtype)


def patchify(x: Tensor, patch_size: int) -> Tensor:
    """Cut images into non-overlapping patches, rows first: (B, C, height, width) -> (B, N, C P P).

    A patch is laid out channel, row, column, as a row of the (D, C P P) view of a convolution's weight.
    """
    b, c, h, w = x.shape
    p = patch_size
    x = x.reshape(b, c, h // p, p, w // p, p)
    x = x.transpose(0, 2, 4, 1, 3, 5)  # (B, h/P, w/P, C, P, P)
    return x.reshape(b, (h // p) * (w // p), c * p * p)


def patch_embed(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The linear projection of flattened patches (Dosovitskiy et al. 2021, equation 1, x_p E).

    A convolution whose stride is its kernel is one matrix product over the patches. On CPU the product takes 10 ms where
    MindSpore's convolution takes 2 s (8 images of 224 px to 768 dimensions).

    Args:
        x (Tensor): (B, C, height, width), float; height and width divisible by P.
        weight (Tensor): (D, C, P, P), the convolution's.
        bias (Tensor): (D,).

    Returns:
        Tensor, (B, N, D), N = height width / P^2.
    """
    d, _, p, _ = weight.shape
    if not fast_on_cpu():
        x = _compute_cast(x)
        x = ops.conv2d(x, _cast(weight, x.dtype), _cast(bias, x.dtype), stride=p)  # (B, D, height/P, width/P)
        return x.reshape(x.shape[0], d, -1).transpose(0, 2, 1)
    return dense(patchify(x, p), weight.reshape(d, -1), bias)


def attention_weights(q: Tensor, k: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(d)), in float32 whatever the inputs are (Vaswani et al. 2017, equation 1).

    q is scaled, not the scores: N x d numbers instead of N x N.

    Args:
        q, k (Tensor): (B, H, N, d), float.

    Returns:
        Tensor, (B, H, N, N), dtype of q; each row sums to 1.
    """
    scale = q.shape[-1] ** -0.5
    scores = _batch_matmul_nt(q * scale, k) if fast_on_cpu() else _batch_matmul_nt(q, k) * scale  # (B, H, N, N)
    return ops.softmax(scores.astype(ms.float32), axis=-1).astype(q.dtype)


def flash_serves(dtype: ms.dtype, head_dim: int, keep_prob: float) -> bool:
    """Whether Ascend's fused attention takes such inputs: half precision, d a multiple of 16 up to 512, no dropout."""
    half = dtype == ms.float16 or dtype == ms.bfloat16
    return on_ascend() and half and head_dim % 16 == 0 and head_dim <= 512 and keep_prob == 1.0


def attention(q: Tensor, k: Tensor, v: Tensor, dropout: nn.Dropout) -> Tensor:
    """softmax(q k^T / sqrt(d)) v (Vaswani et al. 2017, equation 1).

    Args:
        q, k, v (Tensor): (B, H, N, d), float.
        dropout (nn.Dropout): of the weights.

    Returns:
        Tensor, (B, H, N, d), dtype of q.
    """
    if flash_serves(q.dtype, q.shape[-1], 1.0 - dropout.p):
        return ops.flash_attention_score(q, k, v, q.shape[1], scalar_value=q.shape[-1] ** -0.5, input_layout="BNSD")
    return _batch_matmul(dropout(attention_weights(q, k)), v)
