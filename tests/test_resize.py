"""Grids of other sizes: as the libraries do it, on load, and said in the report."""

import mindspore as ms
import numpy as np
import pytest
from helpers import SMALL, error_of, random, randomize, values
from library_models import LIBRARIES, weights_file
from scipy.ndimage import zoom

from vit_ms import runtime
from vit_ms.layers import NUMERICS
from vit_ms.models import swin
from vit_ms.models.vit import ViT
from vit_ms.resize import METHODS, resize_bias_table, resize_grid, resize_matrix, resize_positions
from vit_ms.weights import load_weights, save_weights

SIDES = [(14, 24), (24, 14), (2, 7), (7, 2), (1, 4), (5, 5), (13, 14)]


@pytest.fixture(autouse=True)
def eager(clean_state):
    runtime.setup("CPU", "pynative")


@pytest.mark.parametrize("old, new", SIDES)
def test_google_is_scipys_zoom(old, new):
    grid = random(old, old + 1, 3)
    factors = (new / old, (new + 2) / (old + 1), 1)
    # By default zoom gives 0 where rounding takes the last place beyond the border, as it does for 15 to 26.
    wanted = zoom(grid.astype(np.float64), factors, order=1, mode="nearest")
    assert np.abs(resize_grid(grid, (new, new + 2), "google") - wanted).max() < 1e-6


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("old, new", SIDES)
def test_each_place_takes_one_in_all(old, new, method):
    matrix = resize_matrix(old, new, method)
    assert matrix.shape == (new, old) and np.allclose(matrix.sum(axis=1), 1.0)
    # Both ends are treated alike.
    assert np.allclose(matrix, matrix[::-1, ::-1])
    if old == new:
        assert np.allclose(matrix, np.eye(old))


def test_another_method_is_refused():
    assert "choose one of google, timm, swin" in error_of(resize_matrix, 2, 3, "bicubic")


def test_rows_and_columns_are_not_mixed_up():
    """A grid that changes with its rows alone still does, whatever happens to its columns."""
    grid = np.broadcast_to(np.arange(4.0)[:, None, None], (4, 3, 2))
    for method in METHODS:
        resized = resize_grid(grid, (6, 5), method)
        assert resized.shape == (6, 5, 2) and resized.dtype == np.float32
        assert np.allclose(resized, resized[:, :1]) and (np.diff(resized[:, 0, 0]) > 0).all()


@pytest.mark.parametrize("num_prefix", [1, 2])
def test_the_class_token_is_not_touched(num_prefix):
    positions = random(1, num_prefix + 6, 4)
    resized = resize_positions(positions, (2, 3), (5, 4), num_prefix, "timm")
    assert resized.shape == (1, num_prefix + 20, 4)
    assert np.array_equal(resized[:, :num_prefix], positions[:, :num_prefix])
    grid = resize_grid(positions[0, num_prefix:].reshape(2, 3, 4), (5, 4), "timm")
    assert np.array_equal(resized[0, num_prefix:], grid.reshape(20, 4))


@pytest.mark.parametrize("num_prefix", [0, 1])
def test_a_table_of_distances_is_resized_as_a_grid_of_them(num_prefix):
    between = 3 if num_prefix else 0
    table = random(5 * 7 + between, 2)
    resized = resize_bias_table(table, (3, 4), (5, 3), num_prefix)
    assert resized.shape == (9 * 5 + between, 2)
    grid = resize_grid(table[:35].reshape(5, 7, 2), (9, 5), "swin")
    assert np.array_equal(resized[:45], grid.reshape(45, 2)) and np.array_equal(resized[45:], table[35:])
    # Distance 0 stays in the middle: a token's bias for itself is what it was.
    assert np.allclose(resized[22], table[17], atol=1e-6)


# On load.


@pytest.mark.parametrize("folder, method", [("google_vit", "google"), ("timm_vit", "timm"), ("hf_vit", "timm")])
@pytest.mark.parametrize("size, grid", [(48, (6, 6)), (24, (3, 3)), ((24, 40), (3, 5)), ((16, 64), (2, 8))])
def test_positions_are_resized_on_load_as_their_source_does(folder, method, size, grid):
    same_size, other = LIBRARIES[folder].network(), LIBRARIES[folder].network(image_size=size)
    assert load_weights(same_size, weights_file(folder)).resized == ()
    report = load_weights(other, weights_file(folder))
    tokens = grid[0] * grid[1] + 1
    assert report.resized == (f"pos_embedding from (1, 17, 48) to (1, {tokens}, 48)",)
    assert f"resized: pos_embedding from (1, 17, 48) to (1, {tokens}, 48)" in str(report)
    before, after = values(same_size), values(other)
    wanted = resize_positions(before.pop("pos_embedding"), (4, 4), grid, 1, method)
    assert np.array_equal(after.pop("pos_embedding"), wanted)
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_a_distilled_network_keeps_both_tokens():
    library, path = LIBRARIES["timm_deit_distilled"], weights_file("timm_deit_distilled")
    same_size, other = library.network(), library.network(image_size=48)
    load_weights(same_size, path)
    assert "to (1, 38, 48)" in str(load_weights(other, path))
    assert np.array_equal(other.pos_embedding.asnumpy()[:, :2], same_size.pos_embedding.asnumpy()[:, :2])


