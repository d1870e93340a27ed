"""Solutions of `depthwise_conv`: RIGHT ones pass, WRONG ones fail with the mistake beside them."""

import mindspore as ms
import numpy as np
from mindspore import Tensor, ops


def two_loops(x, w, b):
    _, D, height, width = x.shape
    P = w.shape[1]
    r = (P - 1) // 2
    padded = ops.pad(x, (r, r, r, r))
    y = b.reshape(1, D, 1, 1)
    for u in range(P):
        for v in range(P):
            y = y + w[:, u, v].reshape(1, D, 1, 1) * padded[:, :, u : u + height, v : v + width]
    return y


def grouped(x, kernels, bias):
    weight = kernels.expand_dims(1)  # (D, 1, P, P)
    return ops.conv2d(x, weight, bias, pad_mode="pad", padding=weight.shape[-1] // 2, groups=weight.shape[0])


def unfolded(x, w, b):
    batch, dim, height, width = x.shape
    P = w.shape[-1]
    columns = ops.unfold(x, P, padding=P // 2).reshape(batch, dim, P * P, height * width)
    y = (columns * w.reshape(dim, P * P, 1)).sum(axis=2)
    return y.reshape(x.shape) + b.reshape(dim, 1, 1)


def joined(x, w, b):
    batch, dim, height, width = x.shape
    r = w.shape[1] // 2
    rows = ops.zeros((batch, dim, r, width), x.dtype)
    x = ops.cat((rows, x, rows), axis=2)
    columns = ops.zeros((batch, dim, height + 2 * r, r), x.dtype)
    x = ops.cat((columns, x, columns), axis=3)
    y = ops.zeros((batch, dim, height, width), x.dtype)
    for u in range(2 * r + 1):
        for v in range(2 * r + 1):
            y += w[:, u, v].reshape(dim, 1, 1) * x[:, :, u : u + height, v : v + width]
    return y + b.reshape(dim, 1, 1)


def shifted(x, w, b, pick=lambda w, u, v: w[:, u, v], sides=None):
    """The loops with a choice of faults."""
    P = w.shape[1]
    r = P // 2
    top, bottom, left, right = sides(r) if sides else (r, r, r, r)
    x = ops.pad(x, (left, right, top, bottom))
    height, width = x.shape[2] - P + 1, x.shape[3] - P + 1
    y = b.reshape(-1, 1, 1)
    for u in range(P):
        for v in range(P):
            y = y + pick(w, u, v).reshape(-1, 1, 1) * x[:, :, u : u + height, v : v + width]
    return y


def flipped(x, w, b):
    return shifted(x, w, b, lambda w, u, v: w[:, -1 - u, -1 - v])


def minus_for_plus(x, w, b):
    _, _, height, width = x.shape
    P = w.shape[1]
    r = P // 2
    padded = ops.pad(x, (r, r, r, r))
    y = ops.zeros_like(x) + b.reshape(-1, 1, 1)
    for u in range(P):
        for v in range(P):
            y = y + w[:, u, v].reshape(-1, 1, 1) * padded[:, :, 2 * r - u :, 2 * r - v :][:, :, :height, :width]
    return y


def transposed(x, w, b):
    return shifted(x, w, b, lambda w, u, v: w[:, v, u])


def ordinary(x, w, b):
    dim, size = w.shape[:2]
    weight = ops.tile(w.expand_dims(0), (dim, 1, 1, 1))  # (D, D, P, P)
    return ops.conv2d(x, weight, b, pad_mode="pad", padding=size // 2)


def every_kernel_reads_all(x, w, b):
    dim, size = w.shape[:2]
    weight = ops.tile(w.expand_dims(1), (1, dim, 1, 1))
    return ops.conv2d(x, weight, b, pad_mode="pad", padding=size // 2)


def first_kernel(x, w, b):
    return shifted(x, w, b, lambda w, u, v: w[0, u, v])


def default_padding(x, w, b):
    return ops.conv2d(x, w.expand_dims(1), b, groups=w.shape[0])


def padded_below(x, w, b):
    return shifted(x, w, b, sides=lambda r: (0, 2 * r, 0, 2 * r))


def padded_above(x, w, b):
    return shifted(x, w, b, sides=lambda r: (2 * r, 0, 2 * r, 0))


def padded_at_the_left_alone(x, w, b):
    return shifted(x, w, b, sides=lambda r: (r, r, 2 * r, 0))


def padded_twice(x, w, b):
    return shifted(x, w, b, sides=lambda r: (2 * r, 2 * r, 2 * r, 2 * r))


def rolled(x, w, b):
    r = w.shape[1] // 2
    y = b.asnumpy()[:, None, None]
    for u in range(w.shape[1]):
        for v in range(w.shape[2]):
            tap = w.asnumpy()[:, u, v, None, None]
            y = y + tap * np.roll(x.asnumpy(), (r - u, r - v), axis=(2, 3))
    return Tensor(y)


def replicated(x, w, b):
    r = w.shape[1] // 2
    x = ops.pad(x, (r, r, r, r), mode="replicate")
    return ops.conv2d(x, w.expand_dims(1), b, groups=w.shape[0])


def mirrored(x, w, b):
    r = w.shape[1] // 2
    x = ops.pad(x, (r, r, r, r), mode="reflect")
    return ops.conv2d(x, w.expand_dims(1), b, groups=w.shape[0])


def no_bias(x, w, b):
    return ops.conv2d(x, w.expand_dims(1), pad_mode="same", groups=w.shape[0])


def bias_inside(x, w, b):
    height, width = x.shape[2:]
    r = w.shape[1] // 2
    padded = ops.pad(x, (r, r, r, r))
    y = ops.zeros_like(x)
    for u in range(w.shape[1]):
        for v in range(w.shape[2]):
            part = padded[:, :, u : u + height, v : v + width]
            y += w[:, u, v].reshape(-1, 1, 1) * part + b.reshape(-1, 1, 1)
    return y


def three_by_three(x, w, b):
    height, width = x.shape[2:]
    padded = ops.pad(x, (1, 1, 1, 1))
    y = ops.zeros_like(x)
    for u in range(3):
        for v in range(3):
            y += w[:, u, v].reshape(-1, 1, 1) * padded[:, :, u : u + height, v : v + width]
    return y + b.reshape(-1, 1, 1)


def padded_by_1(x, w, b):
    return ops.conv2d(x, w.expand_dims(1), b, pad_mode="pad", padding=1, groups=w.shape[0])


def last_taps_left_out(x, w, b):
    zeros = ops.zeros_like(w[:, :1])
    w = ops.cat((w[:, :-1], zeros), axis=1)
    return shifted(x, w, b)


def channels_last(x, w, b):
    _, height, width, _ = x.shape
    r = w.shape[1] // 2
    padded = ops.pad(x, (0, 0, r, r, r, r))
    y = ops.zeros_like(x) + b
    for u in range(w.shape[1]):
        for v in range(w.shape[2]):
            y = y + w[:, u, v] * padded[:, u : u + height, v : v + width]
    return y


def without_groups(x, w, b):
    return ops.conv2d(x, w.expand_dims(1), b, pad_mode="same")


def in_numpy(x, w, b):
    return grouped(x.asnumpy(), w, b)


def kernels_detached(x, w, b):
    return grouped(x, Tensor(w.asnumpy()), b)


def doubled(x, w, b):
    return two_loops(x, w, b).astype(ms.float64)


def nothing(x, w, b):
    two_loops(x, w, b)


def shifted_slices(x, w, b):
    """Pads each shifted part back to the map, which has to be as large as the shift."""
    _, D, height, width = x.shape
    r = w.shape[1] // 2
    y = b.reshape(1, D, 1, 1)
    for u in range(-r, r + 1):
        for v in range(-r, r + 1):
            part = x[:, :, max(0, u) : height + min(0, u), max(0, v) : width + min(0, v)]
            part = ops.pad(part, (max(0, -v), max(0, v), max(0, -u), max(0, u)))
            y = y + w[:, u + r, v + r].reshape(1, D, 1, 1) * part
    return y


RIGHT = [two_loops, grouped, unfolded, joined]
WRONG = {
    shifted_slices: "other kernel sizes",
    flipped: "kernel flipped",
    minus_for_plus: "kernel flipped",
    transposed: "kernel transposed",
    ordinary: "channels summed",
    every_kernel_reads_all: "channels summed",
    first_kernel: "one kernel for all",
    default_padding: "padding forgotten",
    padded_below: "padding at the end alone",
    padded_above: "padding at the start alone",
    padded_at_the_left_alone: "value",
    padded_twice: "shape",
    rolled: "border not zero",
    replicated: "border not zero",
    mirrored: "border not zero",
    no_bias: "bias forgotten",
    bias_inside: "bias for each tap",
    last_taps_left_out: "value",
    three_by_three: "other kernel sizes",
    padded_by_1: "other kernel sizes",
    channels_last: "ValueError",
    without_groups: "RuntimeError",
    in_numpy: "TypeError",
    kernels_detached: "gradient",
    doubled: "dtype",
    nothing: "no output",
}
