"""How alike the position embeddings of each two places are."""

import numpy as np

from vit_ms.checkin.exercise import Case, Exercise, Mistake, Text


def similarity_maps(positions, rows, columns):
    e = positions[0, 1:]  # (N, D), without the class token
    unit = e / np.linalg.norm(e, axis=1, keepdims=True)
    return (unit @ unit.T).reshape(rows, columns, rows, columns)


def _of(e, rows, columns):
    """The right maps of any N vectors."""
    return similarity_maps(np.concatenate([e[:1], e])[None], rows, columns)


def _products(unit):
    """The maps of products, of the vectors (N, D) as another function makes them."""

    def wrong(positions, rows, columns):
        made = unit(positions[0, 1:])
        return (made @ made.T).reshape(rows, columns, rows, columns)

    return wrong


def _made_of(maps):
    """What another function makes of the right maps, or of their matrix (N, N)."""

    def wrong(positions, rows, columns):
        return maps(similarity_maps(positions, rows, columns))

    return wrong


def _one_norm(shape):
    def wrong(positions, rows, columns):
        e = positions[0, 1:]
        norms = np.linalg.norm(e, axis=1).reshape(shape)
        return (e @ e.T / norms).reshape(rows, columns, rows, columns)

    return wrong


def _class_token_first(positions, rows, columns):
    return _of(positions[0, :-1], rows, columns)


def _class_token_too(positions, rows, columns):
    unit = positions[0] / np.linalg.norm(positions[0], axis=1, keepdims=True)
    return unit @ unit.T


def _distances(positions, rows, columns):
    e = positions[0, 1:]
    apart = np.sqrt(((e[:, None] - e) ** 2).sum(axis=2))
    return apart.reshape(rows, columns, rows, columns)


def _centred(axis):
    def wrong(positions, rows, columns):
        e = positions[0, 1:]
        return _of(e - e.mean(axis=axis, keepdims=True), rows, columns)

    return wrong


def _grid_turned(positions, rows, columns):
    return similarity_maps(positions, columns, rows)


def cases(rng):
    for about, (rows, columns, dim) in (
        (Text("a grid of 2 rows and 4 columns, D = 5", "2 行 4 列的网格，D = 5"), (2, 4, 5)),
        (Text("a grid of 3 x 3, D = 4", "3 x 3 的网格，D = 4"), (3, 3, 4)),
        (Text("a single column of 5 places, D = 6", "只有一列、5 个位置，D = 6"), (5, 1, 6)),
    ):
        lengths = rng.uniform(0.5, 2.0, (1, 1 + rows * columns, 1))
        start = rng.uniform(0.2, 0.5, dim)  # the mean of the places is not 0
        positions = lengths * (start + rng.standard_normal((1, 1 + rows * columns, dim)))
        yield Case(about, (positions.astype(np.float32), rows, columns))


ONE_NORM = Text(
    "the products are divided by the length of one of the two vectors: divide by both",
    "内积只除以了其中一个向量的长度：两个长度都要除",
)

