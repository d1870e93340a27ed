"""Pixels to what a network takes: scaled, normalised by channel, channels in front."""

import numpy as np

from vit_ms.checkin.exercise import Case, Exercise, Mistake, Text


def _normalised(pixels, mean, std):
    return (pixels / np.float32(255) - mean) / std  # (B, H, W, 3)


def _to_front(images):
    return images.transpose(0, 3, 1, 2)  # (B, 3, H, W)


def normalize_images(pixels, mean, std):
    return _to_front(_normalised(pixels, mean, std)).astype(np.float32)


def _by(formula):
    """Another formula, with the channels in front as they should be."""

    def wrong(pixels, mean, std):
        return _to_front(formula(pixels, mean, std))

    return wrong


def _arranged(change):
    """The right numbers in another layout."""

    def wrong(pixels, mean, std):
        return change(_normalised(pixels, mean, std))

    return wrong


def _reshaped(images):
    b, h, w, c = images.shape
    return images.reshape(b, c, h, w)


def _own_statistics(*axes):
    def wrong(pixels, mean, std):
        values = pixels / 255
        return (values - values.mean(axis=axes, keepdims=True)) / values.std(axis=axes, keepdims=True)

    return _by(wrong)


_OWN_STATISTICS = Text(
    "mean and standard deviation are those of the images: use the ones that are given, they belong to the weights",
    "用的是这批图像自身的均值和标准差：应当用传入的 mean 和 std，它们属于权重",
)
_REVERSED = Text(
    "the channels are in the reverse order, BGR: keep red, green, blue",
    "通道顺序颠倒成了 BGR：应当保持红、绿、蓝",
)
_TWO_SCALES = Text(
    "pixels and mean are on different scales: divide the pixels by 255 first, then subtract the mean",
    "像素和均值的尺度不同：应当先把像素除以 255，再减均值",
)


def cases(rng):
    imagenet = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    for about, shape, (mean, std) in (
        (
            Text("2 images of 4 x 5 pixels, ImageNet's mean and std", "2 张 4 x 5 的图像，ImageNet 的均值和标准差"),
            (2, 4, 5),
            imagenet,
        ),
        (
            Text("one image of 6 x 3 pixels, all 0.5", "1 张 6 x 3 的图像，均值、标准差都是 0.5"),
            (1, 6, 3),
            ((0.5,) * 3, (0.5,) * 3),
        ),
        (
            Text("3 images of 2 x 7 pixels, other mean and std", "3 张 2 x 7 的图像，其他均值和标准差"),
            (3, 2, 7),
            ((0.1, 0.6, 0.3), (0.4, 0.2, 0.7)),
        ),
    ):
        pixels = rng.integers(0, 256, (*shape, 3)).astype(np.uint8)
        yield Case(about, (pixels, np.array(mean, np.float32), np.array(std, np.float32)))


