"""Solutions of `layer_scale`: RIGHT ones pass, WRONG ones fail with the mistake beside them."""

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops
from mindspore.common.initializer import initializer


class ScaledBranch(nn.Cell):
    def __init__(self, branch, initial):
        super().__init__()
        self.branch = branch
        self.gamma = Parameter(Tensor(initial, ms.float32), name="gamma")

    def construct(self, x):
        return x + self.gamma * self.branch(x)


class LayerScale(nn.Cell):
    def __init__(self, gamma):
        super().__init__()
        self.gamma = Parameter(np.array(gamma, np.float32))

    def construct(self, y):
        return y * self.gamma


class TwoCells(nn.Cell):
    def __init__(self, branch, initial):
        super().__init__()
        self.cell = nn.SequentialCell(branch, LayerScale(initial))

    def construct(self, x):
        return self.cell(x) + x


class Set(nn.Cell):
    def __init__(self, initial, branch):
        super().__init__()
        self.f = branch
        self.scale = Parameter(initializer("ones", (len(initial),), ms.float32), name="layer_scale")
        self.scale.set_data(Tensor(initial, ms.float32))

    def construct(self, x):
        y = self.f(x)
        shape = (1,) * (y.ndim - 1) + (-1,)
        return ops.addcmul(x, self.scale.reshape(shape), y)


class Diagonal(nn.Cell):
    def __init__(self, branch, initial):
        super().__init__()
        self.branch = branch
        self.gamma = Parameter(Tensor(initial, ms.float32))

    def construct(self, x):
        return ops.matmul(self.branch(x), ops.diag(self.gamma)) + x


class ChannelByChannel(nn.Cell):
    def __init__(self, branch, initial):
        super().__init__()
        self.branch, self.dim = branch, len(initial)
        self.gamma = Parameter(Tensor(initial, ms.float32))

    def construct(self, x):
        y = self.branch(x)
        return ops.stack([x[..., d] + self.gamma[d] * y[..., d] for d in range(self.dim)], axis=-1)


class Parts(nn.Cell):
    def __init__(self, branch, initial):
        super().__init__()
        self.branch = branch
        self.gamma = Parameter(Tensor(initial, ms.float32))


class Ones(ScaledBranch):
    def __init__(self, branch, initial):
        super().__init__(branch, [1.0] * len(initial))


class Zeros(ScaledBranch):
    def __init__(self, branch, initial):
        super().__init__(branch, [0.0] * len(initial))


class ConvNeXts(ScaledBranch):
    def __init__(self, branch, initial):
        super().__init__(branch, [1e-6] * len(initial))


class FirstOfAll(ScaledBranch):
    def __init__(self, branch, initial):
        super().__init__(branch, [initial[0]] * len(initial))


class Average(ScaledBranch):
    def __init__(self, branch, initial):
        super().__init__(branch, [sum(initial) / len(initial)])


class Plain(Parts):
    def construct(self, x):
        return x + self.branch(x)


class NoResidual(Parts):
    def construct(self, x):
        return self.branch(x) * self.gamma


class Outside(Parts):
    def construct(self, x):
        return (x + self.branch(x)) * self.gamma


class OnInput(Parts):
    def construct(self, x):
        return x * self.gamma + self.branch(x)


class Before(Parts):
    def construct(self, x):
        return x + self.branch(x * self.gamma)


class NoBranch(Parts):
    def construct(self, x):
        return x + x * self.gamma


class Gate(Parts):
    def construct(self, x):
        return self.gamma * self.branch(x) + (1 - self.gamma) * x


class Bias(Parts):
    def construct(self, x):
        return x + (self.branch(x) + self.gamma)


class ChannelsFirst(Parts):
    def construct(self, x):
        return x + self.branch(x) * self.gamma.reshape(1, -1, 1, 1)


class Overwritten(Parts):
    def construct(self, x):
        x = self.branch(x)
        return x + self.gamma * x


class Columns(Parts):
    def construct(self, x):
        return x + self.branch(x) * self.gamma.expand_dims(1)


class MapsOnly(Parts):
    def construct(self, x):
        b, h, w, d = x.shape
        return x + self.gamma.broadcast_to((b, h, w, d)) * self.branch(x)


class TenTimes(Parts):
    def construct(self, x):
        return x + 10 * self.gamma * self.branch(x)


class Float64(nn.Cell):
    def __init__(self, branch, initial):
        super().__init__()
        self.branch = branch
        self.gamma = Parameter(Tensor(np.array(initial)))

    def construct(self, x):
        return x + self.gamma * self.branch(x)


class Untrained(Parts):
    def construct(self, x):
        return x + self.gamma * ops.stop_gradient(self.branch(x))


class NoParameter(nn.Cell):
    def __init__(self, branch, initial):
        super().__init__()
        self.branch, self.gamma = branch, Tensor(initial, ms.float32)

    def construct(self, x):
        return x + self.gamma * self.branch(x)


class Both(Parts):
    def construct(self, x):
        y = self.gamma * self.branch(x)
        return x + y, y


class ByWidth(nn.Cell):
    def __init__(self, branch, dim):
        super().__init__()
        self.branch, self.gamma = branch, Parameter(Tensor([1e-6] * dim, ms.float32))

    def construct(self, x):
        return x + self.gamma * self.branch(x)


def as_function(x, branch, initial):
    return x + Tensor(initial, ms.float32) * branch(x)


class Nothing(Parts):
    def construct(self, x):
        x = x + self.gamma * self.branch(x)


class Positive(ScaledBranch):
    def construct(self, x):
        return x + ops.relu(self.gamma) * self.branch(x)


class GammaStopped(ScaledBranch):
    def construct(self, x):
        return x + ops.stop_gradient(self.gamma) * self.branch(x)


class CopyUsed(ScaledBranch):
    def __init__(self, branch, initial):
        super().__init__(branch, initial)
        self.copy = Tensor(initial, ms.float32)

    def construct(self, x):
        return x + self.copy * self.branch(x)


RIGHT = [ScaledBranch, TwoCells, Set, Diagonal, ChannelByChannel]
WRONG = {
    Positive: "value",
    GammaStopped: "parameters",
    CopyUsed: "parameters",
    Plain: "gamma not used",
    Ones: "gamma not used",
    Zeros: "initial ignored",
    ConvNeXts: "initial ignored",
    NoResidual: "residual forgotten",
    Outside: "sum scaled",
    OnInput: "input scaled",
    Before: "scaled before the branch",
    NoBranch: "branch forgotten",
    Gate: "mixed",
    Bias: "gamma added",
    FirstOfAll: "one number for all",
    Average: "one number for all",
    ChannelsFirst: "gamma over the rows",
    Overwritten: "branch in place of x",
    Columns: "ValueError",
    MapsOnly: "ValueError",
    TenTimes: "value",
    Float64: "dtype",
    Untrained: "gradient",
    NoParameter: "parameters",
    Both: "number of outputs",
    ByWidth: "TypeError",
    as_function: "wrong kind",
    Nothing: "no output",
}
