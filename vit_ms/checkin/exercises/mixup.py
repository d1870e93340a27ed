"""Mixup: averages of two images and of their labels."""

import numpy as np

from vit_ms.checkin.exercise import Case, Exercise, Mistake, Text


def _mixed(values, lam, others):
    return lam * values + (1 - lam) * others


def mixup(images, labels, lam, partner):
    return _mixed(images, lam, images[partner]), _mixed(labels, lam, labels[partner])


def _inverse(images, labels, lam, partner):
    return mixup(images, labels, lam, np.argsort(partner))


def _from_the_other_end(images, labels, lam, partner):
    return mixup(images, labels, lam, np.arange(len(images))[::-1])


def _one_after_the_other(images, labels, lam, partner):
    images, labels = images.copy(), labels.copy()
    for i, j in enumerate(partner):
        images[i] = _mixed(images[i], lam, images[j])
        labels[i] = _mixed(labels[i], lam, labels[j])
    return images, labels


def _one_after_the_other_images_alone(images, labels, lam, partner):
    return _one_after_the_other(images, labels, lam, partner)[0], mixup(images, labels, lam, partner)[1]


def _with_labels(change):
    """The right images with other labels."""

    def wrong(images, labels, lam, partner):
        return mixup(images, labels, lam, partner)[0], change(labels, lam, partner)

    return wrong


def _with_images(change):
    """The right labels with other images."""

    def wrong(images, labels, lam, partner):
        return change(images, lam, partner), mixup(images, labels, lam, partner)[1]

    return wrong


def _too_bright(images, labels, lam, partner):
    return images + (1 - lam) * images[partner], labels + (1 - lam) * labels[partner]


_IN_TURN = Text(
    "images that are mixed already are mixed again: take the partner from the batch as it was given",
    "用已经混合过的图像又去混合：另一张图像应当取自传入的批次",
)
_LABELS_NOT_MIXED = Text(
    "the images are mixed, the labels are not: keep both classes, with the shares lambda and 1 - lambda",
    "图像混合了，标签没有：应当保留两个类别，份额分别是 λ 和 1 - λ",
)


def cases(rng):
    for about, shape, classes, lam, same_class in (
        (
            Text("5 images of 2 x 3 x 4, K = 6, lam = 0.7", "5 张 2 x 3 x 4 的图像，K = 6，lam = 0.7"),
            (5, 2, 3, 4),
            6,
            0.7,
            False,
        ),
        (
            Text(
                "4 images of 3 x 2 x 2, two of one class, lam = 0.2", "4 张 3 x 2 x 2 的图像，其中两张同类，lam = 0.2"
            ),
            (4, 3, 2, 2),
            10,
            0.2,
            True,
        ),
        (Text("3 images, lam = 1", "3 张图像，lam = 1"), (3, 1, 2, 5), 3, 1.0, False),
    ):
        number = shape[0]
        # Along one ring of all images, so that nobody is its own partner and the inverse is another permutation.
        ring, partner = rng.permutation(number), np.empty(number, np.int64)
        partner[ring] = np.roll(ring, 1)
        labels = np.eye(classes, dtype=np.float32)[rng.permutation(classes)[:number]]
        if same_class:  # an image and its partner; else all are of different classes
            labels[partner[0]] = labels[0]
        yield Case(about, (rng.standard_normal(shape).astype(np.float32), labels, lam, partner))


