"""Solutions of `drop_path`: RIGHT ones pass, WRONG ones fail with the mistake beside them."""

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops


class DropoutOfOnes(nn.Cell):
    def __init__(self, keep_prob):
        super().__init__()
        self.dropout = nn.Dropout(p=1 - keep_prob)

    def construct(self, x):
        return x * self.dropout(ops.ones((x.shape[0],) + (1,) * (x.ndim - 1), x.dtype))


class Compared(nn.Cell):
    def __init__(self, keep_prob):
        super().__init__()
        self.keep_prob = keep_prob

    def construct(self, x):
        if self.training and self.keep_prob < 1:
            mask = (ops.rand(x.shape[0]) < self.keep_prob).astype(ms.float32) / self.keep_prob
            x = x * mask.reshape((-1,) + (1,) * (x.ndim - 1))
        return x


class Floor(nn.Cell):
    def __init__(self, keep_prob):
        super().__init__()
        self.keep_prob = keep_prob

    def construct(self, x):
        if not self.training:
            return x
        draws = ops.rand((x.shape[0],) + (1,) * (x.ndim - 1))
        return x / self.keep_prob * ops.floor(draws + self.keep_prob)


class Flattened(nn.Cell):
    def __init__(self, keep_prob):
        super().__init__()
        self.keep_prob = Tensor(keep_prob, ms.float32)

    def construct(self, x):
        if not self.training:
            return x
        rows = x.reshape(x.shape[0], -1)
        kept = ops.rand(x.shape[0], 1) < self.keep_prob
        return ops.where(kept, rows / self.keep_prob, ops.zeros_like(rows)).reshape(x.shape)


class Base(nn.Cell):
    def __init__(self, keep_prob):
        super().__init__()
        self.keep_prob = keep_prob

    def mask(self, x, share):
        return (ops.rand(x.shape[0]) < share).astype(x.dtype).reshape((-1,) + (1,) * (x.ndim - 1))

    def construct(self, x):
        if not self.training or self.keep_prob == 1:
            return x
        return self.dropped(x)


class KeepAsDrop(Base):
    def construct(self, x):
        return x * self.mask(x, 1 - self.keep_prob) / self.keep_prob if self.training else x


class DropRateThroughout(Base):
    def construct(self, x):
        return x * self.mask(x, 1 - self.keep_prob) / (1 - self.keep_prob) if self.training else x


class KeepAsDropButGuarded(Base):
    def dropped(self, x):
        return x * self.mask(x, 1 - self.keep_prob) / (1 - self.keep_prob)


class DividedByDropRate(Base):
    def construct(self, x):
        return x * self.mask(x, self.keep_prob) / (1 - self.keep_prob) if self.training else x


class DividedByDropRateButGuarded(Base):
    def dropped(self, x):
        return x * self.mask(x, self.keep_prob) / (1 - self.keep_prob)


class DropoutKeeps(nn.Cell):
    def __init__(self, keep_prob):
        super().__init__()
        self.dropout = nn.Dropout(p=keep_prob)

    def construct(self, x):
        return x * self.dropout(ops.ones((x.shape[0],) + (1,) * (x.ndim - 1), x.dtype))


class AlwaysOn(Base):
    def construct(self, x):
        return x * self.mask(x, self.keep_prob) / self.keep_prob


class AsInThePaper(Base):
    def construct(self, x):
        return x * self.mask(x, self.keep_prob) if self.training else x * self.keep_prob


class PlainDropout(nn.Cell):
    def __init__(self, keep_prob):
        super().__init__()
        self.dropout = nn.Dropout(p=1 - keep_prob)

    def construct(self, x):
        return self.dropout(x)


class Tokens(Base):
    def dropped(self, x):
        return x * (ops.rand(x.shape[:2] + (1,) * (x.ndim - 2)) < self.keep_prob).astype(x.dtype) / self.keep_prob


class OneForAll(Base):
    def dropped(self, x):
        return x * (ops.rand(1) < self.keep_prob).astype(x.dtype) / self.keep_prob


class Never(Base):
    def dropped(self, x):
        return x


class OtherWayRound(Base):
    def construct(self, x):
        if self.training:
            return x
        return x * self.mask(x, self.keep_prob) / self.keep_prob


class NotScaled(Base):
    def dropped(self, x):
        return x * self.mask(x, self.keep_prob)


class Multiplied(Base):
    def dropped(self, x):
        return x * self.mask(x, self.keep_prob) * self.keep_prob


class RootScaled(Base):
    def dropped(self, x):
        return x * self.mask(x, self.keep_prob) / self.keep_prob**0.5


class Half(Base):
    def dropped(self, x):
        return x * self.mask(x, 0.5) / 0.5


