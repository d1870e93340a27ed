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

from vit_ms.runtime import fast_on_cpu, fused, half_precision, has_flash_attention

_matmul = ops.MatMul()
_matmul_nt = ops.MatMul(transpose_b=True)
_batch_matmul = ops.BatchMatMul()
_batch_matmul_nt = ops.BatchMatMul(transpose_b=True)
_batch_matmul_tn = ops.BatchMatMul(transpose_a=True)
_reshape = ops.Reshape()
_bias_add = ops.BiasAdd()
_abs, _cast, _divide, _exp_native = ops.Abs(), ops.Cast(), ops.RealDiv(), ops.Exp()
_maximum, _minimum, _rsqrt = ops.Maximum(), ops.Minimum(), ops.Rsqrt()


def _compute_cast(x: Tensor) -> Tensor:
    """x in the precision that products are computed in."""
    dtype = half_precision()
    return x if dtype is None else _cast(x, dtype)


def dense(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x w^T + b over the last axis.

    One product of two matrices with the weight as stored, (out, in). On CPU the gradient of the native bias addition costs
    as much as a product.

    Args:
        x (Tensor): (..., in), float.
        weight (Tensor): (out, in).
        bias (Tensor): (out,); None: none.

    Returns:
        Tensor, (..., out), dtype of x, or the half precision that is set.
    """
    x = _compute_cast(x)
    y = _matmul_nt(_reshape(x, (-1, x.shape[-1])), _cast(weight, x.dtype))
    if bias is not None:
        bias = _cast(bias, x.dtype)
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


class _RowNorm(nn.Cell):
    """Rows normalised, as in _LayerNorm but without gamma and beta."""

    def construct(self, rows, epsilon):
        return _layer_norm.normalise(rows, epsilon)[0]

    def bprop(self, rows, epsilon, out, dy):
        h, scale = _layer_norm.normalise(_again(rows, dy), epsilon)
        return (dy - _means(dy) - h * _means(dy * h)) * scale, 0.0


_row_norm = _RowNorm()


def group_norm(x: Tensor, gamma: Tensor, beta: Tensor, num_groups: int, epsilon: float) -> Tensor:
    """Group normalisation (Wu & He 2018, equation 7): mean and variance are of an image's group of channels.

    In float32 whatever the input is.

    Args:
        x (Tensor): (B, C, height, width), float.
        gamma, beta (Tensor): (C,), float32.
        num_groups (int): C is divisible by it.
        epsilon (float): added to the variance.

    Returns:
        Tensor, shape and dtype of x.
    """
    b, c, _, _ = x.shape
    rows = _cast(_reshape(x, (b * num_groups, -1)), ms.float32)
    if fast_on_cpu():
        rows = _row_norm(rows, epsilon)
    else:
        rows = rows - rows.mean(axis=1, keep_dims=True)
        rows = rows * _rsqrt((rows * rows).mean(axis=1, keep_dims=True) + epsilon)
    channels = _reshape(rows, (b, c, -1)) * _reshape(gamma, (1, c, 1)) + _reshape(beta, (1, c, 1))
    return _cast(_reshape(channels, x.shape), x.dtype)


def conv2d(x: Tensor, weight: Tensor, stride: int) -> Tensor:
    """A convolution without bias, padded as TensorFlow's SAME: ceil(height / stride) rows, an odd row of zeros goes below.

    On CPU one with 1 x 1 kernels is a matrix product, twice as fast as MindSpore's convolution, and so is one whose stride
    is its kernel, hundreds of times as fast.

    Args:
        x (Tensor): (B, C, height, width), float.
        weight (Tensor): (D, C, P, P).
        stride (int): of the kernels.

    Returns:
        Tensor, (B, D, ceil(height / stride), ceil(width / stride)), dtype of x, or the half precision that is set.
    """
    d, c, kernel_size, _ = weight.shape
    if fast_on_cpu() and stride == kernel_size > 1 and x.shape[2] % stride == 0 and x.shape[3] % stride == 0:
        b, _, height, width = x.shape
        x = dense(patchify(x, stride), weight.reshape(d, -1), None)  # (B, N, D)
        return x.transpose(0, 2, 1).reshape(b, d, height // stride, width // stride)
    if not (fast_on_cpu() and kernel_size == 1):
        x = _compute_cast(x)
        conv = ops.Conv2D(d, kernel_size, mode=1, pad_mode="same", stride=stride)
        return conv(x, _cast(weight, x.dtype))
    if stride > 1:
        # Indexing with ::stride has no gradient in PyNative mode.
        x = ops.strided_slice(x, (0, 0, 0, 0), x.shape, (1, 1, stride, stride))
    b, _, height, width = x.shape
    weight = ops.broadcast_to(_reshape(_cast(weight, x.dtype), (1, d, c)), (b, d, c))
    return _reshape(_batch_matmul(weight, _reshape(x, (b, c, -1))), (b, d, height, width))


def standardize(weight: Tensor, form: str) -> Tensor:
    """A convolution's weight with mean 0 and variance 1 for each output channel (Qiao et al. 2019, equation 4).

    Args:
        weight (Tensor): (D, C, P, P), float32.
        form (str): `"std"`: divided by standard deviation + 1e-5 (Google), `"variance"`: by sqrt(variance + 1e-8) (timm).

    Returns:
        Tensor, shape and dtype of weight.
    """
    rows = _reshape(weight, (weight.shape[0], -1))
    centred = rows - rows.mean(axis=1, keep_dims=True)
    variance = (centred * centred).mean(axis=1, keep_dims=True)
    if form == "std":
        # The root's gradient at 0, for rows of equal weights, would be infinite.
        rows = _divide(centred, ops.sqrt(_maximum(variance, 1e-30)) + 1e-5)
    else:
        rows = centred * _rsqrt(variance + 1e-8)
    return _reshape(rows, weight.shape)


@ops.constexpr
def _taps(length: int, kernel_size: int) -> Tensor:
    """For each place of a side and each tap of a kernel the place that the tap reads; `length` beyond the border."""
    places = np.arange(length)[:, None] + np.arange(kernel_size) - kernel_size // 2
    places[(places < 0) | (places >= length)] = length
    return Tensor(places.reshape(-1), ms.int32)


@ops.constexpr
def _bands(width: int, kernel_size: int) -> Tensor:
    """(taps, width, rows, width): 1 where tap (row, column) takes input column u to output column w, [tap, w, row, u]."""
    bands = np.zeros((kernel_size, kernel_size, width, kernel_size, width), np.float32)
    for column in range(kernel_size):
        shift = np.eye(width, k=column - kernel_size // 2)
        for row in range(kernel_size):
            bands[row, column, :, row] = shift
    return Tensor(bands.reshape(kernel_size**2, -1))


@ops.constexpr
def _zeros(shape: tuple) -> Tensor:
    return Tensor(np.zeros(shape, np.float32))


class _DepthwiseConv(nn.Cell):
    """For each channel a product of matrices: rows of the image, with those above and below at their side, times bands.

    A band matrix takes a row of the image to a row of the result: it has a kernel's row in each of its rows, one step
    further each time (a Toeplitz matrix). Most of it is zeros, and yet the products take half as long as MindSpore's
    convolution, and the gradients a fourth.
    """

    def unfold(self, x, kernel_size):
        """(C, B, H, W) -> (C, B H, kernel_size W): each row beside its neighbours."""
        c, b, h, w = x.shape
        x = _reshape(ops.concat((x, _zeros((c, b, 1, w))), axis=2), (c * b, h + 1, w))
        return _reshape(ops.gather(x, _taps(h, kernel_size), 1), (c, b * h, kernel_size * w))

    def convolve(self, x, kernels):
        c, _, _, w = x.shape
        kernel_size = kernels.shape[1]
        bands = _matmul(_reshape(kernels, (c, -1)), _bands(w, kernel_size))
        bands = _reshape(bands, (c, w, kernel_size * w))
        return _reshape(_batch_matmul_nt(self.unfold(x, kernel_size), bands), x.shape)

    def construct(self, x, kernels):
        return self.convolve(x, kernels)

    def bprop(self, x, kernels, out, dy):
        c, b, h, w = x.shape
        kernel_size = kernels.shape[1]
        dx = self.convolve(dy, ops.flip(kernels, (1, 2)))
        rows = self.unfold(_again(x, dy), kernel_size)
        dbands = _batch_matmul_tn(_reshape(dy, (c, b * h, w)), rows)  # (C, W, kernel_size W)
        dkernels = _matmul_nt(_reshape(dbands, (c, -1)), _bands(w, kernel_size))
        return dx, _reshape(dkernels, kernels.shape)


_depthwise_conv = _DepthwiseConv()
_WIDEST_BANDS = 112  # with more columns the bands cost more than MindSpore's convolution


def depthwise_conv2d(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int = 1) -> Tensor:
    """A convolution of each channel with a kernel of its own, padded with zeros to the same size.

    Args:
        x (Tensor): (B, height, width, C), float.
        weight (Tensor): (C, 1, P, P), P odd.
        bias (Tensor): (C,); None: none.
        stride (int): of the kernels.

    Returns:
        Tensor, (B, ceil(height / stride), ceil(width / stride), C), dtype of x, or the half precision that is set.
    """
    c, _, kernel_size, _ = weight.shape
    if fast_on_cpu() and stride == 1 and x.shape[2] <= _WIDEST_BANDS and x.dtype == ms.float32:
        x = _depthwise_conv(x.transpose(3, 0, 1, 2), _reshape(weight, (c, kernel_size, kernel_size)))  # (C, B, H, W)
        x = x.transpose(1, 2, 3, 0)
    else:
        x = _compute_cast(x.transpose(0, 3, 1, 2))  # (B, C, H, W)
        padding = kernel_size // 2
        conv = ops.Conv2D(c, kernel_size, mode=1, pad_mode="pad", pad=padding, stride=stride, group=c)
        x = conv(x, _cast(weight, x.dtype)).transpose(0, 2, 3, 1)
    return x if bias is None else x + _cast(bias, x.dtype)


@ops.constexpr
def _rolled(h: int, w: int, rows: int, columns: int) -> Tensor:
    """For each place of a map the place that comes there, both counted row by row."""
    return Tensor(np.roll(np.arange(h * w).reshape(h, w), (-rows, -columns), (0, 1)).reshape(-1), ms.int32)


class _Roll(nn.Cell):
    """Its gradient rolls back; that of the gathering would be a scattering."""

    def moved(self, x, rows, columns):
        b, h, w, d = x.shape
        return _reshape(ops.gather(_reshape(x, (b, h * w, d)), _rolled(h, w, rows, columns), 1), x.shape)

    def construct(self, x, rows, columns):
        return self.moved(x, rows, columns)

    def bprop(self, x, rows, columns, out, dy):
        _, h, w, _ = x.shape
        return self.moved(dy, (h - rows) % h, (w - columns) % w), 0, 0


_roll = _Roll()


def roll(x: Tensor, rows: int, columns: int) -> Tensor:
    """Move a map up by rows and to the left by columns; what leaves it comes in on the other side.

    On CPU by gathering whole tokens: slices of rows take four times as long.

    Args:
        x (Tensor): (B, height, width, D).
        rows, columns (int): at least 0, below height and width.

    Returns:
        Tensor, shape and dtype of x.
    """
    if not rows and not columns:
        return x
    if fast_on_cpu():
        return _roll(x, rows, columns)
    # An empty slice has no gradient.
    x = ops.concat((x[:, rows:], x[:, :rows]), axis=1) if rows else x
    return ops.concat((x[:, :, columns:], x[:, :, :columns]), axis=2) if columns else x


def patchify_map(x: Tensor, patch_size: int) -> Tensor:
    """Cut maps into patches: (B, height, width, C) -> (B, height / P, width / P, P P C), a patch as rows, columns, channels.

    Rows and columns that make no whole patch are left out, as a convolution without padding leaves them.
    """
    b, h, w, c = x.shape
    p = patch_size
    rows, columns = h // p, w // p
    if h % p or w % p:
        x = x[:, : rows * p, : columns * p]
    x = x.reshape(b, rows, p, columns, p, c).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(b, rows, columns, p * p * c)


def patch_conv(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A convolution of a map whose stride is its kernel, as `patch_embed` of an image.

    Args:
        x (Tensor): (B, height, width, C), float.
        weight (Tensor): (D, C, P, P), the convolution's.
        bias (Tensor): (D,).

    Returns:
        Tensor, (B, height // P, width // P, D).
    """
    d, _, p, _ = weight.shape
    return dense(patchify_map(x, p), weight.transpose(0, 2, 3, 1).reshape(d, -1), bias)


_xor, _shift = ops.BitwiseXor(), ops.RightShift()


def _int(value: int) -> Tensor:
    return Tensor(value, ms.int32)


def _mixed(bits):
    """Bits in which each bit of the input turns half of those of the result, which is not negative."""
    bits = _xor(bits, _shift(bits, _int(16))) * _int(2146121005)
    bits = _xor(bits, _shift(bits, _int(15))) * _int(-2073254261)
    return _xor(bits, _shift(bits, _int(16)))


def random_bits(shape: tuple[int, ...], draw: Tensor, salt: int) -> Tensor:
    """Random whole numbers that depend on their place, the draw and the salt alone, so that they can be drawn again.

    MindSpore's generators keep a state that cannot be read or set. These numbers are a hash of where they stand.

    Args:
        shape (tuple): of the result; one axis at least, the first being samples.
        draw (Tensor): (3,), int32: seed, step, and the chunk of the step's samples that this is, all chunks being equal.
        salt (int): tells the users of one draw apart.

    Returns:
        Tensor, int32 in [0, 2^31).

    Reference:
        The two multipliers and the shifts between them: Wellons 2018, hash-prospector, "lowbias32".
    """
    columns = shape[-1] if len(shape) > 1 else 1
    rows = 1
    for size in shape[:-1] if len(shape) > 1 else shape:
        rows *= size
    key = _mixed(_mixed(_mixed(draw[0:1]) + draw[1:2]) + salt)
    row = _mixed(_mixed(ops.arange(0, rows, 1, dtype=ms.int32) + draw[2:3] * rows) + key)
    column = ops.arange(0, columns, 1, dtype=ms.int32) * _int(-1640531527)
    return _mixed(_reshape(row, (-1, 1)) + column).reshape(shape)


def uniform(shape: tuple[int, ...], draw: Tensor, salt: int) -> Tensor:
    """Random numbers in [0, 1), float32, from `random_bits`."""
    return _cast(_shift(random_bits(shape, draw, salt), _int(7)), ms.float32) * 2.0**-24


def dropout(x: Tensor, p: float, draw: Tensor, salt: int) -> Tensor:
    """x with a share p of its elements zeroed and the others divided by 1 - p (Srivastava et al. 2014).

    Args:
        x (Tensor): (B, ...), float.
        p (float): in [0, 1).
        draw (Tensor), salt (int): of `random_bits`.

    Returns:
        Tensor, shape and dtype of x.
    """
    kept = random_bits(x.shape, draw, salt) >= int(p * 2**31)
    return x * (_cast(kept, x.dtype) * (1.0 / (1.0 - p)))


def attention_weights(q: Tensor, k: Tensor, bias: Tensor | None = None) -> Tensor:
    """softmax(q k^T / sqrt(d) + bias), in float32 whatever the inputs are (Vaswani et al. 2017, equation 1).

    q is scaled, not the scores: N x d numbers instead of N x N.

    Args:
        q, k (Tensor): (B, H, N, d), float.
        bias (Tensor): float32, of a shape that broadcasts to (B, H, N, N); None: none.

    Returns:
        Tensor, (B, H, N, N), dtype of q; each row sums to 1.
    """
    scale = q.shape[-1] ** -0.5
    scores = _batch_matmul_nt(q * scale, k) if fast_on_cpu() else _batch_matmul_nt(q, k) * scale  # (B, H, N, N)
    scores = scores.astype(ms.float32)
    if bias is not None:
        scores = scores + bias
    return ops.softmax(scores, axis=-1).astype(q.dtype)


def flash_serves(dtype: ms.dtype, head_dim: int, keep_prob: float) -> bool:
    """Whether Ascend's fused attention takes such inputs: half precision, d a multiple of 16 up to 512, no dropout."""
    half = dtype == ms.float16 or dtype == ms.bfloat16
    return has_flash_attention() and half and head_dim % 16 == 0 and head_dim <= 512 and keep_prob == 1.0


def attention(q: Tensor, k: Tensor, v: Tensor, dropout: nn.Dropout, bias: Tensor | None = None) -> Tensor:
    """softmax(q k^T / sqrt(d) + bias) v (Vaswani et al. 2017, equation 1; the bias: Liu et al. 2021, equation 4).

    Args:
        q, k, v (Tensor): (B, H, N, d), float.
        dropout (nn.Dropout): of the weights.
        bias (Tensor): float32, (H, N, N), or (W, H, N, N) where the sequences are of W windows an image, one bias for each
            window; None: none.

    Returns:
        Tensor, (B, H, N, d), dtype of q.
    """
    if bias is None and flash_serves(q.dtype, q.shape[-1], 1.0 - dropout.p):
        return ops.flash_attention_score(q, k, v, q.shape[1], scalar_value=q.shape[-1] ** -0.5, input_layout="BNSD")
    shape = q.shape
    if bias is not None and bias.ndim == 4:
        # The windows of an image stand beside its heads, for each has its own bias: (B / W, W H, N, d).
        windows, heads, n, _ = bias.shape
        bias = bias.reshape(windows * heads, n, n)
        q, k, v = [x.reshape(-1, windows * heads, n, shape[-1]) for x in (q, k, v)]
    return _batch_matmul(dropout(attention_weights(q, k, bias)), v).reshape(shape)
