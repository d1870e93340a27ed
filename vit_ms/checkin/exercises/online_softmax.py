"""One step of attention in blocks: the running maximum, sum and output take in a block of keys."""

import numpy as np

from vit_ms.checkin.exercise import Case, Exercise, Mistake, Text


def online_softmax(m, total, o, s, v):
    new = np.maximum(m, s.max(axis=-1, keepdims=True))
    return _sums(m, total, o, s, v, new, np.exp(m - new), np.exp(m - new), np.exp(s - new))


def _sums(m, total, o, s, v, new, of_total, of_o, p):
    return new, of_total * total + p.sum(axis=-1, keepdims=True), of_o * o + p @ v


def _wrong(change):
    """`change` takes m, s and the right maximum, and returns what of maximum, factors and exponentials is different."""

    def wrong(m, total, o, s, v):
        with np.errstate(over="raise", invalid="raise"):  # NaN would look like any other solution's NaN
            new = np.maximum(m, s.max(axis=-1, keepdims=True))
            parts = {"new": new, "of_total": np.exp(m - new), "of_o": np.exp(m - new), "p": np.exp(s - new)}
            return _sums(m, total, o, s, v, **(parts | change(m, s, new)))

    return wrong


def _all_by(maximum):
    """Everything right for another maximum."""

    def change(m, s, new):
        other = maximum(m, s)
        return {"new": other, "of_total": np.exp(m - other), "of_o": np.exp(m - other), "p": np.exp(s - other)}

    return _wrong(change)


def _over_queries(m, total, o, s, v):
    new = np.maximum(m, s.max(axis=1, keepdims=True))
    p, factor = np.exp(s - new), np.exp(m - new)
    return new, factor * total + p.sum(axis=1, keepdims=True), factor * o + p @ v


def _divided(m, total, o, s, v):
    new, total, o = online_softmax(m, total, o, s, v)
    return new, total, o / total


def cases(rng):
    def case(about, heads, queries, keys, dim, size, before, lower=0.0):
        """`before` is the number of keys that have been summed; the block's scores are lower by `lower`."""
        scores = size * rng.standard_normal((heads, queries, before + keys))
        scores[..., before:] -= lower
        values = rng.standard_normal((heads, before + keys, dim))
        state = np.full((heads, queries, 1), -np.inf), np.zeros((heads, queries, 1)), np.zeros((heads, queries, dim))
        if before:
            state = online_softmax(*state, scores[..., :before], values[:, :before])
        inputs = (*state, scores[..., before:], values[:, before:])
        return Case(about, tuple(array.astype(np.float32) for array in inputs))

    # As many keys as d, so that sums along the wrong axis can be added.
    about = Text("2 heads, 5 queries, a block of 4 keys, d = 4", "2 个头，5 个查询，一块 4 个键，d = 4")
    yield case(about, 2, 5, 4, 4, 1.5, 3)
    about = Text("the first block: m is minus infinity", "第一块：m 为负无穷")
    yield case(about, 1, 3, 6, 2, 1.0, 0, lower=200.0)
    about = Text("no score of the block is the largest", "这一块里没有最大的分数")
    yield case(about, 1, 2, 3, 2, 0.1, 4, lower=1.5)
    about = Text("large scores, a block of one key", "分数很大，一块 1 个键")
    yield case(about, 3, 4, 1, 2, 300.0, 5)


