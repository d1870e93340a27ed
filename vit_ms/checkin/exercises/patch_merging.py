"""Patch merging: four neighbouring tokens become one of twice the width."""

import numpy as np
from mindspore import nn, ops

from vit_ms.checkin.calling import Part
from vit_ms.checkin.exercise import Case, Exercise, Mistake, Text

_SWIN = ((0, 0), (1, 0), (0, 1), (1, 1))  # row and column of the four
_ROW_BY_ROW = ((0, 0), (0, 1), (1, 0), (1, 1))
_AROUND = ((0, 0), (0, 1), (1, 1), (1, 0))


def _every_second(x, order):
    return ops.concat([x[:, row::2, column::2] for row, column in order], axis=-1)  # (B, h/2, w/2, 4 C)


def _normalised(x):
    x = x - x.mean(axis=-1, keep_dims=True)
    return x / ops.sqrt((x * x).mean(axis=-1, keep_dims=True) + 1e-6)


class _Parts(nn.Cell):
    def __init__(self, norm, reduction):
        super().__init__()
        self.norm, self.reduction = norm, reduction


class PatchMerging(_Parts):
    def construct(self, x):
        b, h, w, c = x.shape
        x = x.reshape(b, h // 2, 2, w // 2, 2, c).transpose(0, 1, 3, 4, 2, 5)  # the row of the four runs faster
        return self.reduction(self.norm(x.reshape(b, h // 2, w // 2, 4 * c)))


def _with(four):
    """Right but for the four vectors side by side, (B, h/2, w/2, 4 C)."""

    class Wrong(_Parts):
        def construct(self, x):
            return self.reduction(self.norm(four(x)))

    return Wrong


def _quadrants(order):
    def four(x):
        _, h, w, _ = x.shape
        h, w = h // 2, w // 2
        return ops.concat([x[:, r * h : r * h + h, c * w : c * w + w] for r, c in order], axis=-1)

    return four


def _reshape_alone(x):
    b, h, w, c = x.shape
    return x.reshape(b, h // 2, w // 2, 4 * c)


def _channel_by_channel(order):
    def four(x):
        parts = ops.stack([x[:, row::2, column::2] for row, column in order], axis=-1)  # (B, h/2, w/2, C, 4)
        return parts.reshape(*parts.shape[:3], -1)

    return four


def _one_token(x):
    return ops.concat([x[:, ::2, ::2]] * 4, axis=-1)


def _mean_of_four(x):
    return ops.concat([sum(x[:, row::2, column::2] for row, column in _SWIN) / 4.0] * 4, axis=-1)


class _NormLeftOut(_Parts):
    def construct(self, x):
        return self.reduction(_every_second(x, _SWIN))


class _NormBehind(_Parts):
    def construct(self, x):
        return _normalised(self.reduction(_every_second(x, _SWIN)))


class _EachTokenNormalised(_Parts):
    def construct(self, x):
        return self.reduction(_every_second(_normalised(x), _SWIN) * self.norm.gamma + self.norm.beta)


class _NotProjected(_Parts):
    def construct(self, x):
        return self.norm(_every_second(x, _SWIN))


class _AsASequence(_Parts):
    def construct(self, x):
        merged = self.reduction(self.norm(_every_second(x, _SWIN)))
        return merged.reshape(x.shape[0], -1, merged.shape[-1])


def cases(rng):
    def array(*shape, size=1.0, start=0.0):
        return (start + size * rng.standard_normal(shape)).astype(np.float32)

    for about, (b, h, w, c) in (
        (Text("2 maps of 4 x 6 tokens, C = 5", "2 张特征图，4 x 6 个 token，C = 5"), (2, 4, 6, 5)),
        (Text("one map of 8 x 2 tokens, C = 3", "1 张特征图，8 x 2 个 token，C = 3"), (1, 8, 2, 3)),
    ):
        norm = Part("layer_norm", (array(4 * c, size=0.3, start=1.0), array(4 * c, size=0.3)))
        # Without a bias, as in Swin: one of zeros.
        reduction = Part("dense", (array(2 * c, 4 * c, size=(4 * c) ** -0.5), np.zeros(2 * c, np.float32)))
        yield Case(about, (array(b, h, w, c, size=2.0, start=0.5),), {"norm": norm, "reduction": reduction})


def _order(order):
    return Mistake(
        "order of the four",
        _with(lambda x: _every_second(x, order)),
        Text(
            "the right four tokens are joined, in another order: Swin takes (0, 0), (1, 0), (0, 1), (1, 1), so that the row "
            "runs faster",
            "拼接的四个 token 是对的，顺序不对：Swin 的顺序是 (0, 0)、(1, 0)、(0, 1)、(1, 1)，即行变得更快",
        ),
    )


def _parts_of_the_map(order):
    return Mistake(
        "quadrants",
        _with(_quadrants(order)),
        Text(
            "the map is cut into quadrants, so that tokens half a map apart are joined: neighbours are had by taking every "
            "second row and column, x[:, 0::2, 0::2] and so on",
            "特征图被切成了四个象限，拼到一起的 token 相隔半张图：相邻的四个要隔行、隔列取，如 x[:, 0::2, 0::2]",
        ),
    )


def _interleaved(order):
    return Mistake(
        "channel by channel",
        _with(_channel_by_channel(order)),
        Text(
            "the 4C numbers are sorted by channel, four numbers of channel 0 first: put whole vectors of C numbers side by "
            "side",
            "4C 个数按通道排列，先是第 0 个通道的四个数：应当把四个完整的 C 维向量依次拼接",
        ),
    )


EXERCISE = Exercise(
    name="patch_merging",
    notebook="11_swin",
    section=8,
    kind="cell",
    title=Text("Patch merging", "图像块合并"),
    statement=Text(
        "Write the class `PatchMerging(norm, reduction)` in MindSpore, for a batch. Both arguments are cells that are made "
        "already, `norm` a LayerNorm of 4C numbers, `reduction` a dense layer from 4C to 2C; keep their names. `construct` "
        "takes a map (B, h, w, C), h and w even, not always equal, and returns one of (B, h/2, w/2, 2C).\n\n"
        "The vectors of each 2 x 2 neighbouring tokens are put side by side, 4C numbers, normalised, then projected. Their "
        "order is that of Swin: (0, 0), (1, 0), (0, 1), (1, 1), as (row, column) in the square of four.\n\n"
        "Slices and reshape with transpose both pass, for the outputs alone are checked. To train on a CPU take the latter: "
        "MindSpore 2.10 cannot compute the gradient of slices like `x[:, 0::2, 0::2]` there.",
        "用 MindSpore 写出处理一批特征图的类 `PatchMerging(norm, reduction)`。两个参数都是已经建好的 Cell：`norm` 是 4C 维的"
        "层归一化，`reduction` 是从 4C 到 2C 的全连接层；参数名不要改。`construct` 接收形状为 (B, h, w, C) 的特征图，h 和 w "
        "都是偶数，不一定相等；返回的形状为 (B, h/2, w/2, 2C)。\n\n"
        "每 2 x 2 个相邻 token 的向量拼接成 4C 维，先归一化，再投影。拼接顺序与 Swin 相同：(0, 0)、(1, 0)、(0, 1)、(1, 1)，"
        "括号内是 token 在方块中的（行，列）。\n\n"
        "用切片，或者用 reshape 加转置，都能通过，因为只检查输出。若要在 CPU 上训练，请用后者：MindSpore 2.10 在 CPU 上"
        "算不出 `x[:, 0::2, 0::2]` 这类切片的梯度。",
    ),
    solution="PatchMerging",
    starter=(
        "class PatchMerging(nn.Cell):\n"
        "    def __init__(self, norm, reduction):\n"
        "        super().__init__()\n"
        "        ...\n"
        "\n"
        "    def construct(self, x):\n"
        "        ...\n"
    ),
    hints=(
        Text(
            "All tokens at the upper left of their square are one slice with steps of 2, (B, h/2, w/2, C). There are four "
            "such slices.",
            "各方块左上角的 token 合起来就是一个步长为 2 的切片，形状为 (B, h/2, w/2, C)。这样的切片共有四个。",
        ),
        Text(
            "x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2], joined on the last axis by ops.concat.",
            "x[:, 0::2, 0::2]、x[:, 1::2, 0::2]、x[:, 0::2, 1::2]、x[:, 1::2, 1::2]，用 ops.concat 沿最后一维拼接。",
        ),
        Text(
            "In __init__: self.norm = norm, self.reduction = reduction. In construct, with the four joined: return "
            "self.reduction(self.norm(four)).",
            "在 __init__ 中：self.norm = norm，self.reduction = reduction。在 construct 中拼接好四个切片之后：return "
            "self.reduction(self.norm(four))。",
        ),
    ),
    reference=PatchMerging,
    cases=cases,
    gradient=False,  # StridedSliceGrad of MindSpore 2.10 on CPU raises, and slices are a right way to do it
    mistakes=(
        _order(_ROW_BY_ROW),
        _order(_AROUND),
        Mistake("norm left out", _NormLeftOut, Text("the LayerNorm is not used", "没有用到层归一化")),
        Mistake(
            "norm behind the projection",
            _NormBehind,
            Text(
                "the result of the projection is normalised: the LayerNorm comes before it, over 4C numbers",
                "归一化用在了投影的结果上：层归一化在投影之前，对 4C 维进行",
            ),
        ),
        Mistake(
            "each token normalised",
            _EachTokenNormalised,
            Text(
                "each of the four is normalised by itself: join them first, mean and variance are of all 4C numbers",
                "四个 token 各自归一化了：应当先拼接，均值和方差对全部 4C 个数计算",
            ),
        ),
        Mistake(
            "reshape alone",
            _with(_reshape_alone),
            Text(
                "four tokens in a row are joined, not a square of 2 x 2: reshape moves nothing, take slices or transpose",
                "拼到一起的是连续的四个 token，而不是 2 x 2 的方块：reshape 不移动数据，要用切片或转置",
            ),
        ),
        _parts_of_the_map(_SWIN),
        _parts_of_the_map(_ROW_BY_ROW),
        _interleaved(_SWIN),
        _interleaved(_ROW_BY_ROW),
        Mistake(
            "one token four times",
            _with(_one_token),
            Text(
                "the same token is joined four times: the slices begin at 0 or 1, x[:, 1::2, 0::2] and so on",
                "同一个 token 拼接了四次：切片要分别从 0 或 1 开始，如 x[:, 1::2, 0::2]",
            ),
        ),
        Mistake(
            "mean of the four",
            _with(_mean_of_four),
            Text(
                "the four tokens are averaged: nothing is pooled in patch merging, the vectors are put side by side",
                "四个 token 求了平均：图像块合并不做池化，而是把四个向量拼接起来",
            ),
        ),
        Mistake(
            "not projected",
            _NotProjected,
            Text(
                "the result still has 4C channels: reduction, the projection to 2C, is not used",
                "结果仍是 4C 个通道：没有用到 reduction，即到 2C 的投影",
            ),
        ),
        Mistake(
            "map flattened",
            _AsASequence,
            Text(
                "the result is a sequence: it is to stay a map, (B, h/2, w/2, 2C)",
                "结果成了序列：应当仍是特征图，形状为 (B, h/2, w/2, 2C)",
            ),
        ),
    ),
)
