"""The share of images whose label is among the k largest logits."""

import numpy as np

from vit_ms.checkin.exercise import Case, Exercise, Mistake, Text


def _order(logits):
    return np.argsort(-logits, axis=1)  # (N, K), the largest first


def top_k_accuracy(logits, labels, k):
    return (_order(logits)[:, :k] == labels[:, None]).any(axis=1).mean()


def _among(columns):
    """The share of the images whose label is in these columns of the order."""

    def wrong(logits, labels, k):
        return (_order(logits)[:, columns(k)] == labels[:, None]).any(axis=1).mean()

    return wrong


def _of_right(change):
    """What `change` makes of the right share, N, K and k."""

    def wrong(logits, labels, k):
        return change(top_k_accuracy(logits, labels, k), *logits.shape, k)

    return wrong


def _of_any_image(logits, labels, k):
    return np.isin(labels, _order(logits)[:, :k]).mean()


def _not_reduced(logits, labels, k):
    return (_order(logits)[:, :k] == labels[:, None]).any(axis=1)


def _logits(rng, labels, ranks, classes):
    """Logits with each label at its rank, 0 for the largest. Of the others the last class comes last."""
    logits = np.empty((len(labels), classes), np.float32)
    for row, label, rank in zip(logits, labels, ranks, strict=True):
        others = [one for one in (*rng.permutation(classes - 1), classes - 1) if one != label]
        order = [*others[:rank], label, *others[rank:]]
        row[order] = 2.0 - 0.5 * np.arange(classes) + rng.uniform(-0.2, 0.2, classes)  # no ties
    return logits


def cases(rng):
    # So many images have their label at rank 1, 2, ...: with k = 3 each mistake comes to another share. No image has the
    # last class among its first three, and the label of some is just that.
    ranks = np.repeat(np.arange(7), (3, 4, 5, 2, 1, 3, 2))
    labels = np.array([*rng.integers(0, 6, 12), *[6] * 3, *rng.integers(0, 6, 5)], np.int32)
    mixed = rng.permutation(20)
    about = Text("20 images, K = 7, k = 3", "20 张图像，K = 7，k = 3")
    yield Case(about, (_logits(rng, labels, ranks, 7)[mixed], labels[mixed], 3))
    for about, (images, classes, k) in (
        (Text("9 images, K = 4, k = 1", "9 张图像，K = 4，k = 1"), (9, 4, 1)),
        (Text("one image, K = 12, k = 5", "1 张图像，K = 12，k = 5"), (1, 12, 5)),
        (Text("6 images, k = K = 5", "6 张图像，k = K = 5"), (6, 5, 5)),
    ):
        labels = rng.integers(0, classes, images).astype(np.int32)
        # All below 0: no mistake of a mask or a sign may hide.
        yield Case(about, (_logits(rng, labels, rng.permutation(images) % classes, classes) - 9.0, labels, k))