EXERCISE = Exercise(
    name="mixup",
    notebook="05_data",
    section=7,
    kind="numpy",
    title=Text("Mixup of a batch", "对一批图像做 Mixup"),
    statement=Text(
        "Write `mixup(images, labels, lam, partner)` in NumPy: equation 2 for every image of a batch.\n\n"
        "$$\\tilde{x} = \\lambda x_A + (1 - \\lambda) x_B, \\qquad \\tilde{y} = \\lambda y_A + (1 - \\lambda) "
        "y_B$$\n\n"
        "`images` is an array (B, C, H, W) and `labels` one of one-hot rows, (B, K), both float32; `lam` is "
        "$\\lambda$, a number from 0 to 1, the same for all. `partner`, integers (B,), is a permutation of 0 to B - "
        "1: for image i, $x_A$ is image i and $x_B$ is image `partner[i]`, and so for the labels. Return two arrays "
        "of floating-point numbers: the mixed images, (B, C, H, W), and the mixed labels, (B, K). Leave the inputs "
        "as they are.",
        "用 NumPy 写出 `mixup(images, labels, lam, partner)`：对一批图像中的每一张应用公式（2）。\n\n"
        "$$\\tilde{x} = \\lambda x_A + (1 - \\lambda) x_B, \\qquad \\tilde{y} = \\lambda y_A + (1 - \\lambda) "
        "y_B$$\n\n"
        "`images` 是形状为 (B, C, H, W) 的数组，`labels` 是独热标签，形状为 (B, K)，两者都是 float32；`lam` 即 "
        "$\\lambda$，一个 0 到 1 的数，所有图像共用。`partner` 是形状为 (B,) 的整数数组，是 0 到 B - 1 的一个排列：对"
        "第 i 张图像，$x_A$ 是第 i 张，$x_B$ 是第 `partner[i]` 张，标签也一样。返回两个浮点数组：混合后的图像 (B, C, "
        "H, W) 和混合后的标签 (B, K)。不要修改传入的数组。",
    ),
    solution="mixup",
    starter="def mixup(images, labels, lam, partner):\n    ...\n",
    hints=(
        Text(
            "The notebook's `Augmentation.mix` has one fixed partner for each image, the one as far from the other "
            "end. Here the partner is given; the weighted sum is the same for images and labels.",
            "本节课的 `Augmentation.mix` 固定把第 i 张与倒数第 i 张混合，这里的另一张由 partner 给出；图像和标签用的"
            "是同一个加权平均。",
        ),
        Text(
            "NumPy takes an array of indices: images[partner] is the batch of all x_B, in the order of their x_A.",
            "NumPy 可以用整数数组做索引：images[partner] 就是所有 x_B 组成的批次，顺序与 x_A 对应。",
        ),
        Text(
            "lam * images + (1 - lam) * images[partner], and the same line with labels; return both.",
            "lam * images + (1 - lam) * images[partner]，标签同样写一行；两者一起返回。",
        ),
    ),
    reference=mixup,
    cases=cases,
    mistakes=(
        Mistake("labels not mixed", _with_labels(lambda labels, lam, partner: labels), _LABELS_NOT_MIXED),
        Mistake("labels not mixed", _with_labels(lambda labels, lam, partner: labels[partner]), _LABELS_NOT_MIXED),
        Mistake(
            "labels with the other lambda",
            _with_labels(lambda labels, lam, partner: _mixed(labels, 1 - lam, labels[partner])),
            Text(
                "the labels have lambda and 1 - lambda the other way round than the images",
                "标签的 λ 和 1 - λ 与图像的相反",
            ),
        ),
        Mistake(
            "labels half and half",
            _with_labels(lambda labels, lam, partner: _mixed(labels, 0.5, labels[partner])),
            Text(
                "the labels are mixed half and half: they take the same lambda as the images",
                "标签是各占一半混合的：应当与图像用同一个 λ",
            ),
        ),
        Mistake(
            "images not mixed",
            _with_images(lambda images, lam, partner: images),
            Text("the labels are mixed, the images are not", "标签混合了，图像没有"),
        ),
        Mistake(
            "images with the other lambda",
            _with_images(lambda images, lam, partner: _mixed(images, 1 - lam, images[partner])),
            Text(
                "the images have lambda and 1 - lambda the other way round than the labels",
                "图像的 λ 和 1 - λ 与标签的相反",
            ),
        ),
        Mistake(
            "lambda swapped",
            lambda images, labels, lam, partner: mixup(images, labels, 1 - lam, partner),
            Text(
                "lambda and 1 - lambda have changed places: the image itself has the share lambda",
                "λ 和 1 - λ 用反了：图像本身的份额是 λ",
            ),
        ),
        Mistake(
            "half and half",
            lambda images, labels, lam, partner: mixup(images, labels, 0.5, partner),
            Text("everything is mixed half and half: lam is not used", "一律各占一半混合：没有用到 lam"),
        ),
        Mistake(
            "not mixed",
            lambda images, labels, lam, partner: (images, labels),
            Text(
                "nothing is mixed: lam * x + (1 - lam) * x is x again, the second image is images[partner]",
                "什么都没有混合：lam * x + (1 - lam) * x 还是 x，第二张图像应当是 images[partner]",
            ),
        ),
        Mistake(
            "partners alone",
            lambda images, labels, lam, partner: (images[partner], labels[partner]),
            Text(
                "the batch is put in another order, nothing is mixed",
                "只是打乱了批次的顺序，没有混合",
            ),
        ),
        Mistake(
            "other permutation",
            _inverse,
            Text(
                "the permutation is used the wrong way round: image i is mixed with image partner[i], not with the "
                "one whose partner is i",
                "排列用反了：第 i 张应当与第 partner[i] 张混合，而不是与 partner 值为 i 的那一张混合",
            ),
        ),
        Mistake(
            "from the other end",
            _from_the_other_end,
            Text(
                "each image is mixed with the one as far from the other end, as in the notebook: here partner says "
                "with which",
                "第 i 张图像与倒数第 i 张混合了，这是本节课里的做法：这里与哪一张混合由 partner 决定",
            ),
        ),
        Mistake("one after the other", _one_after_the_other, _IN_TURN),
        Mistake("one after the other", _one_after_the_other_images_alone, _IN_TURN),
        Mistake(
            "not an average",
            _too_bright,
            Text(
                "the shares do not sum to 1: the image itself is to be multiplied by lambda",
                "两个份额之和不是 1：图像本身还要乘 λ",
            ),
        ),
        Mistake(
            "outputs swapped",
            lambda images, labels, lam, partner: mixup(images, labels, lam, partner)[::-1],
            Text("the outputs have changed places: images first, then labels", "两个输出颠倒了：先图像，后标签"),
        ),
    ),
)
