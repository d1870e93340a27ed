"""Cross entropy with label smoothing, the smoothing shared by all classes."""

import numpy as np
from mindspore import ops

from vit_ms.checkin.exercise import Case, Exercise, Mistake, Text


def _target(labels, K, of_label, of_each):
    """Of each class of_each, of the label of_label more: (B, K)."""
    return of_label * ops.one_hot(labels, K) + of_each


def smoothed_cross_entropy(logits, labels, s):
    K = logits.shape[-1]
    q = _target(labels, K, 1.0 - s, s / K)
    return -(q * ops.log_softmax(logits, -1)).sum(-1).mean()


def _with_target(parts):
    """With another target; parts takes s, K and B and gives of_label and of_each."""

    def wrong(logits, labels, s):
        B, K = logits.shape
        q = _target(labels, K, *parts(s, K, B))
        return -(q * ops.log_softmax(logits, -1)).sum(-1).mean()

    return wrong


def _with_log_p(log_p):
    """With something else in the place of ln p."""

    def wrong(logits, labels, s):
        K = logits.shape[-1]
        q = _target(labels, K, 1.0 - s, s / K)
        return -(q * log_p(logits)).sum(-1).mean()

    return wrong


def _reduced(reduce):
    """With something else made of the products q ln p, (B, K)."""

    def wrong(logits, labels, s):
        K = logits.shape[-1]
        return reduce(-_target(labels, K, 1.0 - s, s / K) * ops.log_softmax(logits, -1))

    return wrong


def _probabilities_smoothed(logits, labels, s):
    K = logits.shape[-1]
    p = (1.0 - s) * ops.softmax(logits, -1) + s / K
    return -(ops.one_hot(labels, K) * ops.log(p)).sum(-1).mean()


def _log_of_quotient(logits):
    exp = ops.exp(logits)
    return ops.log(exp / exp.sum(-1, keepdims=True))


def _guarded(epsilon):
    return _with_log_p(lambda logits: ops.log(ops.softmax(logits, -1) + epsilon))


UNSTABLE = Text(
    "with large logits p is rounded to 0 or its sum overflows, and ln p is lost: ops.log_softmax makes ln p without p",
    "logits 很大时，p 会被舍入成 0，或者求和溢出，ln p 就算不出来了：ops.log_softmax 不经过 p，直接得到 ln p",
)
GUARDED = Text(
    "a small number inside the logarithm hides that p is rounded to 0, and the loss is wrong: ops.log_softmax needs none",
    "在对数里加一个很小的数，只是掩盖了 p 被舍入成 0，损失并不正确：ops.log_softmax 不需要这样做",
)


def cases(rng):
    for about, shape, size, s in (
        (Text("3 images, K = 5, s = 0.3", "3 张图像，K = 5，s = 0.3"), (3, 5), 2.0, 0.3),
        (Text("7 images, K = 4, s = 0: no smoothing", "7 张图像，K = 4，s = 0：不平滑"), (7, 4), 1.0, 0.0),
        (Text("logits of some hundreds, K = 6, s = 0.1", "logits 达到几百，K = 6，s = 0.1"), (4, 6), 200.0, 0.1),
    ):
        logits = (size * rng.standard_normal(shape)).astype(np.float32)
        if size > 100.0:
            logits[:2, 0] = 500.0, -500.0  # where exp overflows, whatever the draw
        yield Case(about, (logits, rng.integers(shape[1], size=shape[0]).astype(np.int32), s))


