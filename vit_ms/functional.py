"""The hot operations, one function each, in the form that is fastest on the device.

MindSpore's own forms are written for Ascend. On a CPU some of them cost many times what their arithmetic does, so each
function below says what it replaces. Both forms are the same function up to rounding.

Shape comments: B images, C channels, P patch size, N tokens, D embed_dim, H heads, d = D / H.
"""

import mindspore as ms
from mindspore import Tensor, ops

from vit_ms.runtime import on_ascend

_matmul = ops.MatMul()
_matmul_nt = ops.MatMul(transpose_b=True)
_batch_matmul = ops.BatchMatMul()
_batch_matmul_nt = ops.BatchMatMul(transpose_b=True)


def dense(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """x w^T + b over the last axis.

    One product of two matrices with the weight as stored, (out, in): on CPU nn.Dense's bias gradient costs as much as a
    product, and a weight that is transposed first makes the product twice slower.

    Args:
        x (Tensor): (..., in), float.
        weight (Tensor): (out, in).
        bias (Tensor): (out,).

    Returns:
        Tensor, (..., out), dtype of x.
    """
    y = _matmul_nt(x.reshape(-1, x.shape[-1]), weight.astype(x.dtype)) + bias.astype(x.dtype)
    return y.reshape(x.shape[:-1] + (weight.shape[0],))


def gelu(x: Tensor, approximate: bool) -> Tensor:
    """x Phi(x), the Gaussian error linear unit (Hendrycks & Gimpel 2016, section 2).

    On CPU the tanh form is written as x sigmoid(2 sqrt(2/pi) (x + 0.044715 x^3)), the same function
    (tanh(z) = 2 sigmoid(2z) - 1) at a fraction of the time of the native op and its gradient.

    Args:
        x (Tensor): any shape, float.
        approximate (bool): the tanh form (Google, the course) or the exact one with erf (timm, PyTorch).

    Returns:
        Tensor, shape and dtype of x.
    """
    if not approximate:
        return ops.gelu(x, approximate="none")
    if on_ascend():
        return ops.gelu(x, approximate="tanh")
    return x * ops.sigmoid(x * (1.5957691216057308 + 0.07135481282553394 * (x * x)))


def tanh(x: Tensor) -> Tensor:
    """The hyperbolic tangent; on CPU as 2 sigmoid(2x) - 1, for the native op is off by 1e-4 near |x| = 5."""
    if on_ascend():
        return ops.tanh(x)
    return 2.0 * ops.sigmoid(2.0 * x) - 1.0


def layer_norm(x: Tensor, gamma: Tensor, beta: Tensor, epsilon: float) -> Tensor:
    """Layer normalisation over the last axis (Ba, Kiros & Hinton 2016, equation 3).

    On CPU the two means are products with a vector of 1/D: the native gradient takes 1.6 times as long.

    Args:
        x (Tensor): (..., D), float.
        gamma, beta (Tensor): (D,).
        epsilon (float): added to the variance.

    Returns:
        Tensor, shape and dtype of x.
    """
    if on_ascend():
        y, _, _ = ops.LayerNorm(-1, -1, epsilon)(x, gamma.astype(x.dtype), beta.astype(x.dtype))
        return y
    d = x.shape[-1]
    rows = x.reshape(-1, d)
    ones = ops.full((d, 1), 1.0 / d, dtype=x.dtype)
    rows = rows - _matmul(rows, ones)
    scale = ops.rsqrt(_matmul(rows * rows, ones) + epsilon)  # (rows, 1)
    return (rows * scale * gamma.astype(x.dtype) + beta.astype(x.dtype)).reshape(x.shape)


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
    if on_ascend():
        x = ops.conv2d(x, weight, bias, stride=p)  # (B, D, height/P, width/P)
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
    scores = _batch_matmul_nt(q * q.shape[-1] ** -0.5, k)  # (B, H, N, N)
    return ops.softmax(scores.astype(ms.float32), axis=-1).astype(q.dtype)


def attend(weights: Tensor, v: Tensor) -> Tensor:
    """The weighted sum of the values: (B, H, N, N) x (B, H, N, d) -> (B, H, N, d)."""
    return _batch_matmul(weights, v)
