"""The cells against NumPy, their dropouts in training and evaluation, and what they refuse."""

import mindspore as ms
import numpy as np
import pytest
from helpers import error_of, random, randomize
from mindspore import Tensor, nn, ops
from mindspore.common.initializer import Normal

from vit_ms import runtime
from vit_ms.layers import (
    GELU,
    NUMERICS,
    Attention,
    Dense,
    DropPath,
    FeedForward,
    LayerNorm,
    LearnedPositions2D,
    PatchEmbedding,
    RelativePositionBias,
    ResidualCell,
    init,
    pair,
    relative_position_index,
    sincos_positions,
)


def numpy_attention(cell: Attention, x: np.ndarray, heads: int) -> np.ndarray:
    """Vaswani et al. 2017, section 3.2.2, one head at a time, in float64."""
    weights = {p.name: p.asnumpy().astype(np.float64) for p in cell.get_parameters()}
    dim = x.shape[-1]
    d = dim // heads
    q, k, v = np.split(x @ weights["qkv.weight"].T + weights["qkv.bias"], 3, axis=-1)
    results = []
    for head in range(heads):
        part = slice(head * d, (head + 1) * d)
        scores = q[..., part] @ k[..., part].swapaxes(1, 2) / np.sqrt(d)
        e = np.exp(scores)
        results.append(e / e.sum(-1, keepdims=True) @ v[..., part])
    return np.concatenate(results, -1) @ weights["out.weight"].T + weights["out.bias"]


@pytest.mark.parametrize(
    "dim, heads, mode",
    [(12, 3, "graph"), (12, 3, "pynative"), (12, 1, "pynative"), (12, 12, "pynative"), (10, 2, "pynative")],
    indirect=["mode"],
)
def test_attention_is_the_paper_s(dim, heads, mode):
    cell = randomize(Attention(dim, heads))
    x = random(3, 7, dim)
    assert np.allclose(cell(Tensor(x)).asnumpy(), numpy_attention(cell, x, heads), atol=2e-5)


def test_attention_has_the_head_count_of_the_course_by_default():
    assert Attention(16).num_heads == 8


def test_attention_does_not_see_the_order_of_tokens_but_what_they_are():
    runtime.setup("CPU", "pynative")  # here and below: saves a compilation
    cell, x = randomize(Attention(12, 3)), random(2, 7, 12)
    order = np.random.default_rng(0).permutation(7)
    y = cell(Tensor(x)).asnumpy()
    assert np.allclose(cell(Tensor(x[:, order])).asnumpy(), y[:, order], atol=1e-5)
    # Every token looks at all others of its own image, and at no other image's.
    x[0, 3] += 1.0
    moved = np.abs(cell(Tensor(x)).asnumpy() - y).max(-1)
    assert (moved[0] > 1e-4).all() and (moved[1] == 0).all()


def test_feed_forward_is_two_layers_on_each_token(mode):
    cell, x = randomize(FeedForward(6, 10, 4)), random(2, 5, 6)
    assert [tuple(p.shape) for p in cell.get_parameters()] == [(10, 6), (10,), (4, 10), (4,)]
    w1, b1, w2, b2 = (p.asnumpy().astype(np.float64) for p in cell.get_parameters())
    hidden = x @ w1.T + b1
    hidden = 0.5 * hidden * (1 + np.tanh(np.sqrt(2 / np.pi) * (hidden + 0.044715 * hidden**3)))
    assert np.allclose(cell(Tensor(x)).asnumpy(), hidden @ w2.T + b2, atol=2e-5)


def test_feed_forward_takes_its_widths_from_the_input_and_its_activation_from_the_caller():
    runtime.setup("CPU", "pynative")
    cell = randomize(FeedForward(6, activation=nn.ReLU))
    assert [tuple(p.shape) for p in cell.get_parameters()] == [(6, 6), (6,), (6, 6), (6,)]
    x = random(2, 5, 6)
    w1, b1, w2, b2 = (p.asnumpy() for p in cell.get_parameters())
    assert np.allclose(cell(Tensor(x)).asnumpy(), np.maximum(x @ w1.T + b1, 0) @ w2.T + b2, atol=1e-5)


