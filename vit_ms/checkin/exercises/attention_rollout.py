"""Attention rollout, from the class token back to the patches."""

import numpy as np

from vit_ms.checkin.exercise import Case, Exercise, Mistake, Text


def class_token_rollout(maps):
    return _rollout(_blocks(maps))[:, 0, 1:]  # (B, N - 1)


def _blocks(maps, heads=np.mean, identity=1.0, axis=-1):
    """The matrices of the blocks, or what a mistake makes them: (L, B, N, N)."""
    mixed = heads(maps, axis=2) + identity * np.eye(maps.shape[-1])
    return mixed if axis is None else mixed / mixed.sum(axis=axis, keepdims=True)


def _rollout(blocks):
    rollout = blocks[0]
    for block in blocks[1:]:
        rollout = block @ rollout
    return rollout  # (B, N, N)


def _other_blocks(**fault):
    def wrong(maps):
        return _rollout(_blocks(maps, **fault))[:, 0, 1:]

    return wrong


def _other_order(maps):
    return _rollout(_blocks(maps)[::-1])[:, 0, 1:]


def _put_together(join):
    """The blocks joined in another way than by matrix products."""

    def wrong(maps):
        return join(_blocks(maps))[:, 0, 1:]

    return wrong


def _last_attention(maps):
    return maps[-1].mean(axis=1)[:, 0, 1:]


def _taken(part):
    """Another part of the right matrix (B, N, N)."""

    def wrong(maps):
        return part(_rollout(_blocks(maps)))

    return wrong


def _scaled(scale):
    def wrong(maps):
        right = class_token_rollout(maps)
        return right / scale(right, axis=1, keepdims=True)

    return wrong


def cases(rng):
    for about, (layers, images, heads, tokens) in (
        (Text("3 blocks, 2 images, 4 heads, 6 tokens", "3 层、2 张图像、4 个头、6 个 token"), (3, 2, 4, 6)),
        (Text("one block, one image, 2 heads, 5 tokens", "1 层、1 张图像、2 个头、5 个 token"), (1, 1, 2, 5)),
        (Text("5 blocks, 3 images, one head, 8 tokens", "5 层、3 张图像、1 个头、8 个 token"), (5, 3, 1, 8)),
    ):
        scores = 1.5 * rng.standard_normal((layers, images, heads, tokens, tokens))
        maps = np.exp(scores) / np.exp(scores).sum(axis=-1, keepdims=True)
        yield Case(about, (maps.astype(np.float32),))


BLOCK_ALONE = Text(
    "this is the matrix of one block alone: multiply those of all blocks",
    "这只是某一层的矩阵：应当把所有层的矩阵连乘",
)

