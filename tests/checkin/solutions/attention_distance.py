"""Solutions of `attention_distance`: RIGHT ones pass, WRONG ones fail with the mistake beside them."""

import math

import mindspore as ms
import numpy as np
from mindspore import Tensor


def in_pixels(rows, columns, patch_size):
    places = np.stack(np.divmod(np.arange(rows * columns), columns), axis=1) * patch_size
    return np.linalg.norm(places[:, None] - places[None, :], axis=2)


def of_the_notebook(A, rows, columns, patch_size):
    A = A[:, :, 1:, 1:] / A[:, :, 1:, 1:].sum(axis=-1, keepdims=True)
    return (A * in_pixels(rows, columns, patch_size)).sum(axis=-1).mean(axis=(0, 2))


def einsum(attention, rows, columns, patch_size):
    y, x = (np.indices((rows, columns)).reshape(2, -1) + 0.5) * patch_size
    distance = np.hypot(y[:, None] - y, x[:, None] - x)
    weights = np.delete(np.delete(attention.astype(np.float64), 0, axis=2), 0, axis=3)
    found = np.einsum("bhij,ij->bhi", weights, distance) / np.einsum("bhij->bhi", weights)
    return np.einsum("bhi->h", found) / (len(attention) * rows * columns)


def loops(A, rows, columns, patch_size):
    images, heads, tokens, _ = A.shape
    result = []
    for head in range(heads):
        total = 0.0
        for image in range(images):
            for i in range(1, tokens):
                row = A[image, head, i, 1:]
                for j in range(1, tokens):
                    down = (i - 1) // columns - (j - 1) // columns
                    right = (i - 1) % columns - (j - 1) % columns
                    total += row[j - 1] / row.sum() * patch_size * math.sqrt(down**2 + right**2)
        result.append(total / images / (tokens - 1))
    return np.array(result)


def with_tensors(A, rows, columns, patch_size):
    weights = Tensor(A)[:, :, 1:, 1:]
    distance = Tensor(in_pixels(rows, columns, patch_size), ms.float32)
    return ((weights * distance).sum(-1) / weights.sum(-1)).mean(2).mean(0)


def class_token_left_in(A, rows, columns, patch_size):
    """Its weights are made 0 in place of cut off."""
    n = rows * columns
    weights, distance = np.array(A), np.zeros((n + 1, n + 1))
    weights[:, :, :, 0] = 0
    distance[1:, 1:] = in_pixels(rows, columns, patch_size)
    weights /= weights.sum(axis=-1, keepdims=True)
    return (weights * distance).sum(axis=(2, 3)).mean(axis=0) / n


def normalised(A):
    A = A[..., 1:, 1:]
    return A / A.sum(axis=-1, keepdims=True)


def raw(A, rows, columns, patch_size):
    return (A[..., 1:, 1:] * in_pixels(rows, columns, patch_size)).sum(-1).mean(axis=(0, 2))


def padded(A, rows, columns, patch_size):
    distance = np.pad(in_pixels(rows, columns, patch_size), ((1, 0), (1, 0)))
    return (A * distance).sum(axis=-1).mean(axis=(0, 2))


def last_cut_off(A, rows, columns, patch_size):
    n = rows * columns
    A = A[:, :, :n, :n]
    A = A / A.sum(axis=-1, keepdims=True)
    return (A * in_pixels(rows, columns, patch_size)).sum(axis=-1).mean(axis=(0, 2))


def over_axis_2(A, rows, columns, patch_size):
    A = A[:, :, 1:, 1:] / A[:, :, 1:, 1:].sum(axis=2, keepdims=True)
    return (A * in_pixels(rows, columns, patch_size)).sum(axis=-1).mean(axis=(0, 2))


def one_sum(A, rows, columns, patch_size):
    A = A[:, :, 1:, 1:]
    return ((A * in_pixels(rows, columns, patch_size)).sum(axis=(2, 3)) / A.sum(axis=(2, 3))).mean(axis=0)


def patches(A, rows, columns, patch_size):
    return (normalised(A) * in_pixels(rows, columns, 1)).sum(axis=-1).mean(axis=(0, 2))


def squares(A, rows, columns, patch_size):
    places = np.indices((rows, columns)).reshape(2, -1) * patch_size
    distance = ((places[:, :, None] - places[:, None, :]) ** 2).sum(axis=0)
    return (normalised(A) * distance).sum(axis=-1).mean(axis=(0, 2))


def root_late(A, rows, columns, patch_size):
    distance = in_pixels(rows, columns, patch_size) ** 2
    return np.sqrt((normalised(A) * distance).sum(axis=-1)).mean(axis=(0, 2))


