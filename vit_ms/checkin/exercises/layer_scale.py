"""LayerScale: a residual branch times one learned number a channel."""

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn

from vit_ms.checkin.calling import Part
from vit_ms.checkin.exercise import Case, Exercise, Mistake, Text


class _Scaled(nn.Cell):
    def __init__(self, branch, initial):
        super().__init__()
        self.branch = branch
        self.gamma = Parameter(Tensor(initial, ms.float32), name="gamma")  # (D,)


class ScaledBranch(_Scaled):
    def construct(self, x):
        return x + self.gamma * self.branch(x)


class _Unscaled(_Scaled):
    def construct(self, x):
        return x + self.branch(x)


class _TinyGamma(_Scaled):
    def construct(self, x):
        return x + 1e-6 * self.branch(x)


class _NoResidual(_Scaled):
    def construct(self, x):
        return self.gamma * self.branch(x)


class _SumScaled(_Scaled):
    def construct(self, x):
        return self.gamma * (x + self.branch(x))


class _InputScaled(_Scaled):
    def construct(self, x):
        return self.gamma * x + self.branch(x)


class _BranchInputScaled(_Scaled):
    def construct(self, x):
        return x + self.branch(self.gamma * x)


class _NoBranch(_Scaled):
    def construct(self, x):
        return x + self.gamma * x


class _Mixed(_Scaled):
    def construct(self, x):
        return (1.0 - self.gamma) * x + self.gamma * self.branch(x)


class _Added(_Scaled):
    def construct(self, x):
        return x + self.gamma + self.branch(x)


class _OneNumber(_Scaled):
    def construct(self, x):
        return x + self.gamma[0] * self.branch(x)


class _OneMean(_Scaled):
    def construct(self, x):
        return x + self.gamma.mean() * self.branch(x)


class _BranchTwice(_Scaled):
    def construct(self, x):
        return (1.0 + self.gamma) * self.branch(x)


class _OverTheRows(_Scaled):
    def construct(self, x):
        return x + self.gamma.reshape(-1, 1, 1) * self.branch(x)


def cases(rng):
    for about, shape, size in (
        # As many rows as channels, so that gamma along the wrong axis computes something.
        (Text("2 maps of 5 x 3, D = 5", "2 张 5 x 3 的特征图，D = 5"), (2, 5, 3, 5), 1.0),
        (Text("tokens: 3 images, N = 4, D = 6", "token：3 张图像，N = 4，D = 6"), (3, 4, 6), 1.0),
        (Text("one map of 2 x 4, D = 3, small gamma", "1 张 2 x 4 的特征图，D = 3，gamma 很小"), (1, 2, 4, 3), 1e-2),
    ):
        dim = shape[-1]
        x, w, b = (rng.standard_normal(part).astype(np.float32) for part in (shape, (dim, dim), dim))
        initial = [round(float(number), 4) for number in size * rng.uniform(0.2, 2.0, dim)]
        initial[1::2] = [-number for number in initial[1::2]]  # of both signs
        yield Case(about, (x,), {"branch": Part("dense", (w, b)), "initial": initial})


ONE_NUMBER = Text(
    "all channels are multiplied by one number: gamma has D numbers, one a channel, each with its own initial value",
    "所有通道乘的是同一个数：gamma 有 D 个数，每个通道一个，各有各的初值",
)

