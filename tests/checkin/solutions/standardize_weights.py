"""Solutions of `standardize_weights`: RIGHT ones pass, WRONG ones fail with the mistake beside them."""

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops


def in_rows(weight, epsilon):
    rows = weight.reshape(weight.shape[0], -1)
    rows = rows - rows.mean(axis=1, keep_dims=True)
    variance = rows.square().mean(axis=1, keep_dims=True)
    return (rows * ops.rsqrt(variance + epsilon)).reshape(weight.shape)


def by_var(W, eps):
    axes = (1, 2, 3)
    return (W - W.mean(axes, keep_dims=True)) / (W.var(axes, keepdims=True) + eps) ** 0.5


def by_sums(weight, epsilon):
    _, c, h, w = weight.shape
    n = c * h * w
    mean = weight.sum(axis=(1, 2, 3)) / n
    variance = (weight * weight).sum(axis=(1, 2, 3)) / n - mean * mean  # (O,)
    scale = 1 / ops.sqrt(variance + epsilon)
    return weight * scale.reshape(-1, 1, 1, 1) - (mean * scale).reshape(-1, 1, 1, 1)


def channel_by_channel(weight, epsilon):
    channels = []
    for o in range(weight.shape[0]):
        centred = weight[o] - weight[o].mean()
        channels.append(centred / ops.sqrt((centred * centred).mean() + epsilon))
    return ops.stack(channels)


def like_layer_norm(weight, epsilon):
    rows = weight.reshape(weight.shape[0], -1)
    ones, zeros = ops.ones_like(rows[0]), ops.zeros_like(rows[0])
    return ops.LayerNorm(-1, -1, epsilon)(rows, ones, zeros)[0].reshape(weight.shape)


def moments(weight, axes):
    mean = weight.mean(axis=axes, keep_dims=True)
    return mean, ((weight - mean) ** 2).mean(axis=axes, keep_dims=True)


def googles(weight, epsilon):
    mean, variance = moments(weight, (1, 2, 3))
    return (weight - mean) / (ops.sqrt(variance) + epsilon)


def no_epsilon(weight, epsilon):
    mean, variance = moments(weight, (1, 2, 3))
    return (weight - mean) / ops.sqrt(variance)


def notebooks_epsilon(weight, epsilon):
    mean, variance = moments(weight, (1, 2, 3))
    return (weight - mean) / ops.sqrt(variance + 1e-8)


def unbiased(weight, epsilon):
    rows = weight.reshape(weight.shape[0], -1)
    rows = (rows - rows.mean(1, True)) / (rows.var(1, ddof=1, keepdims=True) + epsilon).sqrt()
    return rows.reshape(weight.shape)


def by_variance(weight, epsilon):
    mean, variance = moments(weight, (1, 2, 3))
    return (weight - mean) / (variance + epsilon)


def unit_length(weight, epsilon):
    centred = weight - weight.mean(axis=(1, 2, 3), keep_dims=True)
    return centred / ops.sqrt((centred**2).sum(axis=(1, 2, 3), keepdims=True) + epsilon)


def centred(weight, epsilon):
    return weight - weight.mean(axis=(1, 2, 3), keep_dims=True)


def along(*axes):
    def solution(weight, epsilon):
        mean, variance = moments(weight, axes)
        return (weight - mean) / ops.sqrt(variance + epsilon)

    return solution


over_outputs, each_input, each_kernel, over_inputs = along(0), along(0, 2, 3), along(2, 3), along(1)


def over_everything(weight, epsilon):
    return (weight - weight.mean()) / ops.sqrt(weight.var() + epsilon)


def columns_of_outputs(weight, epsilon):
    rows = weight.reshape(-1, weight.shape[0])
    return ((rows - rows.mean(0)) / ops.sqrt(rows.var(0) + epsilon)).reshape(weight.shape)


def not_centred(weight, epsilon):
    return weight / ops.sqrt(weight.var((1, 2, 3), keepdims=True) + epsilon)


def rms(weight, epsilon):
    return weight * ops.rsqrt((weight * weight).mean((1, 2, 3), keep_dims=True) + epsilon)


def raw_squares(weight, epsilon):
    rows = weight.reshape(weight.shape[0], -1)
    rows = (rows - rows.mean(1, True)) / ((rows**2).mean(1, True) + epsilon) ** 0.5
    return rows.reshape(weight.shape)


def rows_alone(weight, epsilon):
    rows = weight.reshape(weight.shape[0], -1)
    return (rows - rows.mean(1, True)) / ops.sqrt(rows.var(1, keepdims=True) + epsilon)


def axes_lost(weight, epsilon):
    return (weight - weight.mean(axis=(1, 2, 3))) / ops.sqrt(weight.var((1, 2, 3)) + epsilon)


def square_only(weight, epsilon):
    o, c, p, _ = weight.shape
    return in_rows(weight.reshape(o, c * p * p), epsilon).reshape(o, c, p, p)


def in_numpy(weight, epsilon):
    rows = weight.asnumpy().reshape(weight.shape[0], -1)
    rows = (rows - rows.mean(1, keepdims=True)) / np.sqrt(rows.var(1, keepdims=True) + epsilon)
    return Tensor(rows.reshape(weight.shape))


def statistics_detached(weight, epsilon):
    mean, variance = (ops.stop_gradient(value) for value in moments(weight, (1, 2, 3)))
    return (weight - mean) / ops.sqrt(variance + epsilon)


def doubled(weight, epsilon):
    return in_rows(weight.astype(ms.float64), epsilon)


class AsCell(nn.Cell):
    def construct(self, weight, epsilon):
        return in_rows(weight, epsilon)


def nothing(weight, epsilon):
    in_rows(weight, epsilon)


RIGHT = [in_rows, by_var, by_sums, channel_by_channel, like_layer_norm]
WRONG = {
    googles: "epsilon outside the root",
    no_epsilon: "epsilon forgotten",
    notebooks_epsilon: "epsilon forgotten",
    unbiased: "unbiased variance",
    by_variance: "divided by the variance",
    unit_length: "divided by the norm",
    centred: "not divided",
    over_outputs: "over the output channels",
    each_input: "for each input channel",
    each_kernel: "for each kernel",
    over_inputs: "over the input channels alone",
    over_everything: "over everything",
    columns_of_outputs: "value",
    not_centred: "mean left",
    rms: "root mean square",
    raw_squares: "squares of the weight",
    rows_alone: "left in rows",
    axes_lost: "ValueError",
    square_only: "ValueError",
    in_numpy: "gradient",
    statistics_detached: "gradient",
    doubled: "dtype",
    AsCell: "wrong kind",
    nothing: "no output",
}