EXERCISE = Exercise(
    name="position_similarity",
    notebook="09_looking_inside",
    section=2,
    kind="numpy",
    title=Text("Similarity of position embeddings", "位置编码的相似度"),
    statement=Text(
        "Write `similarity_maps(positions, rows, columns)`: how alike the position embeddings of all places are, as small "
        "pictures. `positions` is a float array (1, 1 + N, D): the vector of the class token, then those of the N = "
        "`rows` · `columns` patches, row by row. The grid need not be square.\n\n"
        "The result is an array (rows, columns, rows, columns): at [r, c, i, j] stands the cosine similarity $s$ of the "
        "patch in row r, column c with the patch in row i, column j, so that [r, c] is the picture for one patch. The class "
        "token has no part in it.",
        "写出 `similarity_maps(positions, rows, columns)`：所有位置的位置编码彼此有多相似，排成一张张小图。`positions` 是"
        "形状为 (1, 1 + N, D) 的浮点数组：先是类别 token 的向量，然后是 N = `rows` · `columns` 个图像块的向量，逐行排列。"
        "网格不一定是正方形。\n\n"
        "结果是形状为 (rows, columns, rows, columns) 的数组：[r, c, i, j] 处是第 r 行第 c 列的图像块与第 i 行第 j 列的图像块"
        "的余弦相似度 $s$，因此 [r, c] 就是一个图像块的小图。类别 token 不参与计算。",
    ),
    solution="similarity_maps",
    starter="def similarity_maps(positions, rows, columns):\n    ...\n",
    hints=(
        Text(
            "Bring every vector to length 1 first; then the cosine of two of them is their dot product.",
            "先把每个向量都变成长度 1，两个向量的余弦就是它们的内积。",
        ),
        Text(
            "The length of a place's vector is over its D numbers: np.linalg.norm(e, axis=1, keepdims=True) for e (N, D). "
            "One matrix product gives all pairs, (N, N).",
            "一个位置的向量长度由它的 D 个数算出：e 为 (N, D) 时，是 np.linalg.norm(e, axis=1, keepdims=True)。一次矩阵乘法"
            "就得到所有配对，形状为 (N, N)。",
        ),
        Text(
            "e = positions[0, 1:]; unit = e / norms; (unit @ unit.T).reshape(rows, columns, rows, columns).",
            "e = positions[0, 1:]；unit = e / 长度；最后是 (unit @ unit.T).reshape(rows, columns, rows, columns)。",
        ),
    ),
    reference=similarity_maps,
    cases=cases,
    mistakes=(
        Mistake(
            "norms forgotten",
            _products(lambda e: e),
            Text(
                "these are the dot products: divide by the lengths of both vectors",
                "这是内积：还要除以两个向量的长度",
            ),
        ),
        Mistake(
            "one norm for all",
            _products(lambda e: e / np.linalg.norm(e)),
            Text(
                "all numbers were divided by one length, that of the whole table: each place's vector has its own (axis=1)",
                "所有数都除以了同一个长度，即整张表的范数：每个位置的向量各有自己的长度（axis=1）",
            ),
        ),
        Mistake(
            "norm over the places",
            _products(lambda e: e / np.linalg.norm(e, axis=0)),
            Text(
                "the norm is taken along the places (axis 0): take it over the D numbers of each place",
                "范数沿着位置（axis=0）计算了：应当对每个位置的 D 个数计算",
            ),
        ),
        Mistake(
            "root of the norm forgotten",
            _products(lambda e: e / (e**2).sum(axis=1, keepdims=True)),
            Text(
                "the vectors are divided by the square of their length: the root is missing",
                "向量除以了长度的平方：缺少开方",
            ),
        ),
        Mistake(
            "norm of sums",
            _products(lambda e: e / np.abs(e).sum(axis=1, keepdims=True)),
            Text(
                "the vectors are divided by the sum of their absolute values: the length is the root of the sum of squares",
                "向量除以了绝对值之和：长度是平方和的平方根",
            ),
        ),
        Mistake("one of two norms", _one_norm((-1, 1)), ONE_NORM),
        Mistake("one of two norms", _one_norm((1, -1)), ONE_NORM),
        Mistake(
            "correlation",
            _centred(1),
            Text(
                "each vector's mean is taken off first: that is the correlation, the cosine takes the vectors as they are",
                "每个向量先减去了自己的均值：这是相关系数，余弦直接用原来的向量",
            ),
        ),
        Mistake(
            "mean of the places taken off",
            _centred(0),
            Text(
                "the mean vector of all places is taken off first: the cosine takes the vectors as they are",
                "先减去了所有位置的平均向量：余弦直接用原来的向量",
            ),
        ),
        Mistake(
            "distance",
            _distances,
            Text(
                "these are distances of the vectors, 0 for a place and itself: the cosine of a place with itself is 1",
                "这是向量之间的距离，与自己的距离为 0：余弦相似度与自己应当是 1",
            ),
        ),
        Mistake(
            "cosine distance",
            _made_of(lambda maps: 1 - maps),
            Text(
                "this is 1 minus the similarity, the cosine distance: it is 0 where the similarity is 1",
                "这是 1 减去相似度，即余弦距离：相似度为 1 处它是 0",
            ),
        ),
        Mistake(
            "absolute value",
            _made_of(np.abs),
            Text("the sign is lost: a cosine may be negative", "符号丢了：余弦可以是负数"),
        ),
        Mistake(
            "class token as a patch",
            _class_token_first,
            Text(
                "the class token is taken for the first patch, the last patch is left out: the patches are tokens 1 to N",
                "类别 token 被当成了第一个图像块，最后一个图像块被丢掉：图像块是第 1 到第 N 个 token",
            ),
        ),
        Mistake(
            "class token left in",
            _class_token_too,
            Text(
                "the class token is among the places: leave it out before comparing",
                "类别 token 也算作了一个位置：比较之前应当去掉",
            ),
        ),
        Mistake(
            "matrix",
            _made_of(lambda maps: maps.reshape(maps.shape[0] * maps.shape[1], -1)),
            Text(
                "the similarities are still a matrix (N, N): reshape both axes to the grid",
                "相似度还是 (N, N) 的矩阵：两维都要 reshape 成网格",
            ),
        ),
        Mistake(
            "one picture a place",
            _made_of(lambda maps: maps.reshape(-1, *maps.shape[2:])),
            Text(
                "the result is (N, rows, columns): the first axis is to be a grid as well, (rows, columns, rows, columns)",
                "结果是 (N, rows, columns)：第一维也要变成网格，即 (rows, columns, rows, columns)",
            ),
        ),
        Mistake(
            "rows and columns swapped",
            _grid_turned,
            Text(
                "rows and columns have changed places in the reshape",
                "reshape 时 rows 和 columns 的顺序反了",
            ),
        ),
    ),
)
