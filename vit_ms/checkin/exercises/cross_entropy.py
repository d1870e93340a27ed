"""The mean cross entropy of logits and labels."""

import math

import numpy as np
from mindspore import ops

from vit_ms.checkin.exercise import Case, Exercise, Mistake, Text


def _of_label(values, labels):
    """From each row of (B, K) the number in the label's column, (B,)."""
    return ops.gather_elements(values, 1, labels.reshape(-1, 1)).reshape(-1)


def cross_entropy(logits, labels):
    return -_of_label(ops.log_softmax(logits, axis=-1), labels).mean()


def _of_log_p(reduce):
    """What `reduce` makes of ln p, (B, K), and the labels."""

    def wrong(logits, labels):
        return reduce(ops.log_softmax(logits, axis=-1), labels)

    return wrong


def _smoothed(share):
    """Label smoothing; `share` is what the other classes get each, of K."""

    def wrong(log_p, labels):
        of_label, other = _of_label(log_p, labels), share(log_p.shape[1])
        rest = 1 - other * (log_p.shape[1] - 1)
        return -(rest * of_label + other * (log_p.sum(-1) - of_label)).mean()

    return _of_log_p(wrong)


def _over_the_batch(logits, labels):
    return -_of_label(ops.log_softmax(logits, axis=0), labels).mean()


def _no_softmax(logits, labels):
    return -_of_label(logits, labels).mean()


def _softmax_twice(logits, labels):
    return cross_entropy(ops.softmax(logits, axis=-1), labels)


def _no_log(logits, labels):
    return -_of_label(ops.softmax(logits, axis=-1), labels).mean()


def _log_of_the_mean(logits, labels):
    return -ops.log(_of_label(ops.softmax(logits, axis=-1), labels).mean())


def _unstable(logits, labels):
    exp = ops.exp(logits)
    return -_of_label(ops.log(exp / exp.sum(axis=-1, keepdims=True)), labels).mean()


def _log_of_softmax(logits, labels):
    return -ops.log(_of_label(ops.softmax(logits, axis=-1), labels)).mean()


def _one_maximum(logits, labels):
    logits = logits - logits.max()
    return (ops.log(ops.exp(logits).sum(axis=-1)) - _of_label(logits, labels)).mean()


def _clipped(least):
    def wrong(logits, labels):
        return -ops.log(_of_label(ops.softmax(logits, axis=-1), labels) + least).mean()

    return wrong


_SMOOTHED = Text(
    "this is the loss with label smoothing 0.1: here the target is 1 for the label and 0 for the others",
    "这是标签平滑系数为 0.1 的损失：这里的目标分布在正确类别为 1，其余为 0",
)
_ALL_CLASSES = Text(
    "ln p of every class is counted: count that of the label alone, -ln p[label]",
    "所有类别的 ln p 都计入了：只应计入标签那一类，即 -ln p[label]",
)
_UNSTABLE = Text(
    "logits of 1000 give NaN or infinity: exp overflows, or p is rounded to 0 before the logarithm. Compute ln p as "
    "one, with ops.log_softmax, or subtract each row's largest logit and simplify ln(exp(z) / sum)",
    "logits 大到 1000 时得到 NaN 或无穷大：exp 溢出，或者 p 在取对数之前已舍入为 0。应当直接计算 ln p：用 "
    "ops.log_softmax，或先减去每行最大的 logit，再化简 ln(exp(z) / sum)",
)
_CLIPPED = Text(
    "p is kept away from 0 before the logarithm, so a sure and wrong answer costs too little: compute ln p as one, "
    "with ops.log_softmax",
    "取对数之前给 p 设了下限，于是自信的错误答案损失偏小：应当用 ops.log_softmax 直接计算 ln p",
)


