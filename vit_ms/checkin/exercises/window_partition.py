"""Cutting a batch of maps into windows."""

import numpy as np

from vit_ms.checkin.exercise import Case, Exercise, Mistake, Text


def window_partition(x, M):
    return _arranged(0, 1, 3, 2, 4, 5)(x, M)


def _arranged(*axes):
    """Of (B, h/M, M, w/M, M, C), the axes in this order, and joined."""

    def arrange(x, M):
        b, h, w, c = x.shape
        return x.reshape(b, h // M, M, w // M, M, c).transpose(*axes).reshape(-1, M * M, c)

    return arrange


def _reshape_alone(x, M):
    return x.reshape(-1, M * M, x.shape[-1])


def _split_the_other_way(x, M):
    b, h, w, c = x.shape
    return x.reshape(b, M, h // M, M, w // M, c).transpose(0, 2, 4, 1, 3, 5).reshape(-1, M * M, c)


def _sides_swapped(x, M):
    b, h, w, c = x.shape
    return x.reshape(b, w // M, M, h // M, M, c).transpose(0, 1, 3, 2, 4, 5).reshape(-1, M * M, c)


def _not_flattened(x, M):
    return window_partition(x, M).reshape(-1, M, M, x.shape[-1])


def _axis_of_its_own(x, M):
    return window_partition(x, M).reshape(x.shape[0], -1, M * M, x.shape[-1])


def _one_sequence_an_image(x, M):
    return window_partition(x, M).reshape(x.shape[0], -1, x.shape[-1])


def _channels_first(x, M):
    return window_partition(x, M).swapaxes(1, 2)


def cases(rng):
    for about, shape, M in (
        (Text("2 maps of 4 x 6 tokens, C = 5, M = 2", "2 张特征图，4 x 6 个 token，C = 5，M = 2"), (2, 4, 6, 5), 2),
        (Text("one map of 9 x 6 tokens, C = 3, M = 3", "1 张特征图，9 x 6 个 token，C = 3，M = 3"), (1, 9, 6, 3), 3),
        (Text("one row of windows, h = M = 4", "只有一排窗口，h = M = 4"), (3, 4, 8, 4), 4),
    ):
        yield Case(about, (rng.standard_normal(shape).astype(np.float32), M))


EXERCISE = Exercise(
    name="window_partition",
    notebook="11_swin",
    section=3,
    kind="function",
    title=Text("Cutting maps into windows", "把特征图切成窗口"),
    statement=Text(
        "Write `window_partition(x, M)` for a batch of maps, in MindSpore, as attention needs it. `x` is a Tensor "
        "(B, h, w, C), not always square; h and w are divisible by $M$. The result is a Tensor (B·W, M·M, C), with "
        "$W = (h/M)(w/M)$ windows of each map.\n\n"
        "First come all windows of map 0, then those of map 1, and so on. The windows of a map are numbered row by row, "
        "from left to right, and so are the tokens of a window.",
        "用 MindSpore 写出处理一批特征图的 `window_partition(x, M)`，结果可直接送入注意力。`x` 是形状为 (B, h, w, C) 的 "
        "Tensor，不一定是正方形；h 和 w 都能被 $M$ 整除。结果是形状为 (B·W, M·M, C) 的 Tensor，每张特征图有 "
        "$W = (h/M)(w/M)$ 个窗口。\n\n"
        "先是第 0 张特征图的全部窗口，再是第 1 张的，依此类推。一张特征图的窗口逐行编号，每行从左到右；窗口内的 token 也"
        "一样。",
    ),
    solution="window_partition",
    starter="def window_partition(x, M):\n    B, h, w, C = x.shape\n    ...\n",
    hints=(
        Text(
            "As in section 3, with one axis more in front: split both sides, transpose, join. The batch axis stays first.",
            "与第 3 小节相同，只是前面多了一维：拆分两条边、转置、合并。批次维始终在最前。",
        ),
        Text(
            "Each side is split into (which window, where in it): (B, h/M, M, w/M, M, C). The two axes of which window go "
            "next to each other, behind B.",
            "每条边拆成（第几个窗口，窗口内的位置）：(B, h/M, M, w/M, M, C)。两个“第几个窗口”要相邻，紧跟在 B 后面。",
        ),
        Text(
            "x.reshape(B, h // M, M, w // M, M, C), transpose to (B, h/M, w/M, M, M, C), reshape to (-1, M * M, C).",
            "x.reshape(B, h // M, M, w // M, M, C)，转置成 (B, h/M, w/M, M, M, C)，再 reshape 成 (-1, M * M, C)。",
        ),
    ),
    reference=window_partition,
    cases=cases,
    mistakes=(
        Mistake(
            "reshape alone",
            _reshape_alone,
            Text(
                "each window holds M M consecutive tokens of the map: reshape moves nothing, a transpose has to",
                "每个窗口取的是特征图中连续的 M·M 个 token：reshape 不移动数据，还需要转置",
            ),
        ),
        Mistake(
            "split the other way",
            _split_the_other_way,
            Text(
                "the tokens of a window are not neighbours, they lie h/M and w/M apart: h is split into (M, h/M), it is to "
                "be (h/M, M), and w likewise",
                "一个窗口里的 token 并不相邻，而是相隔 h/M 行、w/M 列：h 拆成了 (M, h/M)，应当是 (h/M, M)，w 也一样",
            ),
        ),
        Mistake(
            "window transposed",
            _arranged(0, 1, 3, 4, 2, 5),
            Text(
                "inside a window rows and columns have changed places: its tokens are numbered column by column",
                "窗口内的行和列对调了：token 按列编号，应当逐行编号",
            ),
        ),
        Mistake(
            "numbered by columns",
            _arranged(0, 3, 1, 2, 4, 5),
            Text(
                "the windows are right, their order is not: they are numbered down the columns of the map, not along its "
                "rows",
                "窗口本身正确，编号顺序不对：在特征图上按列从上往下编号了，应当逐行编号",
            ),
        ),
        Mistake(
            "numbered by columns, window transposed",
            _arranged(0, 3, 1, 4, 2, 5),
            Text(
                "rows and columns have changed places, of the windows and inside them: check which axis is h and which is w",
                "窗口的编号和窗口内的 token 都把行、列对调了：检查哪一维是 h，哪一维是 w",
            ),
        ),
        Mistake(
            "height and width swapped",
            _sides_swapped,
            Text(
                "h and w have changed places where the map is split: axis 1 of x is h, axis 2 is w",
                "拆分特征图时 h 和 w 用反了：x 的第 1 维是 h，第 2 维是 w",
            ),
        ),
        Mistake(
            "batch behind the windows",
            _arranged(1, 3, 0, 2, 4, 5),
            Text(
                "the batch runs faster than the windows: window 0 of all maps, then window 1. All windows of one map are "
                "to come first",
                "批次维排在了窗口之后：先是所有特征图的第 0 个窗口，再是第 1 个。应当先排完一张特征图的全部窗口",
            ),
        ),
        Mistake(
            "window not flattened",
            _not_flattened,
            Text(
                "the windows are still squares (M, M): join the two axes into one sequence of M M tokens",
                "窗口还是 (M, M) 的方块：请把这两维合并成 M·M 个 token 的序列",
            ),
        ),
        Mistake(
            "windows on an axis of their own",
            _axis_of_its_own,
            Text(
                "batch and windows are two axes, (B, W, M M, C): join them, so that the windows stand in the batch axis",
                "批次和窗口还是两维，即 (B, W, M·M, C)：请合并，让窗口排在批次维上",
            ),
        ),
        Mistake(
            "windows joined",
            _one_sequence_an_image,
            Text(
                "the windows of a map are joined into one sequence of h w tokens: each window is to be a sequence by itself",
                "一张特征图的所有窗口连成了一个长 h·w 的序列：每个窗口应当各自成为一个序列",
            ),
        ),
        Mistake(
            "channels before tokens",
            _channels_first,
            Text(
                "the last two axes have changed places: tokens are axis 1, channels axis 2",
                "最后两维颠倒了：token 是第 1 维，通道是第 2 维",
            ),
        ),
    ),
)
