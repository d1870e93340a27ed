"""Solutions of `relative_position_index`: RIGHT ones pass, WRONG ones fail with the mistake beside them."""

import mindspore as ms
import numpy as np
from mindspore import Tensor


def broadcast(rows, columns):
    row, column = np.divmod(np.arange(rows * columns), columns)
    down = row[:, None] - row[None, :] + rows - 1
    right = column[:, None] - column[None, :] + columns - 1
    return down * (2 * columns - 1) + right


def loops(height, width):
    index = np.empty((height * width, height * width), int)
    for i, j in np.ndindex(index.shape):
        down, right = i // width - j // width, i % width - j % width
        index[i, j] = (down + height - 1) * (2 * width - 1) + right + width - 1
    return index


def of_the_authors(rows, columns):
    coords = np.stack(np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij")).reshape(2, -1)
    relative = (coords[:, :, None] - coords[:, None, :]).transpose(1, 2, 0)
    relative[:, :, 0] += rows - 1
    relative[:, :, 1] += columns - 1
    relative[:, :, 0] *= 2 * columns - 1
    return relative.sum(-1)


def in_a_wider_map(rows, columns):
    """Numbered in a map of 2 columns - 1, two tokens' numbers differ by their distance in the table."""
    number = (np.arange(rows)[:, None] * (2 * columns - 1) + np.arange(columns)[None]).ravel()
    index = np.subtract.outer(number, number)
    return (index - index.min()).astype(np.int32)


def looked_up(rows, columns):
    table = np.arange((2 * rows - 1) * (2 * columns - 1)).reshape(2 * rows - 1, -1)
    # Token j sees all tokens in a part of the table that begins at its distance to token 0.
    seen = [
        table[rows - 1 - r : 2 * rows - 1 - r, columns - 1 - c : 2 * columns - 1 - c].ravel()
        for r in range(rows)
        for c in range(columns)
    ]
    return np.stack(seen, axis=1)


def distances(rows, columns):
    row, column = np.indices((rows, columns)).reshape(2, -1)
    return row[:, None] - row, column[:, None] - column


def with_rule(rule):
    def solution(rows, columns):
        down, right = distances(rows, columns)
        return rule(down, right, rows, columns)

    return solution


no_offsets = with_rule(lambda down, right, rows, columns: down * (2 * columns - 1) + right)
columns_moved = with_rule(lambda down, right, rows, columns: down * (2 * columns - 1) + (right + columns - 1))
rows_moved = with_rule(lambda down, right, rows, columns: (down + rows - 1) * (2 * columns - 1) + right)
moved_late = with_rule(lambda down, right, rows, columns: down * (2 * columns - 1) + (rows - 1) + right + (columns - 1))
moved_crosswise = with_rule(
    lambda down, right, rows, columns: (down + columns - 1) * (2 * columns - 1) + right + rows - 1
)
moved_too_far = with_rule(lambda down, right, rows, columns: (down + rows) * (2 * columns - 1) + right + columns)
added = with_rule(lambda down, right, rows, columns: down + rows - 1 + right + columns - 1)
times_side = with_rule(lambda down, right, rows, columns: columns * (down + rows - 1) + right + columns - 1)
times_two_sides = with_rule(lambda down, right, rows, columns: 2 * columns * (down + rows - 1) + right + columns - 1)
times_rows = with_rule(lambda down, right, rows, columns: (2 * rows - 1) * (down + rows - 1) + right + columns - 1)
columns_first = with_rule(lambda down, right, rows, columns: (2 * rows - 1) * (right + columns - 1) + down + rows - 1)
without_signs = with_rule(lambda down, right, rows, columns: np.abs(down) * (2 * columns - 1) + np.abs(right))
small_table = with_rule(lambda down, right, rows, columns: np.abs(down) * columns + np.abs(right))
two_tables = with_rule(lambda down, right, rows, columns: (down + rows - 1, right + columns - 1))
up = with_rule(lambda down, right, rows, columns: (rows - 1 - down) * (2 * columns - 1) + right + columns - 1)
left = with_rule(lambda down, right, rows, columns: (down + rows - 1) * (2 * columns - 1) - right + columns - 1)
from_one = with_rule(lambda down, right, rows, columns: (down + rows - 1) * (2 * columns - 1) + right + columns)


def the_other_way(rows, columns):
    row, column = np.indices((rows, columns)).reshape(2, -1)
    down, right = row[None, :] - row[:, None], column[None, :] - column[:, None]
    return (down + rows - 1) * (2 * columns - 1) + right + columns - 1


def numbered_down(rows, columns):
    n = np.arange(rows * columns)
    row, column = n % rows, n // rows
    down, right = row[:, None] - row[None], column[:, None] - column[None]
    return (down + rows - 1) * (2 * columns - 1) + right + columns - 1


def along_the_sequence(rows, columns):
    n = rows * columns
    return np.arange(n)[:, None] - np.arange(n) + n - 1


def each_its_own(rows, columns):
    n = rows * columns
    return np.arange(n)[:, None] * n + np.arange(n)


def side_is_rows(M, columns):
    return loops(M, M)


def side_is_columns(rows, M):
    return loops(M, M)


def grids(rows, columns):
    row, column = np.arange(rows), np.arange(columns)
    down = (row[:, None] - row)[:, None, :, None]
    right = (column[:, None] - column)[None, :, None, :]
    return (down + rows - 1) * (2 * columns - 1) + right + columns - 1


def diagonal(rows, columns):
    index = broadcast(rows, columns)
    np.fill_diagonal(index, 0)
    return index


def ranks_of_the_lengths(rows, columns):
    down, right = distances(rows, columns)
    return np.unique(down**2 + right**2, return_inverse=True)[1].reshape(down.shape)


def flat(rows, columns):
    return loops(rows, columns).reshape(-1)


def floats(rows, columns):
    return broadcast(rows, columns).astype(np.float32)


def square_only(M):
    return loops(M, M)


def a_tensor_of_floats(rows, columns):
    return Tensor(broadcast(rows, columns), ms.float32)


def nested_lists(rows, columns):
    return broadcast(rows, columns).tolist()


def nothing(rows, columns):
    broadcast(rows, columns)


def small_numbers(rows, columns):
    return broadcast(rows, columns).astype(np.int8)


RIGHT = [broadcast, loops, of_the_authors, in_a_wider_map, looked_up, nested_lists]
WRONG = {
    small_numbers: "value",
    no_offsets: "offsets forgotten",
    columns_moved: "offset of the rows forgotten",
    rows_moved: "offset of the columns forgotten",
    moved_late: "offsets after the product",
    moved_crosswise: "offsets swapped",
    moved_too_far: "offsets one too large",
    added: "factor forgotten",
    times_side: "factor columns",
    times_two_sides: "factor 2 columns",
    times_rows: "factor of the rows",
    columns_first: "rows and columns swapped",
    the_other_way: "j - i",
    without_signs: "absolute distances",
    small_table: "absolute distances",
    up: "sign of the rows",
    left: "sign of the columns",
    from_one: "counted from 1",
    numbered_down: "tokens by columns",
    along_the_sequence: "factor columns",
    each_its_own: "pairs numbered",
    side_is_rows: "square of the rows",
    side_is_columns: "square of the columns",
    grids: "tokens as a grid",
    two_tables: "number of outputs",
    diagonal: "value",
    ranks_of_the_lengths: "value",
    flat: "shape",
    floats: "dtype",
    a_tensor_of_floats: "dtype",
    square_only: "TypeError",
    nothing: "no output",
}
