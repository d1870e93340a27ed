"""Weights in and out: what does not fit is refused whole, what is saved comes back bit for bit."""

import json
import re
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from helpers import DATA, SMALL, error_of, images, randomize, same, values
from library_models import LIBRARIES, stored, weights_file
from mindspore import Tensor, nn
from safetensors.numpy import load_file, save_file

from vit_ms import runtime
from vit_ms.layers import NUMERICS, Numerics
from vit_ms.models.resnetv2 import ResNetV2
from vit_ms.models.vit import ViT
from vit_ms.weight_sources import SOURCES
from vit_ms.weights import METADATA, WORDS, load_weights, numerics_of, save_weights

COURSE = DATA / "course_vit" / "weights.ckpt"
TIMM = DATA / "timm_vit" / "weights.safetensors"
CONFIG = {**json.loads((DATA / "course_vit" / "config.json").read_text())["config"], "num_classes": 7}


def network(numerics: str = "course", **overrides) -> ViT:
    """A network that the fixtures fit, unless an override says otherwise."""
    return ViT(**{**CONFIG, **overrides}, **NUMERICS[numerics].cells())


def small(numerics: str = "course", seed: int = 1) -> ViT:
    return randomize(ViT(**SMALL, **NUMERICS[numerics].cells()), seed).set_train(False)


def refused(net: nn.Cell, path: Path, **options) -> str:
    """The message with which a file is refused; the network must be as it was."""
    before = values(net)
    message = error_of(load_weights, net, path, **options)
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


@pytest.mark.parametrize("name", ["weights.h5", "weights", "ckpt"])
def test_another_suffix_is_refused_with_those_that_are_read(name, tmp_path):
    path = tmp_path / name
    path.write_bytes(COURSE.read_bytes())
    assert refused(network(), path).endswith("vit_ms reads: .ckpt, .safetensors, .npz")


@pytest.mark.parametrize("name", ["weights.pth", "model.pt", "pytorch_model.bin"])
def test_a_pickle_is_not_opened_and_the_way_out_is_told(name, tmp_path):
    (tmp_path / name).write_bytes(b"cos\nsystem\n(S'touch opened'\ntR.")
    message = refused(network(), tmp_path / name)
    assert "pickle" in message and "safetensors.torch.save_file" in message
    assert not (tmp_path / "opened").exists()


def test_an_array_of_objects_is_not_unpickled(tmp_path):
    path = tmp_path / "objects.npz"
    arrays = dict(np.load(weights_file("google_vit")))
    np.savez(path, **{**arrays, "head/bias": np.array([{}], dtype=object)})
    assert "damaged" in refused(LIBRARIES["google_vit"].network(), path)


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
@pytest.mark.parametrize("folder", ["course_vit", "timm_vit", "google_vit"])
def test_a_damaged_file_is_refused(folder, damage, tmp_path):
    source = weights_file(folder)
    path = tmp_path / f"damaged{source.suffix}"
    path.write_bytes(DAMAGE[damage](source.read_bytes()))
    assert "damaged" in refused(LIBRARIES[folder].network(), path)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_an_npz_with_wrong_bytes_inside_is_refused(save, tmp_path):
    whole, path = tmp_path / "whole.npz", tmp_path / "damaged.npz"
    save(whole, **np.load(weights_file("google_vit")))
    content, net = bytearray(whole.read_bytes()), LIBRARIES["google_vit"].network()
    for place in np.linspace(100, len(content) * 0.9, 25).astype(int):
        changed = content.copy()
        changed[place : place + 40] = bytes(255 - byte for byte in changed[place : place + 40])
        path.write_bytes(changed)
        assert "damaged" in refused(net, path), place


def test_a_file_with_nothing_in_it_is_refused(tmp_path):
    np.savez(tmp_path / "empty.npz")
    save_file({}, tmp_path / "empty.safetensors")
    for path in tmp_path.iterdir():
        assert "nothing is in it" in refused(network("timm"), path)


