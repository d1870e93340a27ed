"""Solutions of `pre_norm_block`: RIGHT ones pass, WRONG ones fail with the mistake beside them."""

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops


class TwoLines(nn.Cell):
    def __init__(self, norm1, attention, norm2, mlp):
        super().__init__()
        self.norm1 = norm1
        self.attention = attention
        self.norm2 = norm2
        self.mlp = mlp

    def construct(self, z):
        z = self.attention(self.norm1(z)) + z
        return self.mlp(self.norm2(z)) + z


class Residual(nn.Cell):
    def __init__(self, *cells):
        super().__init__()
        self.branch = nn.SequentialCell(*cells)

    def construct(self, x):
        return ops.add(x, self.branch(x))


class Sequence(nn.Cell):
    def __init__(self, norm1, attention, norm2, mlp):
        super().__init__()
        self.halves = nn.SequentialCell(Residual(norm1, attention), Residual(norm2, mlp))

    def construct(self, x):
        return self.halves(x)


class Loop(nn.Cell):
    def __init__(self, norm1, attention, norm2, mlp):
        super().__init__()
        self.norms = nn.CellList([norm1, norm2])
        self.branches = nn.CellList([attention, mlp])

    def construct(self, x):
        for norm, branch in zip(self.norms, self.branches):  # noqa: B905 graph mode takes no strict
            x = x + branch(norm(x))
        return x


class SumOfThree(nn.Cell):
    def __init__(self, **parts):
        super().__init__()
        self.n1, self.a = parts["norm1"], parts["attention"]
        self.n2, self.m = parts["norm2"], parts["mlp"]

    def construct(self, x):
        a = self.a(self.n1(x))
        m = self.m(self.n2(x + a))
        return x + a + m


class Parts(nn.Cell):
    def __init__(self, norm1, attention, norm2, mlp):
        super().__init__()
        self.norm1, self.attention, self.norm2, self.mlp = norm1, attention, norm2, mlp


class PostNorm(Parts):
    def construct(self, z):
        z = self.norm1(self.attention(z) + z)
        return self.norm2(self.mlp(z) + z)


class Chain(nn.Cell):
    def __init__(self, norm1, attention, norm2, mlp):
        super().__init__()
        self.cells_in_turn = nn.SequentialCell(norm1, attention, norm2, mlp)

    def construct(self, z):
        return self.cells_in_turn(z)


class SecondOnly(Parts):
    def construct(self, z):
        z = self.attention(self.norm1(z))
        return z + self.mlp(self.norm2(z))


class FirstOnly(Parts):
    def construct(self, z):
        z = z + self.attention(self.norm1(z))
        return self.mlp(self.norm2(z))


class Overwritten(Parts):
    def construct(self, z):
        z = self.norm1(z)
        z = z + self.attention(z)
        z = self.norm2(z)
        return z + self.mlp(z)


class NormLast(Parts):
    def construct(self, z):
        z = z + self.norm1(self.attention(z))
        return z + self.norm2(self.mlp(z))


class NoNorms(Parts):
    def construct(self, z):
        z = z + self.attention(z)
        return z + self.mlp(z)


class NoNorm1(Parts):
    def construct(self, z):
        z = z + self.attention(z)
        return z + self.mlp(self.norm2(z))


class NoNorm2(Parts):
    def construct(self, z):
        z = z + self.attention(self.norm1(z))
        return z + self.mlp(z)


class Swapped(TwoLines):
    def __init__(self, norm1, attention, norm2, mlp):
        super().__init__(norm2, attention, norm1, mlp)


class Twice(TwoLines):
    def __init__(self, norm1, attention, norm2, mlp):
        super().__init__(norm1, attention, norm1, mlp)


class Backwards(TwoLines):
    def __init__(self, norm1, attention, norm2, mlp):
        super().__init__(norm2, mlp, norm1, attention)


class SideBySide(Parts):
    def construct(self, z):
        return z + self.attention(self.norm1(z)) + self.mlp(self.norm2(z))


class Kept(Parts):
    def construct(self, z):
        start = z
        z = start + self.attention(self.norm1(z))
        return start + self.mlp(self.norm2(z))


class ThreeTimes(Parts):
    def construct(self, z):
        after = z + self.attention(self.norm1(z))
        return after + self.mlp(self.norm2(after)) + z


class Half(Parts):
    def construct(self, z):
        return z + self.attention(self.norm1(z))


class BothParts(Parts):
    def construct(self, z):
        after = z + self.attention(self.norm1(z))
        return after, after + self.mlp(self.norm2(after))


class OtherNames(nn.Cell):
    def __init__(self, dim, num_heads):
        super().__init__()
        self.norm = nn.LayerNorm((dim,))

    def construct(self, z):
        return self.norm(z)


class Forgetful(nn.Cell):
    def __init__(self, norm1, attention, norm2, mlp):
        super().__init__()

    def construct(self, z):
        return z + self.attention(self.norm1(z))


class Detached(Parts):
    def construct(self, z):
        z = z + self.attention(Tensor(self.norm1(z).asnumpy()))
        return z + self.mlp(self.norm2(z))


class Doubled(TwoLines):
    def construct(self, z):
        z = z + self.attention(self.norm1(z))
        return (z + self.mlp(self.norm2(z))).astype(ms.float64)


class OnePerImage(TwoLines):
    def construct(self, z):
        z = z + self.attention(self.norm1(z))
        return (z + self.mlp(self.norm2(z)))[:, 0]


class NumpyInside(TwoLines):
    def construct(self, z):
        z = z + self.attention(self.norm1(z))
        return Tensor(np.asarray(z.asnumpy())) + self.mlp(self.norm2(z))


class Nothing(Parts):
    def construct(self, z):
        z = z + self.attention(self.norm1(z))
        z = z + self.mlp(self.norm2(z))


RIGHT = [TwoLines, Sequence, Loop, SumOfThree]
WRONG = {
    PostNorm: "post-norm",
    Chain: "residuals forgotten",
    SecondOnly: "first residual forgotten",
    FirstOnly: "second residual forgotten",
    Overwritten: "norm on the residual",
    NormLast: "norm behind the branch",
    NoNorms: "norms forgotten",
    NoNorm1: "first norm forgotten",
    NoNorm2: "second norm forgotten",
    Swapped: "norms swapped",
    Twice: "one norm twice",
    Backwards: "MLP first",
    SideBySide: "halves side by side",
    Kept: "first input added again",
    ThreeTimes: "input added twice",
    Half: "half a block",
    BothParts: "number of outputs",
    OtherNames: "TypeError",
    Forgetful: "AttributeError",
    Detached: "gradient",
    NumpyInside: "gradient",
    Doubled: "dtype",
    OnePerImage: "shape",
    Nothing: "no output",
}
