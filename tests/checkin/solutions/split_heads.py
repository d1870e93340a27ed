"""Solutions of `split_heads`: RIGHT ones pass, WRONG ones fail with the mistake beside them."""

import mindspore as ms
from mindspore import Tensor, ops


def reshape_and_swap(x, num_heads):
    b, n, _ = x.shape
    return ops.swapaxes(ops.reshape(x, (b, n, num_heads, -1)), 1, 2)


def slices(x, num_heads):
    width = x.shape[2] // num_heads
    return ops.stack([x[:, :, h * width : (h + 1) * width] for h in range(num_heads)], axis=1)


def split(x, num_heads):
    return ops.stack(ops.split(x, x.shape[-1] // num_heads, axis=-1), 1)


def columns_first(x, H):
    b, n, d = x.shape
    columns = x.transpose(0, 2, 1).reshape(b, H, d // H, n)
    return columns.transpose(0, 1, 3, 2)


def by_matrices(x, num_heads):
    _, _, d = x.shape
    picks = ops.eye(d, d, ms.float32).reshape(num_heads, d // num_heads, d)
    return ops.matmul(x.expand_dims(1), picks.swapaxes(1, 2))


def bare(x, num_heads):
    b, n, d = x.shape
    return x.view(b, num_heads, n, d // num_heads)


def dealt_out(x, num_heads):
    return ops.stack([x[:, :, h::num_heads] for h in range(num_heads)], axis=1)


def not_transposed(x, num_heads):
    b, n, d = x.shape
    return x.reshape(b, n, num_heads, d // num_heads)


def tokens_last(x, num_heads):
    b, n, d = x.shape
    return x.swapaxes(1, 2).reshape(b, num_heads, d // num_heads, n)


def stacked_in_front(x, num_heads):
    return ops.stack(ops.split(x, x.shape[-1] // num_heads, axis=-1))


def for_bmm(x, num_heads):
    b, n, d = x.shape
    width = d // num_heads
    return x.reshape(b, n, num_heads, width).transpose(0, 2, 1, 3).reshape(b * num_heads, n, width)


def num_heads_as_width(x, num_heads):
    return ops.stack(ops.split(x, num_heads, axis=-1), 1)


def scaled(x, num_heads):
    x = reshape_and_swap(x, num_heads)
    return x / x.shape[-1] ** 0.5


def tuple_of_heads(x, num_heads):
    return ops.split(x, x.shape[-1] // num_heads, axis=-1)


def tokens_split(x, num_heads):
    b, n, d = x.shape
    return x.reshape(b, num_heads, n // num_heads, d)


def heads_backwards(x, num_heads):
    return reshape_and_swap(x, num_heads).flip((1,))


def in_numpy(x, num_heads):
    b, n, d = x.shape
    return Tensor(x.asnumpy().reshape(b, n, num_heads, d // num_heads).swapaxes(1, 2))


def doubled(x, num_heads):
    return reshape_and_swap(x, num_heads).astype(ms.float64)


def nothing(x, num_heads):
    reshape_and_swap(x, num_heads)


RIGHT = [reshape_and_swap, slices, split, columns_first, by_matrices]
WRONG = {
    bare: "reshape alone",
    dealt_out: "columns dealt out",
    not_transposed: "heads behind the tokens",
    tokens_last: "tokens last",
    stacked_in_front: "heads before the images",
    for_bmm: "heads and images in one axis",
    num_heads_as_width: "number and width exchanged",
    scaled: "scaled",
    tuple_of_heads: "number of outputs",
    tokens_split: "ValueError",
    heads_backwards: "value",
    in_numpy: "gradient",
    doubled: "dtype",
    nothing: "no output",
}
