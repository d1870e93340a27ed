"""Solutions of `patch_merging`: RIGHT ones pass, WRONG ones fail with the mistake beside them."""

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops


class Slices(nn.Cell):
    def __init__(self, norm, reduction):
        super().__init__()
        self.norm = norm
        self.reduction = reduction

    def construct(self, x):
        four = ops.concat((x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]), axis=-1)
        return self.reduction(self.norm(four))


class Transposed(nn.Cell):
    def __init__(self, norm, reduction):
        super().__init__()
        self.layers = nn.SequentialCell(norm, reduction)

    def construct(self, x):
        B, h, w, C = x.shape
        x = x.reshape(B, h // 2, 2, w // 2, 2, C).permute(0, 1, 3, 4, 2, 5)
        return self.layers(x.reshape(B, h // 2, w // 2, 4 * C))


class Loop(nn.Cell):
    def __init__(self, **cells):
        super().__init__()
        self.norm, self.dense = cells["norm"], cells["reduction"]

    def construct(self, feature_map):
        b, h, w, c = feature_map.shape
        parts = []
        for j in range(2):
            for i in range(2):
                parts.append(feature_map[:, i:h:2, j:w:2, :].reshape(b, -1, c))
        sequence = self.dense(self.norm(ops.cat(parts, -1)))  # (B, h/2 w/2, 2 C)
        return sequence.reshape(b, h // 2, w // 2, 2 * c)


class TwoSteps(nn.Cell):
    """First the two of a column, then the two columns."""

    def __init__(self, reduction, norm):
        super().__init__()
        self.reduction, self.norm = reduction, norm

    def construct(self, x):
        b, h, w, c = x.shape
        x = x.reshape(b, h // 2, 2, w, c).swapaxes(2, 3).reshape(b, h // 2, w, 2 * c)
        x = x.reshape(b, h // 2, w // 2, 4 * c)
        return self.reduction(self.norm(x))


class Parts(nn.Cell):
    def __init__(self, norm, reduction):
        super().__init__()
        self.norm, self.reduction = norm, reduction


class RowByRow(Parts):
    def construct(self, x):
        four = ops.concat((x[:, ::2, ::2], x[:, ::2, 1::2], x[:, 1::2, ::2], x[:, 1::2, 1::2]), -1)
        return self.reduction(self.norm(four))


class PlainTranspose(Parts):
    def construct(self, x):
        b, h, w, c = x.shape
        x = x.reshape(b, h // 2, 2, w // 2, 2, c).swapaxes(2, 3)
        return self.reduction(self.norm(x.reshape(b, h // 2, w // 2, 4 * c)))


class Around(Parts):
    def construct(self, x):
        four = ops.concat((x[:, ::2, ::2], x[:, ::2, 1::2], x[:, 1::2, 1::2], x[:, 1::2, ::2]), -1)
        return self.reduction(self.norm(four))


def joined(x):
    return ops.concat((x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]), axis=-1)


class NoNorm(Parts):
    def construct(self, x):
        return self.reduction(joined(x))


class OwnNormBehind(Parts):
    def construct(self, x):
        x = self.reduction(joined(x))
        return nn.LayerNorm((x.shape[-1],), epsilon=1e-5)(x)


class NormBehind(Parts):
    def construct(self, x):
        return self.norm(self.reduction(joined(x)))


class NormBefore(Parts):
    def construct(self, x):
        d = x.shape[-1]
        x = nn.LayerNorm((d,), epsilon=1e-5)(x)
        return self.reduction(joined(x) * self.norm.gamma + self.norm.beta)


class GivenNormBefore(Parts):
    def construct(self, x):
        return self.reduction(joined(self.norm(x)))


class Reshape(Parts):
    def construct(self, x):
        b, h, w, c = x.shape
        return self.reduction(self.norm(x.reshape(b, h // 2, w // 2, 4 * c)))


class Halves(Parts):
    def construct(self, x):
        top, bottom = ops.chunk(x, 2, axis=1)
        parts = [half for rows in (top, bottom) for half in ops.chunk(rows, 2, axis=2)]
        return self.reduction(self.norm(ops.concat(parts, axis=-1)))


class HalvesInOrder(Parts):
    def construct(self, x):
        b, h, w, c = x.shape
        x = x.reshape(b, 2, h // 2, 2, w // 2, c).transpose(0, 2, 4, 3, 1, 5)
        return self.reduction(self.norm(x.reshape(b, h // 2, w // 2, 4 * c)))


class Interleaved(Parts):
    def construct(self, x):
        b, h, w, c = x.shape
        x = x.reshape(b, h // 2, 2, w // 2, 2, c).transpose(0, 1, 3, 5, 2, 4)
        return self.reduction(self.norm(x.reshape(b, h // 2, w // 2, 4 * c)))


class Stacked(Parts):
    def construct(self, x):
        b, h, w, c = x.shape
        four = ops.stack((x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]), axis=-1)
        return self.reduction(self.norm(four.reshape(b, h // 2, w // 2, 4 * c)))


class FourTimes(Parts):
    def construct(self, x):
        return self.reduction(self.norm(ops.tile(x[:, ::2, ::2], (1, 1, 1, 4))))


class Mean(Parts):
    def construct(self, x):
        b, h, w, c = x.shape
        x = x.reshape(b, h // 2, 2, w // 2, 2, c).mean((2, 4))
        return self.reduction(self.norm(ops.concat((x, x, x, x), -1)))


class MeanAlone(Parts):
    def construct(self, x):
        b, h, w, c = x.shape
        return self.reduction(self.norm(x.reshape(b, h // 2, 2, w // 2, 2, c).mean((2, 4))))


class FourWide(Parts):
    def construct(self, x):
        return self.norm(joined(x))


class Sequence(Parts):
    def construct(self, x):
        b, h, w, c = x.shape
        return self.reduction(self.norm(joined(x).reshape(b, h * w // 4, 4 * c)))


class ChannelsFirst(Parts):
    def construct(self, x):
        return self.reduction(self.norm(joined(x))).transpose(0, 3, 1, 2)


class TwoMissing(Parts):
    def construct(self, x):
        four = ops.concat((x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 1::2, 0::2], x[:, 1::2, 1::2]), axis=-1)
        return self.reduction(self.norm(four))


class OneMap(Parts):
    def construct(self, x):
        x = ops.concat((x[0::2, 0::2], x[1::2, 0::2], x[0::2, 1::2], x[1::2, 1::2]), axis=-1)
        return self.reduction(self.norm(x))


class OwnSizes(nn.Cell):
    def __init__(self, dim):
        super().__init__()
        self.norm, self.reduction = nn.LayerNorm((4 * dim,)), nn.Dense(4 * dim, 2 * dim)

    def construct(self, x):
        return self.reduction(self.norm(joined(x)))


class InNumpy(Parts):
    def construct(self, x):
        x = x.asnumpy()
        four = [x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]]
        return self.reduction(self.norm(Tensor(np.concatenate(four, axis=-1))))


class Doubled(Parts):
    def construct(self, x):
        return self.reduction(self.norm(joined(x))).astype(ms.float64)


class Nothing(Parts):
    def construct(self, x):
        self.reduction(self.norm(joined(x)))


RIGHT = [Slices, Transposed, Loop, TwoSteps]
WRONG = {
    RowByRow: "order of the four",
    PlainTranspose: "order of the four",
    Around: "order of the four",
    NoNorm: "norm left out",
    OwnNormBehind: "norm behind the projection",
    NormBefore: "each token normalised",
    Reshape: "reshape alone",
    Halves: "quadrants",
    HalvesInOrder: "quadrants",
    Interleaved: "channel by channel",
    Stacked: "channel by channel",
    FourTimes: "one token four times",
    Mean: "mean of the four",
    FourWide: "not projected",
    Sequence: "map flattened",
    ChannelsFirst: "shape",
    TwoMissing: "value",
    MeanAlone: "ValueError",
    NormBehind: "ValueError",
    GivenNormBefore: "ValueError",
    OneMap: "shape",
    OwnSizes: "TypeError",
    InNumpy: "graph mode",
    Doubled: "dtype",
    Nothing: "no output",
}