@pytest.mark.parametrize("metadata", ["{", "7", "[]", '{"other": 1}', '{"numerics": {"epsilon": 1e-6}}'])
def test_metadata_that_say_something_else_are_refused(metadata, tmp_path):
    path = tmp_path / "new.ckpt"
    ms.save_checkpoint(network(), str(path), append_dict={METADATA: metadata})
    refused(network(), path)
    path = tmp_path / "new.safetensors"
    save_file(values(network()), path, {METADATA: metadata})
    refused(network(), path)


# Files that do not fit.


def names_of_block(block: int) -> list[str]:
    return [p.name for p in network().get_parameters() if p.name.startswith(f"transformer.layers.{block}.")]


def test_a_deeper_network_misses_names_and_all_are_listed():
    message = refused(network(num_layers=4), COURSE)
    for name in names_of_block(2):
        assert f"missing {name.replace('layers.2', 'layers.3')}" in message
    assert message.count("missing") == 12 and "unexpected" not in message


def test_a_file_of_another_depth_is_listed_up_to_twenty_names():
    message = refused(network(num_layers=8), COURSE)
    assert message.count("missing") == 20 and message.endswith("; and 40 more")


def test_a_shallower_network_leaves_names_over_and_all_are_listed():
    message = refused(network("timm", num_layers=2), TIMM)
    # The network has no such norms, so their names stay timm's.
    theirs = [name.replace("gamma", "weight").replace("beta", "bias") for name in names_of_block(2)]
    assert all(f"unexpected {name}" in message for name in theirs)
    assert message.count("unexpected") == 12 and "missing" not in message


def test_missing_and_unexpected_names_are_listed_together(tmp_path):
    entries = course_entries()
    entries["other.weight"] = entries.pop("dense.weight")
    message = refused(network(), save_entries(tmp_path / "renamed.ckpt", entries))
    assert "missing dense.weight" in message and "unexpected other.weight" in message


def test_a_new_head_is_left_as_it_is_when_asked_for():
    net = network(num_classes=3)
    before, stored = values(net), course_entries()
    for skip in (["dense."], "dense."):
        report = load_weights(net, COURSE, skip=skip)
        assert report.kept == report.left_out == ("dense.weight", "dense.bias")
        assert str(report).startswith("weights of course; kept: dense.weight, dense.bias; left out: dense.weight")
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


def test_words_and_complex_numbers_are_no_weights(tmp_path):
    arrays = dict(np.load(weights_file("google_vit")))
    for bad in (np.full(7, "x"), np.full(7, 1j)):
        np.savez(tmp_path / "bad.npz", **{**arrays, "head/bias": bad})
        message = refused(LIBRARIES["google_vit"].network(), tmp_path / "bad.npz")
        assert "dense.bias holds no real numbers" in message


def test_without_strict_what_does_not_match_is_reported(tmp_path):
    entries = course_entries()
    entries["other.weight"] = entries.pop("dense.weight")
    path = save_entries(tmp_path / "renamed.ckpt", entries)
    net = network()
    head = net.dense.weight.asnumpy().copy()
    report = load_weights(net, path, strict=False)
    assert report.kept == ("dense.weight",) and report.left_out == ("other.weight",)
    assert np.array_equal(net.dense.weight.asnumpy(), head)
    assert np.array_equal(net.dense.bias.asnumpy(), entries["dense.bias"])
    # Not strict with names does not mean with shapes and values.
    assert "dense.bias has shape" in refused(network(num_classes=3), path, strict=False)
    entries["norm.beta"][0] = np.nan
    assert "not finite" in refused(net, save_entries(tmp_path / "nan.ckpt", entries), strict=False)


def test_without_strict_a_file_that_has_nothing_of_the_network_is_refused(tmp_path):
    path = tmp_path / "ours.safetensors"
    said = json.dumps({"numerics": {"epsilon": 1e-6, "gelu": "erf"}})
    save_file({"other": np.zeros(3, np.float32)}, path, {METADATA: said})
    assert "not one parameter" in refused(network("timm"), path, strict=False)


# Whose weights they are.


