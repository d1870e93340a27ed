"""Which parameters of a network decay under AdamW."""

import numpy as np

from vit_ms.checkin.exercise import Case, Exercise, Mistake, Text


def decay_mask(names, shapes):
    # A class token and a position embedding have axes enough, a LayerNorm may call its gamma a weight: both are asked.
    return np.array(
        [name.endswith("weight") and len(shape) >= 2 for name, shape in zip(names, shapes, strict=True)], bool
    )


def _where(rule):
    def wrong(names, shapes):
        return np.array([rule(name, shape) for name, shape in zip(names, shapes, strict=True)], bool)

    return wrong


def _indices(names, shapes):
    return np.flatnonzero(decay_mask(names, shapes))


def _is_token(name):
    return name.endswith(("cls", "pos_embedding"))


def _norm(name, dim, gamma, beta):
    return [(f"{name}.{gamma}", [dim]), (f"{name}.{beta}", [dim])]


def _dense(name, inputs, outputs):
    return [(f"{name}.weight", [outputs, inputs]), (f"{name}.bias", [outputs])]


def _vit(dim, patch, gamma, beta):
    """The parameters of a ViT of one block: pairs of name and shape."""
    block = "transformer.layers.0"
    return [
        ("cls", [1, 1, dim]),
        ("pos_embedding", [1, 17, dim]),
        ("patch_embedding.conv.weight", [dim, 3, patch, patch]),
        ("patch_embedding.conv.bias", [dim]),
        *_norm(f"{block}.0.cell.0", dim, gamma, beta),
        *_dense(f"{block}.0.cell.1.qkv", dim, 3 * dim),
        *_dense(f"{block}.0.cell.1.out", dim, dim),
        *_norm(f"{block}.1.cell.0", dim, gamma, beta),
        *_dense(f"{block}.1.cell.1.dense1", dim, 4 * dim),
        *_dense(f"{block}.1.cell.1.dense2", 4 * dim, dim),
        *_norm("norm", dim, gamma, beta),
        *_dense("dense", dim, 10),
    ]


GAMMA = Text(
    "gamma of the LayerNorms decays, whatever it is called: it is a vector, look at the shape too",
    "层归一化的 gamma 衰减了：无论叫什么名称，它都是向量，还要看形状",
)


def cases(rng):
    for about, parameters in (
        (Text("a ViT of one block", "一层的 ViT"), _vit(16, 4, "gamma", "beta")),
        (
            Text("the LayerNorms call gamma weight and beta bias", "层归一化的 gamma 叫 weight，beta 叫 bias"),
            [*_vit(24, 8, "weight", "bias"), *_dense("cls_head", 24, 1)],
        ),
        (
            Text("without any matrix", "没有矩阵"),
            [("cls", [1, 1, 8]), *_norm("norm", 8, "gamma", "beta"), ("dense.bias", [5])],
        ),
    ):
        order = rng.permutation(len(parameters))
        names, shapes = zip(*(parameters[place] for place in order), strict=True)
        yield Case(about, (), {"names": list(names), "shapes": list(shapes)})