EXERCISE = Exercise(
    name="online_softmax",
    notebook="13_to_the_npu",
    section=6,
    kind="numpy",
    title=Text("Softmax in blocks", "分块计算 softmax"),
    statement=Text(
        "Write in NumPy `online_softmax(m, l, o, s, v)`, the step of flash attention that takes in one block of $n$ keys, "
        "here for all H heads at once:\n\n"
        "$$m' = \\max(m, \\max_j s_j), \\qquad \\ell' = e^{m - m'} \\ell + \\sum_j e^{s_j - m'}, \\qquad "
        "o' = e^{m - m'} o + \\sum_j e^{s_j - m'} v_j$$\n\n"
        "`m` and `l` are arrays (H, N, 1), `o` is (H, N, d): maximum, sum and output so far of each of N queries. `s` is "
        "(H, N, n), the scores of the block, divided by $\\sqrt d$ already; `v` is (H, n, d), its values. Return the new "
        "`m`, `l` and `o` as a tuple, of the same shapes, `o` not yet divided by `l`; do not change the arrays that are "
        "given. Before the first block `m` is $-\\infty$, `l` and `o` are 0.",
        "用 NumPy 写出 `online_softmax(m, l, o, s, v)`，即 flash attention 处理一块（$n$ 个键）的那一步，H 个头一起算：\n\n"
        "$$m' = \\max(m, \\max_j s_j), \\qquad \\ell' = e^{m - m'} \\ell + \\sum_j e^{s_j - m'}, \\qquad "
        "o' = e^{m - m'} o + \\sum_j e^{s_j - m'} v_j$$\n\n"
        "`m`、`l` 是形状为 (H, N, 1) 的数组，`o` 的形状为 (H, N, d)：N 个查询各自到目前为止的最大值、和与输出。`s` 的形状为 "
        "(H, N, n)，是这一块的分数，已经除以 $\\sqrt d$；`v` 的形状为 (H, n, d)，是这一块的值。以元组返回新的 `m`、`l`、"
        "`o`，形状不变，`o` 暂不除以 `l`；不要修改传入的数组。第一块之前 `m` 为 $-\\infty$，`l` 和 `o` 为 0。",
    ),
    solution="online_softmax",
    starter="def online_softmax(m, l, o, s, v):\n    ...\n    return m, l, o\n",
    hints=(
        Text(
            "The keys are the last axis of s: maximum and sum go over axis=-1 with keepdims=True, which gives (H, N, 1).",
            "s 的最后一维是键：求最大值与求和都沿 axis=-1，并用 keepdims=True，得到 (H, N, 1)。",
        ),
        Text(
            "What was summed used exp(s_j - m) with the old m. Times exp(m - m_new) it becomes exp(s_j - m_new): l and o "
            "both need this factor, what the block adds does not.",
            "以前累加的是 exp(s_j - m)，m 是旧的最大值。乘以 exp(m - m_new) 就成了 exp(s_j - m_new)：l 和 o 都要乘这个因子，"
            "新的一块则不用。",
        ),
        Text(
            "m_new = np.maximum(m, s.max(axis=-1, keepdims=True)); p = np.exp(s - m_new); c = np.exp(m - m_new). Then "
            "c * l + p.sum(axis=-1, keepdims=True), and c * o + p @ v.",
            "m_new = np.maximum(m, s.max(axis=-1, keepdims=True))；p = np.exp(s - m_new)；c = np.exp(m - m_new)。再算 "
            "c * l + p.sum(axis=-1, keepdims=True) 和 c * o + p @ v。",
        ),
    ),
    reference=online_softmax,
    cases=cases,
    mistakes=(
        Mistake(
            "sum not corrected",
            _wrong(lambda m, s, new: {"of_total": 1.0}),
            Text(
                "the old l is added as it is: its terms were taken with the old maximum, multiply by exp(m - m')",
                "旧的 l 直接加了进来：它的各项用的是旧的最大值，应当乘以 exp(m - m')",
            ),
        ),
        Mistake(
            "output not corrected",
            _wrong(lambda m, s, new: {"of_o": 1.0}),
            Text(
                "the old o is added as it is: like l it was summed with the old maximum, multiply by exp(m - m')",
                "旧的 o 直接加了进来：它和 l 一样是用旧的最大值累加的，应当乘以 exp(m - m')",
            ),
        ),
        Mistake(
            "nothing corrected",
            _wrong(lambda m, s, new: {"of_total": 1.0, "of_o": 1.0}),
            Text(
                "neither l nor o is corrected for the new maximum: multiply both by exp(m - m')",
                "l 和 o 都没有按新的最大值修正：两者都应当乘以 exp(m - m')",
            ),
        ),
        Mistake(
            "correction inverted",
            _wrong(lambda m, s, new: {"of_total": np.exp(new - m), "of_o": np.exp(new - m)}),
            Text(
                "the factor is turned round: exp(m - m') with the new maximum m' is at most 1",
                "修正因子写反了：应当是 exp(m - m')，m' 是新的最大值，因子不会超过 1",
            ),
        ),
        Mistake(
            "old sums lost",
            _wrong(lambda m, s, new: {"of_total": 0.0, "of_o": 0.0}),
            Text(
                "l and o hold the new block alone: add the old ones, times exp(m - m')",
                "l 和 o 只含新的一块：还要加上旧的，并乘以 exp(m - m')",
            ),
        ),
        Mistake(
            "maximum of the block",
            _all_by(lambda m, s: s.max(axis=-1, keepdims=True)),
            Text(
                "the new maximum is that of the block alone: where the old m is larger it stays, else exp(m - m') overflows",
                "新的最大值只看了这一块：旧的 m 更大时应当保留，否则 exp(m - m') 会溢出",
            ),
        ),
        Mistake(
            "old maximum kept",
            _all_by(lambda m, s: m),
            Text(
                "m is not updated: a score of the block may be larger, and exp(s - m) overflows",
                "m 没有更新：这一块的分数可能更大，exp(s - m) 会溢出",
            ),
        ),
        Mistake(
            "one maximum for all",
            _all_by(lambda m, s: np.maximum(m, s.max())),
            Text(
                "all queries share the largest score of the block: each has its own, take the maximum over the keys "
                "(axis=-1)",
                "所有查询共用了这一块的最大分数：每个查询应当有自己的，请沿键（axis=-1）求最大值",
            ),
        ),
        Mistake(
            "one maximum a head",
            _all_by(lambda m, s: np.maximum(m, s.max(axis=(-2, -1), keepdims=True))),
            Text(
                "the queries of a head share one maximum of the block: each has its own, take it over the keys (axis=-1) "
                "alone",
                "一个头的所有查询共用了这一块的最大值：每个查询应当有自己的，请只沿键（axis=-1）求最大值",
            ),
        ),
        Mistake(
            "over the queries",
            _over_queries,
            Text(
                "maximum and sum go over axis 1, which are the queries here, behind the heads: the keys are the last axis",
                "最大值与求和沿 axis=1 计算了：这里第 0 维是头，第 1 维是查询，键是最后一维",
            ),
        ),
        Mistake(
            "block by the old maximum",
            _wrong(lambda m, s, new: {"p": np.exp(s - m)}),
            Text(
                "the block's exponentials are taken with the old maximum: exp(s - m') with the new one",
                "新一块的指数用了旧的最大值：应当是 exp(s - m')，m' 是新的最大值",
            ),
        ),
        Mistake(
            "block by its own maximum",
            _wrong(lambda m, s, new: {"p": np.exp(s - s.max(axis=-1, keepdims=True))}),
            Text(
                "the block's exponentials are taken with the block's own maximum: exp(s - m') with the maximum of all so "
                "far",
                "新一块的指数用了这一块自己的最大值：应当是 exp(s - m')，m' 是到目前为止的最大值",
            ),
        ),
        Mistake(
            "block without maximum",
            _wrong(lambda m, s, new: {"p": np.exp(s)}),
            Text(
                "the block's exponentials are exp(s): subtract the new maximum, exp(s - m')",
                "新一块的指数是 exp(s)：应当减去新的最大值，exp(s - m')",
            ),
        ),
        Mistake(
            "divided too early",
            _divided,
            Text(
                "o is divided by l already: that comes once, after the last block; until then o is a plain sum",
                "o 已经除以 l：除法只在最后一块之后做一次，在那之前 o 只是一个和",
            ),
        ),
    ),
)
