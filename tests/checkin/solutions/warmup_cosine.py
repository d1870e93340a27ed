"""Solutions of `warmup_cosine`: RIGHT ones pass, WRONG ones fail with the mistake beside them."""

import math

import numpy as np


def joined(T, T_w, peak, minimum):
    rising = np.linspace(0, peak, T_w + 1)[1:]
    falling = minimum + (peak - minimum) * 0.5 * (1 + np.cos(np.linspace(0, np.pi, T - T_w + 1)[1:]))
    return np.concatenate((rising, falling))


def loop(T, T_w, eta, eta_min):
    rates = []
    for t in range(1, T + 1):
        if t <= T_w:
            rates.append(eta * t / T_w)
        else:
            rates.append(eta_min + (eta - eta_min) / 2 * (1 + math.cos(math.pi * (t - T_w) / (T - T_w))))
    return np.array(rates)


def where(T, T_w, peak, minimum):
    t = np.arange(1, T + 1)
    done = (t - T_w) / (T - T_w)
    cosine = minimum + (peak - minimum) * (1 + np.cos(np.pi * done)) / 2
    return np.where(t <= T_w, peak * t / max(T_w, 1), cosine)


def weighted(T, T_w, peak, minimum):
    rates = np.zeros(T, np.float32)
    for step in range(T):
        if step < T_w:
            rates[step] = peak * (step + 1) / T_w
        else:
            share = np.cos(np.pi / 2 * (step + 1 - T_w) / (T - T_w)) ** 2  # (1 + cos 2x) / 2 = cos^2 x
            rates[step] = share * peak + (1 - share) * minimum
    return rates


def masked(T, T_w, peak, minimum):
    t = np.arange(T) + 1
    rates = np.empty(T)
    warm = t <= T_w
    rates[warm] = t[warm] / T_w * peak if T_w else 0.0
    rates[~warm] = (peak + minimum) / 2 + (peak - minimum) / 2 * np.cos((t[~warm] - T_w) * np.pi / (T - T_w))
    return rates


def a_list(T, T_w, peak, minimum):
    return joined(T, T_w, peak, minimum).tolist()


def steps(T):
    return np.arange(1, T + 1)


def rule(t, T, T_w, peak, minimum):
    """The schedule at the times t, T_w above 0."""
    return np.where(t <= T_w, peak * t / T_w, minimum + (peak - minimum) * half(np.pi * (t - T_w) / (T - T_w)))


def half(angle):
    return 0.5 * (1 + np.cos(angle))


def plus_one(T, T_w, peak, minimum):
    return rule(np.arange(T + 1), T, T_w, peak, minimum)


def from_zero(T, T_w, peak, minimum):
    return rule(np.arange(T), T, T_w, peak, minimum)


def warm_from_zero(T, T_w, peak, minimum):
    rates = joined(T, T_w, peak, minimum)
    for step in range(T_w):
        rates[step] = peak * step / T_w
    return rates


def warm_linspace(T, T_w, peak, minimum):
    rates = joined(T, T_w, peak, minimum)
    rates[:T_w] = np.linspace(0, peak, T_w)
    return rates


def warm_from_minimum(T, T_w, peak, minimum):
    rates = joined(T, T_w, peak, minimum)
    rates[:T_w] = np.linspace(minimum, peak, T_w + 1)[1:]
    return rates


def warm_too_low(T, T_w, peak, minimum):
    rates = joined(T, T_w, peak, minimum)
    rates[:T_w] = np.linspace(0, peak, T_w + 2)[1:-1]
    return rates


def no_warmup(T, T_w, peak, minimum):
    return minimum + (peak - minimum) * half(np.pi * steps(T) / T)


def too_long(T, T_w, peak, minimum):
    warm = np.arange(1, T_w + 1) * peak / T_w
    return np.append(warm, no_warmup(T, T_w, peak, minimum))


def jump(T, T_w, peak, minimum):
    t = steps(T)
    return np.where(t <= T_w, peak * t / T_w, no_warmup(T, T_w, peak, minimum))


def stops_early(T, T_w, peak, minimum):
    t = steps(T)
    return np.where(t <= T_w, peak * t / T_w, minimum + (peak - minimum) * half(np.pi * (t - T_w) / T))


def late_cosine(T, T_w, peak, minimum):
    warm = peak * np.arange(1, T_w + 1) / T_w
    return np.append(warm, minimum + (peak - minimum) * half(np.pi * np.arange(T - T_w) / (T - T_w)))


