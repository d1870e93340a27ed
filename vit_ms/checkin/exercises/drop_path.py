"""Stochastic depth: the branch of a whole sample is dropped in training."""

import numpy as np
from mindspore import nn, ops

from vit_ms.checkin.exercise import Case, Exercise, Mistake, Property, Text, Wrong

SWAPPED = Text(
    "dropped and kept have changed places: keep_prob is the chance to keep a sample",
    "丢弃与保留弄反了：keep_prob 是保留一个样本的概率",
)
BY_DROP_RATE = Text(
    "the kept samples are divided by 1 - keep_prob: divide by keep_prob, so that the mean stays",
    "保留的样本除以了 1 - keep_prob：应当除以 keep_prob，期望才不变",
)


class DropPath(nn.Cell):
    def __init__(self, keep_prob):
        super().__init__()
        self.keep_prob = keep_prob

    def construct(self, x):
        if not self.training or self.keep_prob == 1.0:
            return x
        mask = ops.rand(x.shape[0]) < self.keep_prob  # (B,)
        return x * mask.astype(x.dtype).reshape((-1,) + (1,) * (x.ndim - 1)) / self.keep_prob


class _AllDropped(DropPath):
    def construct(self, x):
        return ops.zeros_like(x)


class _DividedByZero(DropPath):
    def construct(self, x):
        return x / ops.zeros_like(x)


class _ZeroByZero(DropPath):
    def construct(self, x):
        return ops.zeros_like(x) / ops.zeros_like(x)


def _case(rng, about, shape, keep_prob, training, calls=1):
    x = rng.uniform(0.5, 1.5, shape) * rng.choice([-1.0, 1.0], shape)  # no number is near 0
    return Case(about, (x.astype(np.float32),), {"keep_prob": keep_prob}, training, calls)


def cases(rng):
    about = Text("training, keep_prob = 1", "训练模式，keep_prob = 1")
    yield _case(rng, about, (4, 3, 5), 1.0, True)
    about = Text("evaluation, keep_prob = 1", "评估模式，keep_prob = 1")
    yield _case(rng, about, (3, 2, 4, 5), 1.0, False)


def evaluations(rng):
    for shape, keep_prob in (((40, 3, 5), 0.8), ((40, 6), 0.25)):
        about = Text(f"evaluation, x {shape}, keep_prob = {keep_prob}", f"评估模式，x {shape}，keep_prob = {keep_prob}")
        yield _case(rng, about, shape, keep_prob, False)


def judge_evaluation(cases, outputs):
    for case, (output,) in zip(cases, _checked(cases, outputs), strict=True):
        (x,), keep_prob = case.inputs, case.config["keep_prob"]
        if np.allclose(output, x, atol=1e-5):
            continue
        if np.allclose(output, x * keep_prob, atol=1e-5):
            raise Wrong(
                "scaled in evaluation",
                Text(
                    "in evaluation x is multiplied by keep_prob: here the scale is applied in training, evaluation "
                    "returns x",
                    "评估时 x 乘了 keep_prob：这里的缩放在训练时完成，评估时原样返回 x",
                ),
            )
        raise Wrong(
            "active in evaluation",
            Text(
                "in evaluation the result is not x: nothing is to be dropped or scaled, look at self.training",
                "评估时的结果不是 x：此时不应丢弃，也不应缩放，请检查 self.training",
            ),
        )


def trainings(rng):
    for shape, keep_prob in (((64, 3, 5), 0.8), ((96, 2, 3, 4), 0.25), ((80, 6), 0.6)):
        about = Text(f"training, x {shape}, keep_prob = {keep_prob}", f"训练模式，x {shape}，keep_prob = {keep_prob}")
        yield _case(rng, about, shape, keep_prob, True, calls=5)


def judge_gradients(cases, gradients):
    if not any(gradient.any() for (gradient,) in gradients):
        raise Wrong(
            "gradient",
            Text(
                "in training no gradient comes through to x: compute with Tensors alone, without stop_gradient",
                "训练时没有梯度传回 x：请全程用 Tensor 运算，不要用 stop_gradient",
            ),
        )


def judge_training(cases, outputs):
    factors = {}  # of each keep_prob what the calls multiplied the numbers by: (calls, B, numbers)
    for case, calls in zip(cases, _checked(cases, outputs), strict=True):
        (x,), keep_prob = case.inputs, case.config["keep_prob"]
        factors[keep_prob] = np.stack([(output / x).reshape(len(x), -1) for output in calls])
    kept = {keep_prob: np.abs(calls) > 1e-6 for keep_prob, calls in factors.items()}
    if any((calls.any(axis=2) != calls.all(axis=2)).any() for calls in kept.values()):
        raise Wrong(
            "parts of a sample dropped",
            Text(
                "some samples are dropped in part: one number is drawn for each sample, a mask (B, 1, ..., 1)",
                "有的样本只被丢弃了一部分：应当为每个样本只抽取一个数，掩码形状为 (B, 1, ..., 1)",
            ),
        )
    _judge_choice({keep_prob: calls.all(axis=2) for keep_prob, calls in kept.items()})
    _judge_scale({keep_prob: factors[keep_prob][kept[keep_prob]] for keep_prob in factors})


