"""Weights in and out: what does not fit is refused whole, what is saved comes back bit for bit."""

import json
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from helpers import DATA, SMALL, error_of, images, randomize, same, values
from mindspore import Tensor, nn
from safetensors.numpy import load_file, save_file

from vit_ms.layers import NUMERICS, Numerics
from vit_ms.models.vit import ViT
from vit_ms.weights import METADATA, load_weights, numerics_of, save_weights

COURSE = DATA / "course_vit" / "weights.ckpt"
TIMM = DATA / "timm_vit" / "weights.safetensors"
CONFIG = {**json.loads((DATA / "course_vit" / "config.json").read_text())["config"], "num_classes": 7}


def network(numerics: str = "course", **overrides) -> ViT:
    """A network that the fixtures fit, unless an override says otherwise."""
    return ViT(**{**CONFIG, **overrides}, **NUMERICS[numerics].cells())


def small(numerics: str = "course", seed: int = 1) -> ViT:
    return randomize(ViT(**SMALL, **NUMERICS[numerics].cells()), seed).set_train(False)


def refused(net: nn.Cell, path: Path) -> str:
    """The message with which a file is refused; the network must be as it was."""
    before = values(net)
    message = error_of(load_weights, net, path)
    assert same(before, values(net))
    assert str(path) in message
    return message


def save_entries(path: Path, entries: dict) -> Path:
    ms.save_checkpoint([{"name": name, "data": Tensor(array)} for name, array in entries.items()], str(path))
    return path


def course_entries() -> dict[str, np.ndarray]:
    return {name: value.asnumpy() for name, value in ms.load_checkpoint(str(COURSE)).items()}


# Files that are none.


def test_a_file_that_is_absent_is_named(tmp_path):
    assert "there is no weight file" in refused(network(), tmp_path / "absent.ckpt")


def test_a_folder_is_no_file(tmp_path):
    (tmp_path / "folder.ckpt").mkdir()
    assert "there is no weight file" in refused(network(), tmp_path / "folder.ckpt")


@pytest.mark.parametrize("name", ["weights.pth", "weights.npz", "weights", "ckpt"])
def test_another_suffix_is_refused_with_those_that_are_read(name, tmp_path):
    path = tmp_path / name
    path.write_bytes(COURSE.read_bytes())
    message = refused(network(), path)
    assert ".ckpt" in message and ".safetensors" in message