EXERCISE = Exercise(
    name="top_k_accuracy",
    notebook="07_evaluation_and_inference",
    section=3,
    kind="numpy",
    title=Text("Top-k accuracy", "top-k 准确率"),
    statement=Text(
        "Write `top_k_accuracy(logits, labels, k)` in NumPy, the first half of equation 1: the share of the images "
        "whose class $y_i$ is among the $k$ largest of the image's $K$ logits.\n\n"
        "`logits` is an array (n, K) of floats, `labels` holds the classes, (n,), integers from 0 to K - 1; `k` is a "
        "whole number from 1 to K. No two logits of an image are equal. The result is one number from 0 to 1.",
        "用 NumPy 写出 `top_k_accuracy(logits, labels, k)`，即公式（1）的前一半：真实类别 $y_i$ 在该图像的 $K$ 个 "
        "logits 中排进最大的 $k$ 个，这样的图像所占的比例。\n\n"
        "`logits` 是形状为 (n, K) 的浮点数组；`labels` 是真实类别，形状为 (n,)，取值为 0 到 K - 1 的整数；`k` 是 1 "
        "到 K 的整数。同一张图像的 logits 两两不等。结果是一个 0 到 1 的数。",
    ),
    solution="top_k_accuracy",
    starter="def top_k_accuracy(logits, labels, k):\n    n, K = logits.shape\n    ...\n",
    hints=(
        Text(
            "The softmax keeps the order, so logits will do. For each image: is its own label in its own first k?",
            "softmax 不改变大小顺序，直接用 logits 即可。对每张图像问：它自己的标签在它自己的前 k 个之中吗？",
        ),
        Text(
            "np.argsort sorts upwards; with -logits the largest comes first. Or count how many logits of an image "
            "are larger than its label's: fewer than k?",
            "np.argsort 从小到大排；传入 -logits 则最大的在前。也可以数一数：每张图像有几个 logits 比标签那一类的更"
            "大，是否少于 k 个？",
        ),
        Text(
            "order[:, :k] == labels[:, None] is (n, k); any(axis=1) says of each image whether it is right; then the "
            "mean.",
            "order[:, :k] == labels[:, None] 的形状是 (n, k)；any(axis=1) 得到每张图像是否正确；最后求平均。",
        ),
    ),
    reference=top_k_accuracy,
    cases=cases,
    mistakes=(
        Mistake(
            "k smallest",
            _among(lambda k: slice(-k, None)),
            Text(
                "these are the k smallest logits: argsort sorts upwards, so take the last k, or sort -logits",
                "取的是最小的 k 个：argsort 从小到大排，应当取最后 k 个，或者对 -logits 排序",
            ),
        ),
        Mistake(
            "top-1",
            _among(lambda k: slice(0, 1)),
            Text("this is the top-1 accuracy: k is not used", "这是 top-1 准确率：没有用到 k"),
        ),
        Mistake(
            "k - 1",
            _among(lambda k: slice(0, k - 1)),
            Text(
                "only the k - 1 largest count: a slice [:k] has k places; of a label that is k-th only k - 1 logits "
                "are larger",
                "只算了最大的 k - 1 个：切片 [:k] 有 k 个位置；排第 k 的类别，比它大的只有 k - 1 个",
            ),
        ),
        Mistake(
            "k not used",
            _among(lambda k: slice(0, 5)),
            Text(
                "the five largest always count: how many is the argument k",
                "总是取最大的 5 个：取几个由参数 k 决定",
            ),
        ),
        Mistake(
            "k + 1",
            _among(lambda k: slice(0, k + 1)),
            Text(
                "the k + 1 largest count: a slice [:k] has k places already; fewer than k logits may be larger than "
                "the label's",
                "算成了最大的 k + 1 个：切片 [:k] 已有 k 个位置；比标签那一类更大的 logits 应当少于 k 个",
            ),
        ),
        Mistake(
            "largest left out",
            _among(lambda k: slice(1, k + 1)),
            Text(
                "the largest logit is left out: places are counted from 0, so the k largest are [:k]",
                "漏掉了最大的一个：位置从 0 数起，最大的 k 个是 [:k]",
            ),
        ),
        Mistake(
            "largest left out",
            _among(lambda k: slice(1, k)),
            Text(
                "the largest logit is left out: places are counted from 0, so the k largest are [:k]",
                "漏掉了最大的一个：位置从 0 数起，最大的 k 个是 [:k]",
            ),
        ),
        Mistake(
            "k-th alone",
            _among(lambda k: slice(k - 1, k)),
            Text(
                "only the k-th largest counts: all of the first k are to count",
                "只算了第 k 大的那一个：前 k 个都应当算",
            ),
        ),
        Mistake(
            "labels of any image",
            _of_any_image,
            Text(
                "a label counts if it is among the first k of any image: compare each label with its own image's row",
                "只要标签出现在任何一张图像的前 k 个里就算对：每个标签应当只与自己那一行比较",
            ),
        ),
        Mistake(
            "error",
            _of_right(lambda share, n, classes, k: 1 - share),
            Text("this is the error, 1 minus the accuracy", "这是错误率，即 1 减去准确率"),
        ),
        Mistake(
            "divided by n k",
            _of_right(lambda share, n, classes, k: share / k),
            Text(
                "the hits are divided by n k, as by mean() over all places: first any(axis=1), then the mean",
                "除数成了 n·k，比如对 (n, k) 直接用了 mean()：应当先 any(axis=1)，再求平均",
            ),
        ),
        Mistake(
            "divided by K",
            _of_right(lambda share, n, classes, k: share * n / classes),
            Text(
                "the count is divided by K, the number of classes: divide by n, the number of images",
                "除以了类别数 K：应当除以图像数 n",
            ),
        ),
        Mistake(
            "count",
            _of_right(lambda share, n, classes, k: share * n),
            Text(
                "this is the number of images that are right: divide by n",
                "这是答对的图像张数：还要除以 n",
            ),
        ),
        Mistake(
            "percent",
            _of_right(lambda share, n, classes, k: 100 * share),
            Text("this is in percent: give a number from 0 to 1", "这是百分数：应当给出 0 到 1 的数"),
        ),
        Mistake(
            "not reduced",
            _not_reduced,
            Text(
                "this says of each image whether it is right: take the mean of them",
                "返回的是每张图像是否正确：还要求平均",
            ),
        ),
    ),
)
