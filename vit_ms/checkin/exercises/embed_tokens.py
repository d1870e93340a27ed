"""The class token in front and the positions added: equation 1 of the ViT paper."""

import numpy as np
from mindspore import ops

from vit_ms.checkin.exercise import Case, Exercise, Mistake, Text


def embed_tokens(patches, class_token, positions):
    first = ops.tile(class_token, (patches.shape[0], 1, 1))  # (B, 1, D)
    return ops.concat((first, patches), axis=1) + positions  # (B, N + 1, D)


def _class_token_last(patches, class_token, positions):
    last = ops.tile(class_token, (patches.shape[0], 1, 1))
    return ops.concat((patches, last), axis=1) + positions


def _patches_alone(which):
    def wrong(patches, class_token, positions):
        first = ops.tile(class_token, (patches.shape[0], 1, 1))
        return ops.concat((first, patches + which(positions)), axis=1)

    return wrong


def _no_positions(patches, class_token, positions):
    return embed_tokens(patches, class_token, ops.zeros_like(positions))


def _no_class_token(which):
    def wrong(patches, class_token, positions):
        return patches + which(positions)

    return wrong


def _class_token_added(patches, class_token, positions):
    return embed_tokens(patches + class_token, class_token, positions)


def _zero_class_token(patches, class_token, positions):
    return embed_tokens(patches, ops.zeros_like(class_token), positions)


def _multiplied(patches, class_token, positions):
    return embed_tokens(patches, class_token, ops.zeros_like(positions)) * positions


def _positions_beside(axis):
    def wrong(patches, class_token, positions):
        tokens = embed_tokens(patches, class_token, ops.zeros_like(positions))
        return ops.concat((tokens, ops.tile(positions, (patches.shape[0], 1, 1))), axis=axis)

    return wrong


def _every_image_joined(patches, class_token, positions):
    joined = ops.concat((class_token, patches.reshape(1, -1, patches.shape[-1])), axis=1)
    return joined[:, : positions.shape[1]] + positions


def cases(rng):
    for about, (images, number, dim) in (
        (Text("4 images, 6 patches, D = 5", "4 张图像、6 个图像块，D = 5"), (4, 6, 5)),
        (Text("one image, 9 patches, D = 4", "1 张图像、9 个图像块，D = 4"), (1, 9, 4)),
        (Text("3 images of a single patch, D = 7", "3 张图像，各只有 1 个图像块，D = 7"), (3, 1, 7)),
    ):
        shapes = (images, number, dim), (1, 1, dim), (1, number + 1, dim)
        yield Case(about, tuple(rng.standard_normal(shape).astype(np.float32) for shape in shapes))


