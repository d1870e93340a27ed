"""The mean attention distance of a head."""

import numpy as np

from vit_ms.checkin.exercise import Case, Exercise, Mistake, Text


def _places(rows, columns):
    return np.stack(np.divmod(np.arange(rows * columns), columns), axis=1).astype(float)  # (M, 2), row and column


def _lengths(rows, columns, norm=None):
    places = _places(rows, columns)
    return np.linalg.norm(places[:, None] - places[None], ord=norm, axis=-1)  # (M, M), in patches


def _of_patches(A):
    return A[..., 1:, 1:].astype(float)


def _renormalised(A):
    A = _of_patches(A)
    return A / A.sum(axis=-1, keepdims=True)


def attention_distance(A, rows, columns, patch_size):
    lengths = patch_size * _lengths(rows, columns)
    return (_renormalised(A) * lengths).sum(axis=-1).mean(axis=(0, 2))


def _with(weights=_renormalised, lengths=_lengths, mean=lambda distances: distances.mean(axis=(0, 2))):
    """Right but for what is given."""

    def wrong(A, rows, columns, patch_size):
        return mean((weights(A) * lengths(rows, columns) * patch_size).sum(axis=-1))

    return wrong


def _in_patches(A, rows, columns, patch_size):
    return attention_distance(A, rows, columns, 1)


def _squared(A, rows, columns, patch_size):
    lengths = (patch_size * _lengths(rows, columns)) ** 2
    return (_renormalised(A) * lengths).sum(axis=-1).mean(axis=(0, 2))


def _root_mean_square(A, rows, columns, patch_size):
    lengths = (patch_size * _lengths(rows, columns)) ** 2
    return np.sqrt((_renormalised(A) * lengths).sum(axis=-1)).mean(axis=(0, 2))


def _not_weighted(A, rows, columns, patch_size):
    return np.full(A.shape[1], patch_size * _lengths(rows, columns).mean())


def _to_the_largest(A, rows, columns, patch_size):
    largest = _of_patches(A).argmax(axis=-1)  # (B, H, M)
    asking = np.arange(rows * columns)
    return patch_size * _lengths(rows, columns)[asking, largest].mean(axis=(0, 2))


def _to_the_mean_place(A, rows, columns, patch_size):
    places = _places(rows, columns)
    moved = _renormalised(A) @ places - places  # (B, H, M, 2)
    return patch_size * np.linalg.norm(moved, axis=-1).mean(axis=(0, 2))


def _last_token_left_out(A):
    A = A[..., :-1, :-1].astype(float)
    return A / A.sum(axis=-1, keepdims=True)


def _over_the_asking(A):
    A = _of_patches(A)
    return A / A.sum(axis=-2, keepdims=True)


def _as_a_whole(A):
    A = _of_patches(A)
    return A / A.mean(axis=-2, keepdims=True).sum(axis=-1, keepdims=True)


def _mean_over_tokens(A, rows, columns, patch_size):
    return _with(weights=_of_patches)(A, rows, columns, patch_size) * (rows * columns) / (rows * columns + 1)


def cases(rng):
    for about, (b, h, rows, columns, patch_size) in (
        (Text("2 images, 3 heads, 3 x 4 patches, P = 8", "2 张图像、3 个头，3 x 4 个图像块，P = 8"), (2, 3, 3, 4, 8)),
        (Text("one image, 2 heads, 5 x 2 patches, P = 4", "1 张图像、2 个头，5 x 2 个图像块，P = 4"), (1, 2, 5, 2, 4)),
        (Text("one head, 4 x 4 patches, P = 14", "1 个头，4 x 4 个图像块，P = 14"), (3, 1, 4, 4, 14)),
    ):
        n = rows * columns + 1
        scores = 1.5 * rng.standard_normal((b, h, n, n))
        scores[..., 0] += 1.0  # the class token takes a share that is seen
        A = np.exp(scores)
        yield Case(about, ((A / A.sum(axis=-1, keepdims=True)).astype(np.float32), rows, columns, patch_size))