def test_residual_cell_adds_its_input(mode):
    x = random(2, 5, 6)
    assert np.allclose(ResidualCell(nn.ReLU())(Tensor(x)).asnumpy(), np.maximum(x, 0) + x)


def test_bare_cells_have_the_numerics_of_the_course():
    assert LayerNorm((4,)).epsilon == NUMERICS["course"].epsilon == 1e-7
    assert GELU().approximate == NUMERICS["course"].gelu == "tanh"


@pytest.mark.parametrize("word", NUMERICS)
def test_numerics_give_their_cells(word):
    runtime.setup("CPU", "pynative")
    numerics = NUMERICS[word]
    cells = numerics.cells()
    x = random(3, 8, scale=1e-3)
    wanted = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + numerics.epsilon)
    assert np.allclose(cells["norm"]((8,))(Tensor(x)).asnumpy(), wanted, atol=1e-5)
    z = Tensor(np.linspace(-4, 4, 101, dtype=np.float32))
    wanted = ops.gelu(z, approximate="none" if numerics.gelu == "erf" else "tanh")
    assert np.allclose(cells["activation"]()(z).asnumpy(), wanted.asnumpy(), atol=2e-6)


# Dropouts. A keep probability far from one half tells it from the drop rate.


def test_drop_path_drops_whole_samples_and_scales_the_rest(mode):
    cell = DropPath(0.8).set_train()
    x = 1.0 + np.abs(random(4000, 2, 3))
    y = cell(Tensor(x)).asnumpy()
    kept = y[:, 0, 0] != 0
    assert np.allclose(y[kept], x[kept] / 0.8, rtol=1e-6) and (y[~kept] == 0).all()
    assert abs(kept.mean() - 0.8) < 0.03  # nearly five standard deviations
    assert (kept != (cell(Tensor(x)).asnumpy()[:, 0, 0] != 0)).any()  # drawn anew at every call


def test_drop_path_follows_the_seed(mode):
    def mask(seed):
        runtime.setup("CPU", mode, seed)
        return DropPath(0.5).set_train()(ops.ones((64, 1))).asnumpy()

    assert np.array_equal(mask(3), mask(3))
    assert not np.array_equal(mask(3), mask(4))


@pytest.mark.parametrize("keep_prob, training", [(0.5, False), (1.0, True), (1.0, False)])
def test_drop_path_drops_nothing_in_evaluation_or_when_all_is_kept(keep_prob, training, mode):
    x = random(16, 3)
    assert np.array_equal(DropPath(keep_prob).set_train(training)(Tensor(x)).asnumpy(), x)


DROPPING = {
    "attention": lambda keep_prob: Attention(12, 3, keep_prob=keep_prob),
    "attention weights": lambda keep_prob: Attention(12, 3, attention_keep_prob=keep_prob),
    "feed forward": lambda keep_prob: FeedForward(12, 8, keep_prob=keep_prob),
}


@pytest.mark.parametrize("name", DROPPING)
def test_keep_probabilities_act_in_training_only(name, mode):
    x = Tensor(random(2, 5, 12))
    cell, sure = randomize(DROPPING[name](0.7)), randomize(DROPPING[name](1.0))
    wanted = sure.set_train(False)(x).asnumpy()
    assert np.array_equal(cell.set_train(False)(x).asnumpy(), wanted)
    assert np.array_equal(sure.set_train(True)(x).asnumpy(), wanted)
    first, second = (cell.set_train(True)(x).asnumpy() for _ in range(2))
    assert not np.allclose(first, wanted) and not np.allclose(first, second)