@pytest.mark.parametrize("folder", LIBRARIES)
@pytest.mark.parametrize("suffix", [".ckpt", ".safetensors"])
def test_weights_of_each_library_load_and_stay_what_they_are_as_ours(folder, suffix, tmp_path):
    net, path = LIBRARIES[folder].network(), tmp_path / f"ours{suffix}"
    report = load_weights(net, weights_file(folder))
    assert str(report) == f"weights of {LIBRARIES[folder].source}"
    save_weights(net, path)
    other = LIBRARIES[folder].network()
    assert not same(values(net), values(other))
    assert str(load_weights(other, path)) == "weights of vit_ms"
    assert same(values(net), values(other))


# Each library's family: one folder stands for it.
FAMILIES = {"vit": "timm_vit", "swin": "timm_swin", "convnext": "timm_convnext"}


@pytest.mark.parametrize("folder", LIBRARIES)
def test_weights_of_another_family_are_refused_by_what_they_are(folder):
    library = LIBRARIES[folder]
    own = next((family for family in ("swin", "convnext") if family in folder), "vit")
    for family, other in FAMILIES.items():
        if family != own:
            message = refused(LIBRARIES[other].network(), weights_file(folder))
            assert f"holds a {WORDS[own]} of {library.source}'s, but the network is a {WORDS[family]}" in message
    for other in (nn.Dense(2, 2), ResNetV2(depths=[1], stem_channels=32)):
        assert f"holds a {WORDS[own]} of {library.source}'s" in refused(other, weights_file(folder))


def test_names_that_nobody_knows_are_told(tmp_path):
    path = tmp_path / "unknown.safetensors"
    save_file({name: np.zeros(2, np.float32) for name in ("encoder.one", "encoder.two")}, path)
    assert "names that vit_ms does not know (encoder.one, encoder.two, ...)" in refused(network(), path)
    assert "no names of timm's: it has nobody's that vit_ms knows" in refused(network(), path, source="timm")


def test_names_of_two_libraries_ask_whose_they_are(tmp_path):
    path = tmp_path / "both.safetensors"
    save_file(load_file(TIMM) | load_file(weights_file("hf_vit")), path)
    message = refused(network("timm"), path)
    assert message.endswith("may be a ViT of timm's or a ViT of hf's: say whose it is, source='timm' or 'hf'")
    assert "unexpected vit.embeddings" in refused(network("timm"), path, source="timm")


def test_a_source_that_does_not_exist_or_does_not_fit_is_refused():
    before = values(net := network("timm"))
    message = error_of(load_weights, net, TIMM, source="tim")
    assert "source is 'tim'" in message and "timm" in message
    assert same(before, values(net))
    assert "no names of google's: it has those of a ViT of timm's" in refused(network("google"), TIMM, source="google")
    assert load_weights(net, TIMM, source="timm").source == "timm"


def test_query_key_and_value_must_all_be_there(tmp_path):
    arrays, path = load_file(weights_file("hf_vit")), tmp_path / "lacking.safetensors"
    name = "vit.encoder.layer.1.attention.attention.key.weight"
    save_file({key: array for key, array in arrays.items() if key != name}, path)
    message = refused(LIBRARIES["hf_vit"].network(), path)
    assert "layers.1.0.cell.1.qkv.weight needs query, key and value, but the file lacks key" in message


@pytest.mark.parametrize("folder", ["timm_vit", "timm_swin"])
def test_a_bare_checkpoint_of_ours_asks_to_be_vouched_for(folder, tmp_path):
    """Saved with MindSpore's own function, it does not say which numerics it needs."""
    net, path = randomize(LIBRARIES[folder].network()), tmp_path / "bare.ckpt"
    ms.save_checkpoint(net, str(path))
    other = LIBRARIES[folder].network()
    if folder == "timm_swin":
        assert "load it with source='vit_ms'" in refused(other, path)
    else:  # it has the course's names, so the course's numerics are asked for
        message = refused(other, path)
        assert "weights of course" in message and "source='vit_ms'" in message
    assert load_weights(other, path, source="vit_ms").source == "vit_ms"
    assert same(values(net), values(other))


# Numerics.


