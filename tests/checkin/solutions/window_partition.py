"""Solutions of `window_partition`: RIGHT ones pass, WRONG ones fail with the mistake beside them."""

import mindspore as ms
import numpy as np
from mindspore import Tensor, ops


def six_axes(x, M):
    B, h, w, C = x.shape
    x = x.reshape(B, h // M, M, w // M, M, C)
    return x.permute(0, 1, 3, 2, 4, 5).reshape(B * (h // M) * (w // M), M * M, C)


def slices(feature_maps, side):
    _, h, w, c = feature_maps.shape
    windows = []
    for top in range(0, h, side):
        for left in range(0, w, side):
            windows.append(feature_maps[:, top : top + side, left : left + side])
    return ops.stack(windows, axis=1).reshape(-1, side * side, c)


def strips(x, M):
    b, h, w, c = x.shape
    rows = x.reshape(b * (h // M), M, w // M, M * c)  # each row of windows
    return rows.swapaxes(1, 2).reshape(-1, M * M, c)


def gathered(x, M):
    b, h, w, c = x.shape
    place = np.arange(h * w).reshape(h // M, M, w // M, M).swapaxes(1, 2).reshape(-1)
    return ops.gather(x.reshape(b, h * w, c), Tensor(place, ms.int32), 1).reshape((-1, M**2, c))


def split_and_joined(x, M):
    columns = [ops.stack(ops.split(rows, M, axis=2), axis=1) for rows in ops.split(x, M, axis=1)]
    return ops.flatten(ops.concat(columns, axis=1), start_dim=2, end_dim=3).reshape(-1, M * M, x.shape[3])


def reshaped(x, M):
    b, h, w, c = x.shape
    return x.reshape(b * (h // M) * (w // M), M * M, c)


def axes_kept(x, M):
    b, h, w, c = x.shape
    return x.reshape(b, h // M, M, w // M, M, c).reshape(-1, M * M, c)


def every_other(x, M):
    b, h, w, c = x.shape
    return x.reshape(b, M, h // M, M, w // M, c).transpose(0, 2, 4, 1, 3, 5).reshape(-1, M * M, c)


def transposed_inside(x, M):
    b, h, w, c = x.shape
    return x.reshape(b, h // M, M, w // M, M, c).transpose(0, 1, 3, 4, 2, 5).reshape(-1, M * M, c)


def columns_first(x, M):
    _, h, w, _ = x.shape
    windows = [x[:, i : i + M, j : j + M] for j in range(0, w, M) for i in range(0, h, M)]
    return ops.stack(windows, axis=1).reshape(-1, M * M, x.shape[-1])


def map_transposed(x, M):
    return six_axes(x.swapaxes(1, 2), M)


def width_first(x, M):
    b, w, h, c = x.shape
    x = x.reshape(b, h // M, M, w // M, M, c)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(-1, M * M, c)


def windows_first(x, M):
    _, h, w, c = x.shape
    windows = [x[:, i : i + M, j : j + M] for i in range(0, h, M) for j in range(0, w, M)]
    return ops.concat(windows, axis=0).reshape(-1, M * M, c)


def squares(x, M):
    b, h, w, c = x.shape
    return x.reshape(b, h // M, M, w // M, M, c).transpose(0, 1, 3, 2, 4, 5).reshape(-1, M, M, c)


def batch_apart(x, M):
    b, h, w, c = x.shape
    return x.reshape(b, h // M, M, w // M, M, c).transpose(0, 1, 3, 2, 4, 5).reshape(b, -1, M * M, c)


def long_sequences(x, M):
    b, h, w, c = x.shape
    return x.reshape(b, h // M, M, w // M, M, c).transpose(0, 1, 3, 2, 4, 5).reshape(b, h * w, c)


def channels_first(x, M):
    b, h, w, c = x.shape
    return x.reshape(b, h // M, M, w // M, M, c).transpose(0, 1, 3, 5, 2, 4).reshape(-1, c, M * M)


def grid(x, M):
    b, h, w, c = x.shape
    return x.reshape(b, h // M, M, w // M, M, c).transpose(0, 1, 3, 2, 4, 5)


def of_the_notebook(x, M):
    h, w, C = x.shape
    x = x.reshape(h // M, M, w // M, M, C)
    return x.transpose(0, 2, 1, 3, 4).reshape(-1, M * M, C)


def first_map_alone(x, M):
    return of_the_notebook(x[0], M)


def square_only(x, M):
    b, h, _, c = x.shape
    return x.reshape(b, h // M, M, h // M, M, c).transpose(0, 1, 3, 2, 4, 5).reshape(-1, M * M, c)


def a_list(x, M):
    return [of_the_notebook(x[image], M) for image in range(x.shape[0])]


def in_numpy(x, M):
    b, h, w, c = x.shape
    windows = x.asnumpy().reshape(b, h // M, M, w // M, M, c).swapaxes(2, 3)
    return Tensor(windows.reshape(-1, M * M, c))


def halved(x, M):
    return six_axes(x, M).astype(ms.float16).astype(ms.float64)


def nothing(x, M):
    six_axes(x, M)


RIGHT = [six_axes, slices, strips, gathered, split_and_joined]
WRONG = {
    reshaped: "reshape alone",
    axes_kept: "reshape alone",
    every_other: "split the other way",
    transposed_inside: "window transposed",
    columns_first: "numbered by columns",
    map_transposed: "numbered by columns, window transposed",
    width_first: "height and width swapped",
    windows_first: "batch behind the windows",
    squares: "window not flattened",
    batch_apart: "windows on an axis of their own",
    long_sequences: "windows joined",
    channels_first: "channels before tokens",
    grid: "shape",
    first_map_alone: "shape",
    of_the_notebook: "ValueError",
    square_only: "ValueError",
    a_list: "number of outputs",
    in_numpy: "gradient",
    halved: "value",
    nothing: "no output",
}
