"""Solutions of `shard_indices`: RIGHT ones pass, WRONG ones fail with the mistake beside them."""

import numpy as np


def three_axes(order, batch_size, rank, ranks):
    batches = len(order) // (batch_size * ranks)
    return order[: batches * ranks * batch_size].reshape(batches, ranks, batch_size)[:, rank]


def rows_of_batches(order, B, r, R):
    batches = len(order) // (B * R)
    return order[: batches * B * R].reshape(-1, B)[r::R]


def step_by_step(order, batch_size, rank, ranks):
    rows, start = [], 0
    while start + ranks * batch_size <= len(order):
        first = start + rank * batch_size
        rows.append(order[first : first + batch_size])
        start += ranks * batch_size
    return np.array(rows)


def by_places(order, batch_size, rank, ranks):
    batches = order.size // (batch_size * ranks)
    t, i = np.arange(batches)[:, None], np.arange(batch_size)
    return order[(t * ranks + rank) * batch_size + i]


def nested_lists(order, batch_size, rank, ranks):
    order = order.tolist()
    size = batch_size * ranks
    starts = range(rank * batch_size, len(order) // size * size, size)
    return np.asarray([[order[start + i] for i in range(batch_size)] for start in starts])


def one_run_each(order, batch_size, rank, ranks):
    batches = len(order) // (batch_size * ranks)
    return order[: batches * ranks * batch_size].reshape(ranks, batches, batch_size)[rank]


def equal_runs(order, batch_size, rank, ranks):
    size = len(order) // ranks
    mine = order[rank * size : (rank + 1) * size]
    return mine[: size // batch_size * batch_size].reshape(-1, batch_size)


def array_split(order, batch_size, rank, ranks):
    mine = np.array_split(order, ranks)[rank]
    batches = len(order) // (batch_size * ranks)
    return mine[: batches * batch_size].reshape(batches, batch_size)


def every_other(order, batch_size, rank, ranks):
    mine = order[rank::ranks]
    batches = len(order) // (batch_size * ranks)
    return mine[: batches * batch_size].reshape(batches, batch_size)


def whole_batches(order, batch_size, rank, ranks):
    batches = len(order) // batch_size
    return order[: batches * batch_size].reshape(batches, batch_size)[rank::ranks]


def filled_up(order, batch_size, rank, ranks):
    size = batch_size * ranks
    missing = -len(order) % size
    order = np.concatenate([order, order[:missing]])
    return order.reshape(-1, ranks, batch_size)[:, rank]


def one_step_short(order, batch_size, rank, ranks):
    size = ranks * batch_size
    starts = range(0, len(order) - size, size)
    return np.stack([order[start + rank * batch_size :][:batch_size] for start in starts])


def for_device_0(order, batch_size, rank, ranks):
    batches = len(order) // (batch_size * ranks)
    return order[: batches * ranks * batch_size].reshape(batches, ranks, batch_size)[:, 0]


def first_batches(order, batch_size, rank, ranks):
    batches = len(order) // (batch_size * ranks)
    return order[: batches * batch_size].reshape(batches, batch_size)


def all_batches(order, batch_size, rank, ranks):
    return np.array([order[i : i + batch_size] for i in range(0, len(order) - batch_size + 1, batch_size)])


def counted_from_1(order, batch_size, rank, ranks):
    return three_axes(order, batch_size, rank - 1, ranks)


def divided(order, batch_size, rank, ranks):
    part = batch_size // ranks
    batches = len(order) // batch_size
    return order[: batches * batch_size].reshape(batches, batch_size)[:, rank * part : (rank + 1) * part]


def places(order, batch_size, rank, ranks):
    batches = len(order) // (batch_size * ranks)
    return np.arange(batches * ranks * batch_size).reshape(batches, ranks, batch_size)[:, rank]


def everybodys(order, batch_size, rank, ranks):
    batches = len(order) // (batch_size * ranks)
    return order[: batches * ranks * batch_size].reshape(batches, ranks, batch_size)


def whole_steps(order, batch_size, rank, ranks):
    batches = len(order) // (batch_size * ranks)
    return order[: batches * ranks * batch_size].reshape(batches, ranks * batch_size)


def in_one_row(order, batch_size, rank, ranks):
    return three_axes(order, batch_size, rank, ranks).reshape(-1)


def columns(order, batch_size, rank, ranks):
    return three_axes(order, batch_size, rank, ranks).swapaxes(0, 1)


def shuffled_again(order, batch_size, rank, ranks):
    return three_axes(np.random.default_rng(rank).permutation(order), batch_size, rank, ranks)


def sorted_batches(order, batch_size, rank, ranks):
    return np.sort(three_axes(order, batch_size, rank, ranks), axis=1)


def last_ones_first(order, batch_size, rank, ranks):
    return three_axes(order, batch_size, ranks - 1 - rank, ranks)


def from_the_end(order, batch_size, rank, ranks):
    batches = len(order) // (batch_size * ranks)
    return order[-batches * ranks * batch_size :].reshape(batches, ranks, batch_size)[:, rank]


def not_cut(order, batch_size, rank, ranks):
    return order.reshape(-1, ranks, batch_size)[:, rank]


def as_floats(order, batch_size, rank, ranks):
    return three_axes(order, batch_size, rank, ranks).astype(np.float32)


def list_of_batches(order, batch_size, rank, ranks):
    return list(three_axes(order, batch_size, rank, ranks))


def generator(order, batch_size, rank, ranks):
    yield from three_axes(order, batch_size, rank, ranks)


def shuffles_the_input(order, batch_size, rank, ranks):
    result = three_axes(order, batch_size, rank, ranks).copy()
    order.sort()
    return result


RIGHT = [three_axes, rows_of_batches, step_by_step, by_places, nested_lists]
WRONG = {
    one_run_each: "contiguous parts",
    equal_runs: "contiguous parts",
    array_split: "contiguous parts",
    every_other: "dealt one by one",
    whole_batches: "left over kept",
    filled_up: "left over kept",
    one_step_short: "last step lost",
    for_device_0: "rank ignored",
    first_batches: "first images for all",
    all_batches: "not shared out",
    counted_from_1: "rank from 1",
    divided: "batch divided",
    places: "places, not images",
    everybodys: "all devices' images",
    whole_steps: "whole steps",
    in_one_row: "not in batches",
    columns: "transposed",
    shuffled_again: "value",
    sorted_batches: "value",
    last_ones_first: "value",
    from_the_end: "value",
    not_cut: "ValueError",
    as_floats: "dtype",
    list_of_batches: "number of outputs",
    generator: "no output",
    shuffles_the_input: "input changed",
}
