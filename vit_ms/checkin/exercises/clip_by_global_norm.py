"""Clipping gradients by their global norm."""

import numpy as np
from mindspore import ops

from vit_ms.checkin.exercise import Case, Exercise, Mistake, Text


def _norm(gradients):
    return ops.sqrt(sum([(g * g).sum() for g in gradients]))


def _scaled(c, norm, gradients):
    """c / maximum(norm, c) is equation 6's factor, and divides by no 0."""
    return tuple([g * (c / ops.maximum(norm, c)) for g in gradients])


def clip_gradients(c, *gradients):
    return _scaled(c, _norm(gradients), gradients)


def _by(norm):
    """By another norm of all gradients."""

    def wrong(c, *gradients):
        return _scaled(c, norm(gradients), gradients)

    return wrong


def _by_factor(factor):
    """By another factor; it takes c and the norm."""

    def wrong(c, *gradients):
        norm = _norm(gradients)
        return tuple([g * factor(c, norm) for g in gradients])

    return wrong


def _each_by_its_own(c, *gradients):
    return tuple([_scaled(c, _norm([g]), [g])[0] for g in gradients])


def _numbers_clipped(c, *gradients):
    return tuple([ops.clamp(g, -c, c) for g in gradients])


def _root_mean_square(gradients):
    return _norm(gradients) / sum([g.size for g in gradients]) ** 0.5


def cases(rng):
    def gradient(shape, norm):
        direction = rng.standard_normal(shape)
        return (norm / np.linalg.norm(direction) * direction + 0.0).astype(np.float32)  # + 0.0: no -0

    for about, c, sizes in (
        (Text("3 gradients, global norm 7, c = 1.5", "3 个梯度，全局范数 7，c = 1.5"), 1.5, (3.0, 6.0, 2.0)),
        (Text("3 gradients, global norm 0.7, c = 2", "3 个梯度，全局范数 0.7，c = 2"), 2.0, (0.3, 0.6, 0.2)),
        (
            Text("5 gradients, global norm 0.07, c = 0.01", "5 个梯度，全局范数 0.07，c = 0.01"),
            0.01,
            (0.02, 0.03, 0.01, 0.05, 0.03),
        ),
        (Text("one gradient, norm 5, c = 3", "1 个梯度，范数 5，c = 3"), 3.0, (5.0,)),
        (Text("all gradients are 0", "所有梯度都是 0"), 1.0, (0.0, 0.0)),
    ):
        shapes = ((4,), (2, 3), (2, 1, 3), (3,), (1, 2))
        yield Case(about, (c, *(gradient(shape, norm) for shape, norm in zip(shapes, sizes, strict=False))))