EXERCISE = Exercise(
    name="normalize_images",
    notebook="05_data",
    section=4,
    kind="numpy",
    title=Text("Normalising a batch of images", "一批图像的归一化"),
    statement=Text(
        "Write `normalize_images(pixels, mean, std)` in NumPy: equation 1 for a whole batch, and the channel to the "
        "front.\n\n"
        "$$x = \\frac{v / 255 - \\mu_c}{\\sigma_c}$$\n\n"
        "`pixels` is an array (B, H, W, 3) of uint8, `mean` and `std` are arrays (3,) on the scale from 0 to 1, in "
        "the order of the channels. The result is an array (B, 3, H, W) of float32 (float64 passes too), the "
        "channels in the same order.",
        "用 NumPy 写出 `normalize_images(pixels, mean, std)`：对一批图像应用公式（1），再把通道维移到前面。\n\n"
        "$$x = \\frac{v / 255 - \\mu_c}{\\sigma_c}$$\n\n"
        "`pixels` 是形状为 (B, H, W, 3) 的 uint8 数组；`mean`、`std` 是形状为 (3,) 的数组，尺度为 0 到 1，顺序与通道"
        "一致。结果是形状为 (B, 3, H, W) 的 float32 数组（float64 也可以），通道顺序不变。",
    ),
    solution="normalize_images",
    starter="def normalize_images(pixels, mean, std):\n    B, H, W, C = pixels.shape\n    ...\n",
    hints=(
        Text(
            "As long as the channel is the last axis, an array (3,) broadcasts over it: normalise first, move the "
            "axis afterwards.",
            "只要通道还在最后一维，形状为 (3,) 的数组就会沿它广播：先归一化，再移动维度。",
        ),
        Text(
            "An axis is moved by transpose, never by reshape. Where do the axes B, H, W, C = 0, 1, 2, 3 go?",
            "移动维度要用 transpose，不能用 reshape。B、H、W、C = 0、1、2、3 这四维各应到哪里？",
        ),
        Text(
            "((pixels / 255 - mean) / std).transpose(0, 3, 1, 2), and .astype(np.float32) at the end.",
            "((pixels / 255 - mean) / std).transpose(0, 3, 1, 2)，最后 .astype(np.float32)。",
        ),
    ),
    reference=normalize_images,
    cases=cases,
    mistakes=(
        Mistake(
            "not divided by 255",
            _by(lambda pixels, mean, std: (pixels - mean) / std),
            Text(
                "the pixels are still on the scale from 0 to 255: divide them by 255 first",
                "像素值的尺度还是 0 到 255：应当先除以 255",
            ),
        ),
        Mistake(
            "integer division",
            _by(lambda pixels, mean, std: (pixels // 255 - mean) / std),
            Text(
                "the division by 255 gives whole numbers, nearly all 0: use / and keep floating-point numbers",
                "除以 255 得到的是整数，几乎全是 0：应当用 /，并保持浮点数",
            ),
        ),
        Mistake(
            "uint8 overflow",
            _by(lambda pixels, mean, std: (pixels - np.round(255 * mean).astype(np.uint8)) / (255 * std)),
            Text(
                "the difference is computed in uint8, where -1 is 255: convert the pixels to float first",
                "减法在 uint8 中进行，-1 会变成 255：应当先把像素转换成浮点数",
            ),
        ),
        Mistake("two scales", _by(lambda pixels, mean, std: (pixels - mean) / (255 * std)), _TWO_SCALES),
        Mistake("two scales", _by(lambda pixels, mean, std: (pixels - mean) / std / 255 - mean / std), _TWO_SCALES),
        Mistake("two scales", _by(lambda pixels, mean, std: (pixels / 255 - 255 * mean) / (255 * std)), _TWO_SCALES),
        Mistake(
            "mean and std swapped",
            _by(lambda pixels, mean, std: (pixels / 255 - std) / mean),
            Text(
                "mean and std have changed places: subtract the mean, divide by std",
                "mean 和 std 用反了：应当减均值，除以标准差",
            ),
        ),
        Mistake(
            "divided by the variance",
            _by(lambda pixels, mean, std: (pixels / 255 - mean) / std**2),
            Text(
                "it is divided by the square of std: std is the standard deviation already",
                "除以了 std 的平方：std 本身就是标准差",
            ),
        ),
        Mistake(
            "square root of std",
            _by(lambda pixels, mean, std: (pixels / 255 - mean) / np.sqrt(std)),
            Text(
                "it is divided by the root of std: std is the standard deviation, not the variance",
                "除以了 std 的平方根：std 是标准差，不是方差",
            ),
        ),
        Mistake(
            "multiplied by std",
            _by(lambda pixels, mean, std: (pixels / 255 - mean) * std),
            Text("it is multiplied by std in place of divided", "乘了 std，应当是除"),
        ),
        Mistake(
            "mean forgotten",
            _by(lambda pixels, mean, std: pixels / 255 / std),
            Text("the mean is not subtracted", "没有减去均值"),
        ),
        Mistake(
            "std forgotten",
            _by(lambda pixels, mean, std: pixels / 255 - mean),
            Text("it is not divided by std", "没有除以标准差"),
        ),
        Mistake(
            "not normalised",
            _by(lambda pixels, mean, std: pixels / 255),
            Text("mean and std are not used", "没有用到 mean 和 std"),
        ),
        Mistake(
            "divided before subtracting",
            _by(lambda pixels, mean, std: pixels / 255 / std - mean),
            Text(
                "the mean is not divided by std: subtract it first, then divide the difference",
                "均值没有除以标准差：应当先减均值，再把差除以标准差",
            ),
        ),
        Mistake(
            "channels last",
            _arranged(lambda images: images),
            Text(
                "the channel is still the last axis: move it behind the batch, (B, 3, H, W)",
                "通道还在最后一维：应当移到批次之后，成为 (B, 3, H, W)",
            ),
        ),
        Mistake(
            "reshaped",
            _arranged(_reshaped),
            Text(
                "the shape is right, the numbers are in the wrong places: reshape moves no axis, transpose does",
                "形状正确，数的位置不对：reshape 不会移动维度，应当用 transpose",
            ),
        ),
        Mistake(
            "height and width swapped",
            _arranged(lambda images: images.transpose(0, 3, 2, 1)),
            Text(
                "height and width have changed places: the axes are to be (B, C, H, W)",
                "高和宽对调了：各维应当是 (B, C, H, W)",
            ),
        ),
        Mistake(
            "all axes reversed",
            _arranged(lambda images: images.T),
            Text(
                ".T reverses all four axes: give their order to transpose",
                ".T 会颠倒全部四维：请把各维的顺序传给 transpose",
            ),
        ),
        Mistake("channels reversed", _arranged(lambda images: _to_front(images[..., ::-1])), _REVERSED),
        Mistake(
            "channels reversed",
            lambda pixels, mean, std: _to_front(_normalised(pixels[..., ::-1], mean, std)),
            _REVERSED,
        ),
        Mistake("own statistics", _own_statistics(0, 1, 2), _OWN_STATISTICS),
        Mistake("own statistics", _own_statistics(1, 2), _OWN_STATISTICS),
        Mistake("own statistics", _own_statistics(0, 1, 2, 3), _OWN_STATISTICS),
    ),
)
