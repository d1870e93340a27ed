"""Resize what a network has learned for the places of a grid, in NumPy, as the libraries that published it do."""

import numpy as np

from vit_ms.errors import UserError

# How a grid of another size is reached:
# "google"  bilinear with the corners kept in place (scipy.ndimage.zoom of order 1, vit_jax/checkpoint.py)
# "timm"    bicubic, antialiased where the grid shrinks (timm/layers/pos_embed.py)
# "swin"    bicubic without antialiasing (the authors' Swin, utils.py, for tables of relative positions)
METHODS = ("google", "timm", "swin")


def resize_matrix(old: int, new: int, method: str) -> np.ndarray:
    """(new, old), float64: what a side of `new` places takes from one of `old`; each row sums to 1.

    Reference:
        Keys 1981 for the cubic kernel, with a = -0.5 and -0.75 as PyTorch's interpolate has it with and without antialias.
    """
    if method not in METHODS:
        raise UserError(f"method is {method!r}; choose one of {', '.join(METHODS)}")
    matrix = np.zeros((new, old))
    if method == "google":
        places = np.arange(new) * ((old - 1) / (new - 1) if new > 1 else 0.0)
        below = np.minimum(places.astype(int), old - 1)
        above = np.minimum(below + 1, old - 1)
        rows = np.arange(new)
        np.add.at(matrix, (rows, below), 1.0 - (places - below))
        np.add.at(matrix, (rows, above), places - below)
        return matrix
    scale = old / new
    a, stretch = (-0.5, max(scale, 1.0)) if method == "timm" else (-0.75, 1.0)
    for row in range(new):
        centre = (row + 0.5) * scale - 0.5
        taps = np.arange(int(np.floor(centre - 2 * stretch)), int(np.ceil(centre + 2 * stretch)) + 1)
        weights = _cubic((taps - centre) / stretch, a)
        if method == "timm":  # beyond the border there is nothing, and the others count for more
            inside = (taps >= 0) & (taps < old)
            taps, weights = taps[inside], weights[inside]
        np.add.at(matrix[row], np.clip(taps, 0, old - 1), weights / weights.sum())
    return matrix


def _cubic(x: np.ndarray, a: float) -> np.ndarray:
    x = np.abs(x)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))


def resize_grid(grid: np.ndarray, shape: tuple[int, int], method: str) -> np.ndarray:
    """A grid of vectors with other sides: (h, w, D) -> (*shape, D), float32."""
    rows = resize_matrix(grid.shape[0], shape[0], method)
    columns = resize_matrix(grid.shape[1], shape[1], method)
    return np.einsum("ih,jw,hwd->ijd", rows, columns, grid.astype(np.float64), optimize=True).astype(np.float32)


def resize_positions(
    positions: np.ndarray, old: tuple[int, int], new: tuple[int, int], num_prefix: int, method: str
) -> np.ndarray:
    """Position embeddings for another grid of patches; those of the class token and its like stay as they are.

    Args:
        positions (ndarray): (1, num_prefix + h w, D).
        old, new (tuple): rows and columns of patches.
        num_prefix (int): tokens before the patches.
        method (str): `"google"` or `"timm"`, of METHODS.

    Returns:
        ndarray, (1, num_prefix + new h w, D), float32.

    Reference:
        Dosovitskiy et al. 2021, section 3.2.
    """
    prefix, grid = positions[:, :num_prefix], positions[0, num_prefix:]
    grid = resize_grid(grid.reshape(*old, -1), new, method)
    return np.concatenate([prefix.astype(np.float32), grid.reshape(1, new[0] * new[1], -1)], axis=1)


def resize_bias_table(table: np.ndarray, old: tuple[int, int], new: tuple[int, int], num_prefix: int) -> np.ndarray:
    """A table of relative position biases for another window; the rows of the class token stay as they are.

    Args:
        table (ndarray): ((2 h - 1)(2 w - 1) [+ 3], H).
        old, new (tuple): rows and columns of tokens in the window.
        num_prefix (int): tokens before those of the window; without any the table has no three last rows for them.

    Returns:
        ndarray, of the same form for the new window, float32.

    Reference:
        Liu et al. 2021, section 4.1, "fine-tuning at higher resolution"; utils.py, `load_pretrained`.
    """
    between = 3 if num_prefix else 0
    distances = [tuple(2 * side - 1 for side in sides) for sides in (old, new)]
    grid = table[: len(table) - between].reshape(*distances[0], -1)
    grid = resize_grid(grid, distances[1], "swin").reshape(distances[1][0] * distances[1][1], -1)
    return np.concatenate([grid, table[len(table) - between :].astype(np.float32)])
