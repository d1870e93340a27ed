"""DeiT's hard distillation: one head learns the labels, the other the teacher's decisions."""

import numpy as np
from mindspore import Tensor, ops

from vit_ms.checkin.exercise import Case, Exercise, Mistake, Text


def hard_distillation(class_logits, distillation_logits, teacher_logits, labels):
    decisions = teacher_logits.argmax(axis=-1)  # (B,)
    return 0.5 * _mean_of(class_logits, labels) + 0.5 * _mean_of(distillation_logits, decisions)


def _mean_of(logits, classes):
    log_probs = ops.log_softmax(logits, axis=-1)  # (B, K)
    return -ops.gather_elements(log_probs, 1, classes.reshape(-1, 1)).mean()


def _mistake(loss):
    """A mistake from a loss of arrays: many are asked of one solution, and NumPy takes less time to start."""

    def wrong(*inputs):
        return Tensor(np.asarray(loss(*(tensor.asnumpy() for tensor in inputs)), np.float32))

    return wrong


def _log_softmax(Z, axis=1):
    Z = Z.astype(np.float64) - Z.max(axis=axis, keepdims=True)
    return Z - np.log(np.exp(Z).sum(axis=axis, keepdims=True))


def _cross_entropies(Z, y, axis=1):
    return -_log_softmax(Z, axis)[np.arange(len(y)), y]  # (B,)


def _of_parts(loss):
    """Another loss of four numbers: the class head's cross entropy with y and with y_t, and the distillation head's."""

    def of_arrays(Z_s, Z_d, Z_t, y):
        return loss(*(_cross_entropies(Z, labels).mean() for Z in (Z_s, Z_d) for labels in (y, Z_t.argmax(axis=1))))

    return _mistake(of_arrays)


def _halves(Z_s, Z_d, Z_t, y, axis=1):
    return 0.5 * _cross_entropies(Z_s, y, axis) + 0.5 * _cross_entropies(Z_d, Z_t.argmax(axis=1), axis)  # (B,)


def _soft(taught):
    """The right half of the labels, and for the other half what the teacher's distribution says, (B,)."""
    return _mistake(lambda Z_s, Z_d, Z_t, y: (0.5 * _cross_entropies(Z_s, y) + 0.5 * taught(Z_d, Z_t)).mean())


def _soft_cross_entropy(Z_d, Z_t):
    return -(np.exp(_log_softmax(Z_t)) * _log_softmax(Z_d)).sum(axis=1)


def _divergence(tau):
    def taught(Z_d, Z_t):
        log_t, log_d = _log_softmax(Z_t / tau), _log_softmax(Z_d / tau)
        return tau**2 * (np.exp(log_t) * (log_t - log_d)).sum(axis=1)

    return taught


def _smoothed(class_share, distillation_share):
    """Cross entropies of which a share is that of all classes alike."""

    def of_head(Z, labels, share):
        return (1 - share) * _cross_entropies(Z, labels) - share * _log_softmax(Z).mean(axis=1)

    def of_arrays(Z_s, Z_d, Z_t, y):
        both = of_head(Z_s, y, class_share) + of_head(Z_d, Z_t.argmax(axis=1), distillation_share)
        return 0.5 * both.mean()

    return _mistake(of_arrays)


def cases(rng):
    for about, (images, classes), size in (
        (Text("6 images, 4 classes", "6 张图像、4 个类别"), (6, 4), 1.5),
        (Text("5 images, 7 classes, larger logits", "5 张图像、7 个类别，logits 较大"), (5, 7), 8.0),
    ):
        logits = tuple((size * rng.standard_normal((images, classes))).astype(np.float32) for _ in range(3))
        # The teacher agrees with every second label.
        decisions = logits[2].argmax(axis=1)
        others = (decisions + rng.integers(1, classes, images)) % classes
        labels = np.where(np.arange(images) % 2 == 0, others, decisions).astype(np.int32)
        yield Case(about, (*logits, labels))


SOFT = Text(
    "the distillation head learns the teacher's whole distribution: that is soft distillation, here the label is the "
    "teacher's argmax",
    "蒸馏头学的是教师的整个分布：这是软蒸馏，这里应当以教师的 argmax 为标签",
)

SMOOTHED = Text(
    "the labels are smoothed, by 0.1: here they are taken as they are",
    "标签做了平滑（0.1）：这里直接使用原来的标签",
)

