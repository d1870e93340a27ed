"""What the settings of a recipe make of a run."""

import json
from pathlib import Path

import numpy as np
import pytest
from helpers import error_of

from vit_ms import engine, runtime, training
from vit_ms.recipe import load_recipe
from vit_ms.run import RunInfo
from vit_ms.training import train
from vit_ms.weights import load_weights, read_weights, save_weights

TINY = {"num_layers": 2, "embed_dim": 16, "num_heads": 2, "mlp_dim": 16, "pool": "mean"}
SHORT = {"mode": "pynative", "batch_size": 512, "epoch_size": 1, "warmup_epochs": 0, "ckpt_save_dir": "run"}


def _train(**settings) -> tuple[training._Training, list[str]]:
    """Two steps an epoch of a tiny net on digits; what carried them out, and what it said."""
    made, said = [], []
    whole = training._Training.run

    def run(self):
        made.append(self)
        return whole(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training._Training, "run", run)
        train(load_recipe("digits", None, {"overrides": TINY, **SHORT, **settings}), say=said.append)
    return made[0], said


def _arrays(path: str) -> dict[str, np.ndarray]:
    return {name: np.array(array) for name, array in read_weights(path).arrays.items()}


def _weights(network) -> dict[str, np.ndarray]:
    return {p.name: p.asnumpy().copy() for p in network.get_parameters()}


def test_the_average_is_what_is_validated_and_kept():
    done, _ = _train(ema_decay=0.9)
    trained, kept = _weights(done.network), _arrays("run/last.ckpt")
    averages = {p.name.removeprefix("ema."): p.asnumpy() for p in done.step.ema}
    for name, average in averages.items():
        assert np.array_equal(kept[name], average) and not np.array_equal(trained[name], average), name
    loss = json.loads(Path("run/metrics.json").read_text())["val"]["loss"]
    with done.step.averaged():
        assert engine.evaluate(done.network, done.val_data).metrics(done.info.classes)["loss"] == pytest.approx(loss)


def test_a_frozen_backbone_stays_as_it_was_and_a_head_may_start_at_zero():
    first, _ = _train(ckpt_save_dir="first")
    weights = _weights(first.network)
    done, said = _train(ckpt_path="first/last.ckpt", freeze_backbone=True, zero_head=True, lr=1e-30)
    for name, array in _weights(done.network).items():
        if name.startswith("dense."):
            assert np.abs(array).max() < 1e-20
        else:
            assert np.array_equal(array, weights[name]), name
    assert f"{16 * 10 + 10:,} parameters" in said[1]


def test_training_ends_when_nothing_gets_better(monkeypatch):
    shares = iter([0.5, 0.6, 0.4, 0.6, 0.3, 0.2, 0.1, 0.9])
    metrics = engine.Predictions.metrics
    monkeypatch.setattr(
        engine.Predictions, "metrics", lambda self, classes: metrics(self, classes) | {"top1": next(shares)}
    )
    done, said = _train(epoch_size=8, patience=3)
    assert [row["epoch"] for row in done.history] == [1, 2, 3, 4, 5, 6, 7]
    assert "no better validation accuracy for 3 epochs: training ends after epoch 7" in said
    train(done.recipe, resume=True, say=said.append)  # and it stays ended
    assert len(training.States(Path("run/state")).load()[1]["history"]) == 7