EXERCISE = Exercise(
    name="attention_rollout",
    notebook="09_looking_inside",
    section=5,
    kind="numpy",
    title=Text("Attention rollout for the class token", "类别 token 的注意力回溯"),
    statement=Text(
        "Write `class_token_rollout(maps)`: for each image of a batch, what the class token is made of at the end, in "
        "shares of the patches at the beginning.\n\n"
        "`maps` is a float array (L, B, H, N, N), as `attention_maps` gives it: [l, b, h, i, j] is what token i takes from "
        "token j in block l (0 is the first) and head h, for image b. Each row sums to 1; token 0 is the class "
        "token.\n\nAs in the section, $\\hat A_\\ell$ is half the mean over the heads and half the identity, and "
        "$R = \\hat A_L \\cdots \\hat A_1$. The result is an array (B, N - 1): of each image's $R$ the row of the "
        "class token, without its first number, the share of the class token itself. The shares stay as they are in $R$.",
        "写出 `class_token_rollout(maps)`：对一批图像中的每一张，求最后的类别 token 由最初的各个图像块按怎样的比例构成。\n\n"
        "`maps` 是形状为 (L, B, H, N, N) 的浮点数组，即 `attention_maps` 给出的结果：[l, b, h, i, j] 是图像 b 在第 l 层（0 "
        "是第一层）的头 h 中，第 i 个 token 从第 j 个 token 取用的比例。每行之和为 1；第 0 个 token 是类别 token。\n\n"
        "与本小节相同，$\\hat A_\\ell$ 一半是各个头的平均，一半是单位矩阵，"
        "$R = \\hat A_L \\cdots \\hat A_1$。结果是形状为 (B, N - 1) 的数组：每张图像的 "
        "$R$ 中类别 token 的那一行，去掉第一个数（类别 token 自己的份额）。各个比例保持 $R$ 中的值。",
    ),
    solution="class_token_rollout",
    starter="def class_token_rollout(maps):\n    L, B, H, N, _ = maps.shape\n    ...\n",
    hints=(
        Text(
            "How do you get from (L, B, H, N, N) to (L, B, N, N)? `np.eye(N)` is added to each of these matrices at once.",
            "怎样从 (L, B, H, N, N) 得到 (L, B, N, N)？`np.eye(N)` 可以一次加到所有这些矩阵上。",
        ),
        Text(
            "Start with the first block; each following one is multiplied from the left: R = A[l] @ R. `@` multiplies the "
            "matrices of all images at once.",
            "从第一层开始，之后每一层都乘在左边：R = A[l] @ R。`@` 会同时对所有图像做矩阵乘法。",
        ),
        Text(
            "A = 0.5 * (maps.mean(axis=2) + np.eye(N)); R = A[0]; for l in range(1, L): R = A[l] @ R; then R[:, 0, 1:].",
            "A = 0.5 * (maps.mean(axis=2) + np.eye(N))；R = A[0]；for l in range(1, L): R = A[l] @ R；最后取 R[:, 0, 1:]。",
        ),
    ),
    reference=class_token_rollout,
    cases=cases,
    mistakes=(
        Mistake(
            "identity forgotten",
            _other_blocks(identity=0.0),
            Text(
                "the identity is missing: it stands for the residual connection of each block",
                "缺少单位矩阵：它代表每层的残差连接",
            ),
        ),
        Mistake(
            "order reversed",
            _other_order,
            Text(
                "the blocks are multiplied in the reverse order: the first block stands on the right, R = A_L ... A_1",
                "各层相乘的顺序反了：第一层在最右边，R = A_L … A_1",
            ),
        ),
        Mistake(
            "not halved",
            _other_blocks(axis=None),
            Text(
                "A + I is not halved: its rows sum to 2, and the product grows with every block",
                "A + I 没有除以 2：每行之和是 2，乘积会逐层变大",
            ),
        ),
        Mistake(
            "columns normalised",
            _other_blocks(axis=-2),
            Text(
                "the columns are made to sum to 1: it is the rows, what one token takes from all (axis -1)",
                "归一化的是列：应当让每行之和为 1，即一个 token 从所有 token 取用的比例（axis=-1）",
            ),
        ),
        Mistake(
            "maximum of the heads",
            _other_blocks(heads=np.max),
            Text("the maximum over the heads is taken: take the mean", "对各个头取了最大值：应当取平均"),
        ),
        Mistake(
            "minimum of the heads",
            _other_blocks(heads=np.min),
            Text("the minimum over the heads is taken: take the mean", "对各个头取了最小值：应当取平均"),
        ),
        Mistake(
            "sum of the heads",
            _other_blocks(heads=np.sum),
            Text(
                "the heads are added up, so the identity counts less than half: take their mean",
                "对各个头求了和，单位矩阵的份额就不到一半：应当取平均",
            ),
        ),
        Mistake(
            "sum of the heads halved",
            lambda maps: _rollout(0.5 * (maps.sum(axis=2) + np.eye(maps.shape[-1])))[:, 0, 1:],
            Text(
                "the heads are added up and the rows sum to more than 1: take the mean over the heads",
                "对各个头求了和，每行之和大于 1：应当对各个头取平均",
            ),
        ),
        Mistake(
            "element by element",
            _put_together(lambda blocks: np.prod(blocks, axis=0)),
            Text(
                "the blocks are multiplied element by element: it is a product of matrices, @",
                "各层是逐元素相乘的：应当用矩阵乘法 @",
            ),
        ),
        Mistake(
            "blocks averaged",
            _put_together(lambda blocks: blocks.mean(axis=0)),
            Text("the mean of the blocks is taken: multiply them", "对各层取了平均：应当连乘"),
        ),
        Mistake("one block", _put_together(lambda blocks: blocks[-1]), BLOCK_ALONE),
        Mistake("one block", _put_together(lambda blocks: blocks[0]), BLOCK_ALONE),
        Mistake(
            "attention of the last block",
            _last_attention,
            Text(
                "this is the attention of the last block: rollout follows it through all blocks to the input",
                "这是最后一层的注意力：rollout 要一层层追溯到输入",
            ),
        ),
        Mistake(
            "column of the class token",
            _taken(lambda rollout: rollout[:, 1:, 0]),
            Text(
                "this is the column of the class token, what the patches take from it: its row says what it takes from them",
                "这是类别 token 的列，即各图像块从它取用的比例：它从图像块取用的比例在它的行里",
            ),
        ),
        Mistake(
            "last row",
            _taken(lambda rollout: rollout[:, -1, :-1]),
            Text(
                "this is the row of the last token: the class token is token 0",
                "这是最后一个 token 的行：类别 token 是第 0 个",
            ),
        ),
        Mistake(
            "class token kept",
            _taken(lambda rollout: rollout[:, 0]),
            Text(
                "the share of the class token itself is still there: leave out the first number of the row",
                "类别 token 自己的份额还在：应当去掉这一行的第一个数",
            ),
        ),
        Mistake(
            "last patch left out",
            _taken(lambda rollout: rollout[:, 0, :-1]),
            Text(
                "the last patch is left out in place of the class token: the class token is the first number of the row",
                "去掉的是最后一个图像块：类别 token 是这一行的第一个数",
            ),
        ),
        Mistake(
            "whole matrix",
            _taken(lambda rollout: rollout),
            Text(
                "this is R as a whole: only the row of the class token is asked for, and of it the patches",
                "这是整个 R：只要类别 token 那一行中属于图像块的部分",
            ),
        ),
        Mistake(
            "shares normalised again",
            _scaled(np.sum),
            Text(
                "the shares of the patches were made to sum to 1 again: leave them as they are in R",
                "图像块的比例又归一化成了和为 1：应当保持 R 中的值",
            ),
        ),
        Mistake(
            "divided by the largest",
            _scaled(np.max),
            Text(
                "the shares were divided by the largest, as one does for a picture: leave them as they are in R",
                "比例除以了最大值（画图时常这样做）：应当保持 R 中的值",
            ),
        ),
        Mistake(
            "images averaged",
            lambda maps: class_token_rollout(maps).mean(axis=0),
            Text(
                "the images are averaged: each image of the batch has a rollout of its own",
                "对各张图像取了平均：批中每张图像各有自己的结果",
            ),
        ),
    ),
)