EXERCISE = Exercise(
    name="hard_distillation",
    notebook="10_hybrid_and_deit",
    section=5,
    kind="function",
    title=Text("Hard distillation", "硬蒸馏"),
    statement=Text(
        "Write `hard_distillation(class_logits, distillation_logits, teacher_logits, labels)`, equation 3 for training: "
        "with Tensors, so that gradients flow.\n\n"
        "$$\\tfrac{1}{2} \\mathcal{L}_{\\text{CE}}(\\psi(Z_s), y) + "
        "\\tfrac{1}{2} \\mathcal{L}_{\\text{CE}}(\\psi(Z_d), y_t), \\qquad y_t = \\arg\\max_c Z_t(c)$$\n\n"
        "The arguments are $Z_s$, $Z_d$ and $Z_t$, float32 Tensors (B, K) of logits, and $y$, an int32 Tensor (B,). "
        "$\\mathcal{L}_{\\text{CE}}$ is the mean over the B images, without label smoothing. The result is one number, a "
        "float32 Tensor of shape ().",
        "写出 `hard_distillation(class_logits, distillation_logits, teacher_logits, labels)`，即用于训练的公式（3）：全程用 "
        "Tensor 计算，使梯度能够传回。\n\n"
        "$$\\tfrac{1}{2} \\mathcal{L}_{\\text{CE}}(\\psi(Z_s), y) + "
        "\\tfrac{1}{2} \\mathcal{L}_{\\text{CE}}(\\psi(Z_d), y_t), \\qquad y_t = \\arg\\max_c Z_t(c)$$\n\n"
        "四个参数依次是 $Z_s$、$Z_d$、$Z_t$（形状为 (B, K) 的 float32 Tensor，都是 logits）和 $y$（形状为 (B,) 的 int32 "
        "Tensor）。$\\mathcal{L}_{\\text{CE}}$ 对 B 张图像取平均，不做标签平滑。结果是一个数，即形状为 () 的 float32 "
        "Tensor。",
    ),
    solution="hard_distillation",
    starter="def hard_distillation(class_logits, distillation_logits, teacher_logits, labels):\n    ...\n",
    hints=(
        Text(
            "Two cross entropies with labels: those of the data for the class head, those of the teacher for the "
            "distillation head.",
            "两个带标签的交叉熵：类别头用数据的标签，蒸馏头用教师给出的标签。",
        ),
        Text(
            "teacher_logits.argmax(axis=-1) is (B,): one class for each image. A cross entropy takes the "
            "logits' log-softmax at this class, with a minus, and the mean over the images.",
            "teacher_logits.argmax(axis=-1) 的形状是 (B,)：每张图像一个类别。交叉熵取 logits 的 log-softmax 在这个类"
            "别处的值，取负，再对图像取平均。",
        ),
        Text(
            "ops.cross_entropy(logits, classes) takes logits and int32 classes and gives the mean: 0.5 times that of "
            "class_logits with labels, plus 0.5 times that of distillation_logits with the argmax as ms.int32.",
            "ops.cross_entropy(logits, classes) 接收 logits 和 int32 类别，返回平均值：class_logits 与 labels 的乘 0.5，加"
            "上 distillation_logits 与 argmax（转成 ms.int32）的乘 0.5。",
        ),
    ),
    reference=hard_distillation,
    cases=cases,
    mistakes=(
        Mistake(
            "heads swapped",
            _of_parts(lambda s_y, s_t, d_y, d_t: 0.5 * s_t + 0.5 * d_y),
            Text(
                "the heads have changed places: the class head learns the labels, the distillation head the teacher",
                "两个头用反了：类别头学标签，蒸馏头学教师",
            ),
        ),
        Mistake(
            "not halved",
            _of_parts(lambda s_y, s_t, d_y, d_t: s_y + d_t),
            Text("the two parts are added up: each counts half", "两部分直接相加了：应当各占一半"),
        ),
        Mistake(
            "one part halved",
            _of_parts(lambda s_y, s_t, d_y, d_t: 0.5 * s_y + d_t),
            Text("only one of the two parts is halved", "两部分中只有一部分乘了 1/2"),
        ),
        Mistake(
            "one part halved",
            _of_parts(lambda s_y, s_t, d_y, d_t: s_y + 0.5 * d_t),
            Text("only one of the two parts is halved", "两部分中只有一部分乘了 1/2"),
        ),
        Mistake("soft targets", _soft(_soft_cross_entropy), SOFT),
        Mistake("soft targets", _soft(_divergence(1.0)), SOFT),
        Mistake("soft targets", _soft(_divergence(3.0)), SOFT),
        Mistake(
            "labels for both heads",
            _of_parts(lambda s_y, s_t, d_y, d_t: 0.5 * s_y + 0.5 * d_y),
            Text(
                "both heads learn the labels: the distillation head is to learn the teacher's argmax",
                "两个头学的都是标签：蒸馏头应当学教师的 argmax",
            ),
        ),
        Mistake(
            "teacher for both heads",
            _of_parts(lambda s_y, s_t, d_y, d_t: 0.5 * s_t + 0.5 * d_t),
            Text(
                "both heads learn the teacher's argmax: the class head is to learn the labels",
                "两个头学的都是教师的 argmax：类别头应当学标签",
            ),
        ),
        Mistake(
            "one head for both",
            _of_parts(lambda s_y, s_t, d_y, d_t: 0.5 * s_y + 0.5 * s_t),
            Text(
                "labels and teacher both go to the class head: the teacher's part is for distillation_logits",
                "标签和教师都用在了类别头上：教师那一部分应当用 distillation_logits",
            ),
        ),
        Mistake(
            "mean of the logits",
            _mistake(lambda Z_s, Z_d, Z_t, y: _halves((Z_s + Z_d) / 2, (Z_s + Z_d) / 2, Z_t, y).mean()),
            Text(
                "the logits of the two heads are averaged first: in training each head has a loss of its own",
                "先对两个头的 logits 取了平均：训练时每个头各有自己的损失",
            ),
        ),
        Mistake(
            "class head alone",
            _of_parts(lambda s_y, s_t, d_y, d_t: 0.5 * s_y),
            Text("the part of the distillation head is missing", "缺少蒸馏头那一部分"),
        ),
        Mistake(
            "class head alone",
            _of_parts(lambda s_y, s_t, d_y, d_t: s_y),
            Text("the part of the distillation head is missing", "缺少蒸馏头那一部分"),
        ),
        Mistake(
            "distillation head alone",
            _of_parts(lambda s_y, s_t, d_y, d_t: 0.5 * d_t),
            Text("the part of the class head is missing", "缺少类别头那一部分"),
        ),
        Mistake(
            "distillation head alone",
            _of_parts(lambda s_y, s_t, d_y, d_t: d_t),
            Text("the part of the class head is missing", "缺少类别头那一部分"),
        ),
        Mistake(
            "head's own decision",
            _mistake(lambda Z_s, Z_d, Z_t, y: _halves(Z_s, Z_d, Z_d, y).mean()),
            Text(
                "the distillation head learns its own argmax: take the teacher's, of teacher_logits",
                "蒸馏头学的是自己的 argmax：应当取教师的，即 teacher_logits 的 argmax",
            ),
        ),
        Mistake(
            "softmax twice",
            _mistake(lambda Z_s, Z_d, *t: _halves(np.exp(_log_softmax(Z_s)), np.exp(_log_softmax(Z_d)), *t).mean()),
            Text(
                "the softmax is applied twice: what takes logits, as ops.cross_entropy does, applies it already",
                "softmax 做了两次：接收 logits 的函数（如 ops.cross_entropy）内部已经做了 softmax",
            ),
        ),
        Mistake(
            "softmax over the images",
            _mistake(lambda *inputs: _halves(*inputs, axis=0).mean()),
            Text(
                "the softmax is over the images (axis 0): it is over the K classes, the last axis",
                "softmax 做在了图像一维（axis=0）：应当对 K 个类别，即最后一维",
            ),
        ),
        Mistake("label smoothing", _smoothed(0.1, 0.1), SMOOTHED),
        Mistake("label smoothing", _smoothed(0.1, 0.0), SMOOTHED),
        Mistake(
            "sign",
            _mistake(lambda *inputs: -_halves(*inputs).mean()),
            Text("the sign is wrong: a cross entropy is minus the log-probability", "符号反了：交叉熵是对数概率取负"),
        ),
        Mistake(
            "summed over the images",
            _mistake(lambda *inputs: _halves(*inputs).sum()),
            Text("the images are added up: take their mean", "对各张图像求了和：应当取平均"),
        ),
        Mistake(
            "divided by the classes",
            _mistake(lambda *inputs: _halves(*inputs).mean() / inputs[0].shape[1]),
            Text(
                "the mean is over all B K numbers: sum over the classes, then take the mean over the B images",
                "对全部 B·K 个数取了平均：应当先对类别求和，再对 B 张图像取平均",
            ),
        ),
        Mistake(
            "one number for each image",
            _mistake(_halves),
            Text(
                "this is the loss of each image: the mean over the images is missing",
                "这是每张图像的损失：还没有对图像取平均",
            ),
        ),
    ),
)
