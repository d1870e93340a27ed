"""Solutions of `attention`: RIGHT ones pass, WRONG ones fail with the mistake beside them."""

import mindspore as ms
import numpy as np
from mindspore import Tensor, ops


def matmul(q, k, v):
    weights = ops.softmax(ops.matmul(q, k.transpose(0, 1, 3, 2)) / q.shape[-1] ** 0.5, axis=-1)
    return ops.matmul(weights, v)


def scaled_queries(q, k, v):
    q = q * q.shape[-1] ** -0.5
    scores = (q.expand_dims(3) * k.expand_dims(2)).sum(-1)  # (B, H, N, N)
    return (ops.softmax(scores, -1).expand_dims(-1) * v.expand_dims(2)).sum(3)


def loops(q, k, v):
    images = []
    for b in range(q.shape[0]):
        heads = []
        for h in range(q.shape[1]):
            scores = ops.matmul(q[b, h], k[b, h].transpose(1, 0)) / q.shape[3] ** 0.5
            scores = ops.exp(scores - scores.max(axis=-1, keepdims=True))
            heads.append(ops.matmul(scores / scores.sum(axis=-1, keepdims=True), v[b, h]))
        images.append(ops.stack(heads))
    return ops.stack(images)


def no_scale(q, k, v):
    return ops.matmul(ops.softmax(ops.matmul(q, k.swapaxes(-2, -1)), -1), v)


def scale_d(q, k, v):
    return ops.matmul(ops.softmax(ops.matmul(q, k.swapaxes(-2, -1)) / q.shape[-1], -1), v)


def scale_tokens(q, k, v):
    return ops.matmul(ops.softmax(ops.matmul(q, k.swapaxes(-2, -1)) / q.shape[2] ** 0.5, -1), v)


def multiplied(q, k, v):
    return ops.matmul(ops.softmax(ops.matmul(q, k.swapaxes(-2, -1)) * q.shape[-1] ** 0.5, -1), v)


def wrong_axis(q, k, v):
    return ops.matmul(ops.softmax(ops.matmul(q, k.swapaxes(-2, -1)) / q.shape[-1] ** 0.5, -2), v)


def no_softmax(q, k, v):
    return ops.matmul(ops.matmul(q, k.swapaxes(-2, -1)) / q.shape[-1] ** 0.5, v)


def swapped(q, k, v):
    return matmul(q, v, k)


def overflows(q, k, v):
    scores = ops.exp(40 * ops.matmul(q, k.swapaxes(-2, -1)))
    return ops.matmul(scores / scores.sum(-1, keepdims=True), v)


def in_numpy(q, k, v):
    q, k, v = (tensor.asnumpy() for tensor in (q, k, v))
    scores = q @ k.swapaxes(-2, -1) / q.shape[-1] ** 0.5
    scores = np.exp(scores - scores.max(-1, keepdims=True))
    return Tensor(scores / scores.sum(-1, keepdims=True) @ v, ms.float32)


def keys_not_transposed(q, k, v):
    return ops.matmul(ops.softmax(ops.matmul(q, k) / q.shape[-1] ** 0.5, -1), v)


def nothing(q, k, v):
    ops.matmul(ops.softmax(ops.matmul(q, k.swapaxes(-2, -1)) / q.shape[-1] ** 0.5, -1), v)


def by_einsum(q, k, v):
    return ops.einsum("bhij,bhjd->bhid", ops.softmax(ops.einsum("bhid,bhjd->bhij", q, k) / q.shape[-1] ** 0.5), v)


def whole_root(q, k, v):
    return ops.softmax(q @ k.swapaxes(-1, -2) / int(q.shape[-1] ** 0.5), -1) @ v


def unguarded(q, k, v):
    weights = ops.exp(q @ k.swapaxes(-1, -2) / q.shape[-1] ** 0.5)
    return weights / weights.sum(-1, keepdims=True) @ v


def queries_last(q, k, v):
    return ops.softmax(k @ q.swapaxes(-1, -2) / q.shape[-1] ** 0.5, -1) @ v


def scaled_late(q, k, v):
    return ops.softmax(q @ k.swapaxes(-1, -2), -1) / q.shape[-1] ** 0.5 @ v


RIGHT = [matmul, scaled_queries, loops]
WRONG = {
    queries_last: "queries and keys swapped",
    scaled_late: "scale after softmax",
    whole_root: "value",
    unguarded: "not finite",
    by_einsum: "RuntimeError",  # MindSpore has it on Ascend alone
    no_scale: "scale forgotten",
    scale_d: "scale by d",
    scale_tokens: "scale by tokens",
    multiplied: "scale inverted",
    wrong_axis: "softmax axis",
    no_softmax: "softmax forgotten",
    swapped: "keys and values swapped",
    overflows: "not finite",
    in_numpy: "gradient",
    keys_not_transposed: "RuntimeError",
    nothing: "no output",
}
