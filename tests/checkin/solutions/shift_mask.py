"""Solutions of `shift_mask`: RIGHT ones pass, WRONG ones fail with the mistake beside them."""

import numpy as np


def partition(x, M):
    h, w = x.shape
    return x.reshape(h // M, M, w // M, M).transpose(0, 2, 1, 3).reshape(-1, M * M)


def compare(of_window, same=0.0, other=-100.0):
    return np.where(of_window[:, :, None] == of_window[:, None, :], same, other)


def by_slices(h, w, M, shift):
    regions, count = np.zeros((h, w), int), 0
    for rows in (slice(0, -M), slice(-M, -shift), slice(-shift, None)):
        for columns in (slice(0, -M), slice(-M, -shift), slice(-shift, None)):
            regions[rows, columns] = count
            count += 1
    of_window = partition(regions, M)
    mask = of_window[:, None, :] - of_window[:, :, None]
    mask = mask.astype(np.float32)
    mask[mask != 0] = -100
    return mask


def by_distance(h, w, M, shift):
    rows, columns = np.indices((h, w))
    rows, columns = (partition(np.roll(places, (-shift, -shift), (0, 1)), M) for places in (rows, columns))
    apart = np.maximum(abs(rows[:, :, None] - rows[:, None]), abs(columns[:, :, None] - columns[:, None]))
    return -100.0 * (apart >= M)


def came_round(h, w, M, shift):
    """Two numbers for each token are enough: whether its row came from the top, and its column from the left."""
    rows, columns = np.arange(h) >= h - shift, np.arange(w) >= w - shift
    return compare(partition(2 * rows[:, None] + columns[None, :], M))


def loops(height, width, side, moved):
    mask = np.zeros((height // side * (width // side), side**2, side**2))
    for n, i, j in np.ndindex(mask.shape):
        top, left = n // (width // side) * side, n % (width // side) * side
        for start, length, a, b in (
            (top, height, i // side, j // side),
            (left, width, i % side, j % side),
        ):
            if (start + a + moved >= length) != (start + b + moved >= length):
                mask[n, i, j] = -100
    return mask


def bands(length, M, shift):
    result = np.zeros(length, int)
    result[length - M :] = 1
    result[length - shift :] = 2
    return result


def regions_of(h, w, M, shift):
    return 3 * bands(h, M, shift)[:, None] + bands(w, M, shift)[None]


def reversed_(h, w, M, shift):
    return compare(partition(regions_of(h, w, M, shift), M), -100.0, 0.0)


def allowed(h, w, M, shift):
    of_window = partition(regions_of(h, w, M, shift), M)
    return of_window[:, :, None] == of_window[:, None]


def forbidden(h, w, M, shift):
    return ~allowed(h, w, M, shift)


def ones(h, w, M, shift):
    return forbidden(h, w, M, shift).astype(np.float32)


def positive(h, w, M, shift):
    return 100.0 * forbidden(h, w, M, shift)


def infinite(h, w, M, shift):
    return np.where(allowed(h, w, M, shift), 0.0, -np.inf)


def rolled_back(h, w, M, shift):
    places = np.arange(h * w).reshape(h, w)
    places = np.roll(np.roll(places, -shift, (0, 1)), shift, (0, 1))
    return compare(partition(places * 0, M))


def rows(h, w, M, shift):
    return compare(partition(bands(h, M, shift)[:, None] * np.ones((1, w), int), M))


def columns(h, w, M, shift):
    return compare(partition(np.tile(bands(w, M, shift), (h, 1)), M))


def added(h, w, M, shift):
    return compare(partition(bands(h, M, shift)[:, None] + bands(w, M, shift)[None], M))


def down(h, w, M, shift):
    rows, columns = np.indices((h, w))
    rows, columns = (partition(np.roll(places, (shift, shift), (0, 1)), M) for places in (rows, columns))
    apart = np.maximum(abs(rows[:, :, None] - rows[:, None]), abs(columns[:, :, None] - columns[:, None]))
    return np.where(apart < M, 0.0, -100.0)


def rolled(h, w, M, shift):
    regions = np.roll(regions_of(h, w, M, shift), (-shift, -shift), axis=(0, 1))
    return compare(partition(regions, M))


def old_windows(h, w, M, shift):
    number = np.arange(h)[:, None] // M * (w // M) + np.arange(w)[None] // M
    return compare(partition(np.roll(number, (-shift, -shift), axis=(0, 1)), M))


def each_window(h, w, M, shift):
    one = np.zeros((M, M), int)
    one[M - shift :] += 1
    one[:, M - shift :] += 2
    return compare(np.tile(one.ravel(), (h // M * (w // M), 1)))


def from_the_start(h, w, M, shift):
    row, column = np.zeros(h, int), np.zeros(w, int)
    for band, length in ((row, h), (column, w)):
        if shift:
            band[length - M : length - M + shift] = 1
            band[length - M + shift :] = 2
    return compare(partition(3 * row[:, None] + column, M))


def half(h, w, M, shift):
    return by_distance(h, w, M, M // 2)


def column_by_column(h, w, M, shift):
    regions = regions_of(h, w, M, shift)
    windows = [regions[i : i + M, j : j + M].T.ravel() for i in range(0, h, M) for j in range(0, w, M)]
    return compare(np.stack(windows))


def down_the_columns(h, w, M, shift):
    regions = regions_of(h, w, M, shift)
    windows = [regions[i : i + M, j : j + M].ravel() for j in range(0, w, M) for i in range(0, h, M)]
    return compare(np.stack(windows))


def width_first(h, w, M, shift):
    return compare(partition(regions_of(w, h, M, shift), M))


def reshaped(h, w, M, shift):
    return compare(regions_of(h, w, M, shift).reshape(-1, M * M))


def all_pairs(h, w, M, shift):
    regions = regions_of(h, w, M, shift).ravel()
    return np.where(regions[:, None] == regions[None, :], 0.0, -100.0)


def whole_numbers(h, w, M, shift):
    return np.where(allowed(h, w, M, shift), 0, -100)


def for_the_heads(h, w, M, shift):
    return by_slices(h, w, M, shift)[:, None]


def square(h, w, M, shift):
    band = bands(h, M, shift)
    return compare(partition(3 * band[:, None] + band[None], M))


def last_row_wrong(h, w, M, shift):
    row, column = bands(h, M, shift), bands(w, M, shift)
    row[-1] = 0
    return compare(partition(3 * row[:, None] + column, M))


def a_small_number(h, w, M, shift):
    return np.where(allowed(h, w, M, shift), 0.0, -1e9)


def always_shifted(h, w, M, shift):
    return by_slices(h, w, M, max(shift, 1))


def other_names(grid, window, shift):
    return by_slices(*grid, window, shift)


def nothing(h, w, M, shift):
    by_slices(h, w, M, shift)


RIGHT = [by_slices, by_distance, came_round, loops]
WRONG = {
    reversed_: "mask reversed",
    allowed: "true where allowed",
    forbidden: "true where forbidden",
    ones: "true where forbidden",
    positive: "sign forgotten",
    infinite: "minus infinity",
    rolled_back: "nothing masked",
    rows: "rows alone",
    columns: "columns alone",
    added: "bands added",
    down: "shift in the wrong direction",
    rolled: "regions rolled",
    old_windows: "windows of before the shift",
    each_window: "windows of before the shift",
    from_the_start: "rest of the window",
    half: "half a window always",
    column_by_column: "window transposed",
    down_the_columns: "numbered by columns",
    width_first: "height and width swapped",
    reshaped: "reshape alone",
    all_pairs: "whole map",
    whole_numbers: "dtype",
    for_the_heads: "shape",
    square: "shape",
    last_row_wrong: "value",
    a_small_number: "value",
    always_shifted: "value",
    other_names: "TypeError",
    nothing: "no output",
}
