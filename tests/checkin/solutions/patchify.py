"""Solutions of `patchify`: RIGHT ones pass, WRONG ones fail with the mistake beside them."""

import mindspore as ms
import numpy as np
from mindspore import Tensor, ops


def six_axes(images, patch_size):
    b, c, h, w = images.shape
    rows, columns = h // patch_size, w // patch_size
    x = images.reshape(b, c, rows, patch_size, columns, patch_size)
    return x.permute(0, 2, 4, 1, 3, 5).reshape(b, rows * columns, c * patch_size * patch_size)


def slices(images, P):
    b, _, h, w = images.shape
    patches = []
    for top in range(0, h, P):
        for left in range(0, w, P):
            patches.append(images[:, :, top : top + P, left : left + P].reshape(b, -1))
    return ops.stack(patches, axis=1)


def two_swaps(images, p):
    b, c, h, w = images.shape
    strips = images.reshape(b, c, h // p, p, w).swapaxes(1, 2)  # (B, H/P, C, P, W)
    patches = strips.reshape(b, h // p, c * p, w // p, p).swapaxes(2, 3)  # (B, H/P, W/P, C P, P)
    return patches.reshape((b, h // p * (w // p), -1))


def gathered(images, patch_size):
    b, c, h, w = images.shape
    place = np.arange(c * h * w).reshape(c, h // patch_size, patch_size, w // patch_size, patch_size)
    place = place.transpose(1, 3, 0, 2, 4).reshape(-1)
    picked = ops.gather(images.reshape(b, -1), Tensor(place, ms.int32), 1)
    return picked.reshape(b, -1, c * patch_size**2)


def convolution(images, patch_size):
    b, c, _, _ = images.shape
    size = c * patch_size**2
    each = ops.eye(size, size, ms.float32).reshape(size, c, patch_size, patch_size)
    return ops.conv2d(images, each, stride=patch_size).reshape(b, size, -1).swapaxes(1, 2)


def reshaped(images, patch_size):
    b, c, h, w = images.shape
    p = patch_size
    return images.reshape(b, h // p * (w // p), p * p * c)


def channels_last(images, patch_size):
    b, c, h, w = images.shape
    p = patch_size
    x = images.transpose(0, 2, 3, 1).reshape(b, h // p, p, w // p, p, c)
    return x.swapaxes(2, 3).reshape(b, -1, p * p * c)


def transposed_inside(images, patch_size):
    b, c, h, w = images.shape
    p = patch_size
    x = images.reshape(b, c, h // p, p, w // p, p).transpose(0, 2, 4, 1, 5, 3)
    return x.reshape(b, -1, p * p * c)


def columns_first(images, P):
    b, _, h, w = images.shape
    patches = [images[:, :, y : y + P, x : x + P].reshape(b, -1) for x in range(0, w, P) for y in range(0, h, P)]
    return ops.stack(patches, axis=1)


def image_transposed(images, patch_size):
    return six_axes(images.swapaxes(2, 3), patch_size)


def split_wrongly(images, patch_size):
    b, c, h, w = images.shape
    p = patch_size
    x = images.reshape(b, c, p, h // p, p, w // p).transpose(0, 3, 5, 1, 2, 4)
    return x.reshape(b, -1, c * p * p)


def like_a_convolution(images, patch_size):
    return convolution(images, patch_size).swapaxes(1, 2)


def grid(images, p):
    b, c, h, w = images.shape
    return images.reshape(b, c, h // p, p, w // p, p).transpose(0, 2, 4, 1, 3, 5).reshape(b, h // p, w // p, c * p * p)


def channels_apart(images, p):
    b, c, h, w = images.shape
    return images.reshape(b, c, h // p, p, w // p, p).transpose(0, 1, 2, 4, 3, 5).reshape(b, -1, p * p)


def not_flattened(images, p):
    b, c, h, w = images.shape
    return images.reshape(b, c, h // p, p, w // p, p).transpose(0, 2, 4, 1, 3, 5)


def square_only(images, p):
    b, c, h, _ = images.shape
    return images.reshape(b, c, h // p, p, h // p, p).transpose(0, 2, 4, 1, 3, 5).reshape(b, -1, c * p * p)


def in_numpy(images, patch_size):
    b, c, h, w = images.shape
    p = patch_size
    x = images.asnumpy().reshape(b, c, h // p, p, w // p, p).transpose(0, 2, 4, 1, 3, 5)
    return Tensor(x.reshape(b, -1, c * p * p))


def doubled(images, patch_size):
    return six_axes(images, patch_size).astype(ms.float64)


def nothing(images, patch_size):
    six_axes(images, patch_size)


RIGHT = [six_axes, slices, two_swaps, gathered, convolution]
WRONG = {
    reshaped: "reshape alone",
    channels_last: "channels last",
    transposed_inside: "patch transposed",
    columns_first: "numbered by columns",
    image_transposed: "numbered by columns, patch transposed",
    split_wrongly: "split the other way",
    like_a_convolution: "patches last",
    grid: "patches as a grid",
    channels_apart: "channels apart",
    not_flattened: "shape",
    square_only: "ValueError",
    in_numpy: "gradient",
    doubled: "dtype",
    nothing: "no output",
}
