"""Position embeddings for a grid of another size."""

import numpy as np

from vit_ms.checkin.exercise import Case, Exercise, Mistake, Text


def interpolate_positions(positions, rows, columns):
    grid = positions[0, 1:].reshape(rows.shape[1], columns.shape[1], -1)  # (r, c, D)
    grid = np.einsum("ih,jw,hwd->ijd", rows, columns, grid)  # (r', c', D)
    return np.concatenate([positions[:, :1], grid.reshape(1, -1, grid.shape[-1])], axis=1)


def _joined(join):
    """The right new patches, put together with the class token in another way."""

    def wrong(positions, rows, columns):
        return join(positions[:, :1], interpolate_positions(positions, rows, columns)[:, 1:])

    return wrong


def _last_token_apart(join):
    def wrong(positions, rows, columns):
        turned = np.concatenate([positions[:, -1:], positions[:, :-1]], axis=1)
        return join(positions[:, -1:], interpolate_positions(turned, rows, columns)[:, 1:])

    return wrong


def _in_front(token, patches):
    return np.concatenate([token, patches], axis=1)


def _behind(token, patches):
    return np.concatenate([patches, token], axis=1)


def _by_formula(formula, read=lambda patches, r, c: patches.reshape(r, c, -1)):
    """The grid read from the patches (r c, D) in another way, or summed by another formula."""

    def wrong(positions, rows, columns):
        grid = np.einsum(formula, rows, columns, read(positions[0, 1:], rows.shape[1], columns.shape[1]))
        return _in_front(positions[:, :1], grid.reshape(1, -1, positions.shape[-1]))

    return wrong


def _read_by_columns(patches, r, c):
    return patches.reshape(c, r, -1)


def _channels_first(patches, r, c):
    return patches.reshape(-1, r, c)


def _rows_alone(positions, rows, columns):
    return interpolate_positions(positions, rows, np.eye(columns.shape[1]))


def _columns_alone(positions, rows, columns):
    return interpolate_positions(positions, np.eye(rows.shape[1]), columns)


def _side(old, new):
    """(new, old): what each new place takes from the old ones, linear between them, with the corners kept."""
    places = np.linspace(0, old - 1, new)
    return np.maximum(0.0, 1.0 - np.abs(places[:, None] - np.arange(old)))


def cases(rng):
    for about, (r, c), (new_r, new_c), dim in (
        (Text("from 2 x 3 to 4 x 5, D = 7", "从 2 x 3 到 4 x 5，D = 7"), (2, 3), (4, 5), 7),
        (Text("from 4 x 4 to 3 x 2, D = 5", "从 4 x 4 到 3 x 2，D = 5"), (4, 4), (3, 2), 5),
        (Text("from 2 x 3 to 3 x 2, D = 3", "从 2 x 3 到 3 x 2，D = 3"), (2, 3), (3, 2), 3),
        (Text("the grid as it was, 3 x 2, D = 4", "网格不变，3 x 2，D = 4"), (3, 2), (3, 2), 4),
    ):
        positions = rng.standard_normal((1, 1 + r * c, dim)).astype(np.float32)
        yield Case(about, (positions, _side(r, new_r), _side(c, new_c)))


CLASS_TOKEN = Text(
    "the last token was kept apart: the class token is token 0, the patches are 1 to r c",
    "单独取出的是最后一个 token：类别 token 是第 0 个，图像块是第 1 到第 r·c 个",
)

MIXED = Text(
    "the patches (r c, D) were reshaped to (D, r, c), which mixes places with dimensions: reshape to (r, c, D), "
    "and transpose if you want D in front",
    "图像块 (r·c, D) 直接 reshape 成了 (D, r, c)，位置和维度混在了一起：应当 reshape 成 (r, c, D)，需要 D 在前时再转置",
)