EXERCISE = Exercise(
    name="layer_scale",
    notebook="12_resnet_to_convnext",
    section=5,
    kind="cell",
    title=Text("A residual branch with LayerScale", "带 LayerScale 的残差分支"),
    statement=Text(
        "Write the class `ScaledBranch(branch, initial)`, a residual connection with LayerScale around any branch $f$:\n\n"
        "$$y = x + \\gamma \\odot f(x)$$\n\n"
        "`branch` is $f$, a cell that is made already, from a Tensor (..., D) to one of the same shape (in the check it is "
        "a dense layer). $\\gamma$ is a `Parameter` of shape (D,), float32, and `initial`, a list of D numbers, has its "
        "initial values; ConvNeXt takes $10^{-6}$ for all of them, the check takes others. Keep the names of both "
        "arguments. `construct` takes a Tensor, **channels last**: a map (B, h, w, D) or tokens (B, N, D); it returns one "
        "of the same shape.",
        "写出类 `ScaledBranch(branch, initial)`，即包在任意分支 $f$ 外面、带 LayerScale 的残差连接：\n\n"
        "$$y = x + \\gamma \\odot f(x)$$\n\n"
        "`branch` 就是 $f$，一个已经建好的 Cell，输入、输出都是形状为 (..., D) 的 Tensor（检查时用的是全连接层）。$\\gamma$ "
        "是形状为 (D,) 的 float32 `Parameter`；`initial` 是 D 个数的列表，即它的初值。ConvNeXt 的初值全是 $10^{-6}$，检查时"
        "用别的数。两个参数名不要改。`construct` 接收一个**通道在后**的 Tensor：特征图 (B, h, w, D) 或 token "
        "(B, N, D)，返回同样形状的 Tensor。",
    ),
    solution="ScaledBranch",
    starter=(
        "class ScaledBranch(nn.Cell):\n"
        "    def __init__(self, branch, initial):\n"
        "        super().__init__()\n"
        "        ...\n"
        "\n"
        "    def construct(self, x):\n"
        "        ...\n"
    ),
    hints=(
        Text(
            "Only what the branch returns is scaled; x itself passes unchanged. That is why a block with small gamma is "
            "nearly the identity.",
            "只有分支的输出要缩放，x 本身原样通过。正因如此，gamma 很小时残差块接近恒等映射。",
        ),
        Text(
            "In __init__: self.branch = branch and self.gamma = Parameter(Tensor(initial, ms.float32)).",
            "在 __init__ 中：self.branch = branch，self.gamma = Parameter(Tensor(initial, ms.float32))。",
        ),
        Text(
            "(D,) broadcasts along the last axis, which is the channels', as it is: return x + self.gamma * self.branch(x).",
            "(D,) 无需变形就沿最后一维（通道）广播：return x + self.gamma * self.branch(x)。",
        ),
    ),
    reference=ScaledBranch,
    cases=cases,
    mistakes=(
        Mistake(
            "gamma not used",
            _Unscaled,
            Text(
                "this is x + f(x): gamma is not used, or it starts at 1 in place of the numbers in initial",
                "这是 x + f(x)：没有用到 gamma，或者它的初值是 1，而不是 initial 中的数",
            ),
        ),
        Mistake(
            "initial ignored",
            _TinyGamma,
            Text(
                "the result is x itself: gamma starts at 0 or 1e-6 in place of the numbers in initial, or the branch is not "
                "added",
                "结果就是 x 本身：gamma 的初值是 0 或 1e-6，而不是 initial 中的数；或者没有加上分支",
            ),
        ),
        Mistake(
            "residual forgotten",
            _NoResidual,
            Text("x itself is not added: this is the branch alone", "没有加上 x：这里只有分支"),
        ),
        Mistake(
            "branch in place of x",
            _BranchTwice,
            Text(
                "what the branch returns is added to itself: x has been overwritten, keep it for the sum",
                "分支的输出加在了它自己上：x 被覆盖了，相加时还要用原来的 x",
            ),
        ),
        Mistake(
            "sum scaled",
            _SumScaled,
            Text(
                "gamma multiplies the sum x + f(x): it belongs to the branch alone, x passes unchanged",
                "gamma 乘在了和 x + f(x) 上：它只作用于分支，x 应当原样通过",
            ),
        ),
        Mistake(
            "input scaled",
            _InputScaled,
            Text("gamma multiplies x in place of the branch", "gamma 乘在了 x 上，应当乘在分支上"),
        ),
        Mistake(
            "scaled before the branch",
            _BranchInputScaled,
            Text(
                "gamma multiplies what goes into the branch: it is to multiply what comes out",
                "gamma 乘在了分支的输入上：应当乘在分支的输出上",
            ),
        ),
        Mistake(
            "branch forgotten",
            _NoBranch,
            Text("gamma multiplies x and the branch is not called", "gamma 乘的是 x，没有调用分支"),
        ),
        Mistake(
            "mixed",
            _Mixed,
            Text(
                "x is multiplied by 1 - gamma: LayerScale is no mixture, x passes unchanged",
                "x 乘了 1 - gamma：LayerScale 不是加权平均，x 应当原样通过",
            ),
        ),
        Mistake("gamma added", _Added, Text("gamma is added: it is a factor", "gamma 是加上去的：它应当是乘数")),
        Mistake("one number for all", _OneNumber, ONE_NUMBER),
        Mistake("one number for all", _OneMean, ONE_NUMBER),
        Mistake(
            "gamma over the rows",
            _OverTheRows,
            Text(
                "gamma goes along the rows of the map, as with channels first: here the channels are the last axis",
                "gamma 沿特征图的行展开了，那是通道在前时的写法：这里通道是最后一维",
            ),
        ),
    ),
)
