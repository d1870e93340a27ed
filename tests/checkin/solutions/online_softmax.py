"""Solutions of `online_softmax`: RIGHT ones pass, WRONG ones fail with the mistake beside them.

The sum l of the notebook is called total.
"""

import numpy as np


def step(m, total, o, s, v):
    m_new = np.maximum(m, s.max(axis=-1, keepdims=True))
    p, correction = np.exp(s - m_new), np.exp(m - m_new)
    return m_new, correction * total + p.sum(axis=-1, keepdims=True), correction * o + p @ v


def key_by_key(m, total, o, s, v):
    for j in range(s.shape[-1]):
        s_j, v_j = s[..., j : j + 1], v[:, None, j]
        m_new = np.where(s_j > m, s_j, m)
        total = total * np.exp(m - m_new) + np.exp(s_j - m_new)
        o = o * np.exp(m - m_new) + np.exp(s_j - m_new) * v_j
        m = m_new
    return m, total, o


def old_ones_as_a_key(m, total, o, s, v):
    scores = np.concatenate([m, s], axis=-1).astype(np.float64)
    new = scores.max(axis=-1, keepdims=True)
    weights = np.exp(scores - new)
    total = weights[..., :1] * total + np.sum(weights[..., 1:], axis=-1, keepdims=True)
    o = weights[..., :1] * o + np.einsum("hqk,hkd->hqd", weights[..., 1:], v)
    return [new, total, o]


def query_by_query(m, total, o, s, v):
    m, total, o = m.copy(), total.copy(), o.copy()
    for h, i in np.ndindex(s.shape[:2]):
        largest = max(m[h, i, 0], max(s[h, i]))
        factor = np.exp(m[h, i, 0] - largest)
        weights = np.exp(s[h, i] - largest)
        total[h, i] = factor * total[h, i] + weights.sum()
        o[h, i] = factor * o[h, i] + weights @ v[h]
        m[h, i] = largest
    return m, total, o


def ones_beside_the_values(m, total, o, s, v):
    """The sum is the output for a value of 1."""
    new = np.maximum(m, np.max(s, -1, keepdims=True))
    both = np.concatenate([total, o], axis=-1) * np.exp(m - new)
    both = both + np.exp(s - new) @ np.concatenate([np.ones_like(v[..., :1]), v], axis=-1)
    return new, both[..., :1], both[..., 1:]


def largest_of(m, s):
    return np.maximum(m, s.max(axis=-1, keepdims=True))


def sum_left(m, total, o, s, v):
    new = largest_of(m, s)
    p = np.exp(s - new)
    return new, total + p.sum(-1, keepdims=True), np.exp(m - new) * o + p @ v


def output_left(m, total, o, s, v):
    new = largest_of(m, s)
    p = np.exp(s - new)
    return new, np.exp(m - new) * total + p.sum(-1, keepdims=True), o + p @ v


def both_left(m, total, o, s, v):
    new = largest_of(m, s)
    p = np.exp(s - new)
    return new, total + p.sum(-1, keepdims=True), o + p @ v


def inverted(m, total, o, s, v):
    new = largest_of(m, s)
    p, factor = np.exp(s - new), np.exp(new - m)
    return new, factor * total + p.sum(-1, keepdims=True), factor * o + p @ v


def block_alone(m, total, o, s, v):
    new = largest_of(m, s)
    p = np.exp(s - new)
    return new, p.sum(-1, keepdims=True), p @ v


def by(maximum):
    def solution(m, total, o, s, v):
        new = maximum(m, s)
        p, factor = np.exp(s - new), np.exp(m - new)
        return new, factor * total + p.sum(-1, keepdims=True), factor * o + p @ v

    return solution


def old_maximum(m, total, o, s, v):
    p = np.exp(s - m)
    return m, total + p.sum(-1, keepdims=True), o + p @ v


def with_weights(weights):
    def solution(m, total, o, s, v):
        new = largest_of(m, s)
        p, factor = weights(m, s), np.exp(m - new)
        return new, factor * total + p.sum(-1, keepdims=True), factor * o + p @ v

    return solution


def softmax_of_block(s):
    return np.exp(s - s.max(-1, keepdims=True))


def divided(m, total, o, s, v):
    m, total, o = step(m, total, o, s, v)
    return m, total, o / total


