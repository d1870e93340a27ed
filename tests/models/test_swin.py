"""The Swin Transformer: windows, shifts, masks, merging, and maps that no window divides."""

import mindspore as ms
import numpy as np
import pytest
from helpers import error_of, random, randomize, run
from mindspore import Tensor

from vit_ms import runtime
from vit_ms.layers import Attention, DropPath, FeedForward, RelativePositionBias
from vit_ms.models.swin import (
    VARIANTS,
    PatchMerging,
    Swin,
    WindowAttention,
    shift_mask,
    window_partition,
    window_reverse,
)


@pytest.fixture(autouse=True)
def pynative(clean_state):
    """Graph mode is tested in test_families.py and test_gradients.py."""
    runtime.setup("CPU", "pynative")


def numbered(*shape: int) -> np.ndarray:
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


@pytest.mark.parametrize("h, w, window", [(6, 9, (2, 3)), (4, 4, (4, 4)), (7, 14, (7, 7)), (3, 5, (1, 5))])
def test_window_partition_cuts_as_a_loop_does_and_reverse_undoes_it(h, w, window):
    x, (rows, columns) = numbered(2, h, w, 5), window
    windows = window_partition(Tensor(x), window).asnumpy()
    wanted = [
        image[i : i + rows, j : j + columns].reshape(-1, 5)
        for image in x
        for i in range(0, h, rows)
        for j in range(0, w, columns)
    ]
    assert np.array_equal(windows, wanted)
    assert np.array_equal(window_reverse(Tensor(windows), window, h, w).asnumpy(), x)


def mask_by_rule(grid, window, shift) -> np.ndarray:
    """Two tokens of a shifted window may attend to each other if no border of the map is between them: they lie as far from
    each other in the map as in the window."""
    masks = []
    for top in range(0, grid[0], window[0]):
        for left in range(0, grid[1], window[1]):
            places = [(top + i, left + j) for i in range(window[0]) for j in range(window[1])]
            origin = [tuple((p + s) % side for p, s, side in zip(place, shift, grid, strict=True)) for place in places]
            mask = np.full((len(places), len(places)), -100.0)
            for a, (place_a, origin_a) in enumerate(zip(places, origin, strict=True)):
                for b, (place_b, origin_b) in enumerate(zip(places, origin, strict=True)):
                    moved = [
                        pb - pa == ob - oa for pa, pb, oa, ob in zip(place_a, place_b, origin_a, origin_b, strict=True)
                    ]
                    mask[a, b] = 0.0 if all(moved) else -100.0
            masks.append(mask)
    return np.array(masks)


@pytest.mark.parametrize(
    "grid, window, shift",
    [
        ((14, 14), (7, 7), (3, 3)),
        ((4, 4), (2, 2), (1, 1)),
        ((6, 9), (3, 3), (1, 1)),
        ((5, 9), (5, 3), (0, 1)),
        ((8, 4), (4, 4), (2, 0)),
        ((4, 6), (2, 3), (0, 0)),
    ],
)
def test_shift_mask_keeps_apart_what_the_shift_brought_together(grid, window, shift):
    assert np.array_equal(shift_mask(grid, window, shift), mask_by_rule(grid, window, shift))


# Window attention against loops over windows, heads and tokens.


def relative_bias(table: np.ndarray, window: tuple[int, int]) -> np.ndarray:
    """(H, M M, M M): the row of the table for each distance, counted from the most negative one."""
    places = [(i, j) for i in range(window[0]) for j in range(window[1])]
    bias = np.empty((table.shape[1], len(places), len(places)))
    for a, (row_a, column_a) in enumerate(places):
        for b, (row_b, column_b) in enumerate(places):
            row, column = row_a - row_b + window[0] - 1, column_a - column_b + window[1] - 1
            bias[:, a, b] = table[row * (2 * window[1] - 1) + column]
    return bias