def set_values(cell: nn.Cell, **arrays) -> nn.Cell:
    """Set these parameters, and all others to zero."""
    for parameter in cell.get_parameters():
        array = arrays.pop(parameter.name.replace(".", "_"), np.zeros(parameter.shape))
        parameter.set_data(Tensor(array, ms.float32))
    assert not arrays
    return cell.set_train()


def test_keep_prob_is_the_share_that_stays(mode):
    x, ones, eye = ops.ones((64, 50, 4)), np.ones(4), np.eye(4)
    y = set_values(Attention(4, 2, keep_prob=0.9), out_bias=ones)(x).asnumpy()
    assert np.allclose(y[y != 0], 1 / 0.9) and abs((y != 0).mean() - 0.9) < 0.01
    # A dropout after each layer. One cell for both would draw one mask twice in graph mode and lose only half as much.
    y = set_values(FeedForward(4, activation=nn.ReLU, keep_prob=0.9), dense1_bias=ones, dense2_weight=eye)(x).asnumpy()
    assert np.allclose(y[y != 0], 1 / 0.9**2) and abs((y != 0).mean() - 0.9**2) < 0.01
    y = set_values(FeedForward(4, keep_prob=0.9), dense2_bias=ones)(x).asnumpy()
    assert np.allclose(y[y != 0], 1 / 0.9) and abs((y != 0).mean() - 0.9) < 0.01


def test_attention_keep_prob_is_the_share_of_weights_that_stays():
    # v = 1 and one head: each output is the number of kept weights, each 1/50, over keep_prob.
    cell = set_values(
        Attention(4, 1, attention_keep_prob=0.9), qkv_bias=np.repeat([0.0, 0.0, 1.0], 4), out_weight=np.eye(4)
    )
    kept = cell(ops.ones((64, 50, 4))).asnumpy()[..., 0] * 50 * 0.9
    assert np.allclose(kept, kept.round(), atol=1e-3)
    assert kept.mean() == pytest.approx(50 * 0.9, rel=0.01)
    assert kept.std() == pytest.approx((50 * 0.9 * 0.1) ** 0.5, rel=0.1)  # the mean is the same for any keep_prob


@pytest.mark.parametrize(
    "image, patch, channels, mode",
    [(8, 4, 3, "graph"), (8, 4, 3, "pynative"), (9, 3, 1, "pynative"), (4, 1, 2, "pynative")],
    indirect=["mode"],
)
def test_patch_embedding_is_a_convolution(image, patch, channels, mode):
    cell = randomize(PatchEmbedding(image, patch, 10, channels))
    x = Tensor(random(2, channels, image, image))
    grid = image // patch
    assert cell.num_patches == grid**2
    wanted = cell.conv(x).asnumpy().reshape(2, 10, grid**2).transpose(0, 2, 1)
    assert np.allclose(cell(x).asnumpy(), wanted, atol=1e-5)


@pytest.mark.parametrize("shape", [(2, 3, 8, 12), (2, 3, 12, 8), (2, 1, 8, 8), (2, 3, 16, 4)])
def test_images_of_another_shape_are_refused_and_both_shapes_told(shape, mode):
    cell = PatchEmbedding(8, 4, 10, 3)
    with pytest.raises(ValueError) as caught:
        cell(ops.zeros(shape))
    line = str(caught.value).splitlines()[0]  # graph mode adds where it came from
    assert str(shape) in line and "(3, 8, 8)" in line


# What is refused when a cell is made: the message has the value and what to do.

