"""The learning rate of every step: a linear warm-up and a cosine."""

import numpy as np

from vit_ms.checkin.exercise import Case, Exercise, Mistake, Text


def _warmup(T_w, peak):
    return peak * np.arange(1, T_w + 1) / max(T_w, 1)


def _cosine(T, T_w, peak, minimum):
    t = np.arange(T_w + 1, T + 1)
    return minimum + (peak - minimum) / 2 * (1 + np.cos(np.pi * (t - T_w) / (T - T_w)))


def warmup_cosine(T, T_w, peak, minimum):
    return np.concatenate([_warmup(T_w, peak), _cosine(T, T_w, peak, minimum)])


def _with_warmup(warmup):
    """With another warm-up; it takes t, 1 to T_w, and T_w, peak and minimum."""

    def wrong(T, T_w, peak, minimum):
        t = np.arange(1, T_w + 1)
        return np.concatenate([warmup(t, T_w, peak, minimum), _cosine(T, T_w, peak, minimum)])

    return wrong


def _with_factor(factor):
    """With another decay: minimum + (peak - minimum) * factor; it takes i, 1 to the number n of its steps, n and T_w."""

    def wrong(T, T_w, peak, minimum):
        n = T - T_w
        decay = minimum + (peak - minimum) * factor(np.arange(1, n + 1), n, T_w)
        return np.concatenate([_warmup(T_w, peak), decay])

    return wrong


def _with_minimum(decay):
    """With another use of the minimum; decay takes the factor from 1 to 0, peak and minimum."""

    def wrong(T, T_w, peak, minimum):
        return np.concatenate([_warmup(T_w, peak), decay(_cosine(T, T_w, 1.0, 0.0), peak, minimum)])

    return wrong


def _half(angle):
    return (1 + np.cos(angle)) / 2


def _from_zero(T, T_w, peak, minimum):
    return np.concatenate([[0.0], warmup_cosine(T, T_w, peak, minimum)[:-1]])


def _one_too_many(T, T_w, peak, minimum):
    return np.concatenate([[0.0], warmup_cosine(T, T_w, peak, minimum)])


def _no_warmup(T, T_w, peak, minimum):
    return _cosine(T, 0, peak, minimum)


def _warmup_besides(T, T_w, peak, minimum):
    return np.concatenate([_warmup(T_w, peak), _cosine(T, 0, peak, minimum)])


FROM_ZERO = Text(
    "the first step of the warm-up has rate 0 and does nothing: step 1 has peak / T_w, step T_w has peak",
    "预热第一步的学习率是 0，这一步等于没做：第 1 步应为 peak / T_w，第 T_w 步为 peak",
)
PEAK_TWICE = Text(
    "the step after the warm-up has the peak once more: the cosine is a step late, t - T_w is 1 there",
    "预热后的第一步又是峰值：余弦晚走了一步，此处 t - T_w 应为 1",
)
BELOW = Text(
    "the rates fall below the minimum: cos goes down to -1, take (1 + cos) / 2",
    "学习率降到了最小值以下：cos 会降到 -1，应当用 (1 + cos) / 2",
)


def cases(rng):
    for about, T, T_w in (
        (Text("T = 13, T_w = 4", "T = 13，T_w = 4"), 13, 4),
        (Text("T = 8, T_w = 0: no warm-up", "T = 8，T_w = 0：没有预热"), 8, 0),
        (
            Text("T = 21, T_w = 20: the first rates are below the minimum", "T = 21，T_w = 20：最初的学习率低于最小值"),
            21,
            20,
        ),
        (Text("a single step, T = 1, T_w = 0", "只有一步，T = 1，T_w = 0"), 1, 0),
        (Text("T = 60, T_w = 1", "T = 60，T_w = 1"), 60, 1),
    ):
        # Rates far above those of a training, so that what differs is far above rounding.
        yield Case(about, (T, T_w, float(rng.uniform(0.8, 1.0)), float(rng.uniform(0.1, 0.18))))


