"""Splitting the width of tokens into heads."""

import numpy as np

from vit_ms.checkin.exercise import Case, Exercise, Mistake, Text


def split_heads(x, num_heads):
    b, n, d = x.shape
    return x.reshape(b, n, num_heads, d // num_heads).transpose(0, 2, 1, 3)  # (B, H, N, d)


def _reshape_alone(x, num_heads):
    b, n, d = x.shape
    return x.reshape(b, num_heads, n, d // num_heads)


def _interleaved(x, num_heads):
    b, n, d = x.shape
    return x.reshape(b, n, d // num_heads, num_heads).transpose(0, 3, 1, 2)


def _arranged(*axes):
    def wrong(x, num_heads):
        return split_heads(x, num_heads).transpose(*axes)

    return wrong


def _one_axis(x, num_heads):
    b, n, d = x.shape
    return split_heads(x, num_heads).reshape(b * num_heads, n, d // num_heads)


def _as_many_as_wide(x, num_heads):
    return split_heads(x, x.shape[-1] // num_heads)


def _scaled(x, num_heads):
    return split_heads(x, num_heads) * (x.shape[-1] // num_heads) ** -0.5


def cases(rng):
    for about, shape, num_heads in (
        (Text("2 images, 5 tokens, D = 12, 3 heads", "2 张图像、5 个 token，D = 12，3 个头"), (2, 5, 12), 3),
        (Text("one image, 3 tokens, D = 10, 5 heads", "1 张图像、3 个 token，D = 10，5 个头"), (1, 3, 10), 5),
        (Text("a single head", "只有 1 个头"), (3, 4, 6), 1),
    ):
        yield Case(about, (rng.standard_normal(shape).astype(np.float32), num_heads))


EXERCISE = Exercise(
    name="split_heads",
    notebook="03_attention_by_hand",
    section=5,
    kind="function",
    title=Text("Splitting into heads", "拆分成多头"),
    statement=Text(
        "Write `split_heads(x, num_heads)`: from a Tensor (B, N, D) to one (B, H, N, d), with $H$ = `num_heads` and "
        "$d = D / H$. Head $h$ of a token is the columns $h d$ to $(h + 1) d - 1$ of this token.",
        "写出 `split_heads(x, num_heads)`：把形状为 (B, N, D) 的 Tensor 变成 (B, H, N, d)，其中 $H$ = `num_heads`，"
        "$d = D / H$。每个 token 的第 $h$ 个头是该 token 的第 $h d$ 到 $(h + 1) d - 1$ 列。",
    ),
    solution="split_heads",
    starter="def split_heads(x, num_heads):\n    B, N, D = x.shape\n    ...\n",
    hints=(
        Text(
            "Only the last axis is split; the heads are brought in front of the tokens afterwards.",
            "要拆分的只有最后一维；拆完之后再把头移到 token 前面。",
        ),
        Text(
            "A reshape keeps the order of the numbers: (B, N, D) to (B, N, H, d) only cuts each token into H pieces, "
            "(B, H, N, d) would tear the tokens apart.",
            "reshape 不改变数的次序：从 (B, N, D) 到 (B, N, H, d) 只是把每个 token 切成 H 段，直接到 (B, H, N, d) 则会把 "
            "token 拆散。",
        ),
        Text(
            "Reshape to (B, N, H, d), then exchange the axes 1 and 2.",
            "先 reshape 成 (B, N, H, d)，再交换第 1 维和第 2 维。",
        ),
    ),
    reference=split_heads,
    cases=cases,
    mistakes=(
        Mistake(
            "reshape alone",
            _reshape_alone,
            Text(
                "the shape is right, but a head does not see all tokens: reshape to (B, N, H, d) first, then bring the "
                "heads in front with a transpose",
                "形状正确，但每个头看不到全部 token：先 reshape 成 (B, N, H, d)，再用转置把头移到前面",
            ),
        ),
        Mistake(
            "columns dealt out",
            _interleaved,
            Text(
                "the columns are dealt out to the heads in turn: a head is to have d neighbouring columns, so D is split "
                "into (H, d), not (d, H)",
                "各列被轮流分给了各个头：一个头应占相邻的 d 列，所以 D 要拆成 (H, d)，而不是 (d, H)",
            ),
        ),
        Mistake(
            "heads behind the tokens",
            _arranged(0, 2, 1, 3),
            Text(
                "the result is (B, N, H, d): the heads are to come before the tokens",
                "结果是 (B, N, H, d)：头应当排在 token 前面",
            ),
        ),
        Mistake(
            "tokens last",
            _arranged(0, 1, 3, 2),
            Text(
                "the last two axes have changed places: (B, H, N, d) has the tokens before the columns",
                "最后两维颠倒了：(B, H, N, d) 中 token 在前，列在后",
            ),
        ),
        Mistake(
            "heads before the images",
            _arranged(1, 0, 2, 3),
            Text(
                "the heads stand before the images: axis 0 is to stay the batch",
                "头排到了图像前面：第 0 维应当仍是批",
            ),
        ),
        Mistake(
            "heads and images in one axis",
            _one_axis,
            Text(
                "images and heads share one axis: keep B and H apart, four axes in all",
                "图像和头合成了一维：B 和 H 应当分开，一共四维",
            ),
        ),
        Mistake(
            "number and width exchanged",
            _as_many_as_wide,
            Text(
                "there are d heads of width H: num_heads is their number, d = D / num_heads their width",
                "成了 d 个宽度为 H 的头：num_heads 是头数，宽度是 d = D / num_heads",
            ),
        ),
        Mistake(
            "scaled",
            _scaled,
            Text(
                "the values are divided by sqrt(d): splitting changes no value",
                "数值除以了 sqrt(d)：拆分不改变任何数值",
            ),
        ),
    ),
)
