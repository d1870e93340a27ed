"""A run: a recipe carried out, and the folder that keeps what came of it."""

import csv
import dataclasses
import json
import os
import platform
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from mindspore import nn

import vit_ms
from vit_ms import engine, runtime, visualize
from vit_ms.data.catalog import open_dataset
from vit_ms.data.transforms import Preprocessing, eval_batches, train_batches
from vit_ms.errors import UserError, check_positive
from vit_ms.files import whole_file
from vit_ms.losses import CrossEntropySmooth
from vit_ms.optim import create_optimizer, learning_rates
from vit_ms.recipe import Recipe, recipe_from
from vit_ms.registry import create_model, model_arguments
from vit_ms.weights import load_weights, save_weights


@dataclass(frozen=True)
class RunInfo:
    """What run.json says: enough to build the network of a checkpoint and to feed it.

    Args:
        model (str): one of `list_models()`.
        overrides (dict): arguments in place of the variant's.
        numerics (str): as `create_model` takes it.
        classes (list[str]): names in the order of the logits.
        preprocessing (Preprocessing): image size and normalisation.
        recipe (Recipe): that the run followed.
        versions (dict): of vit_ms, MindSpore, NumPy and Python.
    """

    model: str
    overrides: dict
    numerics: str
    classes: list[str]
    preprocessing: Preprocessing
    recipe: Recipe
    versions: dict

    @classmethod
    def of(cls, recipe: Recipe, dataset) -> "RunInfo":
        """What a recipe makes of a dataset."""
        defaults = {"num_classes": len(dataset.classes), "input_channels": dataset.channels}
        overrides = {**defaults, **recipe.overrides}
        if overrides["num_classes"] != len(dataset.classes):
            raise UserError(
                f"num_classes is {overrides['num_classes']}, but the data has {len(dataset.classes)} classes: leave it out"
            )
        if overrides["input_channels"] != dataset.channels:
            raise UserError(
                f"input_channels is {overrides['input_channels']}, but the images have {dataset.channels}: leave it out"
            )
        for key in ("mean", "std"):
            if len(getattr(recipe, key)) != dataset.channels:
                raise UserError(
                    f"{key} is {getattr(recipe, key)}; the images have {dataset.channels} channels, one value each"
                )
        image_size = model_arguments(recipe.model, overrides)["image_size"]
        preprocessing = Preprocessing(
            image_size if isinstance(image_size, int) else list(image_size),
            dataset.channels,
            recipe.mean,
            recipe.std,
            recipe.interpolation,
            recipe.crop_pct,
        )
        packages = {name: metadata.version(name) for name in ("mindspore", "numpy")}
        versions = {"vit_ms": vit_ms.__version__, **packages, "python": platform.python_version()}
        return cls(recipe.model, overrides, recipe.numerics, list(dataset.classes), preprocessing, recipe, versions)

    @classmethod
    def read(cls, ckpt_path: str | Path) -> "RunInfo":
        """Read the run.json beside a checkpoint.

        Raises:
            UserError: If there is none, or it is damaged.
        """
        path = Path(ckpt_path).parent / "run.json"
        if not Path(ckpt_path).is_file():
            raise UserError(f"there is no checkpoint {ckpt_path}")
        if not path.is_file():
            raise UserError(f"{ckpt_path} has no run.json beside it: give --config, the recipe that it fits")
        try:
            saved = _read_json(path)
            recipe = recipe_from(saved.pop("recipe"), str(path))
            return cls(preprocessing=Preprocessing(**saved.pop("preprocessing")), recipe=recipe, **saved)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise UserError(
                f"{path} is damaged ({error}): give --config, the recipe that the checkpoint fits"
            ) from None

    def network(self) -> nn.Cell:
        """The network with initial weights."""
        return create_model(self.model, self.numerics, **self.overrides)


