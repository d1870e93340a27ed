"""Cutting images into patches."""

import numpy as np

from vit_ms.checkin.exercise import Case, Exercise, Mistake, Text


def patchify(images, patch_size):
    b, c, h, w = images.shape
    p = patch_size
    parts = images.reshape(b, c, h // p, p, w // p, p)
    parts = parts.transpose(0, 2, 4, 1, 3, 5)  # (B, H/P, W/P, C, P, P)
    return parts.reshape(b, -1, c * p * p)  # (B, N, C P P)


def _reshape_alone(images, patch_size):
    b, c = images.shape[:2]
    return images.reshape(b, -1, c * patch_size**2)


def _arranged(*axes):
    def wrong(images, patch_size):
        b, c, h, w = images.shape
        p = patch_size
        parts = images.reshape(b, c, h // p, p, w // p, p)
        return parts.transpose(*axes).reshape(b, -1, c * p * p)

    return wrong


def _split_the_other_way(images, patch_size):
    b, c, h, w = images.shape
    p = patch_size
    parts = images.reshape(b, c, p, h // p, p, w // p)
    return parts.transpose(0, 3, 5, 1, 2, 4).reshape(b, -1, c * p * p)


def _patches_last(images, patch_size):
    return patchify(images, patch_size).swapaxes(1, 2)


def _as_a_grid(images, patch_size):
    b, _, h, w = images.shape
    return patchify(images, patch_size).reshape(b, h // patch_size, w // patch_size, -1)


def _channels_apart(images, patch_size):
    b, c, h, w = images.shape
    p = patch_size
    return images.reshape(b, c, h // p, p, w // p, p).swapaxes(3, 4).reshape(b, -1, p * p)


def cases(rng):
    for about, shape, patch_size in (
        (Text("6 images of 3 x 8 x 10, P = 2", "6 张 3 x 8 x 10 的图像，P = 2"), (6, 3, 8, 10), 2),
        (Text("one grey image of 9 x 6, P = 3", "1 张 9 x 6 的灰度图，P = 3"), (1, 1, 9, 6), 3),
        (Text("one row of patches, P = H = 4", "只有一行图像块，P = H = 4"), (2, 3, 4, 20), 4),
    ):
        yield Case(about, (rng.standard_normal(shape).astype(np.float32), patch_size))


EXERCISE = Exercise(
    name="patchify",
    notebook="02_from_image_to_tokens",
    section=3,
    kind="function",
    title=Text("Cutting images into patches", "把图像切成图像块"),
    statement=Text(
        "Write `patchify(images, patch_size)`: cut a batch of images, a Tensor (B, C, H, W), into squares of $P$ = "
        "`patch_size` pixels a side. The result is a Tensor (B, N, P·P·C) with $N = (H/P)(W/P)$; H and W are divisible "
        "by P.\n\nThe patches are numbered row by row, from left to right. Inside a patch the numbers come in the order "
        "channel, row, column: first the whole patch of channel 0, row after row.",
        "写出 `patchify(images, patch_size)`：把一批图像，即形状为 (B, C, H, W) 的 Tensor，切成边长 $P$ = `patch_size` 像素"
        "的正方形。结果是形状为 (B, N, P·P·C) 的 Tensor，$N = (H/P)(W/P)$；H 和 W 都能被 P 整除。\n\n"
        "图像块逐行编号，每行从左到右。块内的数按通道、行、列的顺序排列：先是通道 0 的整个图像块，一行接一行。",
    ),
    solution="patchify",
    starter="def patchify(images, patch_size):\n    B, C, H, W = images.shape\n    ...\n",
    hints=(
        Text(
            "Three steps: split both sides of the image, transpose, join. A reshape by itself never moves a number.",
            "三步：拆分图像的两条边、转置、合并。reshape 本身不会移动任何一个数。",
        ),
        Text(
            "Row y of the image is row i of the patches in row r: y = r P + i. So split H into (H/P, P), in this order, "
            "and W likewise.",
            "图像的第 y 行是第 r 行图像块的块内第 i 行：y = r P + i。所以 H 拆成 (H/P, P)，顺序不能颠倒，W 也一样。",
        ),
        Text(
            "From (B, C, H/P, P, W/P, P) transpose to (B, H/P, W/P, C, P, P): which patch first, where in it last. Then "
            "join the axes 1, 2 and the axes 3, 4, 5.",
            "把 (B, C, H/P, P, W/P, P) 转置成 (B, H/P, W/P, C, P, P)：“哪一块”在前，“块内何处”在后。再把第 1、2 维合并，"
            "第 3、4、5 维合并。",
        ),
    ),
    reference=patchify,
    cases=cases,
    mistakes=(
        Mistake(
            "reshape alone",
            _reshape_alone,
            Text(
                "the numbers of a patch are consecutive numbers of the image: reshape moves nothing, a transpose has to",
                "每个图像块取的是图像里连续的一段数：reshape 不移动数据，还需要转置",
            ),
        ),
        Mistake(
            "channels last",
            _arranged(0, 2, 4, 3, 5, 1),
            Text(
                "inside a patch the order is row, column, channel: here the channel is to come first",
                "块内的顺序成了行、列、通道：这里要求通道在最前",
            ),
        ),
        Mistake(
            "patch transposed",
            _arranged(0, 2, 4, 1, 5, 3),
            Text(
                "inside a patch rows and columns have changed places: it is read column by column",
                "块内的行和列对调了：图像块被逐列读取",
            ),
        ),
        Mistake(
            "numbered by columns",
            _arranged(0, 4, 2, 1, 3, 5),
            Text(
                "the patches are right, their order is not: they are numbered down the columns of the grid, not along "
                "its rows",
                "图像块本身正确，编号顺序不对：按网格的列从上往下编号了，应当逐行编号",
            ),
        ),
        Mistake(
            "numbered by columns, patch transposed",
            _arranged(0, 4, 2, 1, 5, 3),
            Text(
                "rows and columns have changed places, of the grid and inside the patches: check which axis is H and "
                "which is W",
                "网格和块内的行、列都对调了：检查哪一维是 H，哪一维是 W",
            ),
        ),
        Mistake(
            "split the other way",
            _split_the_other_way,
            Text(
                "the pixels of a patch are not neighbours: H is split into (P, H/P), it is to be (H/P, P), and W likewise",
                "一个图像块里的像素并不相邻：H 拆成了 (P, H/P)，应当是 (H/P, P)，W 也一样",
            ),
        ),
        Mistake(
            "patches last",
            _patches_last,
            Text(
                "the last two axes have changed places: the number of the patch is axis 1, its numbers are axis 2",
                "最后两维颠倒了：图像块的编号是第 1 维，块内的数是第 2 维",
            ),
        ),
        Mistake(
            "patches as a grid",
            _as_a_grid,
            Text(
                "the patches are still a grid (H/P, W/P): join the two axes into one of length N",
                "图像块还是 (H/P, W/P) 的网格：请把这两维合并成长度为 N 的一维",
            ),
        ),
        Mistake(
            "channels apart",
            _channels_apart,
            Text(
                "each channel makes patches of its own: a patch is to hold all its channels, C P P numbers",
                "每个通道各自成了图像块：一个图像块应当包含全部通道，共 C·P·P 个数",
            ),
        ),
    ),
)
