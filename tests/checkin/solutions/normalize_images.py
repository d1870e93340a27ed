"""Solutions of `normalize_images`: RIGHT ones pass, WRONG ones fail with the mistake beside them."""

import numpy as np


def float64(pixels, mean, std):
    return ((pixels / 255 - mean) / std).transpose(0, 3, 1, 2)


def axis_first(pixels, mean, std):
    images = np.moveaxis(pixels, -1, 1).astype(np.float32) / 255
    return (images - mean[:, None, None]) / std[:, None, None]


def loops(v, mu, sigma):
    b, h, w, c = v.shape
    x = np.empty((b, c, h, w), np.float32)
    for i in range(b):
        for channel in range(c):
            x[i, channel] = (v[i, :, :, channel] / 255.0 - mu[channel]) / sigma[channel]
    return x


def factors(pixels, mean, std):
    scale, shift = 1 / (255 * std), -mean / std
    return np.einsum("bhwc,c->bchw", pixels.astype(np.float32), scale) + shift.reshape(1, -1, 1, 1)


def image_by_image(pixels, mean, std):
    x = [((image - 255 * mean) / (255 * std)).transpose(2, 0, 1) for image in pixels]
    return np.stack(x).astype(np.float32)


def _front(x):
    return x.transpose(0, 3, 1, 2)


def no_255(pixels, mean, std):
    return _front((pixels.astype(np.float32) - mean) / std)


def whole_numbers(pixels, mean, std):
    return _front((pixels // 255 - mean) / std)


def cast_back(pixels, mean, std):
    return _front(((pixels / 255).astype(np.uint8) - mean) / std)


def wraps(pixels, mean, std):
    mean, std = (255 * mean).round().astype(np.uint8), 255 * std
    return _front((pixels - mean) / std)


def too_late(pixels, mean, std):
    return _front((pixels - mean) / std / 255)


def both_scaled(pixels, mean, std):
    mean, std = mean * 255, std * 255
    return _front((pixels / 255 - mean) / std)


def last_step_forgotten(pixels, mean, std):
    return _front((pixels - mean) / std / 255 - mean / std)


def swapped(pixels, mean, std):
    return float64(pixels, std, mean)


def variance(pixels, mean, std):
    return float64(pixels, mean, std * std)


def root(pixels, mean, std):
    return float64(pixels, mean, std**0.5)


def times_std(pixels, mean, std):
    return _front((pixels / 255 - mean) * std)


def no_mean(pixels, mean, std):
    return _front(pixels / 255 / std)


def no_std(pixels, mean, std):
    return _front(pixels / 255 - mean)


def no_normalisation(pixels, mean, std):
    return _front(pixels / 255).astype(np.float32)


def no_brackets(pixels, mean, std):
    return _front(pixels / 255 / std - mean)


def brackets_elsewhere(pixels, mean, std):
    return _front(pixels / 255 - mean / std)


def channels_last(pixels, mean, std):
    return (pixels / 255 - mean) / std


def reshaped(pixels, mean, std):
    b, h, w, c = pixels.shape
    return ((pixels / 255 - mean) / std).reshape(b, c, h, w)


def swapaxes(pixels, mean, std):
    return ((pixels / 255 - mean) / std).swapaxes(1, 3)


def transposed(pixels, mean, std):
    return ((pixels / 255 - mean) / std).T


def bgr(pixels, mean, std):
    return float64(pixels, mean, std)[:, ::-1]


def bgr_before(pixels, mean, std):
    return float64(pixels[..., ::-1], mean, std)


def of_the_batch(pixels, mean, std):
    x = pixels / 255
    return _front((x - x.mean((0, 1, 2))) / x.std((0, 1, 2)))


def of_each_image(pixels, mean, std):
    x = pixels / 255
    return _front((x - x.mean((1, 2), keepdims=True)) / x.std((1, 2), keepdims=True))


def of_everything(pixels, mean, std):
    x = _front(pixels / 255)
    return (x - x.mean()) / x.std()


def mean_reversed(pixels, mean, std):
    return float64(pixels, mean[::-1], std[::-1])


def one_mean(pixels, mean, std):
    return float64(pixels, mean.mean(), std.mean())


def channels_before_batch(pixels, mean, std):
    return ((pixels / 255 - mean) / std).transpose(3, 0, 1, 2)


def broadcast_over_columns(pixels, mean, std):
    return (_front(pixels / 255) - mean) / std


def as_one_image(pixels, mean, std):
    return ((pixels / 255 - mean) / std).transpose(2, 0, 1)


def as_pixels(pixels, mean, std):
    return np.clip(255 * float64(pixels, mean, std), 0, 255).astype(np.uint8)


def in_place(pixels, mean, std):
    mean *= 255
    std *= 255
    return _front((pixels - mean) / std)


def nothing(pixels, mean, std):
    float64(pixels, mean, std)


RIGHT = [float64, axis_first, loops, factors, image_by_image]
WRONG = {
    no_255: "not divided by 255",
    whole_numbers: "integer division",
    cast_back: "integer division",
    wraps: "uint8 overflow",
    too_late: "two scales",
    both_scaled: "two scales",
    last_step_forgotten: "two scales",
    swapped: "mean and std swapped",
    variance: "divided by the variance",
    root: "square root of std",
    times_std: "multiplied by std",
    no_mean: "mean forgotten",
    no_std: "std forgotten",
    no_normalisation: "not normalised",
    no_brackets: "divided before subtracting",
    brackets_elsewhere: "value",
    channels_last: "channels last",
    reshaped: "reshaped",
    swapaxes: "height and width swapped",
    transposed: "all axes reversed",
    bgr: "channels reversed",
    bgr_before: "channels reversed",
    of_the_batch: "own statistics",
    of_each_image: "own statistics",
    of_everything: "own statistics",
    mean_reversed: "value",
    one_mean: "value",
    channels_before_batch: "shape",
    broadcast_over_columns: "ValueError",
    as_one_image: "ValueError",
    as_pixels: "value",
    in_place: "input changed",
    nothing: "no output",
}
