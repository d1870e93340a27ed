"""The index into Swin's table of position biases."""

import numpy as np

from vit_ms.checkin.exercise import Case, Exercise, Mistake, Text


def _distances(rows, columns):
    """Of token i below and right of token j: two arrays (N, N)."""
    row, column = np.divmod(np.arange(rows * columns), columns)
    return row[:, None] - row[None], column[:, None] - column[None]


def relative_position_index(rows, columns):
    down, right = _distances(rows, columns)
    return (down + rows - 1) * (2 * columns - 1) + right + columns - 1


def _with(rule):
    """The rule, of distances and of the window's sides."""
    return lambda rows, columns: rule(*_distances(rows, columns), rows, columns)


def _transposed(rows, columns):
    return relative_position_index(rows, columns).T


def _tokens_by_columns(rows, columns):
    column, row = np.divmod(np.arange(rows * columns), rows)
    down, right = row[:, None] - row[None], column[:, None] - column[None]
    return (down + rows - 1) * (2 * columns - 1) + right + columns - 1


def _pairs_numbered(rows, columns):
    return np.arange((rows * columns) ** 2).reshape(rows * columns, -1)


def _square(side):
    return lambda rows, columns: relative_position_index(side(rows, columns), side(rows, columns))


def _axes_kept(rows, columns):
    return relative_position_index(rows, columns).reshape(rows, columns, rows, columns)


def cases(rng):
    for about, sizes in (
        (Text("3 rows, 4 columns", "3 行 4 列"), (3, 4)),
        (Text("5 rows, 2 columns", "5 行 2 列"), (5, 2)),
        (Text("square, M = 9", "正方形窗口，M = 9"), (9, 9)),
        (Text("a single row", "只有 1 行"), (1, 6)),
    ):
        yield Case(about, sizes)