def _checked(cases, outputs):
    """The outputs of each case, one a call, with the shape and dtype of x."""
    for case, calls in zip(cases, outputs, strict=True):
        (x,), mode = case.inputs, Text("training", "训练") if case.training else Text("evaluation", "评估")
        if len(calls) != case.calls:
            each = len(calls) // case.calls
            message = Text(f"in {mode.en} there are {each} outputs", f"{mode.zh}时有 {each} 个输出")
            raise Wrong("number of outputs", message)
        for output in calls:
            _check(output, x, mode)
        yield calls


def _check(output, x, mode):
    """That one output has the shape and dtype of x and is finite."""
    if output.shape != x.shape:
        raise Wrong(
            "shape",
            Text(
                f"in {mode.en} x is {x.shape} and the result is {output.shape}: the mask is to be (B, 1, ..., 1), with "
                "as many axes as x",
                f"{mode.zh}时 x 的形状是 {x.shape}，结果却是 {output.shape}：掩码应为 (B, 1, ..., 1)，维数与 x 相同",
            ),
        )
    if not np.isfinite(output).all():
        raise Wrong("not finite", Text(f"in {mode.en} values are not finite", f"{mode.zh}时有 NaN 或无穷大"))
    if output.dtype != x.dtype:
        raise Wrong("dtype", Text(f"in {mode.en} the dtype is {output.dtype}", f"{mode.zh}时数据类型是 {output.dtype}"))


def _judge_choice(kept):
    """That the samples kept, of each keep_prob (calls, B), are drawn as they should be."""
    if all(calls.all() for calls in kept.values()):
        raise Wrong(
            "nothing dropped",
            Text(
                "in training nothing is dropped: is the mask used, and is self.training read the right way round?",
                "训练时什么也没有丢弃：掩码用上了吗？self.training 的判断写反了吗？",
            ),
        )
    if all((calls == calls[:, :1]).all() for calls in kept.values()):
        raise Wrong(
            "whole batch dropped",
            Text(
                "the whole batch is dropped or kept at once: each sample is to be drawn for itself",
                "整批样本一起被丢弃或保留：应当为每个样本单独抽取",
            ),
        )
    if all((calls == calls[0]).all() for calls in kept.values()):
        raise Wrong(
            "same in every call",
            Text(
                "five calls dropped the same samples: draw a new mask in construct, by ops and without a fixed seed "
                "(a random number of NumPy or Python is drawn once, when graph mode compiles it)",
                "连续五次调用丢弃的是同一批样本：应当在 construct 中用 ops 重新抽取掩码，不要固定种子（NumPy 或 Python 的"
                "随机数只在图模式编译时抽取一次）",
            ),
        )
    # Five calls of 64 samples or more: drawn one by one, they do not come to the same number each time, and the samples show
    # more than four of the 32 ways to be kept or dropped.
    always_as_many = len(kept) > 1 and all(np.ptp(calls.sum(axis=1)) == 0 for calls in kept.values())
    if always_as_many or all(len(np.unique(calls, axis=1).T) <= 4 for calls in kept.values()):
        raise Wrong(
            "not drawn one by one",
            Text(
                "the samples depend on each other, the same number is kept each time or many share one draw: draw one "
                "number for each sample",
                "样本之间不独立：每次保留的个数都相同，或者许多样本共用一次抽取。应当为每个样本单独抽取一个数",
            ),
        )
    shares = {keep_prob: float(calls.mean()) for keep_prob, calls in kept.items()}
    # Of at least 320 draws the share is six standard deviations inside.
    if all(abs(share - keep_prob) <= 0.15 for keep_prob, share in shares.items()):
        return
    if all(abs(share - (1 - keep_prob)) <= 0.15 for keep_prob, share in shares.items()):
        raise Wrong("keep_prob swapped", SWAPPED)
    keep_prob, share = max(shares.items(), key=lambda item: abs(item[1] - item[0]))
    raise Wrong(
        "share kept",
        Text(
            f"with keep_prob = {keep_prob} a share of {share:.2f} of the samples is kept (ops.bernoulli takes the chance as "
            "its second argument, 0.5 by default)",
            f"keep_prob = {keep_prob} 时，保留的样本比例是 {share:.2f}（ops.bernoulli 的概率是第二个参数，默认为 0.5）",
        ),
    )