def small(**changed) -> ViT:
    return randomize(ViT(**{**SMALL, **changed}, **NUMERICS["timm"].cells()))


def test_our_file_says_the_grid_of_a_network_that_is_not_square(tmp_path):
    """16 patches of 2 x 8 are not those of 4 x 4, though they are as many."""
    wide, square = small(image_size=(8, 32)), small(image_size=16)
    save_weights(wide, tmp_path / "wide.ckpt")
    positions = wide.pos_embedding.asnumpy()
    assert load_weights(square, tmp_path / "wide.ckpt").resized
    assert np.array_equal(square.pos_embedding.asnumpy(), resize_positions(positions, (2, 8), (4, 4), 1, "timm"))
    again = small(image_size=(8, 32), num_layers=2)
    assert load_weights(again, tmp_path / "wide.ckpt").resized == ()
    assert np.array_equal(again.pos_embedding.asnumpy(), positions)


def test_a_file_that_is_vouched_for_is_taken_as_it_is(tmp_path):
    wide, again = small(image_size=(8, 32)), small(image_size=(8, 32))
    ms.save_checkpoint(wide, str(tmp_path / "bare.ckpt"))
    assert load_weights(again, tmp_path / "bare.ckpt", source="vit_ms").resized == ()
    assert np.array_equal(again.pos_embedding.asnumpy(), wide.pos_embedding.asnumpy())


def test_positions_that_are_no_square_are_refused(tmp_path):
    ms.save_checkpoint(small(image_size=(8, 12)), str(tmp_path / "bare.ckpt"))
    message = error_of(load_weights, small(), tmp_path / "bare.ckpt", source="vit_ms")
    assert "pos_embedding has shape (1, 7, 16), the network's has (1, 5, 16)" in message


def test_rows_and_columns_of_2d_positions_are_resized(tmp_path):
    old, new = small(position="learned_2d"), small(position="learned_2d", image_size=(12, 8))
    save_weights(old, tmp_path / "ours.ckpt")
    report = load_weights(new, tmp_path / "ours.ckpt")
    assert report.resized == ("pos_embedding_2d.rows from (2, 8) to (3, 8)",)
    rows = resize_matrix(2, 3, "timm") @ old.pos_embedding_2d.rows.asnumpy()
    assert np.allclose(new.pos_embedding_2d.rows.asnumpy(), rows, atol=1e-6)
    assert np.array_equal(new.pos_embedding_2d.columns.asnumpy(), old.pos_embedding_2d.columns.asnumpy())


def test_relative_positions_of_a_vit_are_resized(tmp_path):
    old, new = small(position="relative"), small(position="relative", image_size=(12, 16))
    save_weights(old, tmp_path / "ours.ckpt")
    report = load_weights(new, tmp_path / "ours.ckpt")
    name = "transformer.layers.0.0.cell.1.position_bias.relative_position_bias_table"
    assert report.resized[0] == f"{name} from (12, 2) to (38, 2)" and len(report.resized) == 2
    wanted = resize_bias_table(values(old)[name], (2, 2), (3, 4), 1)
    assert np.array_equal(values(new)[name], wanted)


@pytest.mark.parametrize("folder", ["timm_swin", "hf_swin"])
def test_tables_of_swin_are_resized_for_another_window(folder):
    library, path = LIBRARIES[folder], weights_file(folder)
    same_size, other = library.network(), library.network(image_size=64, window_size=8)
    assert load_weights(same_size, path).resized == ()
    report = load_weights(other, path)
    assert len(report.resized) == 4 and "from (169, 2) to (225, 2)" in str(report)
    name = "stages.1.blocks.1.0.cell.1.attention.position_bias.relative_position_bias_table"
    wanted = resize_bias_table(values(same_size)[name], (7, 7), (8, 8), 0)
    assert np.array_equal(values(other)[name], wanted)


def test_our_file_says_the_windows_of_a_swin(tmp_path):
    """The map 14 x 4 has windows 7 x 4 and 7 x 2, and 4 x 14 the same tables with sides changed: of as many rows."""

    def network(size) -> swin.Swin:
        cells = swin.NUMERICS["timm"].cells()
        return randomize(swin.Swin(size, embed_dim=8, depths=[1, 1], num_heads=[2, 2], num_classes=3, **cells))

    tall, wide, again = network((56, 16)), network((16, 56)), network((56, 16))
    save_weights(tall, tmp_path / "tall.safetensors")
    assert load_weights(again, tmp_path / "tall.safetensors").resized == ()
    report = load_weights(wide, tmp_path / "tall.safetensors")
    assert len(report.resized) == 2
    name = "stages.0.blocks.0.0.cell.1.attention.position_bias.relative_position_bias_table"
    assert np.array_equal(values(wide)[name], resize_bias_table(values(tall)[name], (7, 4), (4, 7), 0))