EXERCISE = Exercise(
    name="relative_position_index",
    notebook="11_swin",
    section=7,
    kind="numpy",
    title=Text("The index of relative positions", "相对位置的索引"),
    statement=Text(
        "Write `relative_position_index(rows, columns)` for a window that need not be square: $M_r$ = `rows`, $M_c$ = "
        "`columns`, tokens numbered row by row from 0. The table of biases then has $(2M_r - 1)(2M_c - 1)$ rows, sorted "
        "first by the distance in rows, then by the distance in columns, each from the most negative on.\n\n"
        "The result is an array of whole numbers (N, N), $N = M_r M_c$. Its entry $(i, j)$ says which row of the table "
        "the pair has, counted from 0, where token $i$ lies $\\Delta r$ rows below and $\\Delta c$ columns right of token "
        "$j$. For $M_r = M_c = M$ that is the index of section 7.",
        "写出 `relative_position_index(rows, columns)`，窗口不必是正方形：$M_r$ = `rows` 行、$M_c$ = `columns` 列，token 从 "
        "0 起逐行编号。偏置表共有 $(2M_r - 1)(2M_c - 1)$ 行，先按行距、再按列距排列，都从最小的负数开始。\n\n"
        "结果是形状为 (N, N) 的整数数组，$N = M_r M_c$。元素 $(i, j)$ 是这对 token 查表的行号，从 0 数起，其中 token $i$ 在 "
        "token $j$ 下方 $\\Delta r$ 行、右方 $\\Delta c$ 列。$M_r = M_c = M$ 时，就是第 7 小节的索引。",
    ),
    solution="relative_position_index",
    starter="def relative_position_index(rows, columns):\n    ...\n",
    hints=(
        Text(
            "Row and column of token i are i // columns and i % columns. How many different distances are there in each "
            "direction, and which is the smallest?",
            "token i 的行、列分别是 i // columns 和 i % columns。每个方向各有多少种距离，最小的是多少？",
        ),
        Text(
            "Shift both distances so that they begin at 0: by rows - 1 and by columns - 1. One step in rows then skips all "
            "distances in columns, of which there are 2 columns - 1.",
            "把两种距离平移到从 0 开始：分别加 rows - 1 和 columns - 1。行距每增加 1，就要跨过全部列距，共 2 * columns - 1 "
            "种。",
        ),
        Text(
            "index = (down + rows - 1) * (2 * columns - 1) + right + columns - 1, with down = row[:, None] - row[None, :] "
            "and right likewise.",
            "index = (down + rows - 1) * (2 * columns - 1) + right + columns - 1，其中 down = row[:, None] - row[None, :]，"
            "right 同理。",
        ),
    ),
    reference=relative_position_index,
    cases=cases,
    mistakes=(
        Mistake(
            "offsets forgotten",
            _with(lambda down, right, m, n: down * (2 * n - 1) + right),
            Text(
                "there are negative entries: shift the distances by rows - 1 and columns - 1, so that both begin at 0",
                "出现了负的索引：应当给两种距离分别加上 rows - 1 和 columns - 1，使它们都从 0 开始",
            ),
        ),
        Mistake(
            "offset of the rows forgotten",
            _with(lambda down, right, m, n: down * (2 * n - 1) + right + n - 1),
            Text(
                "the distance in rows is not shifted: add rows - 1 before it is multiplied",
                "行距没有平移：相乘之前要加上 rows - 1",
            ),
        ),
        Mistake(
            "offset of the columns forgotten",
            _with(lambda down, right, m, n: (down + m - 1) * (2 * n - 1) + right),
            Text("the distance in columns is not shifted: add columns - 1", "列距没有平移：要加上 columns - 1"),
        ),
        Mistake(
            "offsets after the product",
            _with(lambda down, right, m, n: down * (2 * n - 1) + m - 1 + right + n - 1),
            Text(
                "rows - 1 is added after the product: shift the distance in rows first, then multiply",
                "rows - 1 在相乘之后才加：应当先平移行距，再相乘",
            ),
        ),
        Mistake(
            "offsets swapped",
            _with(lambda down, right, m, n: (down + n - 1) * (2 * n - 1) + right + m - 1),
            Text(
                "the two offsets have changed places: rows - 1 goes with the distance in rows",
                "两个平移量用反了：行距加 rows - 1，列距加 columns - 1",
            ),
        ),
        Mistake(
            "offsets one too large",
            _with(lambda down, right, m, n: (down + m) * (2 * n - 1) + right + n),
            Text(
                "the offsets are rows and columns: the smallest distance is -(rows - 1), so rows - 1 makes it 0",
                "平移量用了 rows 和 columns：最小的距离是 -(rows - 1)，加 rows - 1 就到 0",
            ),
        ),
        Mistake(
            "factor forgotten",
            _with(lambda down, right, m, n: down + m - 1 + right + n - 1),
            Text(
                "the two distances are only added, so that different ones share an entry: multiply the distance in rows by "
                "2 columns - 1",
                "两种距离只是相加，不同的距离会落到同一行：行距要乘 2 * columns - 1",
            ),
        ),
        Mistake(
            "factor columns",
            _with(lambda down, right, m, n: (down + m - 1) * n + right + n - 1),
            Text(
                "the distance in rows is multiplied by columns, so that the index is i - j, the distance in the sequence, "
                "but for a constant. There are 2 columns - 1 distances in columns, negative ones too",
                "行距乘了 columns，除一个常数外，索引就成了序列中的距离 i - j。列距有正有负，共 2 * columns - 1 种",
            ),
        ),
        Mistake(
            "factor 2 columns",
            _with(lambda down, right, m, n: (down + m - 1) * 2 * n + right + n - 1),
            Text(
                "the distance in rows is multiplied by 2 columns: the distances in columns are -(columns - 1) to columns - "
                "1, one fewer",
                "行距乘了 2 * columns：列距从 -(columns - 1) 到 columns - 1，要少一种",
            ),
        ),
        Mistake(
            "factor of the rows",
            _with(lambda down, right, m, n: (down + m - 1) * (2 * m - 1) + right + n - 1),
            Text(
                "the distance in rows is multiplied by 2 rows - 1: one step in rows skips the distances in columns, "
                "2 columns - 1",
                "行距乘了 2 * rows - 1：行距每增加 1，要跨过的是全部列距，即 2 * columns - 1",
            ),
        ),
        Mistake(
            "rows and columns swapped",
            _with(lambda down, right, m, n: (right + n - 1) * (2 * m - 1) + down + m - 1),
            Text(
                "the distance in columns is multiplied: the table is sorted by the distance in rows first",
                "相乘的是列距：表先按行距排列，应当是行距相乘",
            ),
        ),
        Mistake(
            "j - i",
            _transposed,
            Text(
                "the index is transposed: entry (i, j) has the place of i seen from j, row of i minus row of j",
                "索引转置了：元素 (i, j) 是从 j 看 i 的位置，即 i 的行号减 j 的行号",
            ),
        ),
        Mistake(
            "absolute distances",
            _with(lambda down, right, m, n: abs(down) * (2 * n - 1) + abs(right)),
            Text(
                "the signs of the distances are lost: left and right, above and below have entries of their own",
                "距离的符号丢失了：左与右、上与下各有自己的一行",
            ),
        ),
        Mistake(
            "absolute distances",
            _with(lambda down, right, m, n: abs(down) * n + abs(right)),
            Text(
                "the signs of the distances are lost: left and right, above and below have entries of their own",
                "距离的符号丢失了：左与右、上与下各有自己的一行",
            ),
        ),
        Mistake(
            "tokens by columns",
            _tokens_by_columns,
            Text(
                "the tokens are numbered column by column: the row of token i is i // columns, its column i % columns",
                "token 按列编号了：token i 的行是 i // columns，列是 i % columns",
            ),
        ),
        Mistake(
            "sign of the rows",
            _with(lambda down, right, m, n: (m - 1 - down) * (2 * n - 1) + right + n - 1),
            Text(
                "the distance in rows has the wrong sign, row of j minus row of i; that in columns is right",
                "行距的符号反了，成了 j 的行号减 i 的行号；列距是对的",
            ),
        ),
        Mistake(
            "sign of the columns",
            _with(lambda down, right, m, n: (down + m - 1) * (2 * n - 1) + n - 1 - right),
            Text(
                "the distance in columns has the wrong sign, column of j minus column of i; that in rows is right",
                "列距的符号反了，成了 j 的列号减 i 的列号；行距是对的",
            ),
        ),
        Mistake(
            "counted from 1",
            _with(lambda down, right, m, n: (down + m - 1) * (2 * n - 1) + right + n),
            Text(
                "all entries are 1 too large: the rows of the table count from 0", "所有元素都大 1：表的行号从 0 数起"
            ),
        ),
        Mistake(
            "pairs numbered",
            _pairs_numbered,
            Text(
                "each pair has an entry of its own: pairs with the same distance are to share one",
                "每一对 token 各占一行：相对位置相同的配对应当共用一行",
            ),
        ),
        Mistake(
            "square of the rows",
            _square(lambda rows, columns: rows),
            Text(
                "columns is not used: the window has rows x columns tokens",
                "没有用到 columns：窗口有 rows x columns 个 token",
            ),
        ),
        Mistake(
            "square of the columns",
            _square(lambda rows, columns: columns),
            Text(
                "rows is not used: the window has rows x columns tokens",
                "没有用到 rows：窗口有 rows x columns 个 token",
            ),
        ),
        Mistake(
            "tokens as a grid",
            _axes_kept,
            Text(
                "the tokens are still grids (rows, columns): the result is (N, N), N = rows * columns",
                "token 还是 (rows, columns) 的网格：结果应为 (N, N)，N = rows * columns",
            ),
        ),
    ),
)