def softmax(scores):
    e = np.exp(scores - scores.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def window_attention64(cell: WindowAttention, x: np.ndarray, heads: int, window, shift) -> np.ndarray:
    """The paper's section 3.2, window after window, in float64; what is below and to the right of the map is zero."""
    p = {q.name.split("attention.")[-1]: q.asnumpy().astype(np.float64) for q in cell.get_parameters()}
    table = next(value for name, value in p.items() if name.endswith("bias_table"))
    b, h, w, d = x.shape
    height, width = (-(-side // part) * part for side, part in zip((h, w), window, strict=True))
    moved = np.zeros((b, height, width, d))
    moved[:, :h, :w] = np.roll(x, (-shift[0], -shift[1]), (1, 2))
    # As timm, the mask is that of the padded map: padded tokens are not kept apart from the others.
    bias, masks = relative_bias(table, window), mask_by_rule((height, width), window, shift)
    out, number = np.empty_like(moved), 0
    for top in range(0, height, window[0]):
        for left in range(0, width, window[1]):
            part = moved[:, top : top + window[0], left : left + window[1]].reshape(b, -1, d)
            q, k, v = np.split(part @ p["qkv.weight"].T + p["qkv.bias"], 3, -1)
            results = []
            for head in range(heads):
                s = slice(head * d // heads, (head + 1) * d // heads)
                scores = q[..., s] @ k[..., s].swapaxes(1, 2) / np.sqrt(d / heads) + bias[head] + masks[number]
                results.append(softmax(scores) @ v[..., s])
            y = np.concatenate(results, -1) @ p["out.weight"].T + p["out.bias"]
            out[:, top : top + window[0], left : left + window[1]] = y.reshape(b, *window, d)
            number += 1
    return np.roll(out[:, :h, :w], shift, (1, 2))


CASES = {
    "two by two windows": ((4, 6), 2, False, (2, 2), (0, 0)),
    "shifted": ((4, 6), 2, True, (2, 2), (1, 1)),
    "shifted by three": ((14, 14), 7, True, (7, 7), (3, 3)),
    "no multiple": ((10, 12), 7, False, (7, 7), (0, 0)),
    "no multiple, shifted": ((10, 12), 7, True, (7, 7), (3, 3)),
    "shrunk": ((3, 5), 7, True, (3, 5), (0, 0)),
    "as large as the map": ((7, 7), 7, True, (7, 7), (0, 0)),
    "shrunk in one direction": ((3, 10), 4, True, (3, 4), (0, 2)),
}


@pytest.mark.parametrize("case", CASES)
def test_window_attention_is_that_of_a_loop(case):
    grid, size, shifted, window, shift = CASES[case]
    cell = randomize(WindowAttention(12, 3, grid, size, shifted), scale=0.5)
    assert cell.window == window and cell.shift == shift
    x = random(2, *grid, 12)
    assert np.allclose(cell(Tensor(x)).asnumpy(), window_attention64(cell, x, 3, window, shift), atol=3e-5)


def test_window_attention_with_padding_in_graph_mode():
    runtime.setup("CPU", "graph")
    grid, size, shifted, window, shift = CASES["no multiple, shifted"]
    cell = randomize(WindowAttention(12, 3, grid, size, shifted), scale=0.5)
    x = random(2, *grid, 12)
    assert np.allclose(run(cell, x), window_attention64(cell, x, 3, window, shift), atol=3e-5)


def test_attention_does_not_leave_the_window():
    cell, x = randomize(WindowAttention(8, 2, (4, 4), 2)), random(1, 4, 4, 8)
    y = cell(Tensor(x)).asnumpy()
    x[0, 0, 0] += 1.0
    moved = np.abs(cell(Tensor(x)).asnumpy() - y).max(-1)[0] > 1e-5
    assert moved[:2, :2].all() and moved.sum() == 4
    # Shifted, the corner shares its window with the other corners, and is kept from them.
    cell, x = randomize(WindowAttention(8, 2, (4, 4), 2, shifted=True)), random(1, 4, 4, 8)
    y = cell(Tensor(x)).asnumpy()
    x[0, 0, 0] += 1.0
    moved = np.abs(cell(Tensor(x)).asnumpy() - y).max(-1)[0] > 1e-5
    assert moved[0, 0] and moved.sum() == 1


def test_the_tables_are_as_large_as_the_windows():
    network = Swin(image_size=(32, 48), embed_dim=8, depths=[1, 1], num_heads=[2, 4], window_size=7)
    shapes = [
        cell.relative_position_bias_table.shape
        for _, cell in network.cells_and_names()
        if isinstance(cell, RelativePositionBias)
    ]
    assert shapes == [(13 * 13, 2), (7 * 11, 4)]  # maps of 8 x 12 and 4 x 6: the second is one window


# Patch merging.


@pytest.mark.parametrize("h, w", [(4, 6), (5, 6), (4, 3), (1, 1), (5, 7)])
def test_patch_merging_takes_the_four_in_the_authors_order(h, w):
    cell, x = randomize(PatchMerging(3)), random(2, h, w, 3)
    padded = np.zeros((2, h + h % 2, w + w % 2, 3))
    padded[:, :h, :w] = x
    four = [padded[:, i::2, j::2] for i, j in ((0, 0), (1, 0), (0, 1), (1, 1))]
    rows = np.concatenate(four, -1)
    normed = (rows - rows.mean(-1, keepdims=True)) / np.sqrt(rows.var(-1, keepdims=True) + 1e-7)
    normed = normed * cell.norm.gamma.asnumpy() + cell.norm.beta.asnumpy()
    wanted = normed @ cell.reduction.weight.asnumpy().T
    y = cell(Tensor(x)).asnumpy()
    assert y.shape == (2, (h + 1) // 2, (w + 1) // 2, 6)
    assert np.allclose(y, wanted, atol=1e-4)
    assert [p.name for p in cell.get_parameters()] == ["norm.gamma", "norm.beta", "reduction.weight"]


# The whole network.

TINY = {
    "image_size": (32, 48),
    "embed_dim": 8,
    "depths": [2, 2, 1],
    "num_heads": [2, 2, 4],
    "window_size": 3,
    "num_classes": 5,
}


def test_features_are_the_maps_of_the_stages_of_an_image_that_is_no_square():
    network = randomize(Swin(**TINY)).set_train(False)
    x = Tensor(random(2, 3, 32, 48))
    maps = network.features(x)
    assert [tuple(m.shape) for m in maps] == [(2, 8, 8, 12), (2, 16, 4, 6), (2, 32, 2, 3)]
    last = network.norm(maps[-1].transpose(0, 2, 3, 1)).asnumpy().mean((1, 2))
    wanted = last @ network.dense.weight.asnumpy().T + network.dense.bias.asnumpy()
    assert np.allclose(network(x).asnumpy(), wanted, atol=1e-5)
    # Odd maps, of 5 x 7, 3 x 4 and 2 x 2.
    network = Swin(**{**TINY, "image_size": (20, 28)}).set_train(False)
    shapes = [tuple(m.shape[2:]) for m in network.features(Tensor(random(1, 3, 20, 28)))]
    assert shapes == [(5, 7), (3, 4), (2, 2)]


def test_every_second_block_is_shifted():
    network = Swin(image_size=224, embed_dim=8, depths=[2, 3, 2, 2], num_heads=[1, 1, 1, 1])
    shifts = [cell.shift for _, cell in network.cells_and_names() if isinstance(cell, WindowAttention)]
    assert shifts == [
        (0, 0),
        (3, 3),
        (0, 0),
        (3, 3),
        (0, 0),
        (0, 0),
        (3, 3),
        (0, 0),
        (0, 0),
    ]  # the last map is one window


def test_stages_have_their_heads_widths_and_rates():
    network = Swin(
        **{**TINY, "mlp_ratio": 3.0, "drop_path_keep_prob": 0.6, "keep_prob": 0.9, "attention_keep_prob": 0.7}
    )
    cells = [cell for _, cell in network.cells_and_names()]
    assert [cell.num_heads for cell in cells if isinstance(cell, Attention)] == [2, 2, 2, 2, 4]
    assert [cell.dense1.out_channels for cell in cells if isinstance(cell, FeedForward)] == [24, 24, 48, 48, 96]
    rates = [cell.keep_prob for cell in cells if isinstance(cell, DropPath)]
    assert rates == pytest.approx(np.repeat(np.linspace(1, 0.6, 5), 2))
    for cell in cells:
        if isinstance(cell, Attention):
            assert cell.attn_drop.p == pytest.approx(0.3) and cell.out_drop.p == pytest.approx(0.1)
        if isinstance(cell, FeedForward):
            assert cell.dropout1.p == cell.dropout2.p == pytest.approx(0.1)
    assert network.pos_dropout.p == pytest.approx(0.1)


def test_initial_values_are_the_authors():
    network = Swin(**{**TINY, "embed_dim": 32})
    found = {p.name: p.asnumpy() for p in network.get_parameters()}
    for name in ("dense.weight", "stages.1.downsample.reduction.weight"):
        assert found[name].std() == pytest.approx(0.02, rel=0.15)
    tables = [value for name, value in found.items() if name.endswith("bias_table")]
    assert len(tables) == 5 and np.concatenate([t.ravel() for t in tables]).std() == pytest.approx(0.02, rel=0.15)


REFUSED = {
    "heads": ({"num_heads": [2, 2]}, "num_heads is [2, 2]; it must have one number for each of depths [2, 2, 1]"),
    "divisor": ({"num_heads": [3, 2, 4]}, "embed_dim 8 is not divisible by num_heads 3"),
    "window": ({"window_size": 0}, "window_size is 0; it must be at least 1"),
    "depths": ({"depths": [2, 0, 1]}, "depths is 0; it must be at least 1"),
    "patch": ({"image_size": (32, 50)}, "image_size (32, 50) is not divisible by patch_size 4"),
    "classes": ({"num_classes": 0}, "num_classes is 0; it must be at least 1"),
    "path": ({"drop_path_keep_prob": 0.0}, "drop_path_keep_prob is 0.0"),
    "keep": ({"keep_prob": 1.5}, "keep_prob is 1.5"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_impossible_arguments_are_refused(case):
    overrides, message = REFUSED[case]
    assert error_of(lambda: Swin(**{**TINY, **overrides})).startswith(message)


def test_images_of_another_size_are_refused():
    with pytest.raises(ValueError, match=r"\(1, 3, 48, 32\)"):
        Swin(**TINY)(Tensor(random(1, 3, 48, 32)))


def test_half_precision_gives_nearly_the_same_logits():
    x = random(2, 3, 32, 48)
    wanted = randomize(Swin(**TINY), scale=0.1).set_train(False)(Tensor(x)).asnumpy()
    logits = randomize(Swin(**TINY), scale=0.1).set_train(False).to_float(ms.float16)(Tensor(x))
    assert logits.dtype == ms.float16 and np.allclose(logits.asnumpy(), wanted, atol=2e-2)


def test_drop_path_of_the_table_is_the_authors():
    assert {name: row["drop_path_keep_prob"] for name, row in VARIANTS.items()} == {
        "swin_t": 0.8,
        "swin_s": 0.7,
        "swin_b": 0.5,
        "swin_l": 0.8,
    }
