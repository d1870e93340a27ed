"""The expected calibration error."""

import numpy as np

from vit_ms.checkin.exercise import Case, Exercise, Mistake, Text


def _bins(confidence, right, M):
    """Of the bins with images: their numbers, how many images each has, their accuracy and their mean confidence."""
    bins, index, count = np.unique(
        np.minimum((confidence * M).astype(int), M - 1), return_inverse=True, return_counts=True
    )
    return bins, count, np.bincount(index, right) / count, np.bincount(index, confidence) / count


def _answers(p, labels):
    return p.max(axis=1), p.argmax(axis=1) == labels


def calibration_error(p, labels, M):
    _, count, acc, conf = _bins(*_answers(p, labels), M)
    return (count / len(p) * np.abs(acc - conf)).sum()


def _of_gaps(reduce):
    """With something else made of the gaps; it takes the shares of the images, acc - conf, n and M."""

    def wrong(p, labels, M):
        _, count, acc, conf = _bins(*_answers(p, labels), M)
        return reduce(count / len(p), acc - conf, len(p), M)

    return wrong


def _of_label(p, labels, M):
    confidence, right = p[np.arange(len(p)), labels], _answers(p, labels)[1]
    _, count, acc, conf = _bins(confidence, right, M)
    return (count / len(p) * np.abs(acc - conf)).sum()


def _each_image(p, labels, M):
    confidence, right = _answers(p, labels)
    return np.abs(right - confidence).mean()


def _accuracy_of_all(p, labels, M):
    confidence, right = _answers(p, labels)
    _, count, _, conf = _bins(confidence, right, M)
    return (count / len(p) * np.abs(right.mean() - conf)).sum()


def _middles(p, labels, M):
    bins, count, acc, _ = _bins(*_answers(p, labels), M)
    return (count / len(p) * np.abs(acc - (bins + 0.5) / M)).sum()


def _ten_bins(p, labels, M):
    return calibration_error(p, labels, 10)


def _equal_counts(p, labels, M):
    confidence, right = _answers(p, labels)
    parts = np.array_split(np.argsort(confidence), M)
    return sum(abs((right[part] - confidence[part]).sum()) for part in parts) / len(p)


def _between_extremes(p, labels, M):
    confidence, right = _answers(p, labels)
    low, high = confidence.min(), confidence.max()
    index = np.minimum(((confidence - low) / (high - low) * M).astype(int), M - 1)
    return np.abs(np.bincount(index, right - confidence)).sum() / len(p)


def _all_classes(p, labels, M):
    right = np.arange(p.shape[1]) == labels[:, None]
    _, count, acc, conf = _bins(p.ravel(), right.ravel(), M)
    return (count / p.size * np.abs(acc - conf)).sum()


def _probabilities(rng, confidence, classes):
    """A row for each confidence, which is its largest number, in a class that is drawn."""
    n = len(confidence)
    others = rng.uniform(0.8, 1.2, (n, classes - 1))
    others *= (1 - confidence[:, None]) / others.sum(axis=1, keepdims=True)
    p = np.column_stack([confidence, others])
    return rng.permuted(p, axis=1)


def cases(rng):
    # Groups of images: their confidences from and to, how many they are and how many, the least sure, are right. Some
    # groups are surer than right, others less sure, so that gaps cancel where signs or bins are wrong.
    for about, M, classes, groups in (
        (
            Text("n = 21, K = 6, M = 5", "n = 21，K = 6，M = 5"),
            5,
            6,
            ((0.42, 0.44, 4, 4), (0.505, 0.525, 4, 1), (0.76, 0.78, 5, 1), (0.82, 0.84, 5, 5), (0.95, 0.97, 3, 3)),
        ),
        (
            Text("n = 61, K = 7, M = 12", "n = 61，K = 7，M = 12"),
            12,
            7,
            (
                (0.345, 0.405, 9, 8),
                (0.43, 0.49, 7, 1),
                (0.52, 0.57, 1, 0),
                (0.595, 0.655, 14, 12),
                (0.845, 0.905, 30, 20),
            ),
        ),
        (Text("a single bin", "只有一个区间"), 1, 3, ((0.5, 0.95, 9, 3),)),
    ):
        confidence = np.concatenate([np.sort(rng.uniform(low, high, images)) for low, high, images, _ in groups])
        right = np.concatenate([np.arange(images) < hits for _, _, images, hits in groups])
        order = rng.permutation(len(right))
        p, right = _probabilities(rng, confidence[order], classes), right[order]
        answer = p.argmax(axis=1)
        other = (answer + rng.integers(1, classes, len(right))) % classes
        yield Case(about, (p, np.where(right, answer, other), M))


