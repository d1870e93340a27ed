"""Layer normalisation over the last axis."""

import numpy as np
from mindspore import ops

from vit_ms.checkin.exercise import Case, Exercise, Mistake, Text


def layer_norm(x, gamma, beta, epsilon):
    mean = x.mean(axis=-1, keep_dims=True)
    variance = ((x - mean) ** 2).mean(axis=-1, keep_dims=True)
    return gamma * (x - mean) / ops.sqrt(variance + epsilon) + beta


def _normalised(x, axes, epsilon):
    mean = x.mean(axis=axes, keep_dims=True)
    return (x - mean) / ops.sqrt(((x - mean) ** 2).mean(axis=axes, keep_dims=True) + epsilon)


def _over(*axes):
    def wrong(x, gamma, beta, epsilon):
        return gamma * _normalised(x, axes, epsilon) + beta

    return wrong


def _divided_by(scale):
    def wrong(x, gamma, beta, epsilon):
        mean = x.mean(axis=-1, keep_dims=True)
        variance = ((x - mean) ** 2).mean(axis=-1, keep_dims=True)
        return gamma * (x - mean) / scale(variance, epsilon, x.shape[-1]) + beta

    return wrong


def _mean_left(x, gamma, beta, epsilon):
    mean = x.mean(axis=-1, keep_dims=True)
    return gamma * x / ops.sqrt(((x - mean) ** 2).mean(axis=-1, keep_dims=True) + epsilon) + beta


def _square_of_x(x, gamma, beta, epsilon):
    return gamma * x / ops.sqrt((x**2).mean(axis=-1, keep_dims=True) + epsilon) + beta


def _second_moment(x, gamma, beta, epsilon):
    mean = x.mean(axis=-1, keep_dims=True)
    return gamma * (x - mean) / ops.sqrt((x**2).mean(axis=-1, keep_dims=True) + epsilon) + beta


def _plain(x, gamma, beta, epsilon):
    return _normalised(x, (-1,), epsilon)


def _gamma_alone(x, gamma, beta, epsilon):
    return gamma * _plain(x, gamma, beta, epsilon)


def _beta_alone(x, gamma, beta, epsilon):
    return _plain(x, gamma, beta, epsilon) + beta


def _swapped(x, gamma, beta, epsilon):
    return layer_norm(x, beta, gamma, epsilon)


def _beta_first(x, gamma, beta, epsilon):
    return gamma * (_plain(x, gamma, beta, epsilon) + beta)


def cases(rng):
    def case(about, x, epsilon):
        gamma, beta = (start + 0.5 * rng.standard_normal(x.shape[-1]) for start in (1.0, 0.3))
        return Case(about, (*(array.astype(np.float32) for array in (x, gamma, beta)), epsilon))

    about = Text("2 images, 3 tokens, D = 5, a large epsilon", "2 张图像、3 个 token，D = 5，epsilon 较大")
    yield case(about, 0.7 + rng.standard_normal((2, 3, 5)), 0.1)
    about = Text("4 axes, D = 6, epsilon 1e-6", "4 维输入，D = 6，epsilon 为 1e-6")
    yield case(about, 2.0 * rng.standard_normal((2, 4, 3, 6)) - 1.0, 1e-6)
    about = Text("one token of equal numbers among others", "其中一个 token 的各个数全相等")
    x = rng.standard_normal((3, 4))
    x[1] = 2.0
    yield case(about, x, 1e-5)


