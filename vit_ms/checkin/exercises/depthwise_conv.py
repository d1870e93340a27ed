"""Depthwise convolution, channels first."""

import numpy as np
from mindspore import Tensor, ops

from vit_ms.checkin.exercise import Case, Exercise, Mistake, Property, Text, Wrong

BORDER = Text(
    "beyond the border stand other numbers than zeros (the edge repeated or mirrored, or the opposite side, as a roll "
    "brings it): pad with zeros",
    "边界外用的不是零（重复或镜像了边缘，或者像 roll 那样取了对侧的数）：边界外应当补零",
)
SUMMED = Text(
    "the channels are added up, as in an ordinary convolution: output channel d reads channel d alone",
    "各通道被加在了一起，这是普通卷积的做法：输出通道 d 只读第 d 个通道",
)


def depthwise_conv(x, w, b):
    return ops.conv2d(x, w.expand_dims(1), b, pad_mode="pad", padding=w.shape[1] // 2, groups=w.shape[0])


def _slide(x, w, before=1, after=1, mode="constant"):
    """Equation 1 without its bias, in NumPy. `before` and `after` are the padding of both axes, in units of r."""
    r, size = w.shape[1] // 2, w.shape[1]
    sides = (before * r, after * r)
    padded = np.pad(x, ((0, 0), (0, 0), sides, sides), mode)
    height, width = (side - size + 1 for side in padded.shape[2:])
    return sum(
        w[:, u, v, None, None] * padded[:, :, u : u + height, v : v + width] for u in range(size) for v in range(size)
    )  # (B, D, height, width)


def _mistake(calculate):
    """Of a calculation in NumPy: there are many of them, and PyNative mode would take a second for all."""

    def wrong(*inputs):
        x, w, b = (tensor.asnumpy() for tensor in inputs)
        return Tensor(calculate(x, w, b[:, None, None]).astype(np.float32))

    return wrong


def _padded(*padding):
    return _mistake(lambda x, w, b: _slide(x, w, *padding) + b)


def _case(rng, about, shape, size):
    shapes = shape, (shape[1], size, size), shape[1:2]
    return Case(about, tuple(rng.standard_normal(part).astype(np.float32) for part in shapes))


def cases(rng):
    yield _case(rng, Text("2 images, D = 4, 5 x 6, P = 3", "2 张图像，D = 4，5 x 6，P = 3"), (2, 4, 5, 6), 3)


def large_kernel(rng):
    """A property, for the gradients of 25 taps would take a learner's loops too long."""
    yield _case(rng, Text("a map lower than the kernel, P = 5", "特征图的高小于卷积核，P = 5"), (1, 2, 3, 7), 5)


def one_pixel(rng):
    yield _case(rng, Text("a map of one pixel, P = 5", "只有一个像素的特征图，P = 5"), (1, 2, 1, 1), 5)


def single_tap(rng):
    """For graph mode: nine taps would take a learner's loops nine times as long to compile."""
    yield _case(rng, Text("one image, D = 3, 4 x 5, P = 1", "1 张图像，D = 3，4 x 5，P = 1"), (1, 3, 4, 5), 1)


def judge_kernel_size(cases, outputs):
    for case, found in zip(cases, outputs, strict=True):
        wanted = depthwise_conv(*(Tensor(array) for array in case.inputs)).asnumpy()
        if len(found) == 1 and found[0].shape == wanted.shape and np.allclose(found[0], wanted, atol=1e-3):
            continue
        size, (height, width) = case.inputs[1].shape[1], wanted.shape[2:]
        raise Wrong(
            "other kernel sizes",
            Text(
                f"right for P = 3, wrong for P = {size} on a map of {height} x {width}: take P and r from the shape of w, "
                "and height and width from that of x",
                f"P = 3 时正确，P = {size}、特征图为 {height} x {width} 时不对：P 和 r 应当取自 w 的形状，高和宽取自 x 的"
                "形状",
            ),
        )


EXERCISE = Exercise(
    name="depthwise_conv",
    notebook="12_resnet_to_convnext",
    section=2,
    kind="function",
    title=Text("Depthwise convolution", "逐通道卷积"),
    statement=Text(
        "Write `depthwise_conv(x, w, b)`, equation 1 for Tensors and with **channels first**, as MindSpore's own "
        "convolutions have them:\n\n"
        "$$y_{dij} = b_d + \\sum_{u=0}^{P-1} \\sum_{v=0}^{P-1} w_{duv} \\, x_{d,\\; i+u-r,\\; j+v-r}$$\n\n"
        "`x` is a Tensor (B, D, height, width), `w` holds the kernels (D, P, P) with P odd, `b` is (D,); "
        "$r = (P - 1) / 2$, the stride is 1, and beyond the border there are zeros. The result has the shape of `x`. The "
        "map may be smaller than the kernel.",
        "写出 `depthwise_conv(x, w, b)`，即公式（1）的 Tensor 版本，但**通道在前**，与 MindSpore 自带的卷积一致：\n\n"
        "$$y_{dij} = b_d + \\sum_{u=0}^{P-1} \\sum_{v=0}^{P-1} w_{duv} \\, x_{d,\\; i+u-r,\\; j+v-r}$$\n\n"
        "`x` 是形状为 (B, D, 高, 宽) 的 Tensor，`w` 是各通道的卷积核 (D, P, P)，P 为奇数，`b` 的形状为 (D,)；"
        "$r = (P - 1) / 2$，步长为 1，边界外补零。结果与 `x` 形状相同。特征图可能比卷积核还小。",
    ),
    solution="depthwise_conv",
    starter="def depthwise_conv(x, w, b):\n    B, D, height, width = x.shape\n    P = w.shape[1]\n    ...\n",
    hints=(
        Text(
            "Two loops over the kernel, as in NumPy above: each adds one shifted map times one number a channel.",
            "像上面的 NumPy 代码那样，对卷积核做两重循环：每次加上一张平移后的特征图，乘以每个通道的一个数。",
        ),
        Text(
            "padded = ops.pad(x, (r, r, r, r)) puts zeros around height and width; the map for tap (u, v) is "
            "padded[:, :, u : u + height, v : v + width].",
            "padded = ops.pad(x, (r, r, r, r)) 在高、宽四周补零；第 (u, v) 个权重对应的特征图是 "
            "padded[:, :, u : u + height, v : v + width]。",
        ),
        Text(
            "The channel is axis 1 of the map, so (D,) has to become (D, 1, 1) to broadcast: "
            "w[:, u, v].reshape(-1, 1, 1), and b likewise. Start with b and add the products.",
            "通道是特征图的第 1 维，(D,) 要变成 (D, 1, 1) 才能正确广播：w[:, u, v].reshape(-1, 1, 1)，b 也一样。从 b 开始，"
            "逐个加上乘积。",
        ),
    ),
    reference=depthwise_conv,
    cases=cases,
    mistakes=(
        Mistake(
            "kernel flipped",
            _mistake(lambda x, w, b: _slide(x, w[:, ::-1, ::-1]) + b),
            Text(
                "the kernels are turned round by 180 degrees, the convolution of mathematics: in equation 1 u and v count "
                "up in w and in x",
                "卷积核旋转了 180 度，这是数学上的卷积：公式（1）中 u、v 在 w 和 x 里同向增加",
            ),
        ),
        Mistake(
            "kernel transposed",
            _mistake(lambda x, w, b: _slide(x, w.swapaxes(1, 2)) + b),
            Text(
                "rows and columns of the kernels have changed places: u goes with the height, v with the width",
                "卷积核的行和列对调了：u 对应高，v 对应宽",
            ),
        ),
        Mistake(
            "channels summed",
            _mistake(lambda x, w, b: _slide(np.broadcast_to(x.sum(axis=1, keepdims=True), x.shape), w) + b),
            SUMMED,
        ),
        Mistake("channels summed", _mistake(lambda x, w, b: _slide(x, w).sum(axis=1, keepdims=True) + b), SUMMED),
        Mistake(
            "one kernel for all",
            _mistake(lambda x, w, b: _slide(x, w[:1]) + b),
            Text(
                "all channels are read with the kernel of channel 0: each has its own",
                "所有通道都用了第 0 个通道的卷积核：每个通道应当用自己的",
            ),
        ),
        Mistake(
            "padding forgotten",
            _padded(0, 0),
            Text(
                "the map has become smaller by P - 1: pad it with r zeros on each side first",
                "特征图小了 P - 1：应当先在每一侧补 r 个零",
            ),
        ),
        Mistake(
            "padding at the end alone",
            _padded(0, 2),
            Text(
                "the kernel's first number stands over the place (i, j), not its middle: r zeros belong on each side, not "
                "2 r at the bottom and on the right",
                "位置 (i, j) 对应的是卷积核的第一个数，而不是中心：每一侧各补 r 个零，而不是在下边和右边补 2r 个",
            ),
        ),
        Mistake(
            "padding at the start alone",
            _padded(2, 0),
            Text(
                "the kernel's last number stands over the place (i, j), not its middle: r zeros belong on each side, not "
                "2 r at the top and on the left",
                "位置 (i, j) 对应的是卷积核的最后一个数，而不是中心：每一侧各补 r 个零，而不是在上边和左边补 2r 个",
            ),
        ),
        Mistake("border not zero", _padded(1, 1, "edge"), BORDER),
        Mistake("border not zero", _padded(1, 1, "wrap"), BORDER),
        Mistake("border not zero", _padded(1, 1, "reflect"), BORDER),
        Mistake(
            "bias forgotten", _mistake(lambda x, w, b: _slide(x, w)), Text("the bias b is not added", "没有加偏置 b")
        ),
        Mistake(
            "bias for each tap",
            _mistake(lambda x, w, b: _slide(x, w) + b * w.shape[1] * w.shape[2]),
            Text(
                "the bias is added with every number of the kernel, P P times: once is enough, outside the loops",
                "卷积核的每个数都加了一次偏置，共 P·P 次：应当只加一次，放在循环之外",
            ),
        ),
    ),
    properties=(
        Property(large_kernel, judge_kernel_size),
        Property(one_pixel, judge_kernel_size),
        Property(single_tap, judge_kernel_size, graph=True),
    ),
    graph=False,
)