def _judge_scale(factors):
    """That what is kept, of each keep_prob (numbers,), is divided by keep_prob."""

    def are(wanted):
        return all(np.allclose(numbers, wanted(keep_prob), rtol=1e-3) for keep_prob, numbers in factors.items())

    if are(lambda keep_prob: 1 / keep_prob):
        return
    if are(lambda keep_prob: 1.0):
        raise Wrong(
            "not scaled",
            Text(
                "the kept samples are not scaled: divide them by keep_prob, so that the mean stays",
                "保留的样本没有缩放：应当除以 keep_prob，期望才不变",
            ),
        )
    if are(lambda keep_prob: keep_prob):
        raise Wrong(
            "multiplied by keep_prob",
            Text(
                "the kept samples are multiplied by keep_prob: divide them by it, so that the mean stays",
                "保留的样本乘了 keep_prob：应当除以它，期望才不变",
            ),
        )
    if are(lambda keep_prob: 1 / (1 - keep_prob)):
        raise Wrong("divided by the drop rate", BY_DROP_RATE)
    keep_prob, numbers = next(iter(factors.items()))
    raise Wrong(
        "scale",
        Text(
            f"with keep_prob = {keep_prob} a kept number is {numbers[0]:.4g} times that of x: it is to be 1 / keep_prob "
            "times",
            f"keep_prob = {keep_prob} 时，保留的数是 x 的 {numbers[0]:.4g} 倍，应为 1 / keep_prob 倍",
        ),
    )


EXERCISE = Exercise(
    name="drop_path",
    notebook="04_encoder_and_vit",
    section=6,
    kind="cell",
    title=Text("DropPath, stochastic depth", "DropPath（随机深度）"),
    statement=Text(
        "Write the class `DropPath(keep_prob)`. In training, each sample of `x`, a float32 Tensor (B, ...) with any "
        "number of axes behind the first, is kept with probability `keep_prob` and divided by `keep_prob`; otherwise all "
        "its numbers become 0. Each sample is drawn for itself, anew in every call.\n\n"
        "In evaluation (`self.training` is False) and with `keep_prob = 1` the result is `x`. `keep_prob` is above 0 and "
        "at most 1; keep its name.",
        "写出类 `DropPath(keep_prob)`。训练时，`x` 是形状为 (B, ...) 的 float32 Tensor，第一维之后可以有任意多维；每个样本"
        "以 `keep_prob` 的概率保留并除以 `keep_prob`，否则它的所有数都置为 0。每个样本独立抽取，每次调用重新抽取。\n\n"
        "评估时（`self.training` 为 False）以及 `keep_prob = 1` 时，结果就是 `x`。`keep_prob` 大于 0 且不超过 1；参数名"
        "不要改。",
    ),
    solution="DropPath",
    starter=(
        "class DropPath(nn.Cell):\n"
        "    def __init__(self, keep_prob):\n"
        "        super().__init__()\n"
        "        ...\n"
        "\n"
        "    def construct(self, x):\n"
        "        ...\n"
    ),
    hints=(
        Text(
            "The mask has one number for each sample, and x may have any number of axes: which shape broadcasts over all "
            "axes but the first?",
            "掩码中每个样本只有一个数，而 x 的维数不定：什么形状能沿第一维以外的所有维广播？",
        ),
        Text(
            "ops.rand(B) < keep_prob is True with probability keep_prob. Or let nn.Dropout work on B ones: it draws, drops "
            "and divides. Its argument is p, the chance to drop.",
            "ops.rand(B) < keep_prob 以 keep_prob 的概率为真。也可以把 nn.Dropout 用在 B 个 1 上：抽取、置零、缩放都由它做。"
            "它的参数 p 是丢弃的概率。",
        ),
        Text(
            "First: if not self.training or self.keep_prob == 1: return x. Then the mask as floats, reshaped to "
            "(B,) + (1,) * (x.ndim - 1), times x, divided by keep_prob.",
            "先写：if not self.training or self.keep_prob == 1: return x。再把掩码转成浮点数，reshape 成 "
            "(B,) + (1,) * (x.ndim - 1)，乘以 x，除以 keep_prob。",
        ),
    ),
    reference=DropPath,
    cases=cases,
    graph=False,  # of the draws, below
    mistakes=(
        Mistake("keep_prob swapped", _AllDropped, SWAPPED),
        Mistake("keep_prob swapped", _ZeroByZero, SWAPPED),
        Mistake("divided by the drop rate", _DividedByZero, BY_DROP_RATE),
    ),
    properties=(
        Property(evaluations, judge_evaluation),
        Property(trainings, judge_training, graph=True),
        Property(trainings, judge_gradients, gradient=True),
    ),
)