DAMAGE = {
    "empty": lambda whole: b"",
    "one byte": lambda whole: whole[:1],
    "half": lambda whole: whole[: len(whole) // 2],
    "one byte short": lambda whole: whole[:-1],
    "text": lambda whole: b"<html>404 not found</html>\n" * 40,
    "random": lambda whole: np.random.default_rng(0).bytes(5000),
    "zeros": lambda whole: bytes(5000),
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("source, numerics", [(COURSE, "course"), (TIMM, "timm")], ids=["ckpt", "safetensors"])
def test_a_damaged_file_is_refused(source, numerics, damage, tmp_path):
    path = tmp_path / f"damaged{source.suffix}"
    path.write_bytes(DAMAGE[damage](source.read_bytes()))
    assert "damaged" in refused(network(numerics), path)


@pytest.mark.parametrize("metadata", ["{", "7", "[]", '{"other": 1}', '{"numerics": {"epsilon": 1e-6}}'])
def test_metadata_that_say_something_else_are_refused(metadata, tmp_path):
    path = tmp_path / "new.ckpt"
    ms.save_checkpoint(network(), str(path), append_dict={METADATA: metadata})
    refused(network(), path)


# Files that do not fit.


def names_of_block(block: int) -> list[str]:
    return [p.name for p in network().get_parameters() if p.name.startswith(f"transformer.layers.{block}.")]


def test_a_deeper_network_misses_names_and_all_are_listed():
    message = refused(network(num_layers=4), COURSE)
    for name in names_of_block(2):
        assert f"missing {name.replace('layers.2', 'layers.3')}" in message
    assert message.count("missing") == 12 and "unexpected" not in message


def test_a_shallower_network_leaves_names_over_and_all_are_listed():
    message = refused(network("timm", num_layers=2), TIMM)
    assert all(f"unexpected {name}" in message for name in names_of_block(2))
    assert message.count("unexpected") == 12 and "missing" not in message


def test_missing_and_unexpected_names_are_listed_together(tmp_path):
    entries = course_entries()
    entries["other.weight"] = entries.pop("dense.weight")
    message = refused(network(), save_entries(tmp_path / "renamed.ckpt", entries))
    assert "missing dense.weight" in message and "unexpected other.weight" in message


def test_a_new_head_is_left_as_it_is_when_asked_for():
    net = network(num_classes=3)
    before, stored = values(net), course_entries()
    assert load_weights(net, COURSE, skip=["dense."]) == "course"
    after = values(net)
    for name in after:
        assert np.array_equal(after[name], (before if name.startswith("dense.") else stored)[name]), name
    assert "dense.bias has shape (7,), the network's has (3,)" in refused(network(num_classes=3), COURSE)


def test_other_shapes_are_all_listed_with_both():
    message = refused(network(num_classes=9, mlp_dim=100), COURSE)
    assert "dense.weight has shape (7, 48), the network's has (9, 48)" in message
    assert "dense.bias has shape (7,), the network's has (9,)" in message
    for block in range(3):
        name = f"transformer.layers.{block}.1.cell.1.dense1.weight"
        assert f"{name} has shape (96, 48), the network's has (100, 48)" in message
    assert message.count("has shape") == 2 + 3 * 3


def test_a_transposed_matrix_is_refused(tmp_path):
    entries = course_entries()
    name = "transformer.layers.0.1.cell.1.dense1.weight"
    entries[name] = entries[name].T.copy()
    message = refused(network(), save_entries(tmp_path / "transposed.ckpt", entries))
    assert f"{name} has shape (48, 96), the network's has (96, 48)" in message


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(value, tmp_path):
    entries = course_entries()
    entries["norm.beta"][3] = value
    message = refused(network(), save_entries(tmp_path / "nan.ckpt", entries))
    assert "norm.beta has values that are not finite" in message


# Numerics.


@pytest.mark.parametrize("path, right", [(COURSE, "course"), (TIMM, "timm")], ids=["course", "timm"])
@pytest.mark.parametrize("wrong", ["timm", "google", "course"])
def test_weights_for_other_numerics_are_refused_with_the_right_call(path, right, wrong):
    if wrong == right:
        assert load_weights(network(wrong), path) == right
        return
    message = refused(network(wrong), path)
    assert str(NUMERICS[wrong]) in message and str(NUMERICS[right]) in message
    assert message.endswith(f"create_model(..., numerics={right!r})")


@pytest.mark.parametrize("saved, built", [("google", "course"), ("course", "timm"), ("timm", "google")])
def test_our_files_carry_their_numerics(saved, built, tmp_path):
    path = tmp_path / "ours.ckpt"
    save_weights(small(saved), path)
    message = refused(small(built), path)
    assert str(NUMERICS[saved]) in message and message.endswith(f"create_model(..., numerics={saved!r})")
    assert load_weights(small(saved, seed=2), path) == "vit_ms"


def test_numerics_without_a_word_are_told_as_they_are(tmp_path):
    path = tmp_path / "ours.ckpt"
    odd = Numerics(1e-12, "erf")
    save_weights(ViT(**SMALL, **odd.cells()), path)
    assert refused(small(), path).endswith("norm and activation cells with LayerNorm epsilon 1e-12, erf GELU")
    assert load_weights(ViT(**SMALL, **odd.cells()), path) == "vit_ms"


def test_numerics_are_read_off_the_cells():
    assert numerics_of(ViT(**SMALL)) == NUMERICS["course"]
    assert numerics_of(ViT(**SMALL, activation=nn.GELU, norm=nn.LayerNorm)) == NUMERICS["course"]
    assert numerics_of(ViT(**SMALL, activation=nn.ReLU)) == Numerics(1e-7, "ReLU")
    assert numerics_of(nn.Dense(2, 2)).epsilon == 0.0


# Files that fit.


def test_every_value_of_a_file_is_loaded():
    net = network()
    load_weights(net, COURSE)
    assert same(values(net), course_entries())


def test_names_of_timm_are_told_apart():
    net = network("timm")
    load_weights(net, TIMM)
    tensors, loaded = load_file(TIMM), values(net)
    pairs = {
        "cls": "cls_token",
        "pos_embedding": "pos_embed",
        "patch_embedding.conv.weight": "patch_embed.proj.weight",
        "transformer.layers.1.0.cell.0.gamma": "blocks.1.norm1.weight",
        "transformer.layers.1.0.cell.1.qkv.bias": "blocks.1.attn.qkv.bias",
        "transformer.layers.1.0.cell.1.out.weight": "blocks.1.attn.proj.weight",
        "transformer.layers.1.1.cell.0.beta": "blocks.1.norm2.bias",
        "transformer.layers.1.1.cell.1.dense1.weight": "blocks.1.mlp.fc1.weight",
        "transformer.layers.1.1.cell.1.dense2.weight": "blocks.1.mlp.fc2.weight",
        "norm.gamma": "norm.weight",
        "dense.weight": "head.weight",
    }
    assert all(np.array_equal(loaded[ours], tensors[theirs]) for ours, theirs in pairs.items())


def test_half_precision_weights_become_float32(tmp_path):
    path = tmp_path / "half.safetensors"
    save_file({name: array.astype(np.float16) for name, array in load_file(TIMM).items()}, path)
    net = network("timm")
    load_weights(net, path)
    assert all(p.dtype == ms.float32 for p in net.get_parameters())
    assert np.array_equal(net.dense.bias.asnumpy(), load_file(TIMM)["head.bias"].astype(np.float16))


@pytest.mark.parametrize("numerics", ["course", "timm"])
def test_saved_weights_come_back_bit_for_bit(numerics, tmp_path):
    path = tmp_path / "deep" / "folder" / "ours.ckpt"
    net, other = small(numerics), small(numerics, seed=2)
    assert not same(values(net), values(other))
    save_weights(net, path)
    assert load_weights(other, path) == "vit_ms"
    assert same(values(net), values(other))
    assert [file.name for file in path.parent.iterdir()] == ["ours.ckpt"]


def test_a_network_that_has_run_takes_the_loaded_weights(mode, tmp_path):
    x, path = images(), tmp_path / "ours.ckpt"
    net, other = small(), small(seed=2)
    wanted = net(x).asnumpy()
    assert not np.allclose(other(x).asnumpy(), wanted)  # in graph mode it is compiled here
    save_weights(net, path)
    load_weights(other, path)
    assert np.array_equal(other(x).asnumpy(), wanted)


def test_the_two_lines_of_the_course_read_our_file(tmp_path):
    path = tmp_path / "ours.ckpt"
    net, other = small(), small(seed=2)
    save_weights(net, path)
    missing, unexpected = ms.load_param_into_net(other, ms.load_checkpoint(str(path)))
    assert missing == [] and unexpected == [METADATA]
    assert same(values(net), values(other))


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()], ids=["disk full", "stopped"])
def test_a_failed_save_leaves_the_old_file_and_nothing_else(error, tmp_path, monkeypatch):
    path = tmp_path / "ours.ckpt"
    save_weights(small(), path)
    before = path.read_bytes()

    def half(network, name, **kwargs):
        Path(name).write_bytes(before[: len(before) // 2])
        raise error

    monkeypatch.setattr(ms, "save_checkpoint", half)
    for file in (path, tmp_path / "new.ckpt"):
        with pytest.raises(type(error)):
            save_weights(small(seed=2), file)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["ours.ckpt"]