@pytest.mark.parametrize("folder", LIBRARIES)
def test_weights_for_other_numerics_are_refused_with_the_right_call(folder):
    source, _, _, known = LIBRARIES[folder]
    for wrong, numerics in known.items():
        net = LIBRARIES[folder].network(wrong)
        if numerics == known[source]:
            assert load_weights(net, weights_file(folder)).source == source
            continue
        message = refused(net, weights_file(folder))
        assert f"weights of {source} ({known[source]}), but the network has {numerics_of(net)}" in message
        hint = ", or if it was saved from a network like this one, load it with source='vit_ms'"
        assert message.endswith(f"create_model(..., numerics={source!r})" + hint * (source == "course"))


@pytest.mark.parametrize("folder", ["hf_vit", "hf_convnext"])
def test_the_config_beside_weights_of_hugging_face_says_their_numerics(folder, tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(weights_file(folder).read_bytes())
    config = json.loads((DATA / folder / "config.json").read_text())
    known = LIBRARIES[folder].known["hf"]

    def beside(**changed) -> None:
        (tmp_path / "config.json").write_text(json.dumps({**config, **changed}))

    usual = LIBRARIES[folder].network()
    assert load_weights(usual, path).source == "hf"  # without a config.json: the usual ones
    beside(layer_norm_eps=1e-6, hidden_act="gelu_new")
    # A word that means the same numerics is enough.
    word = {"hf_vit": "google", "hf_convnext": "mindcv"}[folder]
    assert refused(usual, path).endswith(f"create_model(..., numerics={word!r})")
    beside(layer_norm_eps=1e-3)
    field = {"hf_vit": "epsilon=0.001, gelu='erf'", "hf_convnext": "epsilon=1e-06, gelu='erf', head_epsilon=0.001"}[
        folder
    ]
    assert refused(usual, path).endswith(f"create_model(..., numerics=Numerics({field}))")
    beside(layer_norm_eps=1e-6, hidden_act="gelu_new")
    assert load_weights(LIBRARIES[folder].network(Numerics(1e-6, "tanh")), path).source == "hf"
    beside(hidden_act="quick_gelu")
    assert "the activation 'quick_gelu', which vit_ms has not" in error_of(load_weights, usual, path)
    beside(layer_norm_eps="small")
    assert "config.json is damaged" in error_of(load_weights, usual, path)
    (tmp_path / "config.json").write_text("{")
    assert "config.json is damaged" in error_of(load_weights, usual, path)
    assert numerics_of(usual) == known


@pytest.mark.parametrize("saved, built", [("google", "course"), ("course", "timm"), ("timm", "google")])
def test_our_files_carry_their_numerics(saved, built, tmp_path):
    path = tmp_path / "ours.ckpt"
    save_weights(small(saved), path)
    message = refused(small(built), path)
    assert str(NUMERICS[saved]) in message and message.endswith(f"create_model(..., numerics={saved!r})")
    assert load_weights(small(saved, seed=2), path).source == "vit_ms"


def test_numerics_without_a_word_are_told_as_they_are(tmp_path):
    path = tmp_path / "ours.ckpt"
    odd = Numerics(1e-5, "erf")
    save_weights(ViT(**SMALL, **odd.cells()), path)
    assert refused(small(), path).endswith("create_model(..., numerics=Numerics(epsilon=1e-05, gelu='erf'))")
    assert load_weights(ViT(**SMALL, **odd.cells()), path).source == "vit_ms"


def test_numerics_are_read_off_the_cells():
    assert numerics_of(ViT(**SMALL)) == NUMERICS["course"]
    assert numerics_of(ViT(**SMALL, activation=nn.GELU, norm=nn.LayerNorm)) == NUMERICS["course"]
    assert numerics_of(ViT(**SMALL, activation=nn.ReLU)) == Numerics(1e-7, "ReLU")
    assert numerics_of(nn.Dense(2, 2)) == Numerics()


@pytest.mark.parametrize("folder", LIBRARIES)
def test_the_numerics_of_each_family_are_read_off_the_cells(folder):
    for numerics in LIBRARIES[folder].known.values():
        found = numerics_of(LIBRARIES[folder].network(numerics))
        assert (found.head_epsilon or found.epsilon) == (numerics.head_epsilon or numerics.epsilon)
        assert found.epsilon == numerics.epsilon and found.gelu == numerics.gelu
        assert (found.group_epsilon, found.standardize) == (numerics.group_epsilon, numerics.standardize)


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


def test_bfloat16_weights_become_float32(tmp_path):
    """NumPy has no such type: the file is written by hand."""
    arrays, path = load_file(TIMM), tmp_path / "bfloat16.safetensors"
    header, content = {"__metadata__": {"format": "pt"}}, b""
    for name, array in arrays.items():
        if name == "head.bias":  # one stays float32
            data, dtype = array.tobytes(), "F32"
        else:
            data, dtype = (np.ascontiguousarray(array).view(np.uint32) >> 16).astype("<u2").tobytes(), "BF16"
        offsets = [len(content), len(content) + len(data)]
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": offsets}
        content += data
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + content)
    net, whole = network("timm"), network("timm")
    load_weights(net, path)
    load_weights(whole, TIMM)
    for name, array in values(whole).items():
        found = values(net)[name]
        assert np.allclose(found, array, rtol=2**-7, atol=0), name
        assert np.array_equal(found, array) == (name == "dense.bias"), name


