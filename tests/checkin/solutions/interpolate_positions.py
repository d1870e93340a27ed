"""Solutions of `interpolate_positions`: RIGHT ones pass, WRONG ones fail with the mistake beside them."""

import numpy as np


def einsum(positions, rows, columns):
    grid = positions[0, 1:].reshape(rows.shape[1], columns.shape[1], positions.shape[2])
    new = np.einsum("ih,jw,hwd->ijd", rows, columns, grid).reshape(1, -1, positions.shape[2])
    return np.concatenate((positions[:, :1], new), axis=1)


def kronecker(positions, rows, columns):
    """One matrix for the whole grid; the class token takes all from itself."""
    whole = np.zeros((1 + len(rows) * len(columns), positions.shape[1]))
    whole[0, 0] = 1
    whole[1:, 1:] = np.kron(rows, columns)
    return whole @ positions


def channels_first(E, R, C):
    class_token, patches = E[:, :1], E[:, 1:]
    grid = patches[0].T.reshape(-1, R.shape[1], C.shape[1])  # (D, h, w)
    grid = R @ grid @ C.T  # (D, h', w')
    return np.hstack([class_token, grid.reshape(len(grid), -1).T[None]])


def loops(positions, rows, columns):
    h, w = rows.shape[1], columns.shape[1]
    new = [positions[0, 0]]
    for i in range(len(rows)):
        for j in range(len(columns)):
            vector = np.zeros(positions.shape[2])
            for row in range(h):
                for column in range(w):
                    vector += rows[i, row] * columns[j, column] * positions[0, 1 + row * w + column]
            new.append(vector)
    return np.array([new])


def single_precision(positions, rows, columns):
    new = np.empty((1, 1 + rows.shape[0] * columns.shape[0], positions.shape[2]), positions.dtype)
    new[:, 0] = positions[:, 0]
    grid = positions[:, 1:].reshape(1, rows.shape[1], columns.shape[1], -1)
    new[:, 1:] = np.tensordot(rows, columns @ grid[0], axes=(1, 0)).reshape(1, -1, positions.shape[2])
    return new


def new_patches(positions, rows, columns):
    grid = positions[0, 1:].reshape(rows.shape[1], columns.shape[1], -1)
    return np.einsum("ih,jw,hwd->ijd", rows, columns, grid)


def at_the_end(positions, rows, columns):
    new = new_patches(positions, rows, columns).reshape(1, -1, positions.shape[2])
    return np.concatenate([new, positions[:, :1]], axis=1)


def dropped(positions, rows, columns):
    return new_patches(positions, rows, columns).reshape(1, -1, positions.shape[2])


def zeros(positions, rows, columns):
    new = np.zeros((1, 1 + len(rows) * len(columns), positions.shape[2]))
    new[0, 1:] = new_patches(positions, rows, columns).reshape(-1, positions.shape[2])
    return new


def mean_in_front(positions, rows, columns):
    new = new_patches(positions, rows, columns).reshape(-1, positions.shape[2])
    return np.vstack([new.mean(axis=0), new])[None]


def last_apart(positions, rows, columns):
    grid = positions[0, :-1].reshape(rows.shape[1], columns.shape[1], -1)
    grid = np.einsum("ih,jw,hwd->ijd", rows, columns, grid).reshape(1, -1, positions.shape[2])
    return np.concatenate([grid, positions[:, -1:]], axis=1)


def last_to_the_front(positions, rows, columns):
    grid = positions[0, :-1].reshape(rows.shape[1], columns.shape[1], -1)
    grid = np.einsum("ih,jw,hwd->ijd", rows, columns, grid).reshape(1, -1, positions.shape[2])
    return np.concatenate([positions[:, -1:], grid], axis=1)


def not_transposed(positions, rows, columns):
    grid = positions[0, 1:].reshape(positions.shape[2], rows.shape[1], columns.shape[1])
    grid = rows @ grid @ columns.T  # (D, h', w')
    return np.concatenate([positions[:, :1], grid.reshape(1, -1, positions.shape[2])], axis=1)


