"""Least squares on the features of a frozen network, as a head for them."""

import numpy as np

from vit_ms.checkin.exercise import Case, Exercise, Mistake, Text


def ridge_classifier(features, labels, num_classes, strength):
    mean, deviation = features.mean(axis=0), features.std(axis=0)
    X = (features - mean) / deviation  # (n, D)
    Y = 2.0 * np.eye(num_classes)[labels] - 1.0  # (n, K)
    W = np.linalg.solve(X.T @ X + strength * np.eye(X.shape[1]), X.T @ (Y - Y.mean(axis=0)))
    weight = W / deviation[:, None]  # (D, K)
    return weight, Y.mean(axis=0) - mean @ weight


def _fitted(low=-1.0, high=1.0, penalty=lambda strength, n: strength, scale=lambda features: features.std(axis=0)):
    """The head with other targets, another penalty or another divisor of the columns."""

    def wrong(features, labels, num_classes, strength):
        mean, divisor = features.mean(axis=0), scale(features)
        X, Y = (features - mean) / divisor, low + (high - low) * np.eye(num_classes)[labels]
        gram = X.T @ X + penalty(strength, len(X)) * np.eye(X.shape[1])
        weight = np.linalg.solve(gram, X.T @ (Y - Y.mean(axis=0))) / divisor[:, None]
        return weight, Y.mean(axis=0) - mean @ weight

    return wrong


def _parts(features, labels, num_classes, strength):
    """What the right head is made of: W for X, mean and deviation of the features, mean of the targets."""
    mean, deviation = features.mean(axis=0), features.std(axis=0)
    weight, bias = ridge_classifier(features, labels, num_classes, strength)
    return weight * deviation[:, None], mean, deviation, bias + mean @ weight


def _from_parts(head):
    def wrong(*inputs):
        return head(*_parts(*inputs))

    return wrong


def _multiplied(W, mean, deviation, offset):
    weight = W * deviation[:, None]
    return weight, offset - mean @ weight


def _offset_penalised(features, labels, num_classes, strength):
    W, mean, deviation, offset = _parts(features, labels, num_classes, strength)
    weight = W / deviation[:, None]
    return weight, offset * len(features) / (len(features) + strength) - mean @ weight


def _raw_features(features, labels, num_classes, strength):
    Y = 2.0 * np.eye(num_classes)[labels] - 1.0
    gram = features.T @ features + strength * np.eye(features.shape[1])
    return np.linalg.solve(gram, features.T @ (Y - Y.mean(axis=0))), Y.mean(axis=0)


def _fewer_classes(features, labels, num_classes, strength):
    return ridge_classifier(features, labels, labels.max() + 1, strength)


def _transposed(*inputs):
    weight, bias = ridge_classifier(*inputs)
    return weight.T, bias


def _swapped(*inputs):
    weight, bias = ridge_classifier(*inputs)
    return bias, weight


def cases(rng):
    for about, labels, dim, num_classes, strength in (
        (
            Text("12 images, D = 4, 3 classes", "12 张图像，D = 4，3 个类别"),
            [0, 1, 1, 2, 0, 1, 1, 2, 1, 1, 0, 1],
            4,
            3,
            2.0,
        ),
        (Text("more features than images", "特征数多于图像数"), [1, 0, 0, 1, 1, 1], 9, 2, 1.5),
        (
            Text("a class without images", "有一个类别没有图像"),
            [2, 0, 1, 2, 2, 0, 2, 1, 0, 2, 2, 1, 2, 0, 2, 2],
            5,
            4,
            6.0,
        ),
    ):
        scales, means = rng.uniform(0.4, 2.5, dim), rng.uniform(0.3, 1.2, dim)
        features = (scales * rng.standard_normal((len(labels), dim)) + means).astype(np.float32)
        yield Case(about, (features, np.array(labels, np.int32), num_classes, strength))