@pytest.mark.parametrize("numerics", ["course", "timm"])
def test_saved_weights_come_back_bit_for_bit(numerics, tmp_path):
    path = tmp_path / "deep" / "folder" / "ours.ckpt"
    net, other = small(numerics), small(numerics, seed=2)
    assert not same(values(net), values(other))
    save_weights(net, path)
    assert load_weights(other, path).source == "vit_ms"
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


# Other names and layouts of the same weights.


def logits(net: nn.Cell, folder: str) -> np.ndarray:
    runtime.setup("CPU", "pynative")
    return net(Tensor(stored(folder, "input"))).asnumpy()


TODAY = {"LayerNorm_2": "LayerNorm_1", "MlpBlock_3": "MlpBlock_0", "DotProductAttention_1": "DotProductAttention_0"}


def test_names_of_todays_flax_load_as_the_old_ones(tmp_path):
    old, path = dict(np.load(weights_file("google_vit"))), tmp_path / "today.npz"
    renamed = {re.sub("|".join(TODAY), lambda match: TODAY[match[0]], name): array for name, array in old.items()}
    assert len(renamed) == len(old) and len(renamed.keys() - old.keys()) == 3 * (2 + 4 + 8)
    np.savez(path, **renamed)
    net, other = (LIBRARIES["google_vit"].network() for _ in range(2))
    assert load_weights(net, path).source == load_weights(other, weights_file("google_vit")).source == "google"
    assert same(values(net), values(other))


@pytest.mark.parametrize("folder", ["timm_swin", "timm_convnext"])
def test_the_authors_names_load_as_timms(folder, tmp_path):
    official = json.loads((DATA / folder / "official_names.json").read_text())
    table, path = official["table"], tmp_path / "authors.safetensors"
    arrays = load_file(weights_file(folder))
    # Which side of the table is timm's is seen from the file; what is in no file are tables of indices.
    pairs = list(table.items()) if set(table) <= set(arrays) else [(theirs, ours) for ours, theirs in table.items()]
    renamed = {authors: arrays[timms] for timms, authors in pairs if timms in arrays}
    assert len(renamed) == len(arrays) and renamed.keys() != arrays.keys()
    if folder == "timm_swin":
        renamed["layers.0.blocks.1.attn.relative_position_index"] = np.zeros((49, 49), np.int64)
        renamed["layers.0.blocks.1.attn_mask"] = np.zeros((4, 49, 49), np.float32)
    save_file(renamed, path)
    net = LIBRARIES[folder].network()
    assert str(load_weights(net, path)) == "weights of timm"
    assert np.abs(logits(net, folder) - stored(folder, "logits")).max() < 2e-5