EXERCISE = Exercise(
    name="warmup_cosine",
    notebook="06_training",
    section=4,
    kind="numpy",
    title=Text("Warm-up and cosine", "预热与余弦衰减"),
    statement=Text(
        "Write `warmup_cosine(T, T_w, peak, minimum)`: the learning rate of every step, as a NumPy array of T floats, "
        "those of steps $t$ = 1, 2, ..., $T$. It is equation 5 with $\\eta$ = `peak`, but the cosine falls to "
        "$\\eta_{\\min}$ = `minimum` in place of 0:\n\n"
        "$$\\eta_t = \\eta \\, \\frac{t}{T_w} \\;\\; (t \\le T_w), \\qquad "
        "\\eta_t = \\eta_{\\min} + \\frac{\\eta - \\eta_{\\min}}{2} "
        "\\left(1 + \\cos \\pi \\frac{t - T_w}{T - T_w}\\right) \\;\\; (t > T_w)$$\n\n"
        "So the first rate is not 0, step $T_w$ has the peak and the last step has the minimum. `T` and `T_w` are whole "
        "numbers, $0 \\le T_w < T$; without a warm-up, $T_w = 0$, the cosine begins at once.",
        "写出 `warmup_cosine(T, T_w, peak, minimum)`：每一步的学习率，即由 T 个浮点数组成的 NumPy 数组，依次对应第 $t$ = 1, "
        "2, ..., $T$ 步。公式与（5）相同，$\\eta$ = `peak`，但余弦不是降到 0，而是降到 $\\eta_{\\min}$ = `minimum`：\n\n"
        "$$\\eta_t = \\eta \\, \\frac{t}{T_w} \\;\\; (t \\le T_w), \\qquad "
        "\\eta_t = \\eta_{\\min} + \\frac{\\eta - \\eta_{\\min}}{2} "
        "\\left(1 + \\cos \\pi \\frac{t - T_w}{T - T_w}\\right) \\;\\; (t > T_w)$$\n\n"
        "因此第一步的学习率不是 0，第 $T_w$ 步达到峰值，最后一步为最小值。`T` 和 `T_w` 是整数，$0 \\le T_w < T$；没有预热"
        "（$T_w = 0$）时，从第一步起就按余弦下降。",
    ),
    solution="warmup_cosine",
    starter="def warmup_cosine(T, T_w, peak, minimum):\n    rates = np.zeros(T)\n    ...\n    return rates\n",
    hints=(
        Text(
            "Compute the two parts apart, T_w rates and T - T_w rates, and join them. Check the first, the T_w-th and the "
            "last.",
            "分别计算两段，一段 T_w 个，一段 T - T_w 个，再拼起来。检查第一个、第 T_w 个和最后一个。",
        ),
        Text(
            "Of the decay, done = (t - T_w) / (T - T_w) goes from just above 0 to 1; (1 + cos(pi done)) / 2 goes from 1 to "
            "0; it multiplies peak - minimum.",
            "衰减阶段，done = (t - T_w) / (T - T_w) 从略大于 0 到 1；(1 + cos(π done)) / 2 从 1 到 0，乘以 peak - minimum。",
        ),
        Text(
            "With T_w = 0 nothing may be divided by T_w: make the warm-up of t = np.arange(1, T_w + 1), which is then "
            "empty, the cosine of t = np.arange(T_w + 1, T + 1), and join them with np.concatenate.",
            "T_w = 0 时不能除以 T_w：预热用 t = np.arange(1, T_w + 1)，此时为空；余弦用 t = np.arange(T_w + 1, T + "
            "1)；再用 np.concatenate 拼接。",
        ),
    ),
    reference=warmup_cosine,
    cases=cases,
    tolerance=1e-5,
    mistakes=(
        Mistake(
            "one rate too many",
            _one_too_many,
            Text(
                "these are T + 1 rates, of t = 0 to T: the first step is t = 1",
                "共有 T + 1 个学习率，对应 t = 0 到 T：第一步是 t = 1",
            ),
        ),
        Mistake(
            "counted from 0",
            _from_zero,
            Text(
                "all rates are a step late: the first step is t = 1, not 0, and the last, t = T, has the minimum",
                "所有学习率都晚了一步：第一步是 t = 1 而不是 0，最后一步 t = T 应为最小值",
            ),
        ),
        Mistake("warm-up from 0", _with_warmup(lambda t, T_w, peak, minimum: peak * (t - 1) / T_w), FROM_ZERO),
        Mistake("warm-up from 0", _with_warmup(lambda t, T_w, peak, minimum: peak * (t - 1) / (T_w - 1)), FROM_ZERO),
        Mistake(
            "warm-up from the minimum",
            _with_warmup(lambda t, T_w, peak, minimum: minimum + (peak - minimum) * t / T_w),
            Text(
                "the warm-up starts at the minimum: it goes up from 0, the minimum is the end of the cosine",
                "预热从最小值开始了：应当从 0 向上，最小值只是余弦的终点",
            ),
        ),
        Mistake(
            "peak not reached",
            _with_warmup(lambda t, T_w, peak, minimum: peak * t / (T_w + 1)),
            Text(
                "the warm-up ends below the peak: divide by T_w, not by T_w + 1",
                "预热结束时没有达到峰值：应当除以 T_w，而不是 T_w + 1",
            ),
        ),
        Mistake(
            "warm-up forgotten",
            _no_warmup,
            Text("there is no warm-up: the cosine takes all T steps", "没有预热：全部 T 步都是余弦"),
        ),
        Mistake(
            "cosine besides the warm-up",
            _warmup_besides,
            Text(
                "these are T_w + T rates: the cosine has the T - T_w steps that the warm-up leaves",
                "共有 T_w + T 个学习率：余弦只占预热之后的 T - T_w 步",
            ),
        ),
        Mistake(
            "cosine from step 0",
            _with_factor(lambda i, n, T_w: _half(np.pi * (i + T_w) / (n + T_w))),
            Text(
                "after the warm-up the rate jumps: the cosine is to begin there, with t - T_w over T - T_w, not with t / T",
                "预热结束时学习率突然下跳：余弦应从此处开始，用 (t - T_w) / (T - T_w)，而不是 t / T",
            ),
        ),
        Mistake(
            "cosine over T",
            _with_factor(lambda i, n, T_w: _half(np.pi * i / (n + T_w))),
            Text(
                "the minimum is not reached: the cosine has T - T_w steps, divide t - T_w by this and not by T",
                "没有降到最小值：余弦只有 T - T_w 步，t - T_w 应除以它，而不是除以 T",
            ),
        ),
        Mistake("peak twice", _with_factor(lambda i, n, T_w: _half(np.pi * (i - 1) / n)), PEAK_TWICE),
        Mistake("peak twice", _with_factor(lambda i, n, T_w: _half(np.pi * (i - 1) / (n - 1))), PEAK_TWICE),
        Mistake(
            "linear decay",
            _with_factor(lambda i, n, T_w: 1 - i / n),
            Text("the decay is a line: it is to be a cosine", "衰减是直线：应当是余弦"),
        ),
        Mistake(
            "quarter of a period",
            _with_factor(lambda i, n, T_w: np.cos(np.pi / 2 * i / n)),
            Text(
                "the cosine goes from 1 to 0, a quarter of its period: (1 + cos) / 2 takes half a period, from 0 to pi",
                "余弦只走了四分之一周期，从 1 到 0：(1 + cos) / 2 走半个周期，角度从 0 到 π",
            ),
        ),
        Mistake(
            "half forgotten",
            _with_factor(lambda i, n, T_w: 1 + np.cos(np.pi * i / n)),
            Text(
                "after the warm-up the rate is about twice the peak: 1 + cos goes from 2 to 0, halve it",
                "预热之后学习率约为峰值的两倍：1 + cos 从 2 到 0，要除以 2",
            ),
        ),
        Mistake("1 forgotten", _with_factor(lambda i, n, T_w: np.cos(np.pi * i / n)), BELOW),
        Mistake("1 forgotten", _with_factor(lambda i, n, T_w: np.cos(np.pi * i / n) / 2), BELOW),
        Mistake(
            "rising cosine",
            _with_factor(lambda i, n, T_w: 1 - _half(np.pi * i / n)),
            Text(
                "after the warm-up the rate rises to the peak again: it is 1 + cos, not 1 - cos",
                "预热之后学习率又升向峰值：应当是 1 + cos，而不是 1 - cos",
            ),
        ),
        Mistake(
            "degrees",
            _with_factor(lambda i, n, T_w: _half(180.0 * i / n)),
            Text(
                "the angle is in degrees: np.cos takes radians, pi in place of 180",
                "角度用了度数：np.cos 用弧度，180 应写成 π",
            ),
        ),
        Mistake(
            "pi forgotten",
            _with_factor(lambda i, n, T_w: _half(i / n)),
            Text("the angle ends at 1: it is to end at pi", "角度只到 1：应当到 π"),
        ),
        Mistake(
            "minimum ignored",
            _with_minimum(lambda factor, peak, minimum: peak * factor),
            Text(
                "the decay ends at 0: it is to end at the minimum",
                "衰减到了 0：应当降到最小值 minimum",
            ),
        ),
        Mistake(
            "minimum added",
            _with_minimum(lambda factor, peak, minimum: minimum + peak * factor),
            Text(
                "the minimum is added to a decay from peak to 0: the cosine multiplies peak - minimum, or it starts above "
                "the peak",
                "在从峰值到 0 的衰减上加了最小值：余弦应乘以 peak - minimum，否则起点会高于峰值",
            ),
        ),
        Mistake(
            "minimum as a floor",
            _with_minimum(lambda factor, peak, minimum: np.maximum(peak * factor, minimum)),
            Text(
                "the decay goes to 0 and is cut off at the minimum: the cosine itself is to end there",
                "衰减到 0，再用最小值截断：应当让余弦本身以最小值为终点",
            ),
        ),
    ),
)