def city_block(A, rows, columns, patch_size):
    y, x = np.divmod(np.arange(rows * columns), columns)
    distance = patch_size * (abs(y[:, None] - y) + abs(x[:, None] - x))
    return (normalised(A) * distance).sum(axis=-1).mean(axis=(0, 2))


def chessboard(A, rows, columns, patch_size):
    y, x = np.divmod(np.arange(rows * columns), columns)
    distance = patch_size * np.maximum(abs(y[:, None] - y), abs(x[:, None] - x))
    return (normalised(A) * distance).sum(axis=-1).mean(axis=(0, 2))


def rows_for_columns(A, rows, columns, patch_size):
    y, x = np.divmod(np.arange(rows * columns), rows)
    distance = patch_size * np.hypot(y[:, None] - y, x[:, None] - x)
    return (normalised(A) * distance).sum(axis=-1).mean(axis=(0, 2))


def uniform(A, rows, columns, patch_size):
    alike = np.full_like(A, 1.0 / A.shape[-1])
    return of_the_notebook(alike, rows, columns, patch_size)


def strongest(A, rows, columns, patch_size):
    distance = in_pixels(rows, columns, patch_size)
    to = A[:, :, 1:, 1:].argmax(axis=-1)
    return np.take_along_axis(distance[None, None] + 0 * A[:, :, 1:, 1:], to[..., None], -1).mean(axis=(0, 2, 3))


def centre_of_mass(A, rows, columns, patch_size):
    places = np.stack(np.divmod(np.arange(rows * columns), columns), axis=1) * patch_size
    centres = np.einsum("bhij,jk->bhik", normalised(A), places)
    return np.sqrt(((centres - places) ** 2).sum(axis=-1)).mean(axis=(0, 2))


def summed(A, rows, columns, patch_size):
    return (normalised(A) * in_pixels(rows, columns, patch_size)).sum(axis=(2, 3)).mean(axis=0)


def mean_of_all(A, rows, columns, patch_size):
    return (normalised(A) * in_pixels(rows, columns, patch_size)).mean(axis=(0, 2, 3))


def each_image(A, rows, columns, patch_size):
    return (normalised(A) * in_pixels(rows, columns, patch_size)).sum(axis=-1).mean(axis=-1)


def one_number(A, rows, columns, patch_size):
    return (normalised(A) * in_pixels(rows, columns, patch_size)).sum(axis=-1).mean()


def class_token_asks(A, rows, columns, patch_size):
    weights = A[:, :, 0, 1:] / A[:, :, 0, 1:].sum(axis=-1, keepdims=True)
    return (weights * in_pixels(rows, columns, patch_size)[0]).sum(axis=-1).mean(axis=0)


def all_tokens(A, rows, columns, patch_size):
    return (A * in_pixels(rows, columns, patch_size)).sum(axis=-1).mean(axis=(0, 2))


def in_place(A, rows, columns, patch_size):
    A /= A[..., 1:].sum(axis=-1, keepdims=True)
    return raw(A, rows, columns, patch_size)


def summed_over_images(A, rows, columns, patch_size):
    return of_the_notebook(A, rows, columns, patch_size) * len(A)


def whole_pixels(A, rows, columns, patch_size):
    return np.round(of_the_notebook(A, rows, columns, patch_size)).astype(int)


def grid_argument(A, grid, patch_size):
    return of_the_notebook(A, *grid, patch_size)


def nothing(A, rows, columns, patch_size):
    of_the_notebook(A, rows, columns, patch_size)


RIGHT = [of_the_notebook, einsum, loops, with_tensors, class_token_left_in]
WRONG = {
    raw: "not renormalised",
    padded: "class token as a place",
    last_cut_off: "last token left out",
    over_axis_2: "renormalised over the asking",
    one_sum: "renormalised as a whole",
    patches: "in patches",
    squares: "squared distance",
    root_late: "root mean square",
    city_block: "city block",
    chessboard: "larger of the two",
    rows_for_columns: "grid transposed",
    uniform: "not weighted",
    strongest: "largest weight alone",
    centre_of_mass: "distance to the mean place",
    summed: "sum over the asking",
    mean_of_all: "mean over the asked",
    each_image: "images kept",
    one_number: "heads averaged",
    class_token_asks: "value",
    summed_over_images: "value",
    whole_pixels: "value",
    all_tokens: "ValueError",
    in_place: "input changed",
    grid_argument: "TypeError",
    nothing: "no output",
}