CANCEL = Text(
    "the gaps of the bins cancel each other: take the absolute value in every bin, then the weighted sum",
    "各区间的差距正负相消了：应当先在每个区间取绝对值，再加权求和",
)
NOT_WEIGHTED = Text(
    "every bin counts the same: weight its gap by its share of the images, |B_m| / n",
    "各区间的权重相同：差距应当按图像张数加权，即乘以 |B_m| / n",
)
SQUARED = Text(
    "the gaps are squared: take their absolute values",
    "对差距取了平方：应当取绝对值",
)


EXERCISE = Exercise(
    name="calibration_error",
    notebook="07_evaluation_and_inference",
    section=6,
    kind="numpy",
    title=Text("The expected calibration error", "期望校准误差"),
    statement=Text(
        "Write `calibration_error(p, labels, M)`: the ECE, equation 3 of the notebook, of the probabilities themselves.\n\n"
        "$$\\text{ECE} = \\sum_{m=1}^{M} \\frac{|B_m|}{n} \\left| \\text{acc}(B_m) - \\text{conf}(B_m) \\right|$$\n\n"
        "`p` is an array (n, K), each row the probabilities of an image; `labels` an array (n,), the true classes; `M` the "
        "number of bins. The answer for an image is the class with the largest probability, which is its confidence. The "
        "bins have the same width, $1/M$, and cover 0 to 1; no confidence lies on an edge. $\\text{conf}(B_m)$ is the "
        "mean confidence of the images in the bin; a bin without images adds nothing. The result is one number from 0 to "
        "1.",
        "写出 `calibration_error(p, labels, M)`：直接由概率计算 ECE，即本节课的公式（3）：\n\n"
        "$$\\text{ECE} = \\sum_{m=1}^{M} \\frac{|B_m|}{n} \\left| \\text{acc}(B_m) - \\text{conf}(B_m) \\right|$$\n\n"
        "`p` 是形状为 (n, K) 的数组，每行是一张图像的概率；`labels` 是形状为 (n,) 的数组，即真实类别；`M` 是区间数。网络对"
        "一张图像的回答是概率最大的类别，这个概率就是置信度。各区间等宽，宽度为 $1/M$，合起来覆盖 0 到 1；没有置信度恰好落在"
        "区间端点上。$\\text{conf}(B_m)$ 是区间内图像的平均置信度；没有图像的区间不计。结果是 0 到 1 之间的一个数。",
    ),
    solution="calibration_error",
    starter="def calibration_error(p, labels, M):\n    n, K = p.shape\n    ...\n",
    hints=(
        Text(
            "First two arrays (n,): the confidence, p.max(axis=1), and whether the answer is right, p.argmax(axis=1) == "
            "labels.",
            "先求两个形状为 (n,) 的数组：置信度 p.max(axis=1)，以及回答是否正确 p.argmax(axis=1) == labels。",
        ),
        Text(
            "The bin of an image is the whole part of confidence * M. Go through the bins with a mask, and pass over those "
            "without images: their mean would be NaN.",
            "confidence * M 的整数部分就是图像所在的区间。用掩码逐个处理区间，跳过没有图像的区间，否则平均值是 NaN。",
        ),
        Text(
            "For each bin, inside = (confidence * M).astype(int) == m; if inside.any(), add inside.mean() * "
            "abs(right[inside].mean() - confidence[inside].mean()).",
            "对每个区间，inside = (confidence * M).astype(int) == m；若 inside.any()，就加上 inside.mean() * "
            "abs(right[inside].mean() - confidence[inside].mean())。",
        ),
    ),
    reference=calibration_error,
    cases=cases,
    tolerance=1e-5,
    mistakes=(
        Mistake("gaps cancel", _of_gaps(lambda shares, gaps, n, M: (shares * gaps).sum()), CANCEL),
        Mistake("gaps cancel", _of_gaps(lambda shares, gaps, n, M: -(shares * gaps).sum()), CANCEL),
        Mistake("bins not weighted", _of_gaps(lambda shares, gaps, n, M: np.abs(gaps).mean()), NOT_WEIGHTED),
        Mistake("bins not weighted", _of_gaps(lambda shares, gaps, n, M: np.abs(gaps).sum() / M), NOT_WEIGHTED),
        Mistake("bins not weighted", _of_gaps(lambda shares, gaps, n, M: np.abs(gaps).sum()), NOT_WEIGHTED),
        Mistake(
            "largest gap",
            _of_gaps(lambda shares, gaps, n, M: np.abs(gaps).max()),
            Text(
                "this is the largest gap of a bin, the maximum calibration error: take the mean, weighted by the images",
                "这是各区间中最大的差距，即最大校准误差（MCE）：应当按图像张数加权平均",
            ),
        ),
        Mistake("gaps squared", _of_gaps(lambda shares, gaps, n, M: (shares * gaps**2).sum()), SQUARED),
        Mistake("gaps squared", _of_gaps(lambda shares, gaps, n, M: (shares * gaps**2).sum() ** 0.5), SQUARED),
        Mistake(
            "not divided by n",
            _of_gaps(lambda shares, gaps, n, M: (n * shares * np.abs(gaps)).sum()),
            Text(
                "the gaps are weighted by the number of images: divide by n",
                "差距乘的是图像张数：还要除以 n",
            ),
        ),
        Mistake(
            "divided by M",
            _of_gaps(lambda shares, gaps, n, M: (shares * np.abs(gaps)).mean()),
            Text(
                "the weighted gaps are averaged: the shares sum to 1 already, add up",
                "对加权后的差距又取了平均：权重之和已经是 1，直接求和即可",
            ),
        ),
        Mistake(
            "probability of the label",
            _of_label,
            Text(
                "the confidence is taken as the probability of the true class: it is the largest probability, that of the "
                "answer",
                "把真实类别的概率当成了置信度：置信度是最大的概率，即网络所答类别的概率",
            ),
        ),
        Mistake(
            "every probability",
            _all_classes,
            Text(
                "the probabilities of all classes are put into bins: take one confidence of each image, the largest",
                "把所有类别的概率都分进了区间：每张图像只取一个置信度，即最大的概率",
            ),
        ),
        Mistake(
            "image by image",
            _each_image,
            Text(
                "the gap is taken of each image by itself: take the means in the bin first, then their difference",
                "对每张图像单独求了差距：应当先在区间内取平均，再求差",
            ),
        ),
        Mistake(
            "accuracy of all",
            _accuracy_of_all,
            Text(
                "every bin is compared with the accuracy of all images: take that of the images in the bin",
                "每个区间都在与总准确率比较：应当用区间内图像的准确率",
            ),
        ),
        Mistake(
            "middle of the bin",
            _middles,
            Text(
                "the accuracy is compared with the middle of the bin: take the mean confidence of its images",
                "准确率是与区间中点比较的：应当用区间内图像的平均置信度",
            ),
        ),
        Mistake(
            "ten bins",
            _ten_bins,
            Text("there are always 10 bins: there are to be M", "区间数固定成了 10：应当是 M"),
        ),
        Mistake(
            "bins of equal counts",
            _equal_counts,
            Text(
                "the bins have the same number of images: they are to have the same width, 1 / M",
                "各区间的图像数相等：应当是区间等宽，宽度为 1 / M",
            ),
        ),
        Mistake(
            "bins between the extremes",
            _between_extremes,
            Text(
                "the bins begin at the lowest confidence and end at the highest, as np.histogram has it: they are to "
                "cover 0 to 1",
                "区间从最低的置信度到最高的置信度（np.histogram 的默认行为）：应当覆盖 0 到 1",
            ),
        ),
    ),
)