def test_the_rate_is_scaled_to_the_images_of_a_step():
    plain, _ = _train(lr=1e-3, min_lr=1e-5)
    scaled, _ = _train(
        ckpt_save_dir="scaled", lr=1e-3, min_lr=1e-5, lr_batch_size=1024, batch_size=64, gradient_accumulation_steps=4
    )
    assert plain.rates[-1] == pytest.approx(1e-5) and scaled.rates[-1] == pytest.approx(1e-5 * 256 / 1024)
    assert (plain.steps, scaled.steps) == (1257 // 512, 1257 // 256)
    assert int(scaled.step.draw.asnumpy()[1]) == scaled.steps


def test_a_network_with_two_heads_learns_from_the_network_of_another_run():
    teacher, _ = _train(ckpt_save_dir="teacher")
    before = _weights(teacher.network)
    settings = {"model": "deit_ti_16_distilled", "overrides": {**TINY, "image_size": 16, "patch_size": 4}}
    settings["overrides"].pop("pool")
    done, _ = _train(**settings, teacher_ckpt_path="teacher/last.ckpt", distillation="soft", distillation_alpha=0.3)
    loss = done.step.loss_fn
    assert (loss.kind, loss.alpha, loss.temperature) == ("soft", 0.3, 3.0)
    taught_by = list(done.step.teacher.get_parameters())
    assert all(np.array_equal(p.asnumpy(), was) for p, was in zip(taught_by, before.values(), strict=True))
    assert "distillation_dense.weight" in _arrays("run/last.ckpt")
    with pytest.raises(ValueError, match="has other preprocessing than this run"):
        _train(**settings, teacher_ckpt_path="teacher/last.ckpt", ckpt_save_dir="other", crop_pct=0.5)
    with pytest.raises(ValueError, match=r"there is no checkpoint nowhere\.ckpt"):
        _train(**settings, teacher_ckpt_path="nowhere.ckpt", ckpt_save_dir="other")


def test_mixed_images_have_shares_of_classes():
    done, _ = _train(mixup=0.8, cutmix=1.0, re_prob=0.25, label_smoothing=0.1)
    assert not done.step.loss_fn.sparse and np.isfinite(done.history[0]["train_loss"])


def test_without_mean_and_std_they_are_those_of_the_weights():
    recipe = load_recipe("course")
    statistics = {"imagenet": [0.485, 0.456, 0.406], "half": [0.5, 0.5, 0.5]}
    for model, numerics, wanted in (
        ("vit_b_16", "timm", "half"),
        ("vit_b_16", "google", "half"),
        ("vit_b_16", "course", "imagenet"),
        ("swin_t", "timm", "imagenet"),
    ):

        class Photos:
            classes, channels = ("a", "b"), 3

        settings = {"model": model, "numerics": numerics, "mean": None, "std": None}
        info = RunInfo.of(load_recipe("course", None, settings), Photos())
        assert info.preprocessing.mean == statistics[wanted], (model, numerics)
    assert recipe.mean == statistics["imagenet"]


def test_a_changed_recipe_does_not_go_on():
    recipe = _train()[0].recipe
    changed = load_recipe("digits", None, {"overrides": TINY, **SHORT, "lr": 0.5})
    assert "run holds another run (lr 0.003 -> 0.5)" in error_of(train, changed, resume=True, say=str)
    said = []
    train(recipe, resume=True, say=said.append)  # the end is an end
    assert "going on in epoch 2, after 0 of its batches" in said
    train(recipe, resume=False, say=said.append)  # anew


def test_without_a_state_resuming_is_beginning():
    said = []
    train(load_recipe("digits", None, {"overrides": TINY, **SHORT}), resume=True, say=said.append)
    assert "there is no state in run to go on from: this is the beginning" in said


def test_a_state_of_another_network_is_refused():
    done, _ = _train()
    arrays, info, _ = done.states.load()
    arrays.pop("draw")
    done.states.save(99, arrays, info)
    assert "train without --resume" in error_of(train, done.recipe, resume=True, say=str)


def test_weights_of_a_run_load_into_a_network(tmp_path):
    _train()
    runtime.setup("CPU", "pynative")
    network = RunInfo.read("run/best.ckpt").network()
    load_weights(network, "run/best.ckpt")
    save_weights(network, tmp_path / "again.ckpt")
    assert (tmp_path / "again.ckpt").read_bytes() == Path("run/best.ckpt").read_bytes()


def test_weights_that_are_lost_in_the_last_step_are_not_kept(monkeypatch):
    recipe = _train(epoch_size=2)[0].recipe
    kept = {path.name: path.read_bytes() for path in Path("run/state").iterdir()}
    weights = Path("run/last.ckpt").read_bytes()
    fit = engine.fit

    def lost(step, *args, **options):
        """As after a last step whose own loss was finite."""
        parameter = step.network.trainable_params()[0]
        parameter.set_data(parameter * np.nan)
        options["watch"](options["progress"])
        return fit(step, *args, **options)

    monkeypatch.setattr(engine, "fit", lost)
    monkeypatch.setattr(training._Training, "_due", lambda self: True)
    with pytest.raises(engine.LossNotFinite, match="the weights are not finite after batch 0 of epoch 3"):
        train(recipe, resume=True, say=str)
    assert {path.name: path.read_bytes() for path in Path("run/state").iterdir()} == kept
    assert Path("run/last.ckpt").read_bytes() == weights