class Bernoulli(Base):
    def dropped(self, x):
        chances = ops.ones((x.shape[0],) + (1,) * (x.ndim - 1)) * self.keep_prob
        return x * ops.bernoulli(chances) / self.keep_prob


class Seeded(Base):
    def dropped(self, x):
        draws = np.random.default_rng(0).random((x.shape[0],) + (1,) * (x.ndim - 1))
        return x * Tensor(draws < self.keep_prob, x.dtype) / self.keep_prob


class DrawnOnce(nn.Cell):
    def __init__(self, keep_prob):
        super().__init__()
        self.keep_prob = keep_prob
        self.draws = ops.rand(96)

    def construct(self, x):
        if not self.training or self.keep_prob == 1:
            return x
        mask = (self.draws[: x.shape[0]] < self.keep_prob).astype(x.dtype)
        return x * mask.reshape((-1,) + (1,) * (x.ndim - 1)) / self.keep_prob


class DrawnByNumPy(Base):
    def dropped(self, x):
        draws = Tensor(np.random.rand(x.shape[0], 1, 1).astype(np.float32))  # drawn once, when it is compiled
        draws = draws.reshape((-1,) + (1,) * (x.ndim - 1))
        return x * (draws < self.keep_prob).astype(x.dtype) / self.keep_prob


class ThreeAxes(Base):
    def dropped(self, x):
        return x * (ops.rand(x.shape[0], 1, 1) < self.keep_prob).astype(x.dtype) / self.keep_prob


class FourAxes(Base):
    def dropped(self, x):
        return x * (ops.rand(x.shape[0], 1, 1, 1) < self.keep_prob).astype(x.dtype) / self.keep_prob


class ScaledToZero(Base):
    def dropped(self, x):
        return x / (self.mask(x, self.keep_prob) * self.keep_prob)


class InDouble(Base):
    def dropped(self, x):
        return (x * self.mask(x, self.keep_prob) / self.keep_prob).astype(ms.float64)


class InDoubleAlways(nn.Cell):
    def __init__(self, keep_prob):
        super().__init__()

    def construct(self, x):
        return x.astype(ms.float64)


class WithMask(Base):
    def dropped(self, x):
        mask = self.mask(x, self.keep_prob) / self.keep_prob
        return x * mask, mask


class InNumpy(Base):
    def construct(self, x):
        return Tensor(x.asnumpy())


class Nothing(Base):
    def dropped(self, x):
        x * self.mask(x, self.keep_prob) / self.keep_prob


class GradientStopped(Compared):
    """Where something is dropped; with keep_prob = 1 it comes through."""

    def construct(self, x):
        if not self.training or self.keep_prob == 1.0:
            return x
        return ops.stop_gradient(super().construct(x))


class AlwaysAsMany(Compared):
    def construct(self, x):
        if not self.training or self.keep_prob == 1.0:
            return x
        mask = ops.argsort(ops.rand(x.shape[0])) < round(x.shape[0] * self.keep_prob)
        return x * mask.astype(x.dtype).reshape((-1,) + (1,) * (x.ndim - 1)) / self.keep_prob


class TwoDraws(Compared):
    def construct(self, x):
        if not self.training or self.keep_prob == 1.0:
            return x
        mask = (ops.rand(2) < self.keep_prob).astype(x.dtype)[ops.arange(x.shape[0]) % 2]
        return x * mask.reshape((-1,) + (1,) * (x.ndim - 1)) / self.keep_prob


RIGHT = [DropoutOfOnes, Compared, Floor, Flattened]
WRONG = {
    GradientStopped: "gradient",
    AlwaysAsMany: "not drawn one by one",
    TwoDraws: "not drawn one by one",
    KeepAsDrop: "keep_prob swapped",
    DropRateThroughout: "keep_prob swapped",
    KeepAsDropButGuarded: "keep_prob swapped",
    DividedByDropRate: "divided by the drop rate",
    DividedByDropRateButGuarded: "divided by the drop rate",
    DropoutKeeps: "ValueError",
    AlwaysOn: "active in evaluation",
    OtherWayRound: "active in evaluation",
    AsInThePaper: "scaled in evaluation",
    PlainDropout: "parts of a sample dropped",
    Tokens: "parts of a sample dropped",
    OneForAll: "whole batch dropped",
    Never: "nothing dropped",
    Seeded: "same in every call",
    DrawnOnce: "same in every call",
    DrawnByNumPy: "same in every call",
    Half: "share kept",
    Bernoulli: "share kept",
    NotScaled: "not scaled",
    Multiplied: "multiplied by keep_prob",
    RootScaled: "scale",
    FourAxes: "shape",
    ThreeAxes: "ValueError",
    ScaledToZero: "not finite",
    WithMask: "number of outputs",
    InDouble: "dtype",
    InDoubleAlways: "dtype",
    InNumpy: "gradient",
    Nothing: "no output",
}