EXERCISE = Exercise(
    name="label_smoothing",
    notebook="06_training",
    section=2,
    kind="function",
    title=Text("Cross entropy with label smoothing", "带标签平滑的交叉熵"),
    statement=Text(
        "Write `smoothed_cross_entropy(logits, labels, s)`: the loss of equation 1, averaged over the batch, but with the "
        "target of the paper, PyTorch and timm in place of equation 2. There *all* $K$ classes share $s$, the label too:\n\n"
        "$$q_{\\text{label}} = 1 - s + \\frac{s}{K}, \\qquad q_k = \\frac{s}{K} \\;\\text{ for the others}$$\n\n"
        "`logits` is a Tensor (B, K) of float32, `labels` a Tensor (B,) of int32, from 0 to K - 1, `s` a number in [0, 1). "
        "The result is one number, a Tensor of shape () and float32, the mean of the B losses. Logits of some hundreds must "
        "not give infinity or NaN.",
        "写出 `smoothed_cross_entropy(logits, labels, s)`：公式（1）的损失，对一批图像取平均；但目标分布不用公式（2），而用"
        "论文、PyTorch 和 timm 的定义，由包括正确类别在内的*所有* $K$ 个类别分享 $s$：\n\n"
        "$$q_{\\text{label}} = 1 - s + \\frac{s}{K}, \\qquad q_k = \\frac{s}{K} \\;\\text{（其余类别）}$$\n\n"
        "`logits` 是形状为 (B, K) 的 float32 Tensor；`labels` 是形状为 (B,) 的 int32 Tensor，取值 0 到 K - 1；`s` 是 [0, 1) "
        "中的一个数。结果是一个数，即形状为 () 的 float32 Tensor：B 个损失的平均值。logits 达到几百时，结果也不能是无穷大或 "
        "NaN。",
    ),
    solution="smoothed_cross_entropy",
    starter="def smoothed_cross_entropy(logits, labels, s):\n    B, K = logits.shape\n    ...\n",
    hints=(
        Text(
            "Two things to make, both (B, K): ln p, and the target q. ops.log_softmax subtracts the largest logit first, "
            "so that nothing overflows.",
            "先准备两样东西，形状都是 (B, K)：ln p 和目标分布 q。ops.log_softmax 会先减去最大的 logit，不会溢出。",
        ),
        Text(
            "q is 1 - s times the one-hot row of the label, plus s / K everywhere. Sum over the classes, then take the "
            "mean over the images.",
            "q 等于标签的 one-hot 行乘以 1 - s，再在每个位置加上 s / K。先对类别求和，再对图像取平均。",
        ),
        Text(
            "q = (1 - s) * ops.one_hot(labels, K) + s / K; then -(q * ops.log_softmax(logits, -1)).sum(-1).mean().",
            "q = (1 - s) * ops.one_hot(labels, K) + s / K；然后 -(q * ops.log_softmax(logits, -1)).sum(-1).mean()。",
        ),
    ),
    reference=smoothed_cross_entropy,
    cases=cases,
    mistakes=(
        Mistake(
            "others alone",
            _with_target(lambda s, K, B: (1.0 - s - s / (K - 1), s / (K - 1))),
            Text(
                "this is equation 2: K - 1 classes share s. Here all K share it, and the label gets s / K as well",
                "这是公式（2）：由 K - 1 个类别分享 s。这里由全部 K 个类别分享，正确类别也分到 s / K",
            ),
        ),
        Mistake(
            "smoothing ignored",
            _with_target(lambda s, K, B: (1.0, 0.0)),
            Text("this is the cross entropy without smoothing: s has no effect", "这是不带平滑的交叉熵：s 没有起作用"),
        ),
        Mistake(
            "label without its share",
            _with_target(lambda s, K, B: (1.0 - s - s / K, s / K)),
            Text(
                "the label has 1 - s alone: it gets s / K besides, or q does not sum to 1",
                "正确类别只有 1 - s：还要加上 s / K，否则 q 的和不为 1",
            ),
        ),
        Mistake(
            "label undiminished",
            _with_target(lambda s, K, B: (1.0, s / K)),
            Text(
                "s / K is added to a target of 1: the one-hot part is to be multiplied by 1 - s, or q does not sum to 1",
                "直接在 one-hot 上加了 s / K：one-hot 部分应先乘以 1 - s，否则 q 的和不为 1",
            ),
        ),
        Mistake(
            "others without a share",
            _with_target(lambda s, K, B: (1.0 - s, 0.0)),
            Text(
                "the target is 1 - s for the label and 0 for all others: s / K is lost. (ops.full makes whole numbers of it "
                "unless it is given dtype=ms.float32.)",
                "目标在正确类别上是 1 - s，其余全是 0：s / K 丢了。（ops.full 不指定 dtype=ms.float32 时会把它变成整数。）",
            ),
        ),
        Mistake(
            "s not divided",
            _with_target(lambda s, K, B: (1.0 - s, s)),
            Text("each class gets all of s: they share it, s / K each", "每个类别都得到了整个 s：应当平分，各得 s / K"),
        ),
        Mistake(
            "s by the batch",
            _with_target(lambda s, K, B: (1.0 - s, s / B)),
            Text(
                "s is divided by the number of images: the classes share it, and K is the last axis of logits",
                "s 除以了图像数：分享 s 的是类别，K 是 logits 的最后一维",
            ),
        ),
        Mistake(
            "s and 1 - s swapped",
            _with_target(lambda s, K, B: (s, (1.0 - s) / K)),
            Text("s and 1 - s have changed places: the label keeps 1 - s", "s 与 1 - s 用反了：正确类别应当保留 1 - s"),
        ),
        Mistake(
            "probabilities smoothed",
            _probabilities_smoothed,
            Text(
                "the smoothing is applied to the network's probabilities p: it belongs to the target q",
                "平滑用在了网络的概率 p 上：应当用在目标分布 q 上",
            ),
        ),
        Mistake(
            "sum over the batch",
            _reduced(lambda products: products.sum()),
            Text(
                "the losses of the images are added up: take their mean, or the gradient grows with the batch",
                "各图像的损失加在了一起：应当取平均，否则梯度会随批大小增长",
            ),
        ),
        Mistake(
            "mean over the classes",
            _reduced(lambda products: products.mean()),
            Text(
                "the mean is taken over all B K products: sum over the K classes, then take the mean over the B images",
                "对全部 B·K 个乘积取了平均：应当先对 K 个类别求和，再对 B 张图像取平均",
            ),
        ),
        Mistake(
            "loss of each image",
            _reduced(lambda products: products.sum(-1)),
            Text("the loss of each image is returned: take their mean", "返回的是每张图像的损失：还要取平均"),
        ),
        Mistake(
            "softmax axis",
            _with_log_p(lambda logits: ops.log_softmax(logits, 0)),
            Text(
                "the softmax is over the images (axis 0): the probabilities of the classes (axis -1) are to sum to 1",
                "softmax 做在了图像一维（axis=0）：应当让各个类别（axis=-1）的概率之和为 1",
            ),
        ),
        Mistake(
            "softmax twice",
            _with_log_p(lambda logits: ops.log_softmax(ops.softmax(logits, -1), -1)),
            Text(
                "the softmax is applied twice: log_softmax and cross_entropy take logits, not probabilities",
                "softmax 做了两次：log_softmax 和 cross_entropy 的输入是 logits，不是概率",
            ),
        ),
        Mistake(
            "softmax forgotten",
            _with_log_p(lambda logits: logits),
            Text(
                "the logits stand in the place of ln p: the softmax is missing", "logits 直接当成了 ln p：缺少 softmax"
            ),
        ),
        Mistake(
            "logarithm forgotten",
            _with_log_p(lambda logits: ops.softmax(logits, -1)),
            Text("the logarithm is missing: q is multiplied by p, not by ln p", "缺少对数：q 乘的是 p，而不是 ln p"),
        ),
        Mistake("unstable", _with_log_p(lambda logits: ops.log(ops.softmax(logits, -1))), UNSTABLE),
        Mistake("unstable", _with_log_p(_log_of_quotient), UNSTABLE),
        Mistake("logarithm guarded", _guarded(1e-12), GUARDED),
        Mistake("logarithm guarded", _guarded(1e-8), GUARDED),
        Mistake("logarithm guarded", _guarded(1e-6), GUARDED),
        Mistake(
            "sign",
            _with_log_p(lambda logits: -ops.log_softmax(logits, -1)),
            Text(
                "the minus sign is missing: ln p is negative, the loss is positive",
                "缺少负号：ln p 是负数，损失应为正数",
            ),
        ),
    ),
)
