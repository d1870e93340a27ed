"""Weight standardisation of a convolution's weight."""

import numpy as np
from mindspore import ops

from vit_ms.checkin.exercise import Case, Exercise, Mistake, Text


def standardize_weights(weight, epsilon):
    centred = weight - weight.mean(axis=(1, 2, 3), keep_dims=True)
    variance = (centred**2).mean(axis=(1, 2, 3), keep_dims=True)  # (O, 1, 1, 1)
    return centred / ops.sqrt(variance + epsilon)


def _over(*axes):
    def wrong(weight, epsilon):
        centred = weight - weight.mean(axis=axes, keep_dims=True)
        return centred / ops.sqrt((centred**2).mean(axis=axes, keep_dims=True) + epsilon)

    return wrong


def _divided_by(scale):
    """`scale` takes the variance, epsilon and n."""

    def wrong(weight, epsilon):
        centred = weight - weight.mean(axis=(1, 2, 3), keep_dims=True)
        variance = (centred**2).mean(axis=(1, 2, 3), keep_dims=True)
        return centred / scale(variance, epsilon, weight.size // weight.shape[0])

    return wrong


def _mean_left(weight, epsilon):
    centred = weight - weight.mean(axis=(1, 2, 3), keep_dims=True)
    return weight / ops.sqrt((centred**2).mean(axis=(1, 2, 3), keep_dims=True) + epsilon)


def _root_mean_square(weight, epsilon):
    return weight / ops.sqrt((weight**2).mean(axis=(1, 2, 3), keep_dims=True) + epsilon)


def _second_moment(weight, epsilon):
    centred = weight - weight.mean(axis=(1, 2, 3), keep_dims=True)
    return centred / ops.sqrt((weight**2).mean(axis=(1, 2, 3), keep_dims=True) + epsilon)


def _in_rows(weight, epsilon):
    return standardize_weights(weight, epsilon).reshape(weight.shape[0], -1)


def cases(rng):
    def case(about, shape, scale, epsilon):
        # Means and scales of its own for every output and input channel, so that each set of axes gives other numbers.
        means, scales = rng.standard_normal((2, *shape[:2], 1, 1))
        weight = scale * (0.5 + 0.5 * means + (1.0 + 0.3 * scales) * rng.standard_normal(shape))
        return Case(about, (weight.astype(np.float32), epsilon))

    about = Text(
        "4 output and 3 input channels, 2 x 3, a large epsilon", "4 个输出通道、3 个输入通道，2 x 3，epsilon 较大"
    )
    yield case(about, (4, 3, 2, 3), 1.0, 0.1)
    about = Text("small weights, 3 x 3, epsilon 1e-8", "数值较小的权重，3 x 3，epsilon 为 1e-8")
    yield case(about, (5, 4, 3, 3), 0.05, 1e-8)
    about = Text("1 x 1, 6 input channels, epsilon 1e-8", "1 x 1，6 个输入通道，epsilon 为 1e-8")
    yield case(about, (3, 6, 1, 1), 1.0, 1e-8)


EXERCISE = Exercise(
    name="standardize_weights",
    notebook="10_hybrid_and_deit",
    section=2,
    kind="function",
    title=Text("Weight standardisation", "权重标准化"),
    statement=Text(
        "Write `standardize_weights(weight, epsilon)`, with Tensors all through, so that gradients reach the weight:\n\n"
        "$$\\hat W_o = \\frac{W_o - \\mu_o}{\\sqrt{\\sigma_o^2 + \\epsilon}}$$\n\n"
        "`weight` is a Tensor (O, C, h, w): O output channels, C input channels, kernels of h rows and w columns. "
        "$\\mu_o$ and $\\sigma_o^2$ are the mean and the variance (the sum of squares divided by $n$) of the $n = C h w$ "
        "numbers of output channel $o$. `epsilon` is a number, above it was $10^{-8}$. The result has the shape of "
        "`weight`.",
        "写出 `standardize_weights(weight, epsilon)`，全程用 Tensor 运算，让梯度能传回权重：\n\n"
        "$$\\hat W_o = \\frac{W_o - \\mu_o}{\\sqrt{\\sigma_o^2 + \\epsilon}}$$\n\n"
        "`weight` 是形状为 (O, C, h, w) 的 Tensor：O 个输出通道，C 个输入通道，卷积核 h 行 w 列。$\\mu_o$ 和 $\\sigma_o^2$ "
        "是输出通道 $o$ 的 $n = C h w$ 个数的均值和方差（平方和除以 $n$）。`epsilon` 是一个数，上文取 $10^{-8}$。结果与 "
        "`weight` 形状相同。",
    ),
    solution="standardize_weights",
    starter="def standardize_weights(weight, epsilon):\n    ...\n",
    hints=(
        Text(
            "There is one mean and one variance for each output channel, O of each: over which axes of (O, C, h, w) do "
            "you take them?",
            "每个输出通道一个均值、一个方差，各 O 个：应当沿 (O, C, h, w) 的哪几维计算？",
        ),
        Text(
            "Take several axes at once, weight.mean(axis=(1, 2, 3), keep_dims=True), which is (O, 1, 1, 1) and "
            "broadcasts; or make a row of each output channel, weight.reshape(O, -1), and go back at the end.",
            "可以一次对多维求均值：weight.mean(axis=(1, 2, 3), keep_dims=True) 的形状是 (O, 1, 1, 1)，能够广播；也可以先用 "
            "weight.reshape(O, -1) 把每个输出通道排成一行，最后再恢复形状。",
        ),
        Text(
            "centred = weight - mean; variance is the mean of centred**2 over the same axes; the result is "
            "centred / ops.sqrt(variance + epsilon).",
            "centred = weight - mean；方差是 centred**2 沿同样几维的均值；结果是 "
            "centred / ops.sqrt(variance + epsilon)。",
        ),
    ),
    reference=standardize_weights,
    cases=cases,
    mistakes=(
        Mistake(
            "epsilon outside the root",
            _divided_by(lambda variance, epsilon, n: ops.sqrt(variance) + epsilon),
            Text(
                "epsilon is added to the standard deviation, which is the form of Google's code: here it is added to the "
                "variance, inside the root",
                "epsilon 加到了标准差上，这是 Google 代码的形式：这里应当加在方差上，在根号之内",
            ),
        ),
        Mistake(
            "epsilon forgotten",
            _divided_by(lambda variance, epsilon, n: ops.sqrt(variance)),
            Text(
                "the epsilon that is given is not used: add it to the variance",
                "没有用到传入的 epsilon：应当加在方差上",
            ),
        ),
        Mistake(
            "unbiased variance",
            _divided_by(lambda variance, epsilon, n: ops.sqrt(variance * n / (n - 1) + epsilon)),
            Text(
                "the sum of squares is divided by n - 1: here the variance divides it by n",
                "平方和除以了 n - 1：这里的方差除以 n",
            ),
        ),
        Mistake(
            "divided by the variance",
            _divided_by(lambda variance, epsilon, n: variance + epsilon),
            Text("it is divided by the variance: the root is missing", "除以了方差：缺少开方"),
        ),
        Mistake(
            "divided by the norm",
            _divided_by(lambda variance, epsilon, n: ops.sqrt(variance * n + epsilon)),
            Text(
                "it is divided by the root of the sum of squares, so that each channel has length 1: the variance is "
                "their mean",
                "除以了平方和的平方根，每个通道的长度成了 1：方差是平方的均值",
            ),
        ),
        Mistake(
            "not divided",
            _divided_by(lambda variance, epsilon, n: 1.0),
            Text(
                "only the mean is subtracted: it is to be divided by sqrt(variance + epsilon) as well",
                "只减去了均值：还要除以 sqrt(方差 + epsilon)",
            ),
        ),
        Mistake(
            "over the output channels",
            _over(0),
            Text(
                "mean and variance are taken over the output channels (axis 0): each output channel is standardised by "
                "itself, over the other three axes",
                "均值和方差沿输出通道（axis=0）计算了：每个输出通道应当单独标准化，沿其余三维计算",
            ),
        ),
        Mistake(
            "for each input channel",
            _over(0, 2, 3),
            Text(
                "there is one mean and variance for each input channel: the output channel is axis 0, leave out that one",
                "每个输入通道算了一个均值和方差：输出通道是第 0 维，只有这一维不参与计算",
            ),
        ),
        Mistake(
            "for each kernel",
            _over(2, 3),
            Text(
                "each kernel of h x w numbers is standardised by itself: an output channel is all its C kernels together",
                "每个 h x w 的卷积核各自做了标准化：一个输出通道的 C 个卷积核应当合在一起",
            ),
        ),
        Mistake(
            "over the input channels alone",
            _over(1),
            Text(
                "mean and variance are taken over the input channels (axis 1) alone: take the rows and columns of the "
                "kernels as well",
                "均值和方差只沿输入通道（axis=1）计算了：卷积核的行和列也要算在内",
            ),
        ),
        Mistake(
            "over everything",
            _over(0, 1, 2, 3),
            Text(
                "the whole weight shares one mean and variance: each output channel has its own",
                "整个权重共用了一个均值和方差：每个输出通道应当各有自己的",
            ),
        ),
        Mistake("mean left", _mean_left, Text("the mean is not subtracted", "没有减去均值")),
        Mistake(
            "root mean square",
            _root_mean_square,
            Text(
                "the weight is divided by its root mean square: subtract the mean first",
                "权重除以了它的均方根：应当先减去均值",
            ),
        ),
        Mistake(
            "squares of the weight",
            _second_moment,
            Text(
                "the variance is taken as the mean of W^2: it is the mean of (W - mean)^2",
                "方差取成了 W^2 的均值：应当是 (W - 均值)^2 的均值",
            ),
        ),
        Mistake(
            "left in rows",
            _in_rows,
            Text(
                "the numbers are right, but still one row for each output channel: go back to the shape of the weight",
                "数值正确，但每个输出通道仍排成一行：请恢复成 weight 的形状",
            ),
        ),
    ),
)