EXERCISE = Exercise(
    name="layer_norm",
    notebook="04_encoder_and_vit",
    section=2,
    kind="function",
    title=Text("Layer normalisation", "层归一化"),
    statement=Text(
        "Write `layer_norm(x, gamma, beta, epsilon)`, equation 1 of the notebook:\n\n"
        "$$\\gamma \\, \\frac{x - \\mu}{\\sqrt{\\sigma^2 + \\epsilon}} + \\beta$$\n\n"
        "`x` is a Tensor (..., D) with any number of axes before the last, `gamma` and `beta` are Tensors (D,), `epsilon` "
        "is a number. $\\mu$ and $\\sigma^2$ are the mean and the variance (the sum of squares divided by $D$) of the $D$ "
        "numbers of each token. The result has the shape of `x`.",
        "写出 `layer_norm(x, gamma, beta, epsilon)`，即本节课的公式（1）：\n\n"
        "$$\\gamma \\, \\frac{x - \\mu}{\\sqrt{\\sigma^2 + \\epsilon}} + \\beta$$\n\n"
        "`x` 是形状为 (..., D) 的 Tensor，最后一维之前可以有任意多维；`gamma`、`beta` 是形状为 (D,) 的 Tensor，`epsilon` 是"
        "一个数。$\\mu$ 和 $\\sigma^2$ 是每个 token 的 $D$ 个数的均值和方差（平方和除以 $D$）。结果与 `x` 形状相同。",
    ),
    solution="layer_norm",
    starter="def layer_norm(x, gamma, beta, epsilon):\n    ...\n",
    hints=(
        Text(
            "Each token has its own mean and variance: of which axis are the D numbers of a token?",
            "每个 token 有自己的均值和方差：一个 token 的 D 个数在哪一维上？",
        ),
        Text(
            "x.mean(axis=-1, keep_dims=True) keeps an axis of length 1, so that x - mean broadcasts; the variance is the "
            "mean of the squares of this difference.",
            "x.mean(axis=-1, keep_dims=True) 保留长度为 1 的一维，x - mean 就能广播；方差是这个差的平方的均值。",
        ),
        Text(
            "h = (x - mean) / ops.sqrt(variance + epsilon), with epsilon inside the root; then gamma * h + beta, which "
            "broadcasts over the last axis.",
            "h = (x - mean) / ops.sqrt(variance + epsilon)，epsilon 在根号内；再算 gamma * h + beta，沿最后一维广播。",
        ),
    ),
    reference=layer_norm,
    cases=cases,
    mistakes=(
        Mistake(
            "epsilon outside the root",
            _divided_by(lambda variance, epsilon, d: ops.sqrt(variance) + epsilon),
            Text(
                "epsilon is added to the standard deviation: it belongs to the variance, inside the root",
                "epsilon 加到了标准差上：应当加在方差上，在根号之内",
            ),
        ),
        Mistake(
            "epsilon forgotten",
            _divided_by(lambda variance, epsilon, d: ops.sqrt(variance)),
            Text(
                "the epsilon that is given is not used; without it a token of equal numbers is divided by 0",
                "没有用到传入的 epsilon；没有它，各个数全相等的 token 会除以 0",
            ),
        ),
        Mistake(
            "unbiased variance",
            _divided_by(lambda variance, epsilon, d: ops.sqrt(variance * d / (d - 1) + epsilon)),
            Text(
                "the variance is divided by D - 1: LayerNorm divides the sum of squares by D",
                "方差除以了 D - 1：层归一化的平方和除以 D",
            ),
        ),
        Mistake(
            "divided by the variance",
            _divided_by(lambda variance, epsilon, d: variance + epsilon),
            Text("it is divided by the variance: the root is missing", "除以了方差：缺少开方"),
        ),
        Mistake(
            "not divided",
            _divided_by(lambda variance, epsilon, d: 1.0),
            Text(
                "only the mean is subtracted: it is to be divided by sqrt(variance + epsilon) as well",
                "只减去了均值：还要除以 sqrt(方差 + epsilon)",
            ),
        ),
        Mistake(
            "over the tokens",
            _over(-2),
            Text(
                "mean and variance are taken over the tokens (axis -2): take them over the D numbers of one token, the "
                "last axis",
                "均值和方差沿 token（axis=-2）计算了：应当沿最后一维，对一个 token 的 D 个数计算",
            ),
        ),
        Mistake(
            "over the images",
            _over(0),
            Text(
                "mean and variance are taken over the batch (axis 0): the result of an image is not to depend on others",
                "均值和方差沿批（axis=0）计算了：一张图像的结果不应依赖其他图像",
            ),
        ),
        Mistake(
            "over tokens and columns",
            _over(-2, -1),
            Text(
                "all tokens of an image share one mean and variance: each token is to be normalised by itself",
                "一张图像的所有 token 共用了一个均值和方差：每个 token 应当单独归一化",
            ),
        ),
        Mistake(
            "batch normalisation",
            _over(0, 1),
            Text(
                "mean and variance of each column are taken over all images and tokens: that is batch normalisation",
                "每一列的均值和方差对所有图像、所有 token 计算：这是批归一化",
            ),
        ),
        Mistake(
            "over everything",
            _over(0, 1, 2),
            Text(
                "one mean and variance is taken of the whole Tensor: give the axis, and keep it",
                "对整个 Tensor 只算了一个均值和方差：请指定 axis，并保留该维",
            ),
        ),
        Mistake(
            "mean left",
            _mean_left,
            Text("the mean is not subtracted", "没有减去均值"),
        ),
        Mistake(
            "root mean square",
            _square_of_x,
            Text(
                "x is divided by its root mean square: that is RMSNorm, LayerNorm subtracts the mean first",
                "x 除以了它的均方根：这是 RMSNorm，层归一化要先减去均值",
            ),
        ),
        Mistake(
            "squares of x",
            _second_moment,
            Text(
                "the variance is taken as the mean of x^2: it is the mean of (x - mean)^2",
                "方差取成了 x^2 的均值：应当是 (x - 均值)^2 的均值",
            ),
        ),
        Mistake(
            "gamma and beta forgotten",
            _plain,
            Text("gamma and beta are not used", "没有用到 gamma 和 beta"),
        ),
        Mistake("beta forgotten", _gamma_alone, Text("beta is not added", "没有加 beta")),
        Mistake("gamma forgotten", _beta_alone, Text("gamma is not used", "没有乘 gamma")),
        Mistake(
            "gamma and beta swapped",
            _swapped,
            Text(
                "gamma and beta have changed places: gamma scales, beta is added",
                "gamma 和 beta 用反了：gamma 是缩放，beta 是平移",
            ),
        ),
        Mistake(
            "beta before gamma",
            _beta_first,
            Text("beta is multiplied with gamma: scale first, then add", "beta 也乘上了 gamma：应当先缩放，再相加"),
        ),
    ),
)
