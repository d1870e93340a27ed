"""Scaled dot-product attention."""

import numpy as np
from mindspore import ops

from vit_ms.checkin.exercise import Case, Exercise, Mistake, Text


def attention(q, k, v):
    scores = ops.matmul(q, k.swapaxes(-2, -1)) / q.shape[-1] ** 0.5  # (B, H, N, N)
    return ops.matmul(ops.softmax(scores, axis=-1), v)  # (B, H, N, d)


def _scaled_by(scale):
    def wrong(q, k, v):
        scores = ops.matmul(q, k.swapaxes(-2, -1)) * scale(q, k)
        return ops.matmul(ops.softmax(scores, axis=-1), v)

    return wrong


def _over_queries(q, k, v):
    scores = ops.matmul(q, k.swapaxes(-2, -1)) / q.shape[-1] ** 0.5
    return ops.matmul(ops.softmax(scores, axis=-2), v)


def _no_softmax(q, k, v):
    return ops.matmul(ops.matmul(q, k.swapaxes(-2, -1)) / q.shape[-1] ** 0.5, v)


def _keys_and_values_swapped(q, k, v):
    return attention(q, v, k)


def _queries_and_keys_swapped(q, k, v):
    return attention(k, q, v)


def _scale_after_softmax(q, k, v):
    weights = ops.softmax(ops.matmul(q, k.swapaxes(-2, -1)), axis=-1) / q.shape[-1] ** 0.5
    return ops.matmul(weights, v)


def cases(rng):
    for about, shape in (
        (Text("2 images, 3 heads, 5 tokens, d = 4", "2 张图像、3 个头、5 个 token，d = 4"), (2, 3, 5, 4)),
        (Text("one image, one head, d = 6", "1 张图像、1 个头，d = 6"), (1, 1, 7, 6)),
    ):
        yield Case(about, tuple(rng.standard_normal((3, *shape)).astype(np.float32)))
    # Their exponentials overflow; in quarters, so that scores of some hundreds are the same in any order of summing.
    quarters = np.round(40 * rng.standard_normal((3, 1, 2, 4, 16))) / 4
    yield Case(Text("large scores", "分数很大"), tuple(quarters.astype(np.float32)))


EXERCISE = Exercise(
    name="attention",
    notebook="03_attention_by_hand",
    section=4,
    kind="function",
    title=Text("Scaled dot-product attention", "缩放点积注意力"),
    statement=Text(
        "Write `attention(q, k, v)`: $\\text{softmax}(q k^\\top / \\sqrt{d})\\, v$ for each image and head. `q`, `k` "
        "and `v` are Tensors (B, H, N, d); so is the result.",
        "写出 `attention(q, k, v)`：对每张图像、每个头计算 $\\text{softmax}(q k^\\top / \\sqrt{d})\\, v$。`q`、`k`、"
        "`v` 是形状为 (B, H, N, d) 的 Tensor，结果形状相同。",
    ),
    solution="attention",
    starter="def attention(q, k, v):\n    ...\n",
    hints=(
        Text(
            "The scores of all pairs of tokens are one matrix product: (B, H, N, d) by (B, H, d, N).",
            "所有 token 两两之间的分数是一次矩阵乘法：(B, H, N, d) 乘 (B, H, d, N)。",
        ),
        Text(
            "Each query's weights over the keys sum to 1: which axis of (B, H, N, N) are the keys?",
            "每个 query 对所有 key 的权重之和为 1：(B, H, N, N) 的哪一维是 key？",
        ),
        Text(
            "scores = ops.matmul(q, k.swapaxes(-2, -1)) / d ** 0.5; then softmax over axis -1; then the product with v.",
            "scores = ops.matmul(q, k.swapaxes(-2, -1)) / d ** 0.5；再对 axis=-1 做 softmax；最后与 v 相乘。",
        ),
    ),
    reference=attention,
    cases=cases,
    mistakes=(
        Mistake(
            "scale forgotten",
            _scaled_by(lambda q, k: 1.0),
            Text(
                "the scores are not divided by sqrt(d): the softmax gets too sharp",
                "分数没有除以 sqrt(d)，softmax 会过于尖锐",
            ),
        ),
        Mistake(
            "scale by d",
            _scaled_by(lambda q, k: 1.0 / q.shape[-1]),
            Text("the scores are divided by d, not by its square root", "分数除以了 d，而不是 d 的平方根"),
        ),
        Mistake(
            "scale by tokens",
            _scaled_by(lambda q, k: 1.0 / q.shape[-2] ** 0.5),
            Text(
                "the scores are divided by the square root of the number of tokens: d is the last axis of q",
                "分数除以了 token 数的平方根：d 是 q 的最后一维",
            ),
        ),
        Mistake(
            "scale inverted",
            _scaled_by(lambda q, k: q.shape[-1] ** 0.5),
            Text("the scores are multiplied by sqrt(d) in place of divided", "分数乘了 sqrt(d)，应当是除"),
        ),
        Mistake(
            "softmax axis",
            _over_queries,
            Text(
                "the softmax is over the queries (axis -2): each query's weights over the keys (axis -1) are to sum to 1",
                "softmax 做在了 query 一维（axis=-2）：应当让每个 query 对 key（axis=-1）的权重之和为 1",
            ),
        ),
        Mistake("softmax forgotten", _no_softmax, Text("there is no softmax over the scores", "分数没有经过 softmax")),
        Mistake(
            "keys and values swapped",
            _keys_and_values_swapped,
            Text("keys and values have changed places", "key 和 value 用反了"),
        ),
        Mistake(
            "queries and keys swapped",
            _queries_and_keys_swapped,
            Text(
                "queries and keys have changed places: row i of the scores, q_i with every k_j, is what token i asks",
                "query 和 key 用反了：分数的第 i 行是 q_i 与各个 k_j 的内积",
            ),
        ),
        Mistake(
            "scale after softmax",
            _scale_after_softmax,
            Text(
                "the weights are scaled after the softmax: scale the scores before it, so that the weights sum to 1",
                "缩放做在了 softmax 之后：应当先缩放分数再做 softmax，权重之和才为 1",
            ),
        ),
    ),
)
