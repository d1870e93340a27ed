"""Models by name: exact parameter counts, patterns, numerics and overrides."""

import math

import pytest
from helpers import error_of, images
from mindspore.nn.utils import no_init_parameters

from vit_ms import create_model, list_models
from vit_ms.layers import DropPath, Numerics
from vit_ms.models import convnext, deit, hybrid, resnetv2, road, swin, vit
from vit_ms.registry import MODELS, model_arguments
from vit_ms.weights import numerics_of

# Of what is trained, of every variant at its own number of classes. The 1000-class rows of ViT, DeiT, Swin, ConvNeXt and of
# the hybrids R26 and R50 are timm's and the papers' numbers. resnet_r50x1, resnet_r101x1 and road_resnet50 have those of
# torchvision, for GroupNorm has as many parameters as BatchNorm.
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
    "vit_r26_s_32": 36_431_912,
    "vit_r50_b_16": 98_659_112,
    "vit_r50_b_32": 110_945_832,
    "vit_r50_l_16": 316_483_624,
    "vit_r50_l_32": 328_994_856,
    "resnet_r50x1": 25_557_032,
    "resnet_r101x1": 44_549_160,
    "resnet_r152x2": 236_350_568,
    "deit_ti_16": 5_717_416,
    "deit_s_16": 22_050_664,
    "deit_b_16": 86_567_656,
    "deit_b_16_384": 86_859_496,
    "deit_ti_16_distilled": 5_910_800,
    "deit_s_16_distilled": 22_436_432,
    "deit_b_16_distilled": 87_338_192,
    "deit_b_16_distilled_384": 87_630_032,
    "swin_t": 28_288_354,
    "swin_s": 49_606_258,
    "swin_b": 87_768_224,
    "swin_l": 196_532_476,
    "convnext_t": 28_589_128,
    "convnext_s": 50_223_688,
    "convnext_b": 88_591_464,
    "convnext_l": 197_767_336,
    "road_resnet50": 25_557_032,
    "road_stage_ratio": 28_628_520,
    "road_patchify": 28_622_184,
    "road_depthwise": 33_761_032,
    "road_inverted": 25_851_496,
    "road_moved_up": 25_625_512,
    "road_large_kernel": 25_863_592,
}


def build(name, **arguments):
    """A model whose parameters have a shape but no values: H/14 would take 2.5 GB."""
    with no_init_parameters():
        return create_model(name, **arguments)


def count(network) -> int:
    return sum(math.prod(p.shape) for p in network.trainable_params())


# The papers' architectures in numbers.


def dense(into: int, out: int) -> int:
    return (into + 1) * out


def norm(d: int) -> int:
    return 2 * d


def transformer_block(d: int, m: int) -> int:
    return 2 * norm(d) + dense(d, 3 * d) + dense(d, d) + dense(d, m) + dense(m, d)