def cosine_linspace(T, T_w, peak, minimum):
    warm = peak * np.arange(1, T_w + 1) / T_w
    return np.append(warm, minimum + (peak - minimum) * half(np.linspace(0, np.pi, T - T_w)))


def line(T, T_w, peak, minimum):
    return np.concatenate([np.linspace(0, peak, T_w + 1)[1:], np.linspace(peak, minimum, T - T_w + 1)[1:]])


def faulty(factor):
    """With a factor in the decay that takes the share of it that is done."""

    def solution(T, T_w, peak, minimum):
        t = steps(T)
        done = (t - T_w) / (T - T_w)
        return np.where(t <= T_w, peak * t / T_w, minimum + (peak - minimum) * factor(done))

    return solution


def to_zero(T, T_w, peak, minimum):
    return joined(T, T_w, peak, 0.0)


def added(T, T_w, peak, minimum):
    t = steps(T)
    return np.where(t <= T_w, peak * t / T_w, minimum + peak * half(np.pi * (t - T_w) / (T - T_w)))


def floor(T, T_w, peak, minimum):
    rates = joined(T, T_w, peak, 0.0)
    rates[T_w:] = rates[T_w:].clip(minimum)
    return rates


def floor_everywhere(T, T_w, peak, minimum):
    return np.maximum(joined(T, T_w, peak, 0.0), minimum)


def squared(T, T_w, peak, minimum):
    rates = joined(T, T_w, peak, minimum)
    rates[:T_w] = peak * (np.arange(1, T_w + 1) / T_w) ** 2
    return rates


def needs_warmup(T, T_w, peak, minimum):
    return joined(T, T_w, peak, minimum) + 0.0 / T_w


def a_column(T, T_w, peak, minimum):
    return joined(T, T_w, peak, minimum)[:, None]


def two_parts(T, T_w, peak, minimum):
    rates = joined(T, T_w, peak, minimum)
    return rates[:T_w], rates[T_w:]


def nothing(T, T_w, peak, minimum):
    joined(T, T_w, peak, minimum)


def never_below(T, T_w, peak, minimum):
    return np.maximum(joined(T, T_w, peak, minimum), minimum)


def decay_of_two(T, T_w, peak, minimum):
    return joined(T, min(T_w, T - 2), peak, minimum)


def one_step_at_least(T, T_w, peak, minimum):
    return joined(T, max(T_w, 1), peak, minimum)


def divided_by_the_steps_between(T, T_w, peak, minimum):
    with np.errstate(invalid="ignore"):
        share = np.arange(T) / (T - 1)  # of the way from the first rate to the last
    if T_w:
        return joined(T, T_w, peak, minimum)
    first = minimum + (peak - minimum) * 0.5 * (1 + np.cos(np.pi / T))
    angles = np.pi / T + share * (np.pi - np.pi / T)
    return np.where(share == 0, first, minimum + (peak - minimum) * 0.5 * (1 + np.cos(angles)))


RIGHT = [joined, loop, where, weighted, masked, a_list]
WRONG = {
    divided_by_the_steps_between: "not finite",
    one_step_at_least: "value",
    never_below: "value",
    decay_of_two: "value",
    plus_one: "one rate too many",
    from_zero: "counted from 0",
    warm_from_zero: "warm-up from 0",
    warm_linspace: "warm-up from 0",
    warm_from_minimum: "warm-up from the minimum",
    warm_too_low: "peak not reached",
    no_warmup: "warm-up forgotten",
    too_long: "cosine besides the warm-up",
    jump: "cosine from step 0",
    stops_early: "cosine over T",
    late_cosine: "peak twice",
    cosine_linspace: "peak twice",
    line: "linear decay",
    faulty(lambda done: np.cos(np.pi / 2 * done)): "quarter of a period",
    faulty(lambda done: 1 + np.cos(np.pi * done)): "half forgotten",
    faulty(lambda done: np.cos(np.pi * done)): "1 forgotten",
    faulty(lambda done: np.cos(np.pi * done) / 2): "1 forgotten",
    faulty(lambda done: 0.5 * (1 - np.cos(np.pi * done))): "rising cosine",
    faulty(lambda done: half(180 * done)): "degrees",
    faulty(half): "pi forgotten",
    to_zero: "minimum ignored",
    added: "minimum added",
    floor: "minimum as a floor",
    floor_everywhere: "minimum as a floor",
    squared: "value",
    needs_warmup: "ZeroDivisionError",
    a_column: "shape",
    two_parts: "number of outputs",
    nothing: "no output",
}
