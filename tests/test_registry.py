"""Models by name: exact parameter counts, patterns, numerics and overrides."""

import math

import pytest
from helpers import error_of, images
from mindspore.nn.utils import no_init_parameters

from vit_ms import create_model, list_models
from vit_ms.layers import NUMERICS, DropPath
from vit_ms.models.vit import VARIANTS
from vit_ms.registry import MODELS, model_arguments
from vit_ms.weights import numerics_of

# Of every variant at its own number of classes. The 1000-class rows are timm's and the paper's numbers.
COUNTS = {
    "vit_nano_4": 136_906,
    "vit_ti_16": 5_717_416,
    "vit_s_16": 22_050_664,
    "vit_s_32": 22_878_952,
    "vit_b_16": 86_567_656,
    "vit_b_32": 88_224_232,
    "vit_l_16": 304_326_632,
    "vit_l_32": 306_535_400,
    "vit_h_14": 632_045_800,
    "vit_b_16_in21k": 103_186_515,
    "vit_b_32_in21k": 104_843_091,
    "vit_l_16_in21k": 326_740_307,
    "vit_l_32_in21k": 328_949_075,
    "vit_h_14_in21k": 660_385_363,
}


def build(name, **arguments):
    """A model whose parameters have a shape but no values: H/14 would take 2.5 GB."""
    with no_init_parameters():
        return create_model(name, **arguments)


def count(network) -> int:
    return sum(math.prod(p.shape) for p in network.get_parameters())


def by_formula(row: dict) -> int:
    """The paper's section 3.1 in numbers."""
    d, m, p, k = row["embed_dim"], row["mlp_dim"], row["patch_size"], row.get("num_classes", 1000)
    channels, r = row.get("input_channels", 3), row.get("representation_size")
    patches = (row["image_size"] // p) ** 2
    embedding = (channels * p * p + 1) * d + d + (patches + 1) * d  # projection, class token, positions
    attention = (d + 1) * 3 * d + (d + 1) * d
    mlp = (d + 1) * m + (m + 1) * d
    norm = 2 * d
    head = (d + 1) * r + (r + 1) * k if r else (d + 1) * k
    return embedding + row["num_layers"] * (2 * norm + attention + mlp) + norm + head


def test_every_variant_has_its_count_in_the_table():
    assert set(COUNTS) == set(MODELS) == set(list_models())


@pytest.mark.parametrize("name", COUNTS)
def test_parameter_counts(name):
    assert count(build(name)) == COUNTS[name] == by_formula(VARIANTS[name])


def test_list_models_takes_shell_patterns():
    assert list_models() == list(VARIANTS)  # the order of the table
    assert list_models("vit_b*") == ["vit_b_16", "vit_b_32", "vit_b_16_in21k", "vit_b_32_in21k"]
    assert list_models("*_14") == ["vit_h_14"]
    assert list_models("vit_[sl]_32") == ["vit_s_32", "vit_l_32"]
    assert list_models("resnet*") == []


def test_an_unknown_model_is_told_with_those_close_to_it():
    message = error_of(create_model, "vit_b16")
    assert message.startswith("model 'vit_b16' is unknown; did you mean ") and "'vit_b_16'" in message
    message = error_of(create_model, "zzz")
    assert all(name in message for name in MODELS)


def test_an_unknown_override_is_told_with_those_close_to_it():
    message = error_of(build, "vit_b_16", num_class=5)
    assert message.startswith("vit_b_16 has no argument 'num_class'; did you mean 'num_classes'")
    assert "has no argument 'qqq'; known: image_size, " in error_of(build, "vit_b_16", qqq=5)
    # What the numerics decide is not decided twice.
    for key in ("norm", "activation"):
        wanted = f"{key} follows from numerics; for another one build ViT(...) itself"
        assert error_of(build, "vit_b_16", **{key: None}) == wanted


WRONG = {
    "num_classes": ("10", "num_classes is '10'; it must be a whole number"),
    "image_size": (224.0, "image_size is 224.0; it must be a whole number"),
    "num_layers": (True, "num_layers is True; it must be a whole number"),
    "num_heads": (None, "num_heads is None; it must be a whole number"),
    "keep_prob": ("much", "keep_prob is 'much'; it must be a number"),
    "drop_path_keep_prob": ([0.5], "drop_path_keep_prob is [0.5]; it must be a number"),
    "pool": (1, "pool is 1; it must be text"),
    "zero_head": (1, "zero_head is 1; it must be true or false"),
    "representation_size": ("768", "representation_size is '768'; it must be a whole number"),
}


@pytest.mark.parametrize("key", WRONG)
def test_an_override_of_another_type_is_refused(key):
    value, message = WRONG[key]
    assert error_of(build, "vit_nano_4", **{key: value}) == message


def test_an_override_with_an_impossible_value_is_refused():
    assert error_of(build, "vit_nano_4", patch_size=5).startswith("image_size 16 is not divisible by patch_size 5")


def test_overrides_take_the_place_of_the_row_s():
    network = build("vit_nano_4", num_classes=7, image_size=32, input_channels=3, pool="mean", keep_prob=1)
    shapes = {p.name: tuple(p.shape) for p in network.get_parameters()}
    assert shapes["dense.weight"] == (7, 64) and shapes["pos_embedding"] == (1, 65, 64)
    assert shapes["patch_embedding.conv.weight"] == (64, 3, 4, 4) and network.pool == "mean"
    network = build("vit_nano_4", drop_path_keep_prob=0.7)
    last = [cell for _, cell in network.cells_and_names() if isinstance(cell, DropPath)][-1]
    assert last.keep_prob == pytest.approx(0.7)
    # The representation layer of a pre-training row can be taken off, and the table stays as it is.
    assert count(build("vit_b_16_in21k", representation_size=None, num_classes=1000)) == COUNTS["vit_b_16"]
    assert VARIANTS["vit_b_16_in21k"]["representation_size"] == 768


def test_model_arguments_are_the_row_s_with_the_overrides():
    arguments = model_arguments("vit_nano_4", {"num_classes": 3, "keep_prob": "1e-1"})
    assert arguments == {**VARIANTS["vit_nano_4"], "num_classes": 3, "keep_prob": 0.1}


@pytest.mark.parametrize("word", NUMERICS)
def test_the_cells_have_the_numerics_asked_for(word):
    assert numerics_of(build("vit_nano_4", numerics=word)) == NUMERICS[word]


def test_numerics_are_timm_s_by_default_and_unknown_ones_refused():
    assert numerics_of(build("vit_nano_4")) == NUMERICS["timm"]
    assert error_of(build, "vit_nano_4", numerics="torch") == (
        "numerics is 'torch'; choose one of timm, google, course, mindcv"
    )


def test_a_created_model_runs():
    row = {"image_size": 16, "input_channels": 1}
    assert create_model("vit_nano_4", num_layers=1)(images(row)).shape == (2, 10)