EXERCISE = Exercise(
    name="embed_tokens",
    notebook="02_from_image_to_tokens",
    section=7,
    kind="function",
    title=Text("Class token and positions", "类别 token 与位置编码"),
    statement=Text(
        "Write `embed_tokens(patches, class_token, positions)`, equation 1 after the product with $E$:\n\n"
        "$$z_0 = [x_{\\text{class}}; x_1; \\dots; x_N] + E_{\\text{pos}}$$\n\n"
        "`patches` is a Tensor (B, N, D) of embedded patches, `class_token` one (1, 1, D), the same for all images, "
        "`positions` one (1, N + 1, D). The result is a Tensor (B, N + 1, D); the class token is its token 0.",
        "写出 `embed_tokens(patches, class_token, positions)`，即公式（1）中乘过 $E$ 之后的部分：\n\n"
        "$$z_0 = [x_{\\text{class}}; x_1; \\dots; x_N] + E_{\\text{pos}}$$\n\n"
        "`patches` 是图像块嵌入，形状为 (B, N, D) 的 Tensor；`class_token` 形状为 (1, 1, D)，所有图像共用；`positions` "
        "形状为 (1, N + 1, D)。结果是形状为 (B, N + 1, D) 的 Tensor，第 0 个 token 是类别 token。",
    ),
    solution="embed_tokens",
    starter="def embed_tokens(patches, class_token, positions):\n    B, N, D = patches.shape\n    ...\n",
    hints=(
        Text(
            "Two steps: the class token makes the sequence one longer, the positions leave its shape as it is.",
            "两步：类别 token 使序列变长一个，位置编码不改变形状。",
        ),
        Text(
            "ops.concat wants the same number of images in both: repeat the class token B times first, with ops.tile or "
            "ops.broadcast_to.",
            "ops.concat 要求两者的图像数相同：先用 ops.tile 或 ops.broadcast_to 把类别 token 重复 B 次。",
        ),
        Text(
            "Concatenate (B, 1, D) and (B, N, D) on axis 1, in this order; the sum with (1, N + 1, D) broadcasts over the "
            "images.",
            "把 (B, 1, D) 和 (B, N, D) 按这个顺序沿 axis=1 拼接；再加上 (1, N + 1, D)，它会自动广播到每张图像。",
        ),
    ),
    reference=embed_tokens,
    cases=cases,
    mistakes=(
        Mistake(
            "class token last",
            _class_token_last,
            Text(
                "the class token stands at the end of the sequence: it is to be token 0",
                "类别 token 放到了序列末尾：它应当是第 0 个 token",
            ),
        ),
        Mistake(
            "no position for the class token",
            _patches_alone(lambda positions: positions[:, 1:]),
            Text(
                "the class token has got no position: add the positions after it is in the sequence",
                "类别 token 没有加位置编码：应当先拼接，再相加",
            ),
        ),
        Mistake(
            "positions one place off",
            _patches_alone(lambda positions: positions[:, :-1]),
            Text(
                "row 0 of the positions belongs to the class token; here the first patch has got it: concatenate first, "
                "then add",
                "位置编码的第 0 行属于类别 token，这里却加到了第一个图像块上：应当先拼接，再相加",
            ),
        ),
        Mistake(
            "positions forgotten",
            _no_positions,
            Text("the positions are not added", "没有加位置编码"),
        ),
        Mistake(
            "class token forgotten",
            _no_class_token(lambda positions: positions[:, 1:]),
            Text(
                "the class token is missing: the sequence is to have N + 1 tokens",
                "缺少类别 token：序列应有 N + 1 个 token",
            ),
        ),
        Mistake(
            "class token forgotten",
            _no_class_token(lambda positions: positions[:, :-1]),
            Text(
                "the class token is missing: the sequence is to have N + 1 tokens",
                "缺少类别 token：序列应有 N + 1 个 token",
            ),
        ),
        Mistake(
            "class token added to the patches",
            _class_token_added,
            Text(
                "the class token is also added to every patch: it is a token of its own",
                "类别 token 还被加到了每个图像块上：它应当是单独的一个 token",
            ),
        ),
        Mistake(
            "class token of zeros",
            _zero_class_token,
            Text(
                "token 0 holds its position only: the values of class_token are not used",
                "第 0 个 token 里只有位置编码，没有用到 class_token 的值",
            ),
        ),
        Mistake(
            "multiplied",
            _multiplied,
            Text(
                "the positions are multiplied with the tokens: they are to be added",
                "位置编码与 token 相乘了：应当相加",
            ),
        ),
        Mistake(
            "positions beside the tokens",
            _positions_beside(2),
            Text(
                "the positions stand beside the tokens and make them 2 D wide: they are to be added",
                "位置编码与 token 拼接在一起，宽度成了 2D：应当相加",
            ),
        ),
        Mistake(
            "positions as tokens",
            _positions_beside(1),
            Text(
                "the positions have become tokens of their own: they are to be added to the tokens",
                "位置编码成了另外的 token：应当加到各个 token 上",
            ),
        ),
        Mistake(
            "images joined",
            _every_image_joined,
            Text(
                "the images have become one sequence: each image needs a class token and stays apart",
                "所有图像连成了一个序列：每张图像应当各自成序列，各有一个类别 token",
            ),
        ),
    ),
)
