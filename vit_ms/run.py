"""What a checkpoint is, and how good: the folder of a run says the first, its evaluation the second."""

import json
import platform
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from mindspore import nn

import vit_ms
from vit_ms import engine, runtime, visualize
from vit_ms.data.batches import eval_batches
from vit_ms.data.catalog import open_dataset
from vit_ms.data.transforms import Preprocessing
from vit_ms.errors import UserError, check_positive
from vit_ms.files import whole_file
from vit_ms.pretrained import inputs
from vit_ms.recipe import Recipe, recipe_from
from vit_ms.registry import create_model, model_arguments
from vit_ms.weights import load_weights


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
        device (str): what it was run on, and how, where the recipe may say auto.
    """

    model: str
    overrides: dict
    numerics: str
    classes: list[str]
    preprocessing: Preprocessing
    recipe: Recipe
    versions: dict
    device: str = ""

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
        statistics = inputs(recipe.model, recipe.numerics) if dataset.channels == 3 else {}
        for key in ("mean", "std"):
            statistics[key] = getattr(recipe, key) or statistics.get(key, [0.5] * dataset.channels)
            if len(statistics[key]) != dataset.channels:
                raise UserError(
                    f"{key} is {statistics[key]}; the images have {dataset.channels} channels, one value each"
                )
        image_size = model_arguments(recipe.model, overrides)["image_size"]
        preprocessing = Preprocessing(
            image_size if isinstance(image_size, int) else list(image_size),
            dataset.channels,
            statistics["mean"],
            statistics["std"],
            recipe.interpolation,
            recipe.crop_pct,
            recipe.eval_crop,
        )
        packages = {name: metadata.version(name) for name in ("mindspore", "numpy")}
        versions = {"vit_ms": vit_ms.__version__, **packages, "python": platform.python_version()}
        return cls(
            recipe.model,
            overrides,
            recipe.numerics,
            list(dataset.classes),
            preprocessing,
            recipe,
            versions,
            str(runtime.settings()),
        )

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
            saved = read_json(path)
            recipe = recipe_from(saved.pop("recipe"), str(path))
            return cls(preprocessing=Preprocessing(**saved.pop("preprocessing")), recipe=recipe, **saved)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise UserError(
                f"{path} is damaged ({error}): give --config, the recipe that the checkpoint fits"
            ) from None

    def network(self) -> nn.Cell:
        """The network with initial weights."""
        return create_model(self.model, self.numerics, **self.overrides)


def read_json(path: Path) -> dict:
    """What a JSON file holds; nothing, if it is absent or damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def write_json(path: Path, content: dict) -> None:
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


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
    data = eval_batches(dataset, split, info.preprocessing, batch_size, recipe.workers)
    network = info.network()
    load_weights(network, ckpt_path)
    result = engine.evaluate(network, data, progress=f"evaluating {split}", examples=32)
    metrics = result.metrics(info.classes)

    top = f"top-1 {metrics['top1']:.2%}, top-5 {metrics['top5']:.2%}"
    say(f"{split}: {metrics['images']} images, {top}, loss {metrics['loss']:.4f}")
    worst = sorted(metrics["per_class"].items(), key=lambda item: item[1])[:10]
    say("lowest per class: " + ", ".join(f"{name} {share:.1%}" for name, share in worst))
    path = folder / "metrics.json"
    write_json(path, read_json(path) | {split: {"checkpoint": Path(ckpt_path).name, **metrics}})
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
