"""The recipes of the papers and of mindcv: each says what its source says."""

import re
from typing import NamedTuple

import mindspore as ms
import pytest
from helpers import ROOT, random
from mindspore import Parameter, Tensor, nn

from vit_ms import create_model
from vit_ms.optim import AdamW, create_optimizer, learning_rates, scaled_rate
from vit_ms.recipe import FOLDER, list_recipes, load_recipe
from vit_ms.registry import model_arguments

IMAGENET, IMAGENET_21K = 1_281_167, 14_197_122  # images to train on
DEVICES = 8


class Source(NamedTuple):
    """What a paper or a recipe of another library says."""

    model: str
    batch: int
    rate: float
    last_rate: float
    epochs: int
    warmup: int
    decay: str
    weight_decay: float
    dropout: float = 0.0
    drop_path: float = 0.0
    clip: float | None = None
    average: float | None = None
    opt: type[nn.Optimizer] = AdamW


# ViT: Dosovitskiy et al. 2021, tables 3 and 4, sections 4.1 and B.1. mindcv: configs/vit/vit_b32_224_ascend.yaml. DeiT:
# table 9; Swin: appendix A2.1; ConvNeXt: table 5; the last rates of these three: their code.
SOURCES = {
    "paper_pretrain": Source("vit_b_16", 4096, 8e-4, 0.0, 7, 1, "linear_decay", 0.1),
    "paper_pretrain_in21k": Source("vit_b_16", 4096, 1e-3, 0.0, 90, 3, "linear_decay", 0.03, dropout=0.1),
    "paper_pretrain_in1k": Source("vit_b_16", 4096, 3e-3, 0.0, 300, 32, "cosine_decay", 0.3, dropout=0.1, clip=1.0),
    "paper_finetune": Source(
        "vit_b_16", 512, 0.03, 0.0, 8, 0, "cosine_decay", 0.0, clip=1.0, average=0.9999, opt=nn.Momentum
    ),
    "mindcv_vit": Source("vit_b_32", 4096, 1.6e-3, 0.0, 300, 30, "cosine_decay", 0.3, dropout=0.1, drop_path=0.1),
    "deit_s": Source("deit_s_16", 1024, 5e-4 * 1024 / 512, 1e-5, 300, 5, "cosine_decay", 0.05, drop_path=0.1),
    "deit_s_distilled": Source(
        "deit_s_16_distilled", 1024, 5e-4 * 1024 / 512, 1e-5, 300, 5, "cosine_decay", 0.05, drop_path=0.1
    ),
    "swin_t": Source("swin_t", 1024, 1e-3, 1e-5, 300, 20, "cosine_decay", 0.05, drop_path=0.2, clip=1.0),
    "convnext_t": Source("convnext_t", 4096, 4e-3, 1e-6, 300, 20, "cosine_decay", 0.05, drop_path=0.1, average=0.9999),
}
OWN = {"course", "digits", "digits_distilled"}