EXERCISE = Exercise(
    name="clip_by_global_norm",
    notebook="06_training",
    section=7,
    kind="function",
    title=Text("Clipping by the global norm", "按全局范数裁剪梯度"),
    statement=Text(
        "Write `clip_gradients(c, *gradients)`, equation 6 of the notebook for any number of gradients:\n\n"
        "$$g \\leftarrow g \\cdot \\min\\left(1, \\frac{c}{\\|g\\|}\\right)$$\n\n"
        "`c` is a number above 0; `gradients` are float32 Tensors of any shapes, in the call "
        "`clip_gradients(1.0, g1, g2, g3)` for example. $\\|g\\|$ is the root of the sum of the squares of all numbers of "
        "all gradients. The result is a tuple with a Tensor for each gradient, of the same shape and dtype, in the same "
        "order. Gradients that are all 0 stay 0.\n\n"
        "It is a part of the training step, so it is compiled in graph mode as well: `ops.minimum` or `ops.maximum` serves "
        "there better than an `if`.",
        "写出 `clip_gradients(c, *gradients)`，即本节课的公式（6），梯度的个数任意：\n\n"
        "$$g \\leftarrow g \\cdot \\min\\left(1, \\frac{c}{\\|g\\|}\\right)$$\n\n"
        "`c` 是大于 0 的数；`gradients` 是任意形状的 float32 Tensor，例如调用 `clip_gradients(1.0, g1, g2, g3)`。"
        "$\\|g\\|$ 是所有梯度的全部数的平方和的平方根。结果是一个元组，每个梯度对应一个 Tensor，形状、数据类型和次序都不变。"
        "梯度全为 0 时，结果仍为 0。\n\n"
        "它是训练步的一部分，所以也会在图模式下编译：这时用 `ops.minimum` 或 `ops.maximum` 比用 `if` 更合适。",
    ),
    solution="clip_gradients",
    starter="def clip_gradients(c, *gradients):\n    ...\n",
    hints=(
        Text(
            "There is one norm and one factor for all. Add up (g * g).sum() of every gradient first, then take the root.",
            "范数只有一个，系数也只有一个。先把每个梯度的 (g * g).sum() 加起来，再开方。",
        ),
        Text(
            "The factor is at most 1: what is shorter than c stays as it is. c / ops.maximum(norm, c) does it, without an "
            "if and without a division by 0.",
            "系数最大为 1：范数不到 c 时保持原样。c / ops.maximum(norm, c) 既不用 if，也不会除以 0。",
        ),
        Text(
            "norm = ops.sqrt(sum([(g * g).sum() for g in gradients])); then tuple([g * (c / ops.maximum(norm, c)) for g in "
            "gradients]).",
            "norm = ops.sqrt(sum([(g * g).sum() for g in gradients]))；然后 tuple([g * (c / ops.maximum(norm, c)) for g "
            "in gradients])。",
        ),
    ),
    reference=clip_gradients,
    cases=cases,
    gradient=False,  # nothing is differentiated through the clipping
    mistakes=(
        Mistake(
            "own norm of each",
            _each_by_its_own,
            Text(
                "each gradient is clipped by a norm of its own: the direction of the whole changes, take one norm of all",
                "每个梯度按各自的范数裁剪了：这会改变整体的方向，应当对所有梯度只算一个范数",
            ),
        ),
        Mistake(
            "numbers clipped",
            _numbers_clipped,
            Text(
                "each number is cut off at -c and c: that changes the direction, scale all by one factor",
                "每个数被截断在 -c 与 c 之间：这会改变方向，应当用同一个系数缩放全部梯度",
            ),
        ),
        Mistake(
            "not scaled",
            _by_factor(lambda c, norm: 1.0),
            Text(
                "the norm is above c and the gradients come back unchanged: is it min, and is the comparison the right way "
                "round?",
                "范数超过 c，梯度却原样返回：用的是 min 吗？大小比较写反了吗？",
            ),
        ),
        Mistake(
            "0 divided by 0",
            _by_factor(lambda c, norm: ops.minimum(norm, c) / norm),
            Text(
                "gradients that are all 0 become NaN: 0 is divided by 0",
                "梯度全为 0 时结果成了 NaN：出现了 0 除以 0",
            ),
        ),
        Mistake(
            "always scaled",
            _by_factor(lambda c, norm: c / norm),
            Text(
                "gradients shorter than c are made longer: the factor is at most 1",
                "范数小于 c 的梯度被放大了：系数最大为 1",
            ),
        ),
        Mistake(
            "c forgotten",
            _by_factor(lambda c, norm: 1.0 / norm),
            Text("the gradients are scaled to the norm 1: it is to be c", "梯度的范数被缩放到 1：应当是 c"),
        ),
        Mistake(
            "factor inverted",
            _by_factor(lambda c, norm: norm / c),
            Text(
                "the gradients are multiplied by norm / c: the factor is c / norm",
                "梯度乘了 norm / c：系数应为 c / norm",
            ),
        ),
        Mistake(
            "root forgotten",
            _by(lambda gradients: _norm(gradients) ** 2),
            Text(
                "c is divided by the sum of squares: the norm is its root",
                "c 除以了平方和：范数是它的平方根",
            ),
        ),
        Mistake(
            "norms added",
            _by(lambda gradients: sum([_norm([g]) for g in gradients])),
            Text(
                "the norms of the gradients are added up: add up the squares, and take the root once",
                "把各个梯度的范数相加了：应当把平方加起来，最后开一次方",
            ),
        ),
        Mistake(
            "L1 norm",
            _by(lambda gradients: sum([ops.abs(g).sum() for g in gradients])),
            Text(
                "this is the L1 norm, the sum of absolute values: take the root of the sum of squares",
                "这是 L1 范数，即绝对值之和：应当是平方和的平方根",
            ),
        ),
        Mistake(
            "largest number",
            _by(lambda gradients: ops.stack([ops.abs(g).max() for g in gradients]).max()),
            Text(
                "this is the maximum norm, the largest absolute value: take the root of the sum of squares",
                "这是最大范数，即绝对值的最大值：应当是平方和的平方根",
            ),
        ),
        Mistake(
            "largest norm",
            _by(lambda gradients: ops.stack([_norm([g]) for g in gradients]).max()),
            Text(
                "the largest of the gradients' norms is taken: all of them together have one norm",
                "取了各个梯度范数中最大的一个：应当是全部梯度合在一起的范数",
            ),
        ),
        Mistake(
            "last gradient alone",
            _by(lambda gradients: _norm(gradients[-1:])),
            Text(
                "the norm is that of the last gradient: is the sum overwritten in the loop?",
                "范数只算了最后一个梯度：循环中是不是覆盖了累加的和？",
            ),
        ),
        Mistake(
            "first gradient alone",
            _by(lambda gradients: _norm(gradients[:1])),
            Text(
                "the norm is that of the first gradient: all of them count",
                "范数只算了第一个梯度：应当包括所有梯度",
            ),
        ),
        Mistake(
            "root mean square",
            _by(_root_mean_square),
            Text(
                "the mean of the squares is taken: the norm is the root of their sum",
                "取了平方的平均值：范数是平方和的平方根",
            ),
        ),
    ),
)