def vit_formula(row: dict, patch_inputs: int | None = None, stride: int | None = None, prefix: int = 1) -> int:
    """ViT: projection, prefix tokens, positions, blocks, norm and a head on each prefix token."""
    d, r, k = row["embed_dim"], row.get("representation_size"), row.get("num_classes", 1000)
    stride = stride or row["patch_size"]
    patch_inputs = patch_inputs or row.get("input_channels", 3) * stride**2
    tokens = prefix + (row["image_size"] // stride) ** 2
    embedding = dense(patch_inputs, d) + prefix * d + tokens * d
    heads = dense(d, r) + dense(r, k) if r else prefix * dense(d, k)
    return embedding + row["num_layers"] * transformer_block(d, row["mlp_dim"]) + norm(d) + heads


def distilled_formula(row: dict) -> int:
    return vit_formula(row, prefix=2)


def resnet_formula(row: dict, head: bool = True) -> int:
    """ResNet: 7 x 7 stem, bottlenecks of three convolutions and norms, a projection in the first of each stage."""
    width = row.get("stem_channels", 64)
    total, before = 3 * 49 * width + norm(width), width
    for stage, depth in enumerate(row.get("depths", (3, 4, 6, 3))):
        inner, after = width * 2**stage, 4 * width * 2**stage
        for block in range(depth):
            total += before * inner + norm(inner) + 9 * inner * inner + norm(inner) + inner * after + norm(after)
            total += 0 if block else before * after + norm(after)
            before = after
    return total + (dense(before, 1000) if head else 0)


def hybrid_formula(row: dict) -> int:
    """The ResNet without its head, and a ViT whose patches are the places of its map."""
    stages = len(row["depths"])
    return resnet_formula(row, head=False) + vit_formula(row, 64 * 4 * 2 ** (stages - 1), 2 ** (stages + 1))


def swin_formula(row: dict) -> int:
    """Swin: blocks with 13 x 13 biases for each head, merges of 4 D to 2 D with a norm and no bias."""
    d = row["embed_dim"]
    total = dense(3 * 4 * 4, d) + norm(d)
    for stage, (depth, heads) in enumerate(zip(row["depths"], row["num_heads"], strict=True)):
        if stage:
            total += norm(4 * d) + 4 * d * 2 * d
            d *= 2
        total += depth * (transformer_block(d, 4 * d) + 13 * 13 * heads)
    return total + norm(d) + dense(d, 1000)


def convnext_formula(row: dict) -> int:
    """ConvNeXt: 7 x 7 depthwise, norm, MLP and layer scale; a norm and a 2 x 2 convolution between the stages."""
    dims = row["embed_dims"]
    total = dense(3 * 4 * 4, dims[0]) + norm(dims[0])
    for stage, (depth, d) in enumerate(zip(row["depths"], dims, strict=True)):
        if stage:
            total += norm(dims[stage - 1]) + dense(4 * dims[stage - 1], d)
        total += depth * (dense(49, d) + norm(d) + dense(d, 4 * d) + dense(4 * d, d) + d)
    return total + norm(dims[-1]) + dense(dims[-1], 1000)


def road_formula(row: dict) -> int:
    """Liu et al. 2022, section 2: a ResNet-50 whose parts are exchanged one by one."""
    kind, taps = row.get("block", "bottleneck"), row.get("kernel_size", 3) ** 2
    channels = row.get("channels", (256, 512, 1024, 2048))
    before = channels[0] if kind in ("inverted", "moved_up") else channels[0] // 4
    total = 3 * (16 if row.get("stem") == "patchify" else 49) * before + norm(before)
    for stage, (depth, after) in enumerate(zip(row.get("depths", (3, 4, 6, 3)), channels, strict=True)):
        for block in range(depth):
            inner = 4 * after if kind in ("inverted", "moved_up") else after // 4
            if kind == "moved_up":
                total += before * taps + norm(before) + before * inner + norm(inner)
            else:
                spatial = inner * inner if kind == "bottleneck" else inner
                total += before * inner + norm(inner) + spatial * taps + norm(inner)
            total += inner * after + norm(after)
            if not block and (stage or before != after):
                total += before * after + norm(after)
            before = after
    return total + dense(before, 1000)


FORMULAS = (
    (vit.VARIANTS, vit_formula),
    (hybrid.VARIANTS, hybrid_formula),
    (resnetv2.VARIANTS, resnet_formula),
    (deit.PLAIN, vit_formula),
    (deit.DISTILLED, distilled_formula),
    (swin.VARIANTS, swin_formula),
    (convnext.VARIANTS, convnext_formula),
    (road.VARIANTS, road_formula),
)


def by_formula(name: str) -> int:
    ((row, formula),) = [(rows[name], formula) for rows, formula in FORMULAS if name in rows]
    return formula(row)


def test_every_variant_has_its_count_in_the_table():
    assert list(COUNTS) == list(MODELS) == list_models()


@pytest.mark.parametrize("name", COUNTS)
def test_parameter_counts(name):
    assert count(build(name)) == COUNTS[name] == by_formula(name)


def test_list_models_takes_shell_patterns():
    assert list_models()[: len(vit.VARIANTS)] == list(vit.VARIANTS)  # the order of the tables
    assert list_models("vit_b*") == ["vit_b_16", "vit_b_32", "vit_b_16_in21k", "vit_b_32_in21k"]
    assert list_models("deit*384") == ["deit_b_16_384", "deit_b_16_distilled_384"]
    assert list_models("*_14") == ["vit_h_14"]
    assert list_models("vit_[sl]_32") == ["vit_s_32", "vit_l_32"]
    assert list_models("resnext*") == []


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
    "a side": ((224, 2.5), "image_size is 2.5; it must be a whole number"),
    "three sides": ((224, 224, 3), "image_size is (224, 224, 3); it must be a list of 2"),
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
    key = message.partition(" is ")[0]
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
    assert vit.VARIANTS["vit_b_16_in21k"]["representation_size"] == 768


def test_model_arguments_are_the_row_s_with_the_overrides():
    arguments = model_arguments("vit_nano_4", {"num_classes": 3, "keep_prob": "1e-1"})
    assert arguments == {**vit.VARIANTS["vit_nano_4"], "num_classes": 3, "keep_prob": 0.1}


def test_lists_and_pairs_are_taken_too():
    arguments = model_arguments("swin_t", {"depths": (2, 2), "num_heads": [3, 6], "image_size": [56, 84]})
    assert arguments["depths"] == [2, 2] and arguments["image_size"] == (56, 84)
    network = build("swin_t", **arguments)
    assert network.patch_embedding.grid == (14, 21) and len(network.stages) == 2
    assert error_of(build, "swin_t", depths=2) == "depths is 2; it must be a list"
    assert error_of(build, "swin_t", depths=[2, "x"]) == "depths is 'x'; it must be a whole number"


# A family's class passes arguments on to its base, which has them with their types.


@pytest.mark.parametrize("name", ["deit_ti_16_distilled", "vit_r26_s_32"])
def test_arguments_of_the_base_are_known(name):
    network = build(name, keep_prob=0.9, embed_dim=48, num_layers=1, num_classes=5)
    shapes = {p.name: tuple(p.shape) for p in network.get_parameters()}
    assert shapes["dense.weight"] == (5, 48) and network.pos_dropout.p == pytest.approx(0.1)
    assert error_of(build, name, embed_dim="48") == "embed_dim is '48'; it must be a whole number"
    assert f"{name} has no argument 'embed_dims'; did you mean 'embed_dim'" in error_of(build, name, embed_dims=5)


REFUSED = {
    "distilled pool": ("deit_ti_16_distilled", {"pool": "mean"}, "a distilled network has no pool"),
    "hybrid patch": ("vit_r26_s_32", {"patch_size": 16}, "a hybrid has no patch_size"),
    "head norm": ("convnext_t", {"head_norm": None}, "head_norm follows from numerics"),
    "heads": (
        "swin_t",
        {"num_heads": [3]},
        "num_heads is [3]; it must have one number for each of depths [2, 2, 6, 2]",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_a_family_has_not_is_refused(case):
    name, overrides, message = REFUSED[case]
    assert error_of(build, name, **overrides).startswith(message)


# Of each family the smallest row, made smaller.
SMALLEST = {
    "vit_nano_4": {},
    "vit_r26_s_32": {"image_size": 64, "depths": [1, 1], "embed_dim": 48, "num_layers": 1},
    "resnet_r50x1": {"depths": [1], "stem_channels": 32},
    "deit_ti_16": {"num_layers": 1},
    "deit_ti_16_distilled": {"num_layers": 1},
    "swin_t": {"depths": [2], "num_heads": [3]},
    "convnext_t": {"depths": [1], "embed_dims": [8]},
    "road_resnet50": {"depths": [1], "channels": [16]},
}


def test_each_family_has_a_smallest_network_here():
    assert {MODELS[name].cell for name in SMALLEST} == {model.cell for model in MODELS.values()}


@pytest.mark.parametrize("name", SMALLEST)
def test_the_cells_have_the_numerics_asked_for(name):
    for word, numerics in MODELS[name].numerics.items():
        assert seen(build(name, numerics=word, **SMALLEST[name])) == numerics, word
    assert seen(build(name, **SMALLEST[name])) == MODELS[name].numerics["timm"]


def seen(network) -> Numerics:
    """The numerics that the cells of a network have, each kind of cell the same."""
    norms, gelus, groups, forms = {}, set(), set(), set()
    for path, cell in network.cells_and_names():
        kind = type(cell).__name__
        if kind == "LayerNorm":
            norms.setdefault("head" if path == "norm" else "block", set()).add(cell.epsilon)
        elif kind == "GELU":
            gelus.add("tanh" if cell.approximate == "tanh" else "erf")
        elif kind == "GroupNorm":
            groups.add(cell.epsilon)
        elif kind == "StdConv2d":
            forms.add(cell.standardize)
    assert all(len(found) <= 1 for found in (*norms.values(), gelus, groups, forms))
    (epsilon,), (head_epsilon,) = norms.get("block", {None}), norms.get("head", {None})
    (gelu,), (group,), (form,) = gelus or {None}, groups or {None}, forms or {None}
    return Numerics(epsilon, gelu, None if head_epsilon == epsilon else head_epsilon, group, form)


def test_other_numerics_can_be_given_and_unknown_ones_are_refused():
    assert numerics_of(build("vit_nano_4", numerics=Numerics(1e-3, "tanh"))) == Numerics(1e-3, "tanh")
    assert error_of(build, "vit_nano_4", numerics="torch") == (
        "numerics is 'torch'; for vit_nano_4 choose one of timm, google, course, mindcv, hf"
    )
    assert error_of(build, "swin_t", numerics="google").startswith(
        "numerics is 'google'; for swin_t choose one of timm,"
    )


def test_a_created_model_runs():
    row = {"image_size": 16, "input_channels": 1}
    assert create_model("vit_nano_4", num_layers=1)(images(row)).shape == (2, 10)
