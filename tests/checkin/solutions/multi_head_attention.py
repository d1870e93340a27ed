"""Solutions of `multi_head_attention`: RIGHT ones pass, WRONG ones fail with the mistake beside them."""

import numpy as np
from mindspore import Tensor, ops


def dense(x, weight, bias):
    return ops.matmul(x, weight.T) + bias


def softmax_attention(q, k, v):
    weights = ops.softmax(ops.matmul(q, k.swapaxes(-2, -1)) / q.shape[-1] ** 0.5, -1)
    return ops.matmul(weights, v)


def five_axes(x, qkv_weight, qkv_bias, out_weight, out_bias, num_heads):
    b, n, c = x.shape
    qkv = dense(x, qkv_weight, qkv_bias).reshape(b, n, 3, num_heads, c // num_heads)
    q, k, v = ops.unstack(qkv.transpose(2, 0, 3, 1, 4), axis=0)
    return dense(softmax_attention(q, k, v).transpose(0, 2, 1, 3).reshape(b, n, c), out_weight, out_bias)


def weights_split(x, qkv_weight, qkv_bias, out_weight, out_bias, num_heads):
    _, _, dim = x.shape
    projected = [dense(x, qkv_weight[i * dim : (i + 1) * dim], qkv_bias[i * dim : (i + 1) * dim]) for i in range(3)]
    q, k, v = [ops.stack(ops.split(part, dim // num_heads, axis=2), 1) for part in projected]
    heads = softmax_attention(q, k, v)
    return dense(ops.cat([heads[:, h] for h in range(num_heads)], axis=-1), out_weight, out_bias)


def head_by_head(x, qkv_weight, qkv_bias, out_weight, out_bias, H):
    D = x.shape[2]
    d = D // H
    result = out_bias
    for h in range(H):
        q, k, v = [
            dense(x, qkv_weight[start : start + d], qkv_bias[start : start + d])
            for start in (h * d, D + h * d, 2 * D + h * d)
        ]
        scores = ops.bmm(q * d**-0.5, k.swapaxes(1, 2))
        scores = ops.exp(scores - scores.max(axis=2, keepdims=True))
        mean = ops.bmm(scores, v) / scores.sum(2, keepdims=True)
        result = result + ops.matmul(mean, out_weight[:, h * d : (h + 1) * d].T)
    return result


def flattened(x, qkv_weight, qkv_bias, out_weight, out_bias, num_heads):
    b, n, dim = x.shape
    rows = ops.matmul(qkv_weight, x.reshape(-1, dim).T) + qkv_bias.expand_dims(1)  # (3 D, B N)
    parts = rows.reshape(3, num_heads, dim // num_heads, b, n).transpose(0, 3, 1, 4, 2)
    q, k, v = (part.reshape(b * num_heads, n, -1) for part in (parts[0], parts[1], parts[2]))
    heads = softmax_attention(q, k, v).reshape(b, num_heads, n, -1)
    joined = heads.transpose(1, 3, 0, 2).reshape(dim, b * n)
    return (ops.matmul(out_weight, joined).T + out_bias).reshape(b, n, dim)


def heads_outside(x, qkv_weight, qkv_bias, out_weight, out_bias, num_heads):
    b, n, c = x.shape
    qkv = dense(x, qkv_weight, qkv_bias).reshape(b, n, num_heads, 3, c // num_heads).transpose(3, 0, 2, 1, 4)
    heads = softmax_attention(qkv[0], qkv[1], qkv[2])
    return dense(heads.transpose(0, 2, 1, 3).reshape(b, n, c), out_weight, out_bias)


def torn(x, qkv_weight, qkv_bias, out_weight, out_bias, num_heads):
    b, n, c = x.shape
    q, k, v = (
        part.reshape(b, num_heads, n, c // num_heads) for part in ops.split(dense(x, qkv_weight, qkv_bias), c, axis=-1)
    )
    return dense(softmax_attention(q, k, v).transpose(0, 2, 1, 3).reshape(b, n, c), out_weight, out_bias)


def torn_and_joined(x, qkv_weight, qkv_bias, out_weight, out_bias, num_heads):
    b, n, c = x.shape
    parts = ops.split(dense(x, qkv_weight, qkv_bias), c, axis=-1)
    q, k, v = [part.reshape(b, num_heads, n, -1) for part in parts]
    return dense(softmax_attention(q, k, v).reshape(b, n, c), out_weight, out_bias)


def parts_of(x, qkv_weight, qkv_bias, num_heads):
    b, n, c = x.shape
    qkv = dense(x, qkv_weight, qkv_bias).reshape(b, n, 3, num_heads, c // num_heads).transpose(2, 0, 3, 1, 4)
    return qkv[0], qkv[1], qkv[2]


def joined(heads):
    b, h, n, d = heads.shape
    return heads.swapaxes(1, 2).reshape(b, n, h * d)


def badly_joined(x, qkv_weight, qkv_bias, out_weight, out_bias, num_heads):
    q, k, v = parts_of(x, qkv_weight, qkv_bias, num_heads)
    return dense(softmax_attention(q, k, v).reshape(x.shape), out_weight, out_bias)


def no_heads(x, qkv_weight, qkv_bias, out_weight, out_bias, num_heads):
    q, k, v = ops.split(dense(x, qkv_weight, qkv_bias), x.shape[-1], axis=-1)
    return dense(softmax_attention(q, k, v), out_weight, out_bias)


def with_weights(x, qkv_weight, qkv_bias, out_weight, out_bias, num_heads, weights):
    q, k, v = parts_of(x, qkv_weight, qkv_bias, num_heads)
    return dense(joined(ops.matmul(weights(q, k), v)), out_weight, out_bias)


def no_scale(*inputs):
    return with_weights(*inputs, lambda q, k: ops.softmax(ops.matmul(q, k.swapaxes(2, 3)), -1))


def scale_of_dim(x, *others):
    dim = x.shape[-1]
    return with_weights(x, *others, lambda q, k: ops.softmax(ops.matmul(q, k.swapaxes(2, 3)) / dim**0.5, -1))


def over_queries(*inputs):
    return with_weights(*inputs, lambda q, k: ops.softmax(ops.matmul(q, k.swapaxes(2, 3)) / q.shape[3] ** 0.5, 2))


def no_softmax(*inputs):
    return with_weights(*inputs, lambda q, k: ops.matmul(q, k.swapaxes(2, 3)) / q.shape[3] ** 0.5)


def keys_first(x, qkv_weight, qkv_bias, out_weight, out_bias, num_heads):
    k, q, v = parts_of(x, qkv_weight, qkv_bias, num_heads)
    return dense(joined(softmax_attention(q, k, v)), out_weight, out_bias)


def values_second(x, qkv_weight, qkv_bias, out_weight, out_bias, num_heads):
    q, v, k = parts_of(x, qkv_weight, qkv_bias, num_heads)
    return dense(joined(softmax_attention(q, k, v)), out_weight, out_bias)


def not_projected(x, qkv_weight, qkv_bias, out_weight, out_bias, num_heads):
    return joined(softmax_attention(*parts_of(x, qkv_weight, qkv_bias, num_heads)))


def not_transposed(x, qkv_weight, qkv_bias, out_weight, out_bias, num_heads):
    return ops.matmul(not_projected(x, qkv_weight, qkv_bias, None, None, num_heads), out_weight) + out_bias


def without_biases(x, qkv_weight, qkv_bias, out_weight, out_bias, num_heads):
    return five_axes(x, qkv_weight, 0.0, out_weight, 0.0, num_heads)


def without_qkv_bias(x, qkv_weight, qkv_bias, out_weight, out_bias, num_heads):
    return five_axes(x, qkv_weight, 0.0, out_weight, out_bias, num_heads)


def without_out_bias(x, qkv_weight, qkv_bias, out_weight, out_bias, num_heads):
    return five_axes(x, qkv_weight, qkv_bias, out_weight, 0.0, num_heads)


def as_in_a_block(x, *others):
    return five_axes(x, *others) + x


def qkv_not_transposed(x, qkv_weight, qkv_bias, out_weight, out_bias, num_heads):
    return ops.matmul(x, qkv_weight) + qkv_bias


def heads_not_joined(x, qkv_weight, qkv_bias, out_weight, out_bias, num_heads):
    return softmax_attention(*parts_of(x, qkv_weight, qkv_bias, num_heads))


def overflows(*inputs):
    def weights(q, k):
        e = ops.exp(50 * ops.matmul(q, k.swapaxes(2, 3)))
        return e / e.sum(-1, keepdims=True)

    return with_weights(*inputs, weights)


def weights_in_numpy(*inputs):
    def weights(q, k):
        scores = q.asnumpy() @ k.asnumpy().swapaxes(2, 3) / q.shape[3] ** 0.5
        e = np.exp(scores - scores.max(-1, keepdims=True))
        return Tensor(e / e.sum(-1, keepdims=True))

    return with_weights(*inputs, weights)


def nothing(*inputs):
    five_axes(*inputs)


def scale_of_one_head(*inputs):
    return with_weights(*inputs, lambda q, k: ops.softmax(ops.matmul(q, k.swapaxes(2, 3)) / q.shape[3], -1))


def over_heads(*inputs):
    return with_weights(*inputs, lambda q, k: ops.softmax(ops.matmul(q, k.swapaxes(2, 3)) / q.shape[3] ** 0.5, 1))


RIGHT = [five_axes, weights_split, head_by_head, flattened]
WRONG = {
    scale_of_one_head: "scale by d",
    over_heads: "softmax over the heads",
    heads_outside: "heads outside q, k, v",
    torn: "split by reshape",
    torn_and_joined: "split and joined by reshape",
    badly_joined: "joined by reshape",
    no_heads: "one head",
    no_scale: "scale forgotten",
    scale_of_dim: "scale by the whole width",
    over_queries: "softmax axis",
    no_softmax: "softmax forgotten",
    keys_first: "queries and keys swapped",
    values_second: "keys and values swapped",
    not_projected: "output projection forgotten",
    not_transposed: "output weight not transposed",
    without_biases: "biases forgotten",
    without_qkv_bias: "bias of q, k, v forgotten",
    without_out_bias: "output bias forgotten",
    as_in_a_block: "residual added",
    qkv_not_transposed: "RuntimeError",
    heads_not_joined: "shape",
    overflows: "not finite",
    weights_in_numpy: "gradient",
    nothing: "no output",
}