def _read_json(path: Path) -> dict:
    """What a JSON file holds; nothing, if it is absent or damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _write_json(path: Path, content: dict) -> None:
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _refuse_other_run(folder: Path, recipe: Recipe) -> None:
    """The same run again writes the same files; another one must not take the place of what it cannot bring back."""
    if not any((folder / name).exists() for name in ("best.ckpt", "last.ckpt")):
        return
    earlier, now = _read_json(folder / "run.json").get("recipe", {}), dataclasses.asdict(recipe)
    changed = [f"{key} {earlier.get(key)!r} -> {value!r}" for key, value in now.items() if earlier.get(key) != value]
    if changed:
        raise UserError(
            f"{folder} holds another run ({', '.join(changed[:4])}): choose another --ckpt_save_dir, or remove the folder"
        )


def _workers(recipe: Recipe) -> int:
    """The threads of the data pipeline; MindSpore takes no more than the machine has processors."""
    return min(recipe.num_parallel_workers, os.cpu_count() or 1)


def train(recipe: Recipe, say: Callable[[str], None] = print) -> list[Path]:
    """Carry out a recipe: train, validate after each epoch, keep the best and the last weights.

    Args:
        recipe (Recipe): what to do.
        say (Callable): told one line at a time how it goes.

    Returns:
        list[Path], the files written into the run's folder.

    Raises:
        UserError: If the recipe, the data or the folder does not allow the run; nothing has been trained then.
    """
    chosen = runtime.setup(recipe.device_target, recipe.mode, recipe.seed, recipe.precision, recipe.implementation)
    if recipe.data_dir is not None:
        # run.json must say it to a command that is called from another folder.
        recipe = dataclasses.replace(recipe, data_dir=str(Path(recipe.data_dir).resolve()))
    folder = recipe.folder
    _refuse_other_run(folder, recipe)
    dataset = open_dataset(recipe.dataset, recipe.data_dir)
    for split in ("train", "val"):
        if split not in dataset.splits:
            raise UserError(f"training needs the splits train and val; the dataset has {', '.join(dataset.splits)}")
    info = RunInfo.of(recipe, dataset)
    network = info.network()
    if recipe.recompute:
        network.recompute_blocks()
    if recipe.ckpt_path is not None:
        say(f"starting from {recipe.ckpt_path}: {load_weights(network, recipe.ckpt_path, skip=recipe.ckpt_skip)}")
    workers = _workers(recipe)
    train_data = train_batches(
        dataset, info.preprocessing, recipe.batch_size, recipe.augment, recipe.scale, recipe.hflip, workers
    )
    val_data = eval_batches(dataset, "val", info.preprocessing, recipe.batch_size, workers)

    steps = train_data.get_dataset_size()
    rates = learning_rates(recipe.scheduler, recipe.lr, recipe.min_lr, recipe.warmup_epochs, recipe.epoch_size, steps)
    optimizer = create_optimizer(network.trainable_params(), recipe.opt, rates, recipe.weight_decay)
    loss_fn = CrossEntropySmooth(smooth_factor=recipe.label_smoothing, num_classes=len(info.classes))
    loss_scaler = engine.loss_scaler() if chosen.precision == "fp16" else None
    step = engine.TrainStep(network, loss_fn, optimizer, recipe.clip_grad, loss_scaler)

    size = sum(p.size for p in network.trainable_params())
    say(f"{info.model}: {size:,} parameters, {len(info.classes)} classes, seed {recipe.seed}")
    say(f"{chosen}{': ' if chosen.note else ''}{chosen.note}")
    say(f"{steps} steps of {recipe.batch_size} images an epoch, {recipe.epoch_size} epochs; the first step compiles")
    _write_json(folder / "run.json", dataclasses.asdict(info))
    history, best = [], {}

    def on_epoch_end(done: engine.Epoch) -> dict[str, float]:
        nonlocal best
        metrics = engine.evaluate(network, val_data).metrics(info.classes)
        row = {"epoch": done.epoch, "lr": rates[done.epoch * steps - 1], "train_loss": done.loss}
        row |= {"train_acc": done.accuracy, "val_loss": metrics["loss"], "val_acc": metrics["top1"]}
        history.append(row | {"seconds": round(done.seconds, 3)})
        # Of equals the later: it has been trained for longer.
        if not best or metrics["top1"] >= best["top1"]:
            best = {"epoch": done.epoch, **metrics}
            save_weights(network, folder / "best.ckpt")
        save_weights(network, folder / "last.ckpt")
        with whole_file(folder / "log.csv") as temporary, temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, history[0])
            writer.writeheader()
            writer.writerows(history)
        return {"val_acc": metrics["top1"]}

    engine.fit(step, train_data, recipe.epoch_size, on_epoch_end)
    visualize.plot_curve(history, folder / "curve.png")
    _write_json(folder / "metrics.json", {"val": best})
    say(f"best validation accuracy {best['top1']:.2%}, after epoch {best['epoch']}")
    return [folder / name for name in ("best.ckpt", "last.ckpt", "run.json", "log.csv", "curve.png", "metrics.json")]


def evaluate(
    info: RunInfo,
    ckpt_path: str | Path,
    split: str | None = None,
    data_dir: str | None = None,
    batch_size: int | None = None,
    say: Callable[[str], None] = print,
) -> list[Path]:
    """Measure a checkpoint on every image of a split and write what came out beside it.

    Call `runtime.setup` before.

    Args:
        info (RunInfo): what the checkpoint is.
        ckpt_path (str or Path): its weights.
        split (str): of the dataset; None: test where there is one, else val.
        data_dir (str): of the dataset; None: where the run found it.
        batch_size (int): images at a time; None: the recipe's.
        say (Callable): told one line at a time what came out.

    Returns:
        list[Path], the files written: metrics.json, confusion.png, predictions.png.

    Raises:
        UserError: If the weights or the data do not fit.
    """
    recipe, folder = info.recipe, Path(ckpt_path).parent
    dataset = open_dataset(recipe.dataset, data_dir or recipe.data_dir)
    if list(dataset.classes) != info.classes:
        raise UserError(
            f"the classes of the data are not those of the run: {_first_difference(dataset.classes, info.classes)}"
        )
    split = split or ("test" if "test" in dataset.splits else "val")
    batch_size = recipe.batch_size if batch_size is None else batch_size
    check_positive(batch_size=batch_size)
    data = eval_batches(dataset, split, info.preprocessing, batch_size, _workers(recipe))
    network = info.network()
    load_weights(network, ckpt_path)
    result = engine.evaluate(network, data, progress=f"evaluating {split}", examples=32)
    metrics = result.metrics(info.classes)

    top = f"top-1 {metrics['top1']:.2%}, top-5 {metrics['top5']:.2%}"
    say(f"{split}: {metrics['images']} images, {top}, loss {metrics['loss']:.4f}")
    worst = sorted(metrics["per_class"].items(), key=lambda item: item[1])[:10]
    say("lowest per class: " + ", ".join(f"{name} {share:.1%}" for name, share in worst))
    path = folder / "metrics.json"
    _write_json(path, _read_json(path) | {split: {"checkpoint": Path(ckpt_path).name, **metrics}})
    visualize.plot_confusion(result.labels, result.top[:, 0], info.classes, folder / "confusion.png")
    names = [info.classes[index] for index in result.top[result.examples, 0]]
    truth = [info.classes[index] for index in result.labels[result.examples]]
    wrong = int((result.top[:, 0] != result.labels).sum())
    visualize.plot_predictions(
        info.preprocessing.restore(result.example_images),
        names,
        result.probabilities[result.examples, 0],
        labels=truth,
        title=f"{split}: {wrong} of {metrics['images']} wrong, shown first",
        path=folder / "predictions.png",
    )
    return [path, folder / "confusion.png", folder / "predictions.png"]


def _first_difference(found, wanted) -> str:
    if len(found) != len(wanted):
        return f"{len(found)} classes instead of {len(wanted)}"
    return next(f"{a!r} instead of {b!r}" for a, b in zip(found, wanted, strict=True) if a != b)