def header(name: str) -> str:
    """The comment that a recipe's file begins with, as one line."""
    lines = (FOLDER / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    return " ".join(line.lstrip("# ") for line in lines[: next(i for i, line in enumerate(lines) if line[:1] != "#")])


def total_batch(recipe, devices: int = DEVICES) -> int:
    return devices * recipe.batch_size * recipe.gradient_accumulation_steps


def rates_of(recipe, steps_per_epoch: int, devices: int = DEVICES) -> list[float]:
    lr = scaled_rate(recipe.lr, total_batch(recipe, devices), recipe.lr_batch_size)
    return learning_rates(
        recipe.scheduler,
        lr,
        recipe.min_lr,
        recipe.warmup_epochs,
        recipe.epoch_size,
        steps_per_epoch,
        recipe.warmup_lr,
    )


def test_every_recipe_is_here_and_in_the_documents():
    assert set(list_recipes()) - OWN == set(SOURCES)
    for page in ("recipes.md", "recipes_cn.md"):
        rows = re.findall(r"^\| `(\w+)` \|", (ROOT / "docs" / page).read_text(encoding="utf-8"), flags=re.MULTILINE)
        assert sorted(rows) == list_recipes(), page


@pytest.mark.parametrize("name", list_recipes())
def test_the_header_has_the_command(name):
    assert f"python -m vit_ms train --config {name}" in header(name)
    if name in SOURCES:
        assert f"bash scripts/run_distribute_train.sh {DEVICES} {name} DATA_DIR" in header(name)
        # What the source reports must not be read as ours.
        assert re.search(r"reports|has reported", header(name)) and "Not run here" in header(name)
        assert "910A" in header(name)


@pytest.mark.parametrize("name", SOURCES)
def test_the_recipe_is_its_source_s(name):
    recipe, source = load_recipe(name), SOURCES[name]
    assert recipe.name == name and recipe.model == source.model
    assert total_batch(recipe) == source.batch == recipe.lr_batch_size
    assert (recipe.epoch_size, recipe.warmup_epochs, recipe.scheduler) == (source.epochs, source.warmup, source.decay)
    assert (recipe.weight_decay, recipe.clip_grad, recipe.ema_decay) == (
        source.weight_decay,
        source.clip,
        source.average,
    )
    arguments = {"keep_prob": 1.0, "drop_path_keep_prob": 1.0} | recipe_arguments(recipe)
    assert arguments["keep_prob"] == pytest.approx(1 - source.dropout)
    assert arguments["drop_path_keep_prob"] == pytest.approx(1 - source.drop_path)
    # The weights of Google's code are for images from -1 to 1, all others for ImageNet's statistics.
    mean = [0.5, 0.5, 0.5] if recipe.numerics == "google" else [0.485, 0.456, 0.406]
    assert recipe.mean == mean and (recipe.numerics == "google") == name.startswith("paper")
    assert (recipe.mode, recipe.precision, recipe.jit_level, recipe.sink) == ("graph", "bf16", "O1", True)


def recipe_arguments(recipe) -> dict:
    return model_arguments(recipe.model, recipe.overrides)


@pytest.mark.parametrize("name", SOURCES)
def test_the_rate_has_its_peak_after_the_warm_up(name):
    recipe, source, steps = load_recipe(name), SOURCES[name], 5
    rates = rates_of(recipe, steps)
    assert len(rates) == source.epochs * steps
    peak = max(source.warmup * steps - 1, 0)
    # Without a warm-up the first step is the first of the decay.
    assert rates.index(max(rates)) == peak
    assert rates[peak] == pytest.approx(source.rate, rel=1e-9 if source.warmup else 2e-3)
    assert rates[-1] == pytest.approx(source.last_rate, abs=1e-9)
    # One device sees an eighth of the batch and goes an eighth as far.
    assert max(rates_of(recipe, steps, devices=1)) == pytest.approx(max(rates) / DEVICES, rel=1e-6)


@pytest.mark.parametrize("name", SOURCES)
def test_the_optimizer_is_its_source_s(name):
    recipe, source = load_recipe(name), SOURCES[name]
    params = [
        Parameter(Tensor(random(3, 2)), name="dense.weight"),
        Parameter(Tensor(random(3)), name="dense.bias"),
    ]
    optimizer = create_optimizer(
        params, recipe.opt, [1.0, 1.0], recipe.weight_decay, recipe.betas, recipe.momentum, recipe.layer_decay
    )
    assert type(optimizer) is source.opt
    assert [float(decay) for decay in optimizer.weight_decay] == pytest.approx([source.weight_decay, 0.0])
    if source.opt is nn.Momentum:
        assert float(optimizer.momentum) == pytest.approx(0.9)
    else:
        assert (float(optimizer.beta1), float(optimizer.beta2)) == pytest.approx((0.9, 0.999))


def test_steps_are_the_paper_s():
    # Appendix B.1: 10,000 steps of warm-up; table 4: 20,000 steps on ImageNet.
    for name, images in (("paper_pretrain_in1k", IMAGENET), ("paper_pretrain_in21k", IMAGENET_21K)):
        recipe = load_recipe(name)
        assert recipe.warmup_epochs * (images // total_batch(recipe)) == pytest.approx(10_000, rel=0.05)
    recipe = load_recipe("paper_finetune")
    assert recipe.epoch_size * (IMAGENET // total_batch(recipe)) == pytest.approx(20_000, rel=0.01)


def test_fine_tuning_starts_from_a_zero_head_at_384_pixels():
    recipe = load_recipe("paper_finetune")
    assert recipe.zero_head and recipe.eval_crop == "squash" and recipe_arguments(recipe)["image_size"] == 384
    # The head of pre-training, both its layers, is left behind.
    assert {"dense.", "pre_logits."} <= set(recipe.ckpt_skip)
    for name in ("paper_pretrain", "paper_pretrain_in21k", "paper_pretrain_in1k"):
        assert recipe_arguments(load_recipe(name))["representation_size"] == 768


STRONG = {"rand_augment": [2, 9], "mixup": 0.8, "cutmix": 1.0, "label_smoothing": 0.1, "interpolation": "bicubic"}


@pytest.mark.parametrize(
    ("name", "erasing"),
    [("mindcv_vit", 0.0), ("deit_s", 0.25), ("deit_s_distilled", 0.25), ("swin_t", 0.25), ("convnext_t", 0.25)],
)
def test_images_are_changed_as_much_as_in_the_source(name, erasing):
    recipe = load_recipe(name)
    assert {key: getattr(recipe, key) for key in STRONG} == STRONG and recipe.re_prob == erasing


def test_the_distilled_ones_have_a_teacher_for_their_second_head():
    plain, distilled = load_recipe("deit_s"), load_recipe("deit_s_distilled")
    assert (distilled.teacher, distilled.distillation, distilled.distillation_alpha) == ("convnext_b", "hard", 0.5)
    changed = {"name", "model", "teacher"}
    assert {key for key in vars(plain) if vars(plain)[key] != vars(distilled)[key]} == changed

    small, digits = load_recipe("digits_distilled"), load_recipe("digits")
    assert (small.teacher, small.teacher_ckpt_path) == (digits.model, f"{digits.folder}/best.ckpt")
    student = create_model(small.model, small.numerics, **small.overrides, num_classes=10, input_channels=1)
    student.set_train(True)
    ms.set_context(mode=ms.PYNATIVE_MODE)
    logits = student(Tensor(random(2, 1, 16, 16)))
    assert [item.shape for item in logits] == [(2, 10), (2, 10)]