def cases(rng):
    for about, images, classes in (
        (Text("5 images, K = 4", "5 张图像，K = 4"), 5, 4),
        (Text("one image, K = 10", "1 张图像，K = 10"), 1, 10),
    ):
        logits = 2.0 * rng.standard_normal((images, classes)).astype(np.float32)
        yield Case(about, (logits, (rng.permutation(images) % classes).astype(np.int32)))
    logits = rng.standard_normal((3, 6))
    # Both ends of the range, so that one maximum for all rows does not do; and a row whose label is far below the others.
    logits += np.array([[1000.0], [-1000.0], [0.0]])
    logits[2] = rng.permutation([-1000.0, -600.0, -100.0, 200.0, 500.0, 1000.0])
    labels = np.array([1, 4, logits[2].argmin()], np.int32)
    yield Case(Text("logits from -1000 to 1000", "logits 从 -1000 到 1000"), (logits.astype(np.float32), labels))


EXERCISE = Exercise(
    name="cross_entropy",
    notebook="01_five_minutes_to_vit",
    section=6,
    kind="function",
    title=Text("Cross entropy", "交叉熵"),
    statement=Text(
        "Write `cross_entropy(logits, labels)`, the loss of this section without label smoothing:\n\n"
        "$$-\\frac{1}{B} \\sum_{i=1}^{B} \\ln p_{i, y_i}, \\qquad p_i = \\text{softmax}(z_i)$$\n\n"
        "`logits` is the Tensor $z$, (B, K) float32; `labels` is $y$, (B,) int32, each from 0 to K - 1. The result "
        "is a Tensor of one float32 number, shape (). It is to be right for logits as large as 1000 as well, where "
        "$e^{1000}$ is infinite in float32. (`ops.cross_entropy` exists; the point here is to write it from its "
        "parts. For a single number write `x[i][labels[i]]`: of `x[i, labels[i]]` MindSpore computes no gradient.)",
        "写出 `cross_entropy(logits, labels)`，即本节的损失函数去掉标签平滑：\n\n"
        "$$-\\frac{1}{B} \\sum_{i=1}^{B} \\ln p_{i, y_i}, \\qquad p_i = \\text{softmax}(z_i)$$\n\n"
        "`logits` 即 $z$，形状为 (B, K) 的 float32 Tensor；`labels` 即 $y$，形状为 (B,) 的 int32 Tensor，取值 0 到 K "
        "- 1。结果是只含一个 float32 数的 Tensor，形状为 ()。logits 大到 1000 时结果也要正确，而 $e^{1000}$ 在 "
        "float32 中是无穷大。（现成的 `ops.cross_entropy` 也能算，这里的目的是自己写出来。取单个数请写 "
        "`x[i][labels[i]]`，MindSpore 对 `x[i, labels[i]]` 求不了梯度。）",
    ),
    solution="cross_entropy",
    starter="def cross_entropy(logits, labels):\n    B, K = logits.shape\n    ...\n",
    hints=(
        Text(
            "Three steps: ln p of all classes, (B, K); of each image that of its label, (B,); minus the mean.",
            "三步：所有类别的 ln p，形状 (B, K)；每张图像取标签那一类，形状 (B,)；求平均，再取负。",
        ),
        Text(
            "ln p = z - ln(sum of e^z), over the classes. ops.log_softmax(logits, axis=-1) computes it without "
            "overflow; so does the formula once each row's largest logit is subtracted.",
            "ln p = z - ln(Σ e^z)，求和沿类别一维。ops.log_softmax(logits, axis=-1) 不会溢出；先减去每行最大的 "
            "logit，再用这个公式也不会。",
        ),
        Text(
            "ops.gather_elements(log_p, 1, labels.reshape(-1, 1)) picks ln p of the labels, (B, 1); so does the "
            "product with a one-hot matrix, summed over the classes. Then -(...).mean().",
            "ops.gather_elements(log_p, 1, labels.reshape(-1, 1)) 取出标签那一类的 ln p，形状 (B, 1)；也可以乘以独热"
            "矩阵，再沿类别求和。最后 -(...).mean()。",
        ),
    ),
    reference=cross_entropy,
    cases=cases,
    mistakes=(
        Mistake("not stable", _unstable, _UNSTABLE),
        Mistake("not stable", _log_of_softmax, _UNSTABLE),
        Mistake("not stable", _one_maximum, _UNSTABLE),
        *(Mistake("p clipped", _clipped(10.0**-power), _CLIPPED) for power in (5, 6, 7, 8, 9, 10, 12, 15, 20)),
        Mistake(
            "sum in place of mean",
            _of_log_p(lambda log_p, labels: -_of_label(log_p, labels).sum()),
            Text(
                "the losses of the images are summed: divide by B, or the loss grows with the batch",
                "各图像的损失求了和：应当再除以 B，否则损失随批次大小增长",
            ),
        ),
        Mistake(
            "not reduced",
            _of_log_p(lambda log_p, labels: -_of_label(log_p, labels)),
            Text("there is a loss of each image: take their mean", "返回的是每张图像的损失：还要求平均"),
        ),
        Mistake(
            "mean over B K numbers",
            _of_log_p(lambda log_p, labels: -_of_label(log_p, labels).mean() / log_p.shape[1]),
            Text(
                "the sum is divided by B K, as by mean() over all classes: sum over the classes first, then divide "
                "by B",
                "除数成了 B·K，比如对 (B, K) 直接用了 mean()：应当先沿类别求和，再除以 B",
            ),
        ),
        Mistake(
            "sign forgotten",
            _of_log_p(lambda log_p, labels: _of_label(log_p, labels).mean()),
            Text(
                "the sign is missing: ln p is negative, the loss is -ln p",
                "缺少负号：ln p 是负数，损失是 -ln p",
            ),
        ),
        Mistake(
            "softmax over the batch",
            _over_the_batch,
            Text(
                "the softmax is over the images (axis 0): the probabilities of each image's classes (axis -1) are to "
                "sum to 1",
                "softmax 做在了批次一维（axis=0）：应当让每张图像各类别（axis=-1）的概率之和为 1",
            ),
        ),
        Mistake(
            "softmax forgotten",
            _no_softmax,
            Text(
                "the logit of the label is taken in place of ln p: there is no softmax",
                "直接取了标签的 logit，没有经过 softmax 得到 ln p",
            ),
        ),
        Mistake(
            "softmax twice",
            _softmax_twice,
            Text(
                "softmax is applied twice: log_softmax and ops.cross_entropy take logits, not probabilities",
                "softmax 做了两次：log_softmax 和 ops.cross_entropy 的输入应当是 logits，而不是概率",
            ),
        ),
        Mistake(
            "log forgotten",
            _no_log,
            Text(
                "the logarithm is missing: this is the mean of -p, not of -ln p", "缺少对数：平均的是 -p，而不是 -ln p"
            ),
        ),
        Mistake(
            "log of the mean",
            _log_of_the_mean,
            Text(
                "the mean is taken before the logarithm: take ln p of each image first",
                "先求了平均再取对数：应当先对每张图像取 ln p",
            ),
        ),
        Mistake(
            "logarithm to base 2",
            _of_log_p(lambda log_p, labels: -_of_label(log_p, labels).mean() / math.log(2)),
            Text("the logarithm has base 2: use the natural one", "对数以 2 为底了：应当用自然对数"),
        ),
        Mistake("label smoothing", _smoothed(lambda classes: 0.1 / (classes - 1)), _SMOOTHED),
        Mistake("label smoothing", _smoothed(lambda classes: 0.1 / classes), _SMOOTHED),
        Mistake("all classes counted", _of_log_p(lambda log_p, labels: -log_p.mean()), _ALL_CLASSES),
        Mistake("all classes counted", _of_log_p(lambda log_p, labels: -log_p.sum(-1).mean()), _ALL_CLASSES),
        Mistake(
            "entropy",
            _of_log_p(lambda log_p, labels: -(ops.exp(log_p) * log_p).sum(-1).mean()),
            Text(
                "this is the entropy of p: the labels are not used",
                "这是 p 自身的熵：没有用到标签",
            ),
        ),
    ),
)
