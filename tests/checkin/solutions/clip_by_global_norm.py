"""Solutions of `clip_by_global_norm`: RIGHT ones pass, WRONG ones fail with the mistake beside them."""

import mindspore as ms
import numpy as np
from mindspore import Tensor, ops


def minimum(c, *gradients):
    norm = ops.sqrt(sum((g**2).sum() for g in gradients))
    factor = ops.minimum(1.0, c / norm)
    return tuple(g * factor for g in gradients)


def joined(c, *gradients):
    norm = ops.norm(ops.concat([g.reshape(-1) for g in gradients]))
    return [g * ops.clamp(c / norm, max=1.0) for g in gradients]


def norm_of_norms(limit, *grads):
    norms = ops.stack([g.norm() for g in grads])
    return [g * min(1.0, limit / norms.norm()) for g in grads]


def branch(c, *gradients):
    squares = 0.0
    for g in gradients:
        squares = squares + ops.square(g).sum()
    if squares > c**2:
        return tuple([g * c / ops.sqrt(squares) for g in gradients])
    return gradients


def selected(c, *gradients):
    norm = ops.addn([(g * g).sum() for g in gradients]).sqrt()
    clipped = []
    for g in gradients:
        clipped.append(ops.where(norm > c, g / norm * c, g))
    return tuple(clipped)


def operator(c, *gradients):
    return ops.clip_by_global_norm(gradients, c)


def multiply(gradients, factor):
    return tuple([g * factor for g in gradients])


def length(gradients):
    return ops.norm(ops.concat([g.reshape(-1) for g in gradients]))


def own(c, *gradients):
    return tuple([g * ops.minimum(1.0, c / ops.norm(g)) for g in gradients])


def by_value(c, *gradients):
    return tuple([g.clip(-c, c) for g in gradients])


def wrong_way_round(c, *gradients):
    return multiply(gradients, ops.maximum(1.0, c / length(gradients)))


def always(c, *gradients):
    return multiply(gradients, c / length(gradients))


def to_one(c, *gradients):
    return multiply(gradients, ops.minimum(1.0, 1.0 / length(gradients)))


def inverted(c, *gradients):
    return multiply(gradients, ops.maximum(1.0, length(gradients) / c))


def no_root(c, *gradients):
    return multiply(gradients, ops.minimum(1.0, c / sum([(g * g).sum() for g in gradients])))


def added(c, *gradients):
    return multiply(gradients, ops.minimum(1.0, c / sum([ops.norm(g) for g in gradients])))


def absolute(c, *gradients):
    return multiply(gradients, ops.minimum(1.0, c / sum([g.abs().sum() for g in gradients])))


def maximum(c, *gradients):
    largest = ops.concat([g.reshape(-1) for g in gradients]).abs().max()
    return multiply(gradients, ops.minimum(1.0, c / largest))


def longest(c, *gradients):
    return multiply(gradients, ops.minimum(1.0, c / max([ops.norm(g) for g in gradients])))


def overwritten(c, *gradients):
    for g in gradients:
        squares = (g * g).sum()
    return multiply(gradients, ops.minimum(1.0, c / ops.sqrt(squares)))


def first_alone(c, *gradients):
    return multiply(gradients, ops.minimum(1.0, c / ops.norm(gradients[0])))


def mean_square(c, *gradients):
    norm = ops.concat([g.reshape(-1) for g in gradients]).square().mean().sqrt()
    return multiply(gradients, ops.minimum(1.0, c / norm))


def divides_by_zero(c, *gradients):
    norm = length(gradients)
    return tuple([g / norm * ops.minimum(norm, c) for g in gradients])


def large_epsilon(c, *gradients):
    return multiply(gradients, ops.minimum(1.0, c / (length(gradients) + 0.1)))


def one_row(c, *gradients):
    row = ops.concat([g.reshape(-1) for g in gradients])
    return row * ops.minimum(1.0, c / ops.norm(row))


def rows(c, *gradients):
    return tuple([g.reshape(-1) for g in minimum(c, *gradients)])


def norm_too(c, *gradients):
    return (*minimum(c, *gradients), length(gradients))


def nested(c, *gradients):
    return minimum(c, *gradients), length(gradients)


def as_one_argument(c, gradients):
    return multiply(gradients, ops.minimum(1.0, c / length(gradients)))


def doubled(c, *gradients):
    return tuple([g.astype(ms.float64) for g in minimum(c, *gradients)])


def mixed_branches(c, *gradients):
    norm = length(gradients)
    factor = 1.0 if norm <= c else c / norm
    return multiply(gradients, factor)


def drawn_anew(c, *gradients):
    return tuple([Tensor(np.zeros(g.shape, np.float32)) for g in gradients])


def nothing(c, *gradients):
    minimum(c, *gradients)


def norm_from_a_tenth(c, *gradients):
    norm = ops.maximum(ops.sqrt(sum((g**2).sum() for g in gradients)), 0.1)
    return tuple(g * ops.minimum(1.0, c / norm) for g in gradients)


def first_three(c, *gradients):
    norm = ops.sqrt(sum((g**2).sum() for g in gradients[:3]))
    return tuple(g * ops.minimum(1.0, c / norm) for g in gradients)


RIGHT = [minimum, joined, norm_of_norms, branch, selected, operator]
WRONG = {
    norm_from_a_tenth: "value",
    first_three: "value",
    own: "own norm of each",
    by_value: "numbers clipped",
    wrong_way_round: "not scaled",
    always: "always scaled",
    to_one: "c forgotten",
    inverted: "factor inverted",
    no_root: "root forgotten",
    added: "norms added",
    absolute: "L1 norm",
    maximum: "largest number",
    longest: "largest norm",
    overwritten: "last gradient alone",
    first_alone: "first gradient alone",
    mean_square: "root mean square",
    divides_by_zero: "0 divided by 0",
    large_epsilon: "value",
    one_row: "number of outputs",
    rows: "shape",
    norm_too: "number of outputs",
    nested: "no output",
    as_one_argument: "TypeError",
    doubled: "dtype",
    mixed_branches: "graph mode",
    drawn_anew: "value",
    nothing: "no output",
}