EXERCISE = Exercise(
    name="ridge_classifier",
    notebook="08_transfer",
    section=4,
    kind="numpy",
    title=Text("A head by least squares", "用最小二乘求分类头"),
    statement=Text(
        "Write `ridge_classifier(features, labels, num_classes, strength)`: the least squares of section 4 as a head, a "
        "linear layer that takes the features as the network gives them.\n\n"
        "`features` is a float array (n, D), a row for each training image; no column of it is constant. `labels` (n,) "
        "holds whole numbers from 0 to K - 1, K is `num_classes`; a class may have no image. `strength` is $\\lambda$.\n\n"
        "As in the section, $W = (X^\\top X + \\lambda I)^{-1} X^\\top (Y - \\bar Y)$: $X$ are the features "
        "with each column brought to mean 0 and variance 1 (`np.std` "
        "divides by n, and so it is meant), $Y$ has -1 and 1. The scores of other images' features, rows $f$, are "
        "$X_{\\text{new}} W + \\bar Y$, where $X_{\\text{new}}$ is $f$ with the mean of the *training* features taken off "
        "and divided by their deviation. Return two arrays, `weight` (D, K) and `bias` (K,), with which "
        "`f @ weight + bias` are these scores for every `f`.",
        "写出 `ridge_classifier(features, labels, num_classes, strength)`：把第 4 小节的最小二乘写成一个分类头，即直接作用于"
        "网络所给特征的线性层。\n\n"
        "`features` 是形状为 (n, D) 的浮点数组，每行对应一张训练图像，没有取值恒定的列。`labels` 形状为 (n,)，是 0 到 "
        "K - 1 的整数，K 即 `num_classes`；可能有类别一张图像也没有。`strength` 即 $\\lambda$。\n\n"
        "与该小节相同，$W = (X^\\top X + \\lambda I)^{-1} X^\\top (Y - \\bar Y)$："
        "$X$ 是每列归一化为均值 0、方差 1 的特征（`np.std` 用默认设置，即除以 n），$Y$ 的取值是 -1 "
        "和 1。对其他图像的特征（每行一个 $f$），分数是 $X_{\\text{new}} W + \\bar Y$，其中 $X_{\\text{new}}$ 由 $f$ 减去"
        "*训练*特征的均值、再除以训练特征的标准差得到。返回两个数组：`weight` (D, K) 和 `bias` (K,)，使得对任意 `f`，"
        "`f @ weight + bias` 就是这些分数。",
    ),
    solution="ridge_classifier",
    starter="def ridge_classifier(features, labels, num_classes, strength):\n    ...\n    return weight, bias\n",
    hints=(
        Text(
            "Write out ((f - mean) / deviation) W + mean of Y: what multiplies f, and what is left where f is 0?",
            "把 ((f - 均值) / 标准差) W + Y 的均值 展开：f 乘的是什么？f 为 0 时剩下什么？",
        ),
        Text(
            "Dividing column j of f by deviation[j] is the same as dividing row j of W by it: weight = W / "
            "deviation[:, None].",
            "把 f 的第 j 列除以 deviation[j]，等于把 W 的第 j 行除以它：weight = W / deviation[:, None]。",
        ),
        Text(
            "X and Y as in the cell above; W = np.linalg.solve(X.T @ X + strength * np.eye(D), X.T @ (Y - Y.mean(axis=0))); "
            "weight as in hint 2; bias = Y.mean(axis=0) - mean @ weight.",
            "X 和 Y 同上面的单元格；W = np.linalg.solve(X.T @ X + strength * np.eye(D), X.T @ (Y - Y.mean(axis=0)))；"
            "weight 见提示 2；bias = Y.mean(axis=0) - mean @ weight。",
        ),
    ),
    reference=ridge_classifier,
    cases=cases,
    mistakes=(
        Mistake(
            "W of the standardised features",
            _from_parts(lambda W, mean, deviation, offset: (W, offset)),
            Text(
                "these are W and the mean of Y, for standardised features: the head takes the features as they are, so mean "
                "and deviation have to go into weight and bias",
                "这是针对归一化特征的 W 和 Y 的均值：分类头接收的是原始特征，要把均值和标准差并入 weight 和 bias",
            ),
        ),
        Mistake(
            "mean left out of the bias",
            _from_parts(lambda W, mean, deviation, offset: (W / deviation[:, None], offset)),
            Text(
                "weight is right; the bias is the mean of Y alone, and the mean of the features is not taken off",
                "weight 正确；bias 只有 Y 的均值，没有减去特征均值的贡献",
            ),
        ),
        Mistake(
            "bias with W in place of weight",
            _from_parts(lambda W, mean, deviation, offset: (W / deviation[:, None], offset - mean @ W)),
            Text(
                "weight is right; for the bias the mean is multiplied with W: it has to be divided by the deviation too",
                "weight 正确；算 bias 时，特征均值直接乘了 W：它也要先除以标准差",
            ),
        ),
        Mistake(
            "mean added",
            _from_parts(
                lambda W, mean, deviation, offset: (W / deviation[:, None], offset + mean @ (W / deviation[:, None]))
            ),
            Text(
                "weight is right; the bias has mean @ weight with the wrong sign: the mean is taken off the features",
                "weight 正确；bias 中 mean @ weight 的符号反了：特征要减去均值",
            ),
        ),
        Mistake(
            "multiplied by the deviation",
            _from_parts(_multiplied),
            Text(
                "W is multiplied by the deviation: the features are divided by it, so the weight is W divided by it",
                "W 乘了标准差：特征要除以标准差，所以 weight 是 W 除以它",
            ),
        ),
        Mistake(
            "mean of the targets forgotten",
            _from_parts(lambda W, mean, deviation, offset: (W / deviation[:, None], -mean @ (W / deviation[:, None]))),
            Text(
                "weight is right; the mean of Y is missing in the bias",
                "weight 正确；bias 中缺少 Y 的均值",
            ),
        ),
        Mistake(
            "offset penalised",
            _offset_penalised,
            Text(
                "weight is right; the bias is as if a column of ones had borne the penalty too: the offset, the mean of Y, "
                "bears none",
                "weight 正确；bias 像是对全 1 的一列也加了惩罚：偏移（Y 的均值）不受惩罚",
            ),
        ),
        Mistake(
            "targets 0 and 1",
            _fitted(low=0.0),
            Text("the targets are 0 and 1: they are to be -1 and 1", "目标取了 0 和 1：应当是 -1 和 1"),
        ),
        Mistake(
            "signs of the targets",
            _fitted(low=1.0, high=-1.0),
            Text(
                "the targets have the wrong sign: 1 for the image's own class, -1 for all others",
                "目标的符号反了：图像所属的类别是 1，其余类别是 -1",
            ),
        ),
        Mistake(
            "penalty forgotten",
            _fitted(penalty=lambda strength, n: 0.0),
            Text(
                "the penalty is missing: add lambda to the diagonal of X^T X", "缺少惩罚项：X^T X 的对角线要加上 lambda"
            ),
        ),
        Mistake(
            "penalty times n",
            _fitted(penalty=lambda strength, n: n * strength),
            Text(
                "the penalty is n times too large: X^T X is a sum over the images, not a mean, and lambda is added as it is",
                "惩罚大了 n 倍：X^T X 是对图像求和而不是求平均，lambda 直接相加",
            ),
        ),
        Mistake(
            "penalty over n",
            _fitted(penalty=lambda strength, n: strength / n),
            Text("lambda is divided by n: it is added as it is", "lambda 除以了 n：应当直接相加"),
        ),
        Mistake(
            "penalty squared",
            _fitted(penalty=lambda strength, n: strength**2),
            Text(
                "the penalty is squared: lambda itself is added to the diagonal",
                "惩罚取了平方：对角线上加的就是 lambda",
            ),
        ),
        Mistake(
            "deviation by n - 1",
            _fitted(scale=lambda features: features.std(axis=0, ddof=1)),
            Text(
                "the deviation is the one that divides by n - 1: here the variance is divided by n",
                "标准差用的是除以 n - 1 的那种：这里方差除以 n",
            ),
        ),
        Mistake(
            "divided by the variance",
            _fitted(scale=lambda features: features.var(axis=0)),
            Text(
                "the features are divided by their variance: divide by the standard deviation",
                "特征除以了方差：应当除以标准差",
            ),
        ),
        Mistake(
            "not divided",
            _fitted(scale=lambda features: np.ones(features.shape[1])),
            Text(
                "the features are not brought to variance 1: without it the penalty is harder on columns of small numbers",
                "特征没有归一化到方差 1：这样，惩罚对数值较小的列更重",
            ),
        ),
        Mistake(
            "not standardised",
            _raw_features,
            Text(
                "the features are used as they are: bring each column to mean 0 and variance 1 first",
                "直接用了原始特征：应当先把每一列归一化为均值 0、方差 1",
            ),
        ),
        Mistake(
            "classes counted by the labels",
            _fewer_classes,
            Text(
                "a class without images has got no column: take K from num_classes, not from the labels",
                "没有图像的类别缺了一列：K 应当取自 num_classes，而不是从标签推断",
            ),
        ),
        Mistake(
            "weight transposed",
            _transposed,
            Text(
                "weight is (K, D), as nn.Dense keeps it: here it is to be (D, K)",
                "weight 的形状是 (K, D)，与 nn.Dense 相同：这里要求 (D, K)",
            ),
        ),
        Mistake(
            "weight and bias swapped",
            _swapped,
            Text("bias and weight are returned the wrong way round", "bias 和 weight 的返回顺序反了"),
        ),
    ),
)