REFUSED = {
    "heads": (lambda: Attention(10, 4), "embed_dim 10 is not divisible by num_heads 4: choose a divisor of 10"),
    "no width": (lambda: Attention(0, 1), "embed_dim is 0; it must be at least 1"),
    "no heads": (lambda: Attention(8, 0), "num_heads is 0; it must be at least 1"),
    "keep nothing": (
        lambda: Attention(8, 2, 0.0),
        "keep_prob is 0.0; it must be above 0 and at most 1 (1 drops nothing)",
    ),
    "keep too much": (lambda: Attention(8, 2, 1.5), "keep_prob is 1.5; it must be above 0 and at most 1"),
    "keep less than nothing": (lambda: FeedForward(8, keep_prob=-0.1), "keep_prob is -0.1; it must be above 0"),
    "attention": (lambda: Attention(8, 2, 1.0, 0.0), "attention_keep_prob is 0.0; it must be above 0 and at most 1"),
    "not a number": (lambda: DropPath(float("nan")), "keep_prob is nan; it must be above 0 and at most 1"),
    "path": (lambda: DropPath(0.0), "keep_prob is 0.0; it must be above 0 and at most 1"),
    "input": (lambda: FeedForward(0), "in_features is 0; it must be at least 1"),
    "hidden": (lambda: FeedForward(8, 0), "mlp_dim is 0; it must be at least 1"),
    "output": (lambda: FeedForward(8, 8, 0), "out_features is 0; it must be at least 1"),
    "image": (lambda: PatchEmbedding(0), "image_size is 0; it must be at least 1"),
    "patch": (lambda: PatchEmbedding(8, -2), "patch_size is -2; it must be at least 1"),
    "dim": (lambda: PatchEmbedding(8, 4, 0), "embed_dim is 0; it must be at least 1"),
    "channels": (lambda: PatchEmbedding(8, 4, 8, 0), "input_channels is 0; it must be at least 1"),
    "rest": (
        lambda: PatchEmbedding(30, 4),
        "image_size 30 is not divisible by patch_size 4: the nearest that is divisible is 32",
    ),
    "rest below": (
        lambda: PatchEmbedding(225, 16),
        "image_size 225 is not divisible by patch_size 16: the nearest that is divisible is 224",
    ),
    "few patches": (
        lambda: PatchEmbedding(16, 16),
        "image_size 16 with patch_size 16 makes 1 patch(es), fewer than MIN_NUM_PATCHES = 4: attention needs more tokens, "
        "choose a smaller patch_size",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_impossible_arguments_are_refused(case):
    make, message = REFUSED[case]
    assert error_of(make).startswith(message)


def test_the_fewest_patches_are_four():
    assert PatchEmbedding(8, 4).num_patches == PatchEmbedding.MIN_NUM_PATCHES == 4


# Initial values: the distributions of vit_jax/models_vit.py.


def test_initial_values():
    dense = Dense(40, 60)
    bound = np.sqrt(6 / (40 + 60))
    weight = dense.weight.asnumpy()
    assert 0.97 * bound < np.abs(weight).max() <= bound and (dense.bias.asnumpy() == 0).all()
    assert weight.std() == pytest.approx(bound / np.sqrt(3), rel=0.05)  # uniform, not normal
    conv = PatchEmbedding(16, 4, 64, 3).conv
    assert conv.weight.asnumpy().std() == pytest.approx((3 * 4 * 4) ** -0.5, rel=0.05)
    assert (conv.bias.asnumpy() == 0).all()


def test_q_k_and_v_start_as_three_layers_of_their_own():
    weight = Attention(48, 4).qkv.weight.asnumpy()
    bound = np.sqrt(6 / (48 + 48))  # Glorot's for one 48 x 48 layer, not for 48 x 144
    assert 0.97 * bound < np.abs(weight).max() <= bound
    for part in np.split(weight, 3):
        assert part.std() == pytest.approx(bound / np.sqrt(3), rel=0.05)


def test_init_makes_the_parameter_it_is_told():
    parameter = init(Normal(0.02), (1, 50, 60), ms.float32, "position", requires_grad=False)
    assert parameter.name == "position" and not parameter.requires_grad and parameter.shape == (1, 50, 60)
    assert parameter.asnumpy().std() == pytest.approx(0.02, rel=0.1)
    assert init("zeros", (2,), ms.float16, "x").requires_grad
    assert init("zeros", (2,), ms.float16, "x").dtype == ms.float16


# Places of tokens.


@pytest.mark.parametrize("grid, prefix", [((3, 4), 0), ((2, 3), 1), ((2, 2), 2), ((1, 1), 0)])
def test_the_relative_index_tells_distances_apart_and_nothing_else(grid, prefix):
    index = relative_position_index(grid, prefix)
    places = [None] * prefix + [(i, j) for i in range(grid[0]) for j in range(grid[1])]
    rows = (2 * grid[0] - 1) * (2 * grid[1] - 1)
    assert index.shape == (len(places), len(places)) and index.dtype == np.int32
    for a, one in enumerate(places):
        for b, other in enumerate(places):
            if one is None and other is None:
                wanted = rows + 2
            elif one is None or other is None:
                wanted = rows + (one is not None)
            else:
                down, right = one[0] - other[0] + grid[0] - 1, one[1] - other[1] + grid[1] - 1
                wanted = down * (2 * grid[1] - 1) + right
            assert index[a, b] == wanted


def test_attention_adds_the_bias_of_the_distance_to_its_scores(mode):
    cell = randomize(Attention(12, 3, position_bias=RelativePositionBias((2, 3), 3, 1)))
    x = random(2, 7, 12)
    table = cell.position_bias.relative_position_bias_table.asnumpy().astype(np.float64)
    assert table.shape == (3 * 5 + 3, 3)
    weights = {p.name: p.asnumpy().astype(np.float64) for p in cell.get_parameters()}
    q, k, v = np.split(x @ weights["qkv.weight"].T + weights["qkv.bias"], 3, axis=-1)
    results = []
    for head in range(3):
        part = slice(head * 4, head * 4 + 4)
        scores = q[..., part] @ k[..., part].swapaxes(1, 2) / 2 + table[relative_position_index((2, 3), 1), head]
        e = np.exp(scores)
        results.append(e / e.sum(-1, keepdims=True) @ v[..., part])
    wanted = np.concatenate(results, -1) @ weights["out.weight"].T + weights["out.bias"]
    assert np.allclose(cell(Tensor(x)).asnumpy(), wanted, atol=2e-5)


def test_sincos_positions_are_the_formula():
    found = sincos_positions((3, 4), 12)
    for place in range(12):
        row, column = divmod(place, 4)
        for i in range(3):
            w = 10000 ** (-i / 2)
            wanted = np.sin(column * w), np.cos(column * w), np.sin(row * w), np.cos(row * w)
            assert found[place, i::3] == pytest.approx(wanted, abs=1e-6)
    for dim in (10, 4):
        assert error_of(sincos_positions, (2, 2), dim).startswith(f"embed_dim is {dim}; for sin-cos positions")


def test_learned_2d_positions_are_a_row_s_and_a_column_s(mode):
    cell = randomize(LearnedPositions2D((2, 3), 8))
    rows, columns, found = cell.rows.asnumpy(), cell.columns.asnumpy(), cell().asnumpy()
    assert found.shape == (1, 6, 8)
    for place in range(6):
        row, column = divmod(place, 3)
        assert np.array_equal(found[0, place], np.concatenate([rows[row], columns[column]]))
    assert error_of(LearnedPositions2D, (2, 2), 7) == "embed_dim is 7; for 2-D positions it must be even"


def test_a_dense_layer_can_be_without_bias():
    cell, x = randomize(Dense(4, 3, has_bias=False)), random(2, 4)
    assert [p.name for p in cell.get_parameters()] == ["weight"]
    assert np.allclose(cell(Tensor(x)).asnumpy(), x @ cell.weight.asnumpy().T, atol=1e-6)


def test_an_image_size_is_one_number_or_two():
    assert pair(8) == (8, 8) and pair([8, 12]) == pair((8, 12)) == (8, 12)
    assert error_of(pair, (1, 2, 3)) == "image_size is (1, 2, 3); it must be one number, or height and width"
    assert error_of(pair, (4, 0)) == "image_size is 0; it must be at least 1"