def transposed_at_the_end(positions, rows, columns):
    grid = positions[0, 1:].reshape(positions.shape[2], rows.shape[1], columns.shape[1])
    grid = (rows @ grid @ columns.T).transpose(1, 2, 0)
    return np.concatenate([positions[:, :1], grid.reshape(1, -1, positions.shape[2])], axis=1)


def not_back(positions, rows, columns):
    grid = positions[0, 1:].T.reshape(-1, rows.shape[1], columns.shape[1])
    grid = rows @ grid @ columns.T  # (D, h', w')
    return np.concatenate([positions[:, :1], grid.reshape(1, -1, positions.shape[2])], axis=1)


def by_columns(positions, rows, columns):
    grid = positions[0, 1:].reshape(columns.shape[1], rows.shape[1], -1).swapaxes(0, 1)
    grid = np.einsum("ih,jw,hwd->ijd", rows, columns, grid)
    return np.concatenate([positions[:, :1], grid.reshape(1, -1, positions.shape[2])], axis=1)


def out_by_columns(positions, rows, columns):
    grid = new_patches(positions, rows, columns).transpose(1, 0, 2)
    return np.concatenate([positions[:, :1], grid.reshape(1, -1, positions.shape[2])], axis=1)


def kronecker_swapped(positions, rows, columns):
    new = np.kron(columns, rows) @ positions[0, 1:]
    return np.concatenate([positions[0, :1], new])[None]


def only_rows(positions, rows, columns):
    grid = positions[0, 1:].reshape(rows.shape[1], -1)  # (h, w D)
    return np.concatenate([positions[:, :1], (rows @ grid).reshape(1, -1, positions.shape[2])], axis=1)


def only_columns(positions, rows, columns):
    grid = positions[0, 1:].reshape(rows.shape[1], columns.shape[1], -1)
    return np.concatenate([positions[:, :1], (columns @ grid).reshape(1, -1, positions.shape[2])], axis=1)


def as_in_the_notebook(positions, rows, columns):
    old = positions[0]
    new = new_patches(positions, rows, columns).reshape(-1, old.shape[1])
    return np.concatenate([old[:1], new])


def class_token_in_the_grid(positions, rows, columns):
    grid = positions.reshape(rows.shape[1], columns.shape[1], -1)
    return np.einsum("ih,jw,hwd->ijd", rows, columns, grid)


def square_only(positions, rows, columns):
    side = int((positions.shape[1] - 1) ** 0.5)
    grid = positions[0, 1:].reshape(side, side, -1)
    return np.einsum("ih,jw,hwd->ijd", rows, columns, grid)


def grid_alone(positions, rows, columns):
    return new_patches(positions, rows, columns)


def two_outputs(positions, rows, columns):
    return positions[:, :1], new_patches(positions, rows, columns)


def nearest(positions, rows, columns):
    nearest_row, nearest_column = np.eye(rows.shape[1])[rows.argmax(1)], np.eye(columns.shape[1])[columns.argmax(1)]
    return einsum(positions, nearest_row, nearest_column)


def nothing(positions, rows, columns):
    einsum(positions, rows, columns)


def as_many(positions, rows, columns):
    same = positions.shape[1] == 1 + len(rows) * len(columns)
    return positions if same else einsum(positions, rows, columns)


RIGHT = [einsum, kronecker, channels_first, loops, single_precision]
WRONG = {
    as_many: "value",
    at_the_end: "class token last",
    dropped: "class token dropped",
    zeros: "class token of zeros",
    mean_in_front: "class token from the patches",
    last_apart: "last token as class token",
    last_to_the_front: "last token as class token",
    not_transposed: "reshape without transpose",
    transposed_at_the_end: "reshape without transpose",
    not_back: "not transposed back",
    by_columns: "grid read by columns",
    out_by_columns: "new grid numbered by columns",
    kronecker_swapped: "rows and columns confused",
    only_rows: "columns not interpolated",
    only_columns: "rows not interpolated",
    as_in_the_notebook: "first axis lost",
    class_token_in_the_grid: "ValueError",
    square_only: "ValueError",
    grid_alone: "shape",
    two_outputs: "number of outputs",
    nearest: "value",
    nothing: "no output",
}
