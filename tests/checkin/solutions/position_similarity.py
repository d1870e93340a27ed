"""Solutions of `position_similarity`: RIGHT ones pass, WRONG ones fail with the mistake beside them."""

import math

import numpy as np


def units(positions, rows, columns):
    e = positions[0, 1:]
    unit = e / np.linalg.norm(e, axis=1, keepdims=True)
    return (unit @ unit.T).reshape(rows, columns, rows, columns)


def by_einsum(positions, rows, columns):
    grid = positions[0, 1:].reshape(rows, columns, -1)
    products = np.einsum("rcd,ijd->rcij", grid, grid)
    lengths = np.sqrt(np.einsum("ijd,ijd->ij", grid, grid))
    return products / (lengths[:, :, None, None] * lengths)


def loops(positions, h, w):
    maps = np.zeros((h, w, h, w))
    for place in range(h * w):
        for other in range(h * w):
            one, two = positions[0, 1 + place], positions[0, 1 + other]
            cosine = one @ two / (math.sqrt(one @ one) * math.sqrt(two @ two))
            maps[place // w, place % w, other // w, other % w] = cosine
    return maps


def by_outer(positions, rows, columns):
    e = np.asarray(positions, np.float64)[0][1:]
    products = e @ e.T
    lengths = np.sqrt(np.diag(products))
    return (products / np.outer(lengths, lengths)).reshape(rows, columns, rows, columns)


def by_distance(positions, rows, columns):
    e = positions[:, 1:].squeeze(0)
    unit = e / (e**2).sum(1, keepdims=True) ** 0.5
    apart = ((unit[:, None] - unit) ** 2).sum(-1)
    return (1 - apart / 2).reshape(rows, columns, rows, columns)


def products(positions, rows, columns):
    grid = positions[0, 1:].reshape(rows, columns, -1)
    return np.tensordot(grid, grid, axes=(2, 2))


def whole_norm(positions, rows, columns):
    e = positions[0, 1:]
    e = e / np.linalg.norm(e)
    return (e @ e.T).reshape(rows, columns, rows, columns)


def norm_of_columns(positions, rows, columns):
    e = positions[0, 1:]
    e = e / np.linalg.norm(e, axis=0, keepdims=True)
    return (e @ e.T).reshape(rows, columns, rows, columns)


def no_root(positions, rows, columns):
    e = positions[0, 1:]
    squares = (e**2).sum(axis=1)
    return (e @ e.T / np.outer(squares, squares)).reshape(rows, columns, rows, columns)


def sum_norm(positions, rows, columns):
    e = positions[0, 1:]
    e = e / np.linalg.norm(e, ord=1, axis=1, keepdims=True)
    return (e @ e.T).reshape(rows, columns, rows, columns)


def first_norm(positions, rows, columns):
    e = positions[0, 1:]
    unit = e / np.linalg.norm(e, axis=1, keepdims=True)
    return (unit @ e.T).reshape(rows, columns, rows, columns)


def second_norm(positions, rows, columns):
    e = positions[0, 1:]
    return (e @ e.T / np.linalg.norm(e, axis=1)).reshape(rows, columns, rows, columns)


def corrcoef(positions, rows, columns):
    return np.corrcoef(positions[0, 1:]).reshape(rows, columns, rows, columns)


def mean_place(positions, rows, columns):
    e = positions[0, 1:] - positions[0, 1:].mean(axis=0)
    unit = e / np.linalg.norm(e, axis=1, keepdims=True)
    return (unit @ unit.T).reshape(rows, columns, rows, columns)


def euclidean(positions, rows, columns):
    e = positions[0, 1:]
    apart = np.linalg.norm(e[:, None] - e[None], axis=2)
    return apart.reshape(rows, columns, rows, columns)


def cosine_distance(positions, rows, columns):
    return 1.0 - by_einsum(positions, rows, columns)


def angle(positions, rows, columns):
    return np.arccos(np.minimum(by_outer(positions, rows, columns), 1))


def absolute(positions, rows, columns):
    return abs(by_outer(positions, rows, columns))


def last_left_out(positions, rows, columns):
    e = positions[0, : rows * columns]
    unit = e / np.linalg.norm(e, axis=1, keepdims=True)
    return (unit @ unit.T).reshape(rows, columns, rows, columns)


def class_token_in(positions, rows, columns):
    e = positions[0]
    lengths = np.linalg.norm(e, axis=1)
    return e @ e.T / lengths[:, None] / lengths


def class_token_and_reshape(positions, rows, columns):
    e = positions[0]
    unit = e / np.linalg.norm(e, axis=1, keepdims=True)
    return (unit @ unit.T).reshape(rows, columns, rows, columns)


def matrix(positions, rows, columns):
    e = positions[0, 1:]
    unit = e / np.linalg.norm(e, axis=1, keepdims=True)
    return unit @ unit.T


def half_a_grid(positions, rows, columns):
    return matrix(positions, rows, columns).reshape(-1, rows, columns)


def turned(positions, rows, columns):
    return matrix(positions, rows, columns).reshape(columns, rows, columns, rows)


def axes_mixed(positions, rows, columns):
    return matrix(positions, rows, columns).reshape(rows, columns, rows, columns).transpose(0, 2, 1, 3)


def keepdims_forgotten(positions, rows, columns):
    e = positions[0, 1:]
    unit = e / np.linalg.norm(e, axis=1)
    return (unit @ unit.T).reshape(rows, columns, rows, columns)


def rounded(positions, rows, columns):
    return units(positions, rows, columns).round().astype(int)


def class_token_subtracted(positions, rows, columns):
    return units(positions - positions[:, :1], rows, columns)


def in_place(positions, rows, columns):
    positions /= np.linalg.norm(positions, axis=2, keepdims=True)
    return (positions[0, 1:] @ positions[0, 1:].T).reshape(rows, columns, rows, columns)


def nothing(positions, rows, columns):
    units(positions, rows, columns)


RIGHT = [units, by_einsum, loops, by_outer, by_distance]
WRONG = {
    products: "norms forgotten",
    whole_norm: "one norm for all",
    norm_of_columns: "norm over the places",
    no_root: "root of the norm forgotten",
    sum_norm: "norm of sums",
    first_norm: "one of two norms",
    second_norm: "one of two norms",
    corrcoef: "correlation",
    mean_place: "mean of the places taken off",
    euclidean: "distance",
    cosine_distance: "cosine distance",
    angle: "value",
    absolute: "absolute value",
    last_left_out: "class token as a patch",
    class_token_in: "class token left in",
    class_token_and_reshape: "ValueError",
    matrix: "matrix",
    half_a_grid: "one picture a place",
    turned: "rows and columns swapped",
    axes_mixed: "shape",
    keepdims_forgotten: "ValueError",
    rounded: "value",
    class_token_subtracted: "value",
    in_place: "input changed",
    nothing: "no output",
}