def google_layout(net: nn.Cell, flat_norms: bool) -> dict[str, np.ndarray]:
    """A hybrid's parameters as Google's .npz has them."""
    heads = net.transformer.layers[0][0].cell[1].num_heads
    arrays = {}

    def put(name: str, array: np.ndarray) -> None:
        assert name not in arrays
        arrays[name] = array

    for name, array in values(net).items():
        kind = {"weight": "kernel", "gamma": "scale", "beta": "bias", "bias": "bias"}.get(name.rpartition(".")[2])
        if match := re.match(r"transformer\.layers\.(\d+)\.(.*)\.\w+$", name):
            block, part = f"Transformer/encoderblock_{match[1]}/", match[2]
            if part == "0.cell.1.qkv":
                for word, one in zip(("query", "key", "value"), np.split(array, 3), strict=True):
                    one = one.reshape(heads, -1) if kind == "bias" else one.T.reshape(len(one), heads, -1)
                    put(f"{block}MultiHeadDotProductAttention_1/{word}/{kind}", one)
            elif part == "0.cell.1.out":
                array = array if kind == "bias" else array.T.reshape(heads, -1, len(array))
                put(f"{block}MultiHeadDotProductAttention_1/out/{kind}", array)
            else:
                theirs = {
                    "0.cell.0": "LayerNorm_0",
                    "1.cell.0": "LayerNorm_2",
                    "1.cell.1.dense1": "MlpBlock_3/Dense_0",
                    "1.cell.1.dense2": "MlpBlock_3/Dense_1",
                }[part]
                put(f"{block}{theirs}/{kind}", array.T)
        elif name.startswith("backbone."):
            theirs = re.sub(r"^backbone\.stem\.(conv|norm)\.\w+$", r"\1_root", name)
            theirs = re.sub(
                r"^backbone\.stages\.(\d+)\.(\d+)\.(conv\d|shortcut)\.(conv|norm)\.\w+$",
                lambda m: (
                    f"block{int(m[1]) + 1}/unit{int(m[2]) + 1:02d}/{m[4]}{m[3][4:] if m[3][0] == 'c' else '_proj'}"
                ),
                theirs,
            ).replace("norm", "gn")
            if array.ndim == 4:
                put(f"{theirs}/kernel", array.transpose(2, 3, 1, 0))
            else:
                put(f"{theirs}/{kind}", array if flat_norms else array.reshape(1, 1, 1, -1))
        else:
            theirs = {
                "cls": "cls",
                "pos_embedding": "Transformer/posembed_input/pos_embedding",
                "patch_embedding.conv.weight": "embedding/kernel",
                "patch_embedding.conv.bias": "embedding/bias",
                "norm.gamma": "Transformer/encoder_norm/scale",
                "norm.beta": "Transformer/encoder_norm/bias",
                "pre_logits.0.weight": "pre_logits/kernel",
                "pre_logits.0.bias": "pre_logits/bias",
                "dense.weight": "head/kernel",
                "dense.bias": "head/bias",
            }[name]
            put(theirs, array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T if array.ndim == 2 else array)
    return arrays


@pytest.mark.parametrize("flat_norms", [True, False], ids=["(C,)", "(1, 1, 1, C)"])
def test_a_hybrid_of_googles_loads(flat_norms, tmp_path):
    path = tmp_path / "hybrid.npz"
    library = LIBRARIES["timm_hybrid"]
    options = {"numerics": "google", "depths": [1, 2], "representation_size": 20}
    net = randomize(library.network(**options))
    np.savez(path, **google_layout(net, flat_norms))
    other = library.network(**options)
    assert str(load_weights(other, path)) == "weights of google"
    assert same(values(net), values(other))
    assert np.array_equal(logits(net, "timm_hybrid"), logits(other, "timm_hybrid"))
    assert "numerics='google'" in refused(library.network("timm", depths=[1, 2], representation_size=20), path)


def test_every_source_is_recognised_by_a_file_of_its_own():
    """Signatures must not overlap: a file of one source is of no other."""
    names = {folder: load_file(weights_file(folder)) for folder in LIBRARIES if folder.startswith(("timm", "hf"))}
    names["google_vit"] = np.load(weights_file("google_vit")).files
    for folder in ("course_vit", "mindcv_vit"):
        names[folder] = ms.load_checkpoint(str(weights_file(folder)))
    for folder, found in names.items():
        matching = {source.name for source in SOURCES if any(re.search(source.signature, name) for name in found)}
        assert matching == {LIBRARIES[folder].source}
