"""Recipes: read, checked, refused."""

import dataclasses

import pytest
import yaml

from vit_ms.errors import UserError
from vit_ms.recipe import FOLDER, Recipe, list_recipes, load_recipe


def test_every_recipe_of_the_package_is_read():
    assert {"course", "digits", "paper_pretrain", "paper_finetune", "swin_t", "convnext_t"} <= set(list_recipes())
    for name in list_recipes():
        recipe = load_recipe(name)
        assert recipe.name == name and str(recipe.folder) == f"runs/{name}"
        # The header tells a reader how to run it.
        assert f"python -m vit_ms train --config {name}" in (FOLDER / f"{name}.yaml").read_text(encoding="utf-8")


def test_the_course_recipe_is_the_courses_run():
    recipe = load_recipe("course")
    expected = {
        "model": "vit_b_16",
        "numerics": "course",
        "batch_size": 16,
        "epoch_size": 10,
        "opt": "adam",
        "lr": 5e-5,
    }
    expected |= {"scheduler": "cosine_decay", "min_lr": 0.0, "label_smoothing": 0.1, "mean": [0.485, 0.456, 0.406]}
    assert {key: getattr(recipe, key) for key in expected} == expected


def test_options_take_the_place_of_values():
    recipe = load_recipe("digits", {"epoch_size": 7, "lr": None, "seed": 3, "ckpt_save_dir": "elsewhere"})
    assert (recipe.epoch_size, recipe.seed, str(recipe.folder)) == (7, 3, "elsewhere")
    assert recipe.lr == load_recipe("digits").lr


def test_a_shorter_run_keeps_the_share_of_its_warm_up():
    whole = load_recipe("digits")
    assert (whole.epoch_size, whole.warmup_epochs) == (60, 5)
    assert [load_recipe("digits", {"epoch_size": n}).warmup_epochs for n in (120, 24, 12, 1)] == [10, 2, 1, 0]
    assert load_recipe("digits", {"epoch_size": 12, "warmup_epochs": 5}).warmup_epochs == 5
    with pytest.raises(UserError, match="options: epoch_size is 0; it must be at least 1"):
        load_recipe("digits", {"epoch_size": 0})


def _write(path, **changes):
    settings = {"model": "vit_nano_4", "dataset": "digits", "mean": [0.5], "std": [0.5]} | changes
    path.write_text(yaml.safe_dump({key: value for key, value in settings.items() if value is not ...}))
    return str(path)


def test_a_file_is_a_recipe_named_after_it(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("model: vit_nano_4\ndataset: digits\nlr: 1e-3\nclip_grad: 1\n")
    recipe = load_recipe(str(path))
    # YAML reads 1e-3 as text: what a user writes for a number is one.
    assert (recipe.name, recipe.lr, recipe.clip_grad) == ("mine", 0.001, 1.0)
    assert isinstance(recipe.clip_grad, float)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epoch_sizes": 3}, "key 'epoch_sizes' is unknown; did you mean 'epoch_size'"),
        ({"model": ...}, "model must be given"),
        ({"model": "vit_nano_5"}, "model 'vit_nano_5' is unknown; did you mean 'vit_nano_4'"),
        ({"dataset": "digit"}, "dataset is 'digit'; choose one of digits, folder"),
        ({"epoch_size": "ten"}, "epoch_size is 'ten'; it must be a whole number"),
        ({"epoch_size": 2.5}, "epoch_size is 2.5; it must be a whole number"),
        ({"epoch_size": True}, "epoch_size is True; it must be a whole number"),
        ({"lr": "fast"}, "lr is 'fast'; it must be a number"),
        ({"lr": [1]}, "it must be a number"),
        ({"lr": None}, "lr is None; it must be a number"),
        ({"mean": 0.5}, "mean is 0.5; it must be a list"),
        ({"overrides": 3}, "overrides is 3; it must be a mapping"),
        ({"overrides": {"embed_dims": 3}}, "vit_nano_4 has no argument 'embed_dims'; did you mean 'embed_dim'"),
        ({"overrides": {"embed_dim": "wide"}}, "embed_dim is 'wide'; it must be a whole number"),
        ({"numerics": "jax"}, "numerics is 'jax'; choose one of timm, google, course, mindcv"),
        ({"augment": "mixup"}, "augment is 'mixup'; choose one of"),
        ({"interpolation": "best"}, "interpolation is 'best'; choose one of"),
        ({"opt": "lion"}, "opt is 'lion'; choose one of"),
        ({"scheduler": "cosine"}, "scheduler is 'cosine'; choose one of"),
        ({"device_target": "GPU"}, "device_target is 'GPU'; choose one of auto, Ascend, CPU"),
        ({"mode": "fast"}, "mode is 'fast'; choose one of graph, pynative"),
        ({"batch_size": 0}, "batch_size is 0; it must be at least 1"),
        ({"lr": 0}, "lr is 0.0; it must be above 0"),
        ({"min_lr": 1}, "min_lr is 1.0; it must be at most lr"),
        ({"warmup_epochs": 10}, "warmup_epochs is 10; it must be below epoch_size, 10"),
        ({"weight_decay": -1}, "weight_decay is -1.0; it must be at least 0"),
        ({"label_smoothing": 1}, "label_smoothing is 1.0; it must be at least 0 and below 1"),
        ({"clip_grad": 0}, "clip_grad is 0.0; it must be above 0, or null"),
        ({"crop_pct": 0}, "crop_pct is 0.0; it must be above 0 and at most 1"),
        ({"hflip": 2}, "hflip is 2.0; it must be from 0 to 1"),
        ({"std": [0]}, "std is [0.0]; it must be numbers above 0"),
        ({"scale": [1, 0.5]}, "scale is [1.0, 0.5]; it must be two numbers above 0 and at most 1, the smaller first"),
        ({"seed": -1}, "seed is -1; it must be at least 0"),
        ({"seed": 2**32}, "seed is 4294967296; it must be below 2^32"),
        ({"lr": float("inf")}, "lr is inf; it must be a number"),
        ({"mean": [float("nan")]}, "mean is nan; it must be a number"),
        ({"scale": [0.5, 2.0]}, "scale is [0.5, 2.0]; it must be two numbers above 0 and at most 1"),
        ({"overrides": {1: 2}}, "vit_nano_4 has no argument 1"),
        ({"ckpt_skip": "dense."}, "ckpt_skip is 'dense.'; it must be a list"),
    ],
)
def test_what_is_impossible_is_refused_in_one_line(tmp_path, changes, message):
    path = _write(tmp_path / "recipe.yaml", **changes)
    with pytest.raises(UserError) as error:
        load_recipe(path)
    assert message in str(error.value) and path in str(error.value)
    assert "\n" not in str(error.value)


def test_what_is_no_recipe_is_refused(tmp_path):
    with pytest.raises(UserError, match="config 'digit' is no file and no recipe; did you mean 'digits'"):
        load_recipe("digit")
    path = tmp_path / "broken.yaml"
    for text, message in (("a: [1", "is no YAML"), ("just text", "holds no 'key: value' lines"), ("", "holds no")):
        path.write_text(text)
        with pytest.raises(UserError, match=message) as error:
            load_recipe(str(path))
        assert "\n" not in str(error.value)


def test_a_recipe_survives_its_run_json():
    recipe = load_recipe("course", {"data_dir": "images"})
    assert Recipe(**dataclasses.asdict(recipe)) == recipe