EXERCISE = Exercise(
    name="attention_distance",
    notebook="09_looking_inside",
    section=6,
    kind="numpy",
    title=Text("The mean attention distance", "平均注意力距离"),
    statement=Text(
        "Write `attention_distance(A, rows, columns, patch_size)` for one block of a network. `A` is an array (B, H, N, N) "
        "of attention weights, each row (the last axis) sums to 1. Token 0 is the class token, the others are a grid of "
        "`rows` x `columns` patches, not always square, numbered row by row; $N$ = `rows` · `columns` + 1.\n\n"
        "The result is an array (H,): for each head the mean attention distance of section 6 in pixels,\n\n"
        "$$\\frac{1}{M} \\sum_{i} \\sum_{j} A_{ij} \\, \\lVert p_i - p_j \\rVert, \\qquad M = \\text{rows} \\cdot "
        "\\text{columns},$$\n\n"
        "as a mean over the images. The class token is left out on both sides, and the rest of each row is made to sum to 1 "
        "first. $p_i$ is the centre of a patch of `patch_size` x `patch_size` pixels, $\\lVert \\cdot \\rVert$ the "
        "Euclidean length.",
        "写出 `attention_distance(A, rows, columns, patch_size)`，计算网络中一层的结果。`A` 是形状为 (B, H, N, N) 的注意力"
        "权重数组，每行（最后一维）之和为 1。第 0 个 token 是类别 token，其余是 `rows` x `columns` 的图像块网格，不一定是"
        "正方形，逐行编号；$N$ = `rows` · `columns` + 1。\n\n"
        "结果是形状为 (H,) 的数组：每个头按第 6 小节定义的平均注意力距离，以像素为单位，\n\n"
        "$$\\frac{1}{M} \\sum_{i} \\sum_{j} A_{ij} \\, \\lVert p_i - p_j \\rVert, \\qquad M = \\text{rows} \\cdot "
        "\\text{columns},$$\n\n"
        "再对所有图像求平均。查询和被查询两侧都先去掉类别 token，每行其余的权重重新归一化，使和为 1。$p_i$ 是边长 "
        "`patch_size` 像素的图像块的中心，$\\lVert \\cdot \\rVert$ 是欧氏长度。",
    ),
    solution="attention_distance",
    starter="def attention_distance(A, rows, columns, patch_size):\n    ...\n",
    hints=(
        Text(
            "Two parts: the distances of all pairs of patches, (M, M), which do not depend on A; and the weights of patches "
            "to patches, (B, H, M, M).",
            "分两部分：所有图像块两两之间的距离，形状为 (M, M)，与 A 无关；图像块对图像块的权重，形状为 (B, H, M, M)。",
        ),
        Text(
            "Row and column of patch i are i // columns and i % columns; neighbouring centres are patch_size apart. The "
            "weights: A[..., 1:, 1:], divided by their sum over the last axis.",
            "图像块 i 的行、列是 i // columns 和 i % columns；相邻的中心相距 patch_size。权重：A[..., 1:, 1:] 除以它沿最后"
            "一维的和。",
        ),
        Text(
            "(weights * distances).sum(axis=-1) has the shape (B, H, M), a distance for each asking patch; then take the "
            "mean over the axes 0 and 2.",
            "(weights * distances).sum(axis=-1) 的形状是 (B, H, M)，即每个发出查询的图像块的距离；再对第 0 维和第 2 维求"
            "平均。",
        ),
    ),
    reference=attention_distance,
    cases=cases,
    mistakes=(
        Mistake(
            "not renormalised",
            _with(weights=_of_patches),
            Text(
                "the weights without the class token are not made to sum to 1: divide each row by its sum",
                "去掉类别 token 后，权重没有重新归一化：每行要除以该行的和",
            ),
        ),
        Mistake(
            "class token as a place",
            _mean_over_tokens,
            Text(
                "the class token counts as one at distance 0: leave it out as asking token, too, and make the other weights "
                "of a row sum to 1",
                "类别 token 被当作距离为 0 的一个位置：查询一侧也要去掉它，并把每行其余的权重归一化",
            ),
        ),
        Mistake(
            "last token left out",
            _with(weights=_last_token_left_out),
            Text(
                "the last token is left out, and the class token taken as a patch: the class token is the first, A[..., 1:, "
                "1:]",
                "去掉的是最后一个 token，类别 token 却当成了图像块：类别 token 是第一个，应取 A[..., 1:, 1:]",
            ),
        ),
        Mistake(
            "renormalised over the asking",
            _with(weights=_over_the_asking),
            Text(
                "the weights are made to sum to 1 over the asking patches (axis -2): it is to be over those asked, axis -1",
                "沿发出查询的图像块（axis=-2）归一化了：应当沿被查询的图像块，即 axis=-1",
            ),
        ),
        Mistake(
            "renormalised as a whole",
            _with(weights=_as_a_whole),
            Text(
                "all weights of an image and head are divided by one sum: each row is to be divided by its own",
                "同一图像、同一个头的权重都除以了同一个总和：每行应除以该行自己的和",
            ),
        ),
        Mistake(
            "in patches",
            _in_patches,
            Text("the distance is in patches: multiply by patch_size", "距离的单位是图像块：要乘以 patch_size"),
        ),
        Mistake(
            "squared distance",
            _squared,
            Text("the squares of the distances are taken: the root is missing", "用的是距离的平方：缺少开方"),
        ),
        Mistake(
            "root mean square",
            _root_mean_square,
            Text(
                "the squares of the distances are weighted and the root taken of their mean: take the root of each distance "
                "first, then weight",
                "先对距离的平方加权平均、再开方了：应当先求出每个距离，再加权",
            ),
        ),
        Mistake(
            "city block",
            _with(lengths=lambda rows, columns: _lengths(rows, columns, 1)),
            Text(
                "rows and columns are added: that is the city-block distance, the length is sqrt(rows^2 + columns^2)",
                "行距与列距直接相加了：这是曼哈顿距离，长度应为 sqrt(行距² + 列距²)",
            ),
        ),
        Mistake(
            "larger of the two",
            _with(lengths=lambda rows, columns: _lengths(rows, columns, np.inf)),
            Text(
                "the larger of the two distances, in rows and in columns, is taken: the length is sqrt(rows^2 + columns^2)",
                "取了行距与列距中较大的一个：长度应为 sqrt(行距² + 列距²)",
            ),
        ),
        Mistake(
            "grid transposed",
            _with(lengths=lambda rows, columns: _lengths(columns, rows)),
            Text(
                "the patches are placed with `rows` of them in a row: the row of patch i is i // columns, its column i % "
                "columns",
                "摆放图像块时每行放了 rows 个：图像块 i 的行是 i // columns，列是 i % columns",
            ),
        ),
        Mistake(
            "not weighted",
            _not_weighted,
            Text(
                "all patches count alike: weight the distances by attention",
                "所有图像块的权重都一样：距离要按注意力加权",
            ),
        ),
        Mistake(
            "largest weight alone",
            _to_the_largest,
            Text(
                "this is the distance to the patch with the largest weight: all patches count, by their weights",
                "这是到权重最大的那个图像块的距离：所有图像块都要按权重计入",
            ),
        ),
        Mistake(
            "distance to the mean place",
            _to_the_mean_place,
            Text(
                "this is the distance to the mean of the places: patches on opposite sides cancel out. Take the mean of the "
                "distances",
                "这是到平均位置的距离：两侧的图像块会互相抵消。应当对距离求平均",
            ),
        ),
        Mistake(
            "sum over the asking",
            _with(mean=lambda distances: distances.sum(axis=-1).mean(axis=0)),
            Text(
                "the asking patches are added up: take their mean, 1 / M of the sum",
                "对发出查询的图像块求了和：应当求平均，即除以 M",
            ),
        ),
        Mistake(
            "mean over the asked",
            _with(mean=lambda distances: distances.mean(axis=(0, 2)) / distances.shape[-1]),
            Text(
                "the mean is taken over the patches asked as well: there it is a sum, the weights are the mean already",
                "对被查询的图像块也求了平均：那里应当求和，加权已经相当于求平均",
            ),
        ),
        Mistake(
            "images kept",
            _with(mean=lambda distances: distances.mean(axis=-1)),
            Text(
                "there is a number for each image: take the mean over the images",
                "每张图像各有一个数：还要对图像求平均",
            ),
        ),
        Mistake(
            "heads averaged",
            _with(mean=np.mean),
            Text(
                "the heads are averaged as well: each has a distance of its own",
                "对各个头也求了平均：每个头应各有一个距离",
            ),
        ),
    ),
)