EXERCISE = Exercise(
    name="adamw_groups",
    notebook="06_training",
    section=3,
    kind="numpy",
    title=Text("Which parameters decay", "哪些参数要衰减"),
    statement=Text(
        "Write `decay_mask(names, shapes)`, the choice that `decay_groups` makes for AdamW. `names` is a list of n names of "
        "parameters, `shapes` a list of their n shapes, each a list of whole numbers; keep these names. The result is a "
        "NumPy array (n,) of bool: True for a parameter that decays, in the order of `names`, which may be any.\n\n"
        "What decays are the weights of dense layers, (out, in), and the kernels of convolutions, (out, in, height, "
        "width); the names of both end in `weight`. Nothing else does: no bias, no $\\gamma$ and $\\beta$ of a "
        "LayerNorm, (D,), not the class token `cls`, (1, 1, D), nor the position embedding `pos_embedding`, (1, N + 1, "
        "D).\n\n"
        "Names look like `patch_embedding.conv.weight` or `norm.gamma`. Some networks call a LayerNorm's $\\gamma$ and "
        "$\\beta$ `weight` and `bias`.",
        "写出 `decay_mask(names, shapes)`，即 `decay_groups` 为 AdamW 做的选择。`names` 是 n 个参数名的列表，`shapes` 是这 "
        "n 个参数的形状的列表，每个形状是整数列表；这两个形参的名称不要改。结果是形状为 (n,)、类型为 bool 的 NumPy 数组：要"
        "衰减的参数为 True，次序与 `names` 相同；`names` 的次序是任意的。\n\n"
        "要衰减的是全连接层的权重 (out, in) 和卷积核 (out, in, height, width)，两者的名称都以 `weight` 结尾。其余都不衰减："
        "偏置、层归一化的 $\\gamma$ 和 $\\beta$，形状为 (D,)；类别 token `cls`，形状为 (1, 1, D)；位置编码 "
        "`pos_embedding`，形状为 (1, N + 1, D)。\n\n"
        "名称形如 `patch_embedding.conv.weight`、`norm.gamma`。有的网络把层归一化的 $\\gamma$ 和 $\\beta$ 叫做 `weight` 和 "
        "`bias`。",
    ),
    solution="decay_mask",
    starter="def decay_mask(names, shapes):\n    decays = np.zeros(len(names), bool)\n    ...\n    return decays\n",
    hints=(
        Text(
            "Neither name nor shape is enough by itself. Which parameters have two or more axes and do not decay? Which "
            "end in weight and do not?",
            "只看名称或只看形状都不够。哪些参数有两维以上却不衰减？哪些以 weight 结尾却不衰减？",
        ),
        Text(
            "It decays if both hold: the name ends in weight, and the shape has at least two axes. Go through both lists "
            "together, with zip.",
            "两个条件同时成立才衰减：名称以 weight 结尾，并且形状至少有两维。用 zip 同时遍历两个列表。",
        ),
        Text(
            'All of it: np.array([name.endswith("weight") and len(shape) >= 2 for name, shape in zip(names, shapes)])',
            '完整写法：np.array([name.endswith("weight") and len(shape) >= 2 for name, shape in zip(names, shapes)])',
        ),
    ),
    reference=decay_mask,
    cases=cases,
    mistakes=(
        Mistake(
            "nothing decays",
            _where(lambda name, shape: False),
            Text("no parameter decays: the matrices are to", "没有任何参数衰减：矩阵应当衰减"),
        ),
        Mistake(
            "everything decays",
            _where(lambda name, shape: True),
            Text("every parameter decays: only the matrices are to", "所有参数都衰减了：只有矩阵应当衰减"),
        ),
        Mistake(
            "reversed",
            lambda names, shapes: ~decay_mask(names, shapes),
            Text("True and False have changed places: True is for what decays", "True 与 False 反了：要衰减的为 True"),
        ),
        Mistake(
            "indices",
            _indices,
            Text(
                "this is the places of what decays: a True or False for each parameter is asked for",
                "这是要衰减的参数的下标：应当为每个参数给出 True 或 False",
            ),
        ),
        Mistake(
            "biases alone left out",
            _where(lambda name, shape: not name.endswith("bias")),
            Text(
                "only the biases are left out: LayerNorms, class token and position embedding are not to decay either",
                "只排除了偏置：层归一化、类别 token 和位置编码也不应衰减",
            ),
        ),
        Mistake("gamma decays", _where(lambda name, shape: name.endswith("weight")), GAMMA),
        Mistake(
            "vectors alone left out",
            _where(lambda name, shape: len(shape) >= 2),
            Text(
                "class token and position embedding decay: they have three axes, but are no matrices, look at the name too",
                "类别 token 和位置编码衰减了：它们虽有三维，但不是矩阵，还要看名称",
            ),
        ),
        Mistake(
            "class token decays",
            _where(lambda name, shape: name == "cls" or decay_mask([name], [shape])[0]),
            Text("the class token decays: it is not to", "类别 token 衰减了：它不应衰减"),
        ),
        Mistake(
            "positions decay",
            _where(lambda name, shape: name == "pos_embedding" or decay_mask([name], [shape])[0]),
            Text("the position embedding decays: it is not to", "位置编码衰减了：它不应衰减"),
        ),
        Mistake(
            "gamma decays",
            _where(lambda name, shape: name.endswith(("weight", "gamma"))),
            GAMMA,
        ),
        Mistake(
            "LayerNorm decays",
            _where(lambda name, shape: not name.endswith("bias") and not _is_token(name)),
            Text(
                "gamma and beta of the LayerNorms decay: they are not to",
                "层归一化的 gamma 和 beta 衰减了：它们不应衰减",
            ),
        ),
        Mistake(
            "biases decay",
            _where(lambda name, shape: name.endswith(("weight", "bias"))),
            Text("the biases decay: they are not to", "偏置衰减了：它们不应衰减"),
        ),
        Mistake(
            "kernels left out",
            _where(lambda name, shape: name.endswith("weight") and len(shape) == 2),
            Text(
                "the kernel of the convolution does not decay: it is a matrix for each place of the window, so ask for at "
                "least two axes",
                "卷积核没有衰减：它在窗口的每个位置上都是一个矩阵，条件应是至少两维",
            ),
        ),
    ),
)
