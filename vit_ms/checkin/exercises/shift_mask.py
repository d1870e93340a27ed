"""The mask of shifted windows: which pairs of tokens may attend to each other."""

import numpy as np

from vit_ms.checkin.exercise import Case, Exercise, Mistake, Text


def _bands(length, M, shift):
    """Of each place of the shifted map: before the last window, in it, come round from the other side."""
    places = np.arange(length)
    return (places >= length - M).astype(int) + (places >= length - shift)


def _windows(of_tokens, M):
    """(h, w) -> (windows, M M)"""
    h, w = of_tokens.shape
    return of_tokens.reshape(h // M, M, w // M, M).swapaxes(1, 2).reshape(-1, M * M)


def _apart(of_window, right=0.0, wrong=-100.0):
    """(windows, M M) -> (windows, M M, M M)"""
    return np.where(of_window[:, :, None] == of_window[:, None, :], right, wrong)


def _regions(h, w, M, shift):
    return 3 * _bands(h, M, shift)[:, None] + _bands(w, M, shift)


def shift_mask(h, w, M, shift):
    return _apart(_windows(_regions(h, w, M, shift), M))


def _values(right, wrong):
    return lambda h, w, M, shift: _apart(_windows(_regions(h, w, M, shift), M), right, wrong)


def _of(regions):
    return lambda h, w, M, shift: _apart(_windows(regions(h, w, M, shift), M))


def _rows_alone(h, w, M, shift):
    return np.repeat(_bands(h, M, shift)[:, None], w, axis=1)


def _columns_alone(h, w, M, shift):
    return np.repeat(_bands(w, M, shift)[None], h, axis=0)


def _bands_added(h, w, M, shift):
    return _bands(h, M, shift)[:, None] + _bands(w, M, shift)


def _other_direction(h, w, M, shift):
    return _regions(h, w, M, shift)[::-1, ::-1]


def _rolled(h, w, M, shift):
    return np.roll(_regions(h, w, M, shift), (-shift, -shift), axis=(0, 1))


def _windows_of_before(h, w, M, shift):
    rows, columns = ((np.arange(length) // M) for length in (h, w))
    return np.roll(rows[:, None] * w + columns, (-shift, -shift), axis=(0, 1))


def _rest_of_the_window(h, w, M, shift):
    return _regions(h, w, M, M - shift if shift else 0)


def _half_a_window(h, w, M, shift):
    return _regions(h, w, M, M // 2)


def _window_transposed(h, w, M, shift):
    regions = _regions(h, w, M, shift).reshape(h // M, M, w // M, M)
    return _apart(regions.transpose(0, 2, 3, 1).reshape(-1, M * M))


def _by_columns(h, w, M, shift):
    regions = _regions(h, w, M, shift).reshape(h // M, M, w // M, M)
    return _apart(regions.transpose(2, 0, 1, 3).reshape(-1, M * M))


def _transposed(h, w, M, shift):
    return shift_mask(w, h, M, shift)


def _reshape_alone(h, w, M, shift):
    return _apart(_regions(h, w, M, shift).reshape(-1, M * M))


def _nothing_masked(h, w, M, shift):
    return np.zeros((h // M * (w // M), M * M, M * M))


def _whole_map(h, w, M, shift):
    return _apart(_regions(h, w, M, shift).reshape(1, -1))[0]


def cases(rng):
    for about, sizes in (
        (Text("12 x 18 tokens, M = 6, shift 1", "12 x 18 个 token，M = 6，移位 1"), (12, 18, 6, 1)),
        (Text("9 x 6 tokens, M = 3, shift 1", "9 x 6 个 token，M = 3，移位 1"), (9, 6, 3, 1)),
        (Text("12 x 8 tokens, M = 4, shift 2", "12 x 8 个 token，M = 4，移位 2"), (12, 8, 4, 2)),
        (Text("10 x 10 tokens, M = 5, shift 4", "10 x 10 个 token，M = 5，移位 4"), (10, 10, 5, 4)),
        (Text("not shifted", "不移位"), (8, 8, 4, 0)),
    ):
        yield Case(about, sizes)


EXERCISE = Exercise(
    name="shift_mask",
    notebook="11_swin",
    section=5,
    kind="numpy",
    title=Text("The mask of shifted windows", "移位窗口的掩码"),
    statement=Text(
        "Write `shift_mask(h, w, M, shift)` for maps that need not be square and any shift: the mask that is added to the "
        "scores of shifted windows. The result is an array of floats, (windows, M·M, M·M): 0 where two tokens of a window "
        "may attend to each other, -100 where not.\n\n"
        "The map of h x w tokens is moved up by `shift` rows and left by `shift` columns; what leaves it comes in again "
        "on the other side. Windows and the tokens in them are numbered row by row, as by `window_partition`. h and w are "
        "multiples of $M$, at least $2M$, and 0 ≤ `shift` < $M$; with `shift` = 0 all pairs of a window are allowed.",
        "写出 `shift_mask(h, w, M, shift)`，即加到移位窗口的注意力分数上的掩码；特征图不必是正方形，移位也可任取。结果是浮"
        "点数组，形状为 (窗口数, M·M, M·M)：同一窗口的两个 token 可以互相注意时为 0，否则为 -100。\n\n"
        "h x w 个 token 的特征图向上移动 `shift` 行、向左移动 `shift` 列，移出去的部分从另一侧补回来。窗口和窗口内的 token "
        "都逐行编号，与 `window_partition` 相同。h 和 w 是 $M$ 的倍数，且不小于 $2M$；0 ≤ `shift` < $M$，`shift` = 0 时窗口"
        "内的所有配对都允许。",
    ),
    solution="shift_mask",
    starter="def shift_mask(h, w, M, shift):\n    ...\n",
    hints=(
        Text(
            "Give each token of the shifted map the number of its region, cut this map of numbers into windows, and compare "
            "all pairs of a window.",
            "给移位后特征图的每个 token 标上区域编号，把这张编号图切成窗口，再比较窗口内的每一对。",
        ),
        Text(
            "Bands of the h rows: 1 from row h - M on, 2 from row h - shift on, 0 before. Likewise for the w columns. "
            "regions = 3 * row band + column band, (h, w).",
            "h 行的带：从第 h - M 行起为 1，从第 h - shift 行起为 2，之前为 0。w 列也一样。区域编号 = 3 × 行带 + 列带，形状"
            "为 (h, w)。",
        ),
        Text(
            "of_window = regions.reshape(h // M, M, w // M, M).swapaxes(1, 2).reshape(-1, M * M); then np.where("
            "of_window[:, :, None] == of_window[:, None, :], 0.0, -100.0).",
            "of_window = regions.reshape(h // M, M, w // M, M).swapaxes(1, 2).reshape(-1, M * M)；再用 np.where("
            "of_window[:, :, None] == of_window[:, None, :], 0.0, -100.0)。",
        ),
    ),
    reference=shift_mask,
    cases=cases,
    mistakes=(
        Mistake(
            "mask reversed",
            _values(-100.0, 0.0),
            Text(
                "the mask is reversed: tokens of the same region get 0, the others -100",
                "掩码反了：同一区域的 token 之间是 0，其余是 -100",
            ),
        ),
        Mistake(
            "true where allowed",
            _values(1.0, 0.0),
            Text(
                "the mask is true or 1 where attention is allowed: it is to be added to the scores, 0 where allowed and "
                "-100 elsewhere",
                "掩码在允许处是真或 1：它要加到分数上，允许处应为 0，其余为 -100",
            ),
        ),
        Mistake(
            "true where forbidden",
            _values(0.0, 1.0),
            Text(
                "the mask is true or 1 where attention is forbidden: what is added there is to be -100",
                "掩码在禁止处是真或 1：那里要加的是 -100",
            ),
        ),
        Mistake(
            "sign forgotten",
            _values(0.0, 100.0),
            Text(
                "+100 is added to the forbidden pairs: they would get all the attention; it is to be -100",
                "禁止的配对加了 +100：它们反而会得到全部注意力；应当是 -100",
            ),
        ),
        Mistake(
            "minus infinity",
            _values(0.0, -np.inf),
            Text(
                "minus infinity would do as well before this softmax, but -100 is asked for here, as in section 5 and in "
                "the code of Swin's authors",
                "在这里的 softmax 之前用负无穷也可以，但本题要求 -100，与第 5 小节和 Swin 作者的代码一致",
            ),
        ),
        Mistake(
            "nothing masked",
            _nothing_masked,
            Text(
                "no pair is masked: the last windows of each row and column hold tokens from opposite sides of the map",
                "没有屏蔽任何配对：每行、每列的最后一个窗口里都有来自特征图另一侧的 token",
            ),
        ),
        Mistake(
            "rows alone",
            _of(_rows_alone),
            Text(
                "only rows are told apart: windows at the right also hold columns that came from the left side",
                "只区分了行：右侧的窗口里还有从左侧绕过来的列",
            ),
        ),
        Mistake(
            "columns alone",
            _of(_columns_alone),
            Text(
                "only columns are told apart: windows at the bottom also hold rows that came from the top",
                "只区分了列：底部的窗口里还有从顶部绕过来的行",
            ),
        ),
        Mistake(
            "bands added",
            _of(_bands_added),
            Text(
                "two regions of the window at the corner have the same number, 1 + 2 = 2 + 1: number them 3 * row band + "
                "column band",
                "角上窗口的两个区域编号相同，1 + 2 = 2 + 1：应当用 3 × 行带 + 列带来编号",
            ),
        ),
        Mistake(
            "shift in the wrong direction",
            _of(_other_direction),
            Text(
                "the first windows are masked: the map moves up and to the left, so what comes round is in the last "
                "windows, at the bottom and at the right",
                "屏蔽出现在最前面的窗口：特征图向左上移动，绕过来的部分在最后的窗口，即底部和右侧",
            ),
        ),
        Mistake(
            "regions rolled",
            _of(_rolled),
            Text(
                "the regions are moved once more: their numbers are of places of the map that is shifted already",
                "区域编号又移动了一次：它们本来就是移位之后特征图上的位置",
            ),
        ),
        Mistake(
            "windows of before the shift",
            _of(_windows_of_before),
            Text(
                "every window is masked, as if only tokens that shared a window before the shift might attend: then nothing "
                "would cross the old borders. Only the last row and the last column of windows need a mask",
                "每个窗口都被屏蔽了，好像只有移位之前同一窗口的 token 才能互相注意：这样信息就越不过旧窗口的边界。只有最后一"
                "排和最后一列窗口需要掩码",
            ),
        ),
        Mistake(
            "rest of the window",
            _of(_rest_of_the_window),
            Text(
                "the border lies `shift` behind the start of the last window: `shift` rows came round, so it lies at row "
                "h - shift, and the columns likewise",
                "分界画在了最后一个窗口开头之后 `shift` 行处：绕过来的有 shift 行，分界应在第 h - shift 行，列也一样",
            ),
        ),
        Mistake(
            "half a window always",
            _of(_half_a_window),
            Text(
                "the argument shift is not used: M // 2 rows and columns are taken to have come round",
                "没有用到参数 shift：总是按 M // 2 行、列来计算",
            ),
        ),
        Mistake(
            "window transposed",
            _window_transposed,
            Text(
                "inside a window rows and columns have changed places: its tokens are numbered row by row",
                "窗口内的行和列对调了：token 应当逐行编号",
            ),
        ),
        Mistake(
            "numbered by columns",
            _by_columns,
            Text(
                "the windows are numbered down the columns of the map, not along its rows",
                "窗口按列从上往下编号了，应当逐行编号",
            ),
        ),
        Mistake(
            "height and width swapped",
            _transposed,
            Text(
                "rows and columns have changed places everywhere: the map has h rows and w columns",
                "行和列全都对调了：特征图有 h 行、w 列",
            ),
        ),
        Mistake(
            "reshape alone",
            _reshape_alone,
            Text(
                "the regions are cut into windows by a reshape alone, which takes M M consecutive tokens of the map: use "
                "window_partition",
                "只用 reshape 把区域编号切成窗口，取到的是特征图中连续的 M·M 个 token：应当用 window_partition 的做法",
            ),
        ),
        Mistake(
            "whole map",
            _whole_map,
            Text(
                "all pairs of tokens of the map are compared: cut the regions into windows first, then compare inside each",
                "比较了整张特征图的所有配对：应当先把区域编号切成窗口，再在每个窗口内比较",
            ),
        ),
    ),
)