EXERCISE = Exercise(
    name="interpolate_positions",
    notebook="08_transfer",
    section=5,
    kind="numpy",
    title=Text("Position embeddings for another grid", "为新网格插值位置编码"),
    statement=Text(
        "Write `interpolate_positions(positions, rows, columns)`: the position embeddings of a network for a grid of "
        "another size, which need not be square. `positions` is an array (1, 1 + r c, D): the vector of the class token, "
        "then those of the patches of a grid of r rows and c columns, row by row. `rows` (r', r) is the matrix $M$ for the "
        "rows, `columns` (c', c) that for the columns; the sizes of both grids are those of the matrices.\n\n"
        "$$e'_{ij} = \\sum_{h} \\sum_{w} \\text{rows}_{ih} \\, \\text{columns}_{jw} \\, e_{hw}$$\n\n"
        "The result is an array (1, 1 + r' c', D) in the same order. The vector of the class token stays as it is.",
        "写出 `interpolate_positions(positions, rows, columns)`：把网络的位置编码换成另一种大小的网格，网格不一定是正方形。"
        "`positions` 是形状为 (1, 1 + r·c, D) 的数组：先是类别 token 的向量，然后是 r 行 c 列网格上各图像块的向量，逐行排"
        "列。`rows` (r', r) 是行方向的矩阵 $M$，`columns` (c', c) 是列方向的；新旧网格的大小由这两个矩阵的形状给出。\n\n"
        "$$e'_{ij} = \\sum_{h} \\sum_{w} \\text{rows}_{ih} \\, \\text{columns}_{jw} \\, e_{hw}$$\n\n"
        "结果是形状为 (1, 1 + r'·c', D) 的数组，排列顺序相同。类别 token 的向量保持不变。",
    ),
    solution="interpolate_positions",
    starter="def interpolate_positions(positions, rows, columns):\n    ...\n",
    hints=(
        Text(
            "Three steps: take the class token off, interpolate the grid of the others, put the class token back in front.",
            "三步：取下类别 token，对其余向量组成的网格做插值，再把类别 token 放回最前面。",
        ),
        Text(
            "positions[0, 1:] is (r c, D), row by row: reshape it to (r, c, D), with r = rows.shape[1] and "
            "c = columns.shape[1].",
            "positions[0, 1:] 的形状是 (r·c, D)，逐行排列：reshape 成 (r, c, D)，其中 r = rows.shape[1]，"
            "c = columns.shape[1]。",
        ),
        Text(
            'new = np.einsum("ih,jw,hwd->ijd", rows, columns, grid); reshape it to (1, -1, D) and concatenate it behind '
            "positions[:, :1] along axis 1.",
            'new = np.einsum("ih,jw,hwd->ijd", rows, columns, grid)；reshape 成 (1, -1, D)，沿 axis=1 拼接在 '
            "positions[:, :1] 之后。",
        ),
    ),
    reference=interpolate_positions,
    cases=cases,
    mistakes=(
        Mistake(
            "class token last",
            _joined(_behind),
            Text(
                "the class token has come to the end: it is token 0 in the result too",
                "类别 token 放到了末尾：结果中它仍应是第 0 个 token",
            ),
        ),
        Mistake(
            "class token dropped",
            _joined(lambda token, patches: patches),
            Text(
                "the class token is gone: put its vector back in front of the patches",
                "类别 token 丢了：应当把它的向量放回图像块之前",
            ),
        ),
        Mistake(
            "class token of zeros",
            _joined(lambda token, patches: _in_front(0.0 * token, patches)),
            Text("the class token's vector is 0: it is to stay as it is", "类别 token 的向量成了 0：应当保持不变"),
        ),
        Mistake(
            "class token from the patches",
            _joined(lambda token, patches: _in_front(patches.mean(axis=1, keepdims=True), patches)),
            Text(
                "the class token has got the mean of the patches: its own vector is to stay as it is",
                "类别 token 的向量成了图像块的平均：应当保持它自己的向量不变",
            ),
        ),
        Mistake("last token as class token", _last_token_apart(_behind), CLASS_TOKEN),
        Mistake("last token as class token", _last_token_apart(_in_front), CLASS_TOKEN),
        Mistake("reshape without transpose", _by_formula("ih,jw,dhw->dij", _channels_first), MIXED),
        Mistake("reshape without transpose", _by_formula("ih,jw,dhw->ijd", _channels_first), MIXED),
        Mistake(
            "not transposed back",
            _by_formula("ih,jw,hwd->dij"),
            Text(
                "the new grid is (D, r', c') and was reshaped from there: transpose to (r', c', D) first",
                "新网格是 (D, r', c')，直接 reshape 了：应当先转置成 (r', c', D)",
            ),
        ),
        Mistake(
            "grid read by columns",
            _by_formula("ih,jw,whd->ijd", _read_by_columns),
            Text(
                "the patches were read as a grid (c, r): they come row by row, so the grid is (r, c)",
                "图像块被读成了 (c, r) 的网格：它们逐行排列，网格应为 (r, c)",
            ),
        ),
        Mistake(
            "new grid numbered by columns",
            _by_formula("ih,jw,hwd->jid"),
            Text(
                "the new vectors are right, their order is not: they are numbered down the columns, not along the rows",
                "新向量正确，顺序不对：按列从上往下排了，应当逐行排列",
            ),
        ),
        Mistake(
            "rows and columns confused",
            _by_formula("ih,jw,whd->jid", _read_by_columns),
            Text(
                "rows and columns are confused, in the old grid and in the new one: rows come first, (r, c) and (r', c')",
                "旧网格和新网格的行与列都弄反了：应当行在前，即 (r, c) 和 (r', c')",
            ),
        ),
        Mistake(
            "columns not interpolated",
            _rows_alone,
            Text(
                "only the rows are interpolated: the columns have a matrix of their own",
                "只对行做了插值：列也有自己的矩阵",
            ),
        ),
        Mistake(
            "rows not interpolated",
            _columns_alone,
            Text(
                "only the columns are interpolated: the rows have a matrix of their own",
                "只对列做了插值：行也有自己的矩阵",
            ),
        ),
        Mistake(
            "first axis lost",
            _joined(lambda token, patches: _in_front(token, patches)[0]),
            Text(
                "the values are right, the first axis of length 1 is missing: the result is (1, 1 + r' c', D)",
                "数值正确，缺少长度为 1 的第一维：结果应为 (1, 1 + r'·c', D)",
            ),
        ),
    ),
)