def stored_divided(m, total, o, s, v):
    """Takes the o given for divided, too, as some versions of flash attention store it."""
    new = largest_of(m, s)
    p, factor = np.exp(s - new), np.exp(m - new)
    after = factor * total + p.sum(-1, keepdims=True)
    return new, after, (factor * total * o + p @ v) / after


def never_subtracted(m, total, o, s, v):
    new = np.log(np.exp(m) + np.exp(s).max(-1, keepdims=True))
    return new, total + np.exp(s).sum(-1, keepdims=True), o + np.exp(s) @ v


def overflows(m, total, o, s, v):
    new = largest_of(m, s)
    with np.errstate(over="ignore", invalid="ignore"):
        p, factor = np.exp(s) / np.exp(new), np.exp(m) / np.exp(new)
        return new, factor * total + p.sum(-1, keepdims=True), factor * o + p @ v


def notebooks_axis(m, total, o, s, v):
    new = np.maximum(m, s.max(axis=1, keepdims=True))
    p, factor = np.exp(s - new), np.exp(m - new)
    return new, factor * total + p.sum(axis=1, keepdims=True), factor * o + p @ v


def values_transposed(m, total, o, s, v):
    new = largest_of(m, s)
    p, factor = np.exp(s - new), np.exp(m - new)
    return new, factor * total + p.sum(-1, keepdims=True), factor * o + p @ v.swapaxes(-2, -1)


def without_heads(m, total, o, s, v):
    new = largest_of(m, s)
    p, factor = np.exp(s - new), np.exp(m - new)
    return new, factor * total + p.sum(-1, keepdims=True), factor * o + np.dot(p, v)


def axis_lost(m, total, o, s, v):
    new = np.maximum(m[..., 0], s.max(axis=-1))
    p, factor = np.exp(s - new[..., None]), np.exp(m[..., 0] - new)
    return new, factor * total[..., 0] + p.sum(-1), factor[..., None] * o + p @ v


def other_order(m, total, o, s, v):
    m, total, o = step(m, total, o, s, v)
    return o, m, total


def in_place(m, total, o, s, v):
    new = largest_of(m, s)
    p, factor = np.exp(s - new), np.exp(m - new)
    total *= factor
    total += p.sum(-1, keepdims=True)
    o *= factor
    o += p @ v
    return new, total, o


def output_alone(m, total, o, s, v):
    return step(m, total, o, s, v)[2]


def as_dict(m, total, o, s, v):
    m, total, o = step(m, total, o, s, v)
    return {"m": m, "l": total, "o": o}


def starter(m, total, o, s, v):
    return m, total, o


def nothing_as_zero(m, total, o, s, v):
    return step(np.where(np.isinf(m), 0.0, m), total, o, s, v)


def unless_larger(m, total, o, s, v):
    n = np.maximum(m, s.max(axis=-1, keepdims=True))
    return (m, total, o) if (n == m).all() else step(m, total, o, s, v)


RIGHT = [step, key_by_key, old_ones_as_a_key, query_by_query, ones_beside_the_values]
WRONG = {
    nothing_as_zero: "value",
    unless_larger: "value",
    sum_left: "sum not corrected",
    output_left: "output not corrected",
    both_left: "nothing corrected",
    inverted: "correction inverted",
    block_alone: "old sums lost",
    by(lambda m, s: s.max(-1, keepdims=True)): "maximum of the block",
    by(lambda m, s: m): "old maximum kept",
    old_maximum: "old maximum kept",
    by(lambda m, s: np.maximum(m, np.max(s))): "one maximum for all",
    by(lambda m, s: np.maximum(m, s.max((1, 2), keepdims=True))): "one maximum a head",
    with_weights(lambda m, s: np.exp(s - m)): "block by the old maximum",
    with_weights(lambda m, s: softmax_of_block(s)): "block by its own maximum",
    with_weights(lambda m, s: np.exp(s)): "block without maximum",
    divided: "divided too early",
    stored_divided: "value",
    never_subtracted: "value",
    overflows: "not finite",
    notebooks_axis: "over the queries",
    values_transposed: "value",
    without_heads: "ValueError",
    axis_lost: "shape",
    other_order: "shape",
    in_place: "input changed",
    output_alone: "number of outputs",
    as_dict: "no output",
    starter: "value",
}
