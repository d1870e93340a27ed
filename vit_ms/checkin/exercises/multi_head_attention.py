"""Multi-head self-attention with its projections: equations 5 to 8 of the ViT paper."""

import numpy as np
from mindspore import Tensor, ops

from vit_ms.checkin.exercise import Case, Exercise, Mistake, Text


def multi_head_attention(x, qkv_weight, qkv_bias, out_weight, out_bias, num_heads):
    b, n, d = x.shape
    qkv = ops.matmul(x, qkv_weight.swapaxes(0, 1)) + qkv_bias  # (B, N, 3 D)
    qkv = qkv.reshape(b, n, 3, num_heads, d // num_heads).transpose(2, 0, 3, 1, 4)
    q, k, v = qkv[0], qkv[1], qkv[2]  # each (B, H, N, d)
    scores = ops.matmul(q, k.swapaxes(-2, -1)) / q.shape[-1] ** 0.5
    heads = ops.matmul(ops.softmax(scores, axis=-1), v)  # (B, H, N, d)
    joined = heads.swapaxes(1, 2).reshape(b, n, d)
    return ops.matmul(joined, out_weight.swapaxes(0, 1)) + out_bias  # (B, N, D)


def _softmax(scores, axis=-1):
    e = np.exp(scores - scores.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def _split(qkv, num_heads):
    b, n, width = qkv.shape
    return tuple(qkv.reshape(b, n, 3, num_heads, width // 3 // num_heads).transpose(2, 0, 3, 1, 4))


def _join(heads):
    b, h, n, d = heads.shape
    return heads.swapaxes(1, 2).reshape(b, n, h * d)


def _weights(q, k):
    return _softmax(q @ k.swapaxes(-2, -1) / q.shape[-1] ** 0.5)


def _with(
    split=_split, weights=_weights, join=_join, qkv_bias=1.0, out_bias=1.0, out=True, transposed=True, residual=0.0
):
    """Right but for what is given. In NumPy: there are many of them, and PyNative mode would take seconds for all."""

    def wrong(*inputs):
        *arrays, num_heads = inputs
        x, w, b, out_w, out_b = (array.asnumpy() for array in arrays)
        q, k, v = split(x @ w.T + qkv_bias * b, num_heads)
        result = join(weights(q, k) @ v)
        if out:
            result = result @ (out_w.T if transposed else out_w) + out_bias * out_b
        return Tensor((result + residual * x).astype(np.float32))

    return wrong


def _heads_outside(qkv, num_heads):
    b, n, width = qkv.shape
    return tuple(qkv.reshape(b, n, num_heads, 3, width // 3 // num_heads).transpose(3, 0, 2, 1, 4))


def _in_order(*places):
    def split(qkv, num_heads):
        parts = _split(qkv, num_heads)
        return tuple(parts[place] for place in places)

    return split


def _split_by_reshape(qkv, num_heads):
    b, n, width = qkv.shape
    return tuple(part.reshape(b, num_heads, n, width // 3 // num_heads) for part in np.split(qkv, 3, axis=2))


def _join_by_reshape(heads):
    b, h, n, d = heads.shape
    return heads.reshape(b, n, h * d)


def _one_head(qkv, num_heads):
    return _split(qkv, 1)


def _scores_times(scale, axis=-1):
    def weights(q, k):
        return _softmax(q @ k.swapaxes(-2, -1) * scale(q), axis)

    return weights


def _no_softmax(q, k):
    return q @ k.swapaxes(-2, -1) / q.shape[-1] ** 0.5


def cases(rng):
    for about, (b, n, d, num_heads) in (
        (Text("2 images, 5 tokens, D = 12, 3 heads", "2 张图像、5 个 token，D = 12，3 个头"), (2, 5, 12, 3)),
        (Text("one image, 7 tokens, D = 8, 2 heads", "1 张图像、7 个 token，D = 8，2 个头"), (1, 7, 8, 2)),
        (Text("a single head", "只有 1 个头"), (3, 4, 6, 1)),
    ):
        shapes = (3 * d, d), (3 * d,), (d, d), (d,)
        weights = tuple((rng.standard_normal(shape) / d**0.25).astype(np.float32) for shape in shapes)
        yield Case(about, (rng.standard_normal((b, n, d)).astype(np.float32), *weights, num_heads))


EXERCISE = Exercise(
    name="multi_head_attention",
    notebook="03_attention_by_hand",
    section=6,
    kind="function",
    title=Text("Multi-head self-attention", "多头自注意力"),
    statement=Text(
        "Write `multi_head_attention(x, qkv_weight, qkv_bias, out_weight, out_bias, num_heads)`, equations 5 to 8. "
        "`x` and the result are Tensors (B, N, D).\n\n"
        "As in `nn.Dense`, a projection is $x W^\\top + b$: `qkv_weight` is (3D, D), `qkv_bias` (3D,), `out_weight` "
        "(D, D), `out_bias` (D,). The 3D numbers of a token are first all of q, then all of k, then all of v; inside "
        "each, head $h$ is the columns $h d$ to $(h + 1) d - 1$, $d = D / H$, $H$ = `num_heads`. The heads are joined in "
        "the same order. No dropout.",
        "写出 `multi_head_attention(x, qkv_weight, qkv_bias, out_weight, out_bias, num_heads)`，即公式（5）到（8）。`x` 和"
        "结果都是形状为 (B, N, D) 的 Tensor。\n\n"
        "与 `nn.Dense` 一样，投影是 $x W^\\top + b$：`qkv_weight` 形状为 (3D, D)，`qkv_bias` 为 (3D,)，`out_weight` 为 "
        "(D, D)，`out_bias` 为 (D,)。每个 token 的 3D 个数依次是全部的 q、全部的 k、全部的 v；三者之中，第 $h$ 个头是第 "
        "$h d$ 到 $(h + 1) d - 1$ 列，$d = D / H$，$H$ = `num_heads`。各头按同样的顺序拼接。没有 dropout。",
    ),
    solution="multi_head_attention",
    starter=(
        "def multi_head_attention(x, qkv_weight, qkv_bias, out_weight, out_bias, num_heads):\n"
        "    B, N, D = x.shape\n"
        "    ...\n"
    ),
    hints=(
        Text(
            "Four steps: project to q, k, v; split into heads; scaled dot-product attention in each head; join the heads "
            "and project. Print the shape after each.",
            "四步：投影得到 q、k、v；拆分成多头；每个头做缩放点积注意力；拼接各头再投影。每一步之后打印形状看看。",
        ),
        Text(
            "(B, N, 3D) is read as (B, N, 3, H, d): the last axis split from the outside in. A transpose then brings the "
            "3 to the front and H before N.",
            "把 (B, N, 3D) 看作 (B, N, 3, H, d)：最后一维由外到内拆分。再用转置把 3 移到最前，H 移到 N 之前。",
        ),
        Text(
            "qkv.reshape(B, N, 3, H, d).transpose(2, 0, 3, 1, 4) gives q, k, v as its three entries; the lines of the "
            "exercise `attention` serve all heads at once; join with swapaxes(1, 2), then reshape to (B, N, D).",
            "qkv.reshape(B, N, 3, H, d).transpose(2, 0, 3, 1, 4) 的三项就是 q、k、v；练习 `attention` 中的几行可同时计算"
            "所有头；拼接时先 swapaxes(1, 2)，再 reshape 成 (B, N, D)。",
        ),
    ),
    reference=multi_head_attention,
    cases=cases,
    mistakes=(
        Mistake(
            "heads outside q, k, v",
            _with(split=_heads_outside),
            Text(
                "the 3D columns are split as (H, 3, d): here they are (3, H, d), first q of all heads, then k, then v",
                "3D 列拆成了 (H, 3, d)：这里的顺序是 (3, H, d)，先是所有头的 q，再是 k，再是 v",
            ),
        ),
        Mistake(
            "split by reshape",
            _with(split=_split_by_reshape),
            Text(
                "q, k, v are reshaped to (B, H, N, d) at once, which tears tokens apart: reshape to (B, N, H, d), then "
                "transpose",
                "q、k、v 被直接 reshape 成 (B, H, N, d)，token 被拆散了：先 reshape 成 (B, N, H, d)，再转置",
            ),
        ),
        Mistake(
            "split and joined by reshape",
            _with(split=_split_by_reshape, join=_join_by_reshape),
            Text(
                "the heads are split and joined by reshape alone, so each sees only a part of the tokens: both need a "
                "transpose between (B, N, H, d) and (B, H, N, d)",
                "拆分和拼接都只用了 reshape，每个头只看到一部分 token：两处都要在 (B, N, H, d) 与 (B, H, N, d) 之间转置",
            ),
        ),
        Mistake(
            "joined by reshape",
            _with(join=_join_by_reshape),
            Text(
                "the heads are joined from (B, H, N, d) by reshape alone: bring N before H first",
                "各头从 (B, H, N, d) 直接 reshape 拼接：应当先把 N 移到 H 前面",
            ),
        ),
        Mistake(
            "one head",
            _with(split=_one_head),
            Text(
                "attention is computed over the whole width at once: split it into num_heads heads",
                "注意力在整个宽度上一次算完了：应当分成 num_heads 个头",
            ),
        ),
        Mistake(
            "scale forgotten",
            _with(weights=_scores_times(lambda q: 1.0)),
            Text("the scores are not divided by sqrt(d)", "分数没有除以 sqrt(d)"),
        ),
        Mistake(
            "scale by the whole width",
            _with(weights=_scores_times(lambda q: (q.shape[1] * q.shape[-1]) ** -0.5)),
            Text(
                "the scores are divided by sqrt(D): divide by sqrt(d), d = D / H is the width of one head",
                "分数除以了 sqrt(D)：应当除以 sqrt(d)，d = D / H 是一个头的宽度",
            ),
        ),
        Mistake(
            "scale by d",
            _with(weights=_scores_times(lambda q: 1 / q.shape[-1])),
            Text("the scores are divided by d: divide by sqrt(d)", "分数除以了 d：应当除以 sqrt(d)"),
        ),
        Mistake(
            "softmax over the heads",
            _with(weights=_scores_times(lambda q: q.shape[-1] ** -0.5, axis=1)),
            Text(
                "the softmax is over the heads (axis 1): it goes over the keys, the last axis",
                "softmax 做在了头一维（axis=1）：应当沿 key，即最后一维",
            ),
        ),
        Mistake(
            "softmax axis",
            _with(weights=_scores_times(lambda q: q.shape[-1] ** -0.5, axis=-2)),
            Text(
                "the softmax is over the queries (axis -2): it goes over the keys, the last axis",
                "softmax 做在了 query 一维（axis=-2）：应当沿 key，即最后一维",
            ),
        ),
        Mistake(
            "softmax forgotten",
            _with(weights=_no_softmax),
            Text("there is no softmax over the scores", "分数没有经过 softmax"),
        ),
        Mistake(
            "queries and keys swapped",
            _with(split=_in_order(1, 0, 2)),
            Text(
                "queries and keys have changed places: the first D columns are q, the next are k",
                "query 和 key 用反了：前 D 列是 q，接着是 k",
            ),
        ),
        Mistake(
            "keys and values swapped",
            _with(split=_in_order(0, 2, 1)),
            Text(
                "keys and values have changed places: columns D to 2D - 1 are k, the last D are v",
                "key 和 value 用反了：第 D 到 2D - 1 列是 k，最后 D 列是 v",
            ),
        ),
        Mistake(
            "output projection forgotten",
            _with(out=False),
            Text(
                "the joined heads are returned as they are: the output projection is missing",
                "拼接后的各头被直接返回：缺少输出投影",
            ),
        ),
        Mistake(
            "output weight not transposed",
            _with(transposed=False),
            Text(
                "the output projection multiplies with W: a dense layer is x W^T + b, and the square W does not complain",
                "输出投影乘的是 W：全连接层是 x W^T + b，而 W 是方阵，写错了也不报错",
            ),
        ),
        Mistake(
            "biases forgotten",
            _with(qkv_bias=0.0, out_bias=0.0),
            Text("neither qkv_bias nor out_bias is added", "qkv_bias 和 out_bias 都没有加"),
        ),
        Mistake(
            "bias of q, k, v forgotten",
            _with(qkv_bias=0.0),
            Text("qkv_bias is not added", "没有加 qkv_bias"),
        ),
        Mistake(
            "output bias forgotten",
            _with(out_bias=0.0),
            Text("out_bias is not added", "没有加 out_bias"),
        ),
        Mistake(
            "residual added",
            _with(residual=1.0),
            Text(
                "x itself is added: the residual connection belongs to the block, not to attention",
                "结果加上了 x 本身：残差连接属于编码器的层，不属于注意力",
            ),
        ),
    ),
)
