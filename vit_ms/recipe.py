"""A recipe: everything that decides a run, by name, in one YAML file."""

import dataclasses
import os
import typing
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from vit_ms.data.catalog import DATASETS
from vit_ms.data.transforms import AUGMENTS, INTERPOLATIONS
from vit_ms.errors import UserError, did_you_mean, typed
from vit_ms.layers import NUMERICS
from vit_ms.optim import OPTIMIZERS, SCHEDULERS
from vit_ms.registry import model_arguments
from vit_ms.runtime import DEVICE_TARGETS, IMPLEMENTATIONS, MODES, PRECISIONS

FOLDER = Path(__file__).parent / "recipes"


@dataclass(frozen=True)
class Recipe:
    """The settings of a run; the names are mindcv's where mindcv has one.

    Args:
        name (str): of the run's folder.
        model (str): one of `list_models()`.
        overrides (dict): arguments of the model's class in place of the variant's. num_classes and input_channels come from
            the dataset.
        numerics (str): as `create_model` takes it.
        ckpt_path (str): weights to start from; None: initial values.
        ckpt_skip (list[str]): beginnings of parameter names that keep their initial values: `["dense."]` for a new head.
        dataset (str): a name of the catalog.
        data_dir (str): where its files are.
        mean, std (list[float]): input normalisation for each channel, on the scale of 0 to 1; None: as the weights of that
            model with those numerics were trained.
        interpolation (str): of every resize.
        crop_pct (float): share of the shorter side that evaluation keeps.
        eval_crop (str): `"center"`: the middle of the image; `"squash"`: all of it, resized to the network's sides.
        augment (str): `"crop"`, `"affine"` or `"none"`.
        scale (list[float]): smallest and largest share of the area that a crop keeps.
        hflip (float): chance to mirror a crop.
        rand_augment (list[int]): how many operations of RandAugment, 1 or 2, and how strong, 0 to 10; None: none.
        color_jitter (float): largest change of brightness, contrast and saturation.
        re_prob (float): chance to erase a part of an image.
        mixup, cutmix (float): alpha of their beta distributions; 0: not done.
        mix_prob (float): chance of a batch to be mixed.
        batch_size (int): images on each device at a time.
        gradient_accumulation_steps (int): batches whose gradients make one step.
        epoch_size (int): epochs.
        patience (int): epochs without a better validation accuracy after which training ends; None: never.
        opt (str): `"adamw"`, `"adam"` or `"sgd"`.
        betas (list[float]): of adamw and adam.
        momentum (float): of sgd.
        lr, min_lr, warmup_lr (float): highest, last and first learning rate.
        lr_batch_size (int): images a step that lr is meant for: with other batches, devices or accumulation it is scaled in
            proportion. None: lr is what it says.
        layer_decay (float): factor of the learning rate from each block to the one before; None: all have the same.
        scheduler (str): `"cosine_decay"`, `"linear_decay"` or `"constant"`.
        warmup_epochs (int): of linear warm-up.
        weight_decay (float): on matrices only.
        label_smoothing (float): share of the target that is not the label's.
        clip_grad (float): largest global norm of the gradients; None: no clipping.
        ema_decay (float): of a running average of the weights, which is then what is validated and kept as best.ckpt; None:
            no average.
        freeze_backbone (bool): train the head alone.
        zero_head (bool): start the head at zero.
        teacher (str): a model that a network with two heads learns from; None: none.
        teacher_ckpt_path (str): its weights, of a run on the same data; None: published ones.
        distillation (str): `"hard"` or `"soft"`.
        distillation_alpha (float): the teacher's share of the loss.
        distillation_temperature (float): of soft distillation.
        seed (int): of weights, data order and dropout.
        num_parallel_workers (int): threads of the data pipeline; another number is another random stream.
        device_target (str): `"auto"`, `"Ascend"` or `"CPU"`.
        mode (str): `"graph"` or `"pynative"`.
        precision (str): `"auto"`, `"fp32"`, `"bf16"` or `"fp16"`, as `runtime.setup` takes it.
        implementation (str): `"fast"` or `"reference"`.
        recompute (bool): compute each block's forward pass again in the backward pass, to keep less in memory.
        jit_level (str): of graph mode, `"O0"` or `"O1"`; None: MindSpore's own choice.
        sink (bool): on Ascend in graph mode, let batches wait in a queue on the device.
        ckpt_interval (int): seconds of training after which an unfinished epoch is saved too.
        ckpt_save_dir (str): the run's folder; None: runs/<name>.

    Raises:
        UserError: If a value is impossible.
    """

    name: str
    model: str
    dataset: str
    overrides: dict = field(default_factory=dict)
    numerics: str = "timm"
    ckpt_path: str | None = None
    ckpt_skip: list[str] = field(default_factory=list)
    data_dir: str | None = None
    mean: list[float] | None = None
    std: list[float] | None = None
    interpolation: str = "bilinear"
    crop_pct: float = 0.875
    eval_crop: str = "center"
    augment: str = "crop"
    scale: list[float] = field(default_factory=lambda: [0.08, 1.0])
    hflip: float = 0.5
    rand_augment: list[int] | None = None
    color_jitter: float = 0.0
    re_prob: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    mix_prob: float = 1.0
    batch_size: int = 64
    gradient_accumulation_steps: int = 1
    epoch_size: int = 10
    patience: int | None = None
    opt: str = "adamw"
    betas: list[float] = field(default_factory=lambda: [0.9, 0.999])
    momentum: float = 0.9
    lr: float = 1e-3
    min_lr: float = 0.0
    warmup_lr: float = 0.0
    lr_batch_size: int | None = None
    layer_decay: float | None = None
    scheduler: str = "cosine_decay"
    warmup_epochs: int = 0
    weight_decay: float = 0.0
    label_smoothing: float = 0.0
    clip_grad: float | None = None
    ema_decay: float | None = None
    freeze_backbone: bool = False
    zero_head: bool = False
    teacher: str | None = None
    teacher_ckpt_path: str | None = None
    distillation: str = "hard"
    distillation_alpha: float = 0.5
    distillation_temperature: float = 3.0
    seed: int = 0
    num_parallel_workers: int = 2
    device_target: str = "auto"
    mode: str = "graph"
    precision: str = "auto"
    implementation: str = "fast"
    recompute: bool = False
    jit_level: str | None = None
    sink: bool = False
    ckpt_interval: int = 600
    ckpt_save_dir: str | None = None

    def __post_init__(self):
        model_arguments(self.model, self.overrides)
        choices = {
            "numerics": NUMERICS,
            "dataset": DATASETS,
            "interpolation": INTERPOLATIONS,
            "eval_crop": ("center", "squash"),
            "augment": AUGMENTS,
            "opt": OPTIMIZERS,
            "distillation": ("hard", "soft"),
            "jit_level": (None, "O0", "O1"),
            "scheduler": SCHEDULERS,
            "device_target": DEVICE_TARGETS,
            "mode": MODES,
            "precision": PRECISIONS,
            "implementation": IMPLEMENTATIONS,
        }
        for key, known in choices.items():
            if getattr(self, key) not in known:
                raise UserError(f"{key} is {getattr(self, key)!r}; choose one of {', '.join(map(str, known))}")
        counts = ("batch_size", "epoch_size", "num_parallel_workers", "gradient_accumulation_steps", "ckpt_interval")
        for key in (*counts, "lr_batch_size", "patience"):
            _require(key, getattr(self, key), getattr(self, key) is None or getattr(self, key) >= 1, "at least 1")
        for key in ("min_lr", "warmup_lr", "weight_decay", "warmup_epochs", "seed", "color_jitter", "mixup", "cutmix"):
            _require(key, getattr(self, key), getattr(self, key) >= 0, "at least 0")
        _require("lr", self.lr, self.lr > 0, "above 0")
        _require("min_lr", self.min_lr, self.min_lr <= self.lr, f"at most lr, {self.lr}")
        within = f"below epoch_size, {self.epoch_size}"
        _require("warmup_epochs", self.warmup_epochs, self.warmup_epochs < self.epoch_size, within)
        _require("label_smoothing", self.label_smoothing, 0 <= self.label_smoothing < 1, "at least 0 and below 1")
        _require("crop_pct", self.crop_pct, 0 < self.crop_pct <= 1, "above 0 and at most 1")
        for key in ("hflip", "re_prob", "mix_prob", "distillation_alpha"):
            _require(key, getattr(self, key), 0 <= getattr(self, key) <= 1, "from 0 to 1")
        for key in ("layer_decay", "ema_decay"):
            _require(key, getattr(self, key), 0 < (getattr(self, key) or 0.5) < 1, "above 0 and below 1, or null")
        _require(
            "betas", self.betas, len(self.betas) == 2 and 0 <= min(self.betas) <= max(self.betas) < 1, "two in [0, 1)"
        )
        _require("momentum", self.momentum, 0 <= self.momentum < 1, "at least 0 and below 1")
        _require("warmup_lr", self.warmup_lr, self.warmup_lr <= self.lr, f"at most lr, {self.lr}")
        _require(
            "distillation_temperature", self.distillation_temperature, self.distillation_temperature > 0, "above 0"
        )
        if self.rand_augment is not None:
            strength = (
                len(self.rand_augment) == 2 and self.rand_augment[0] in (1, 2) and 0 <= self.rand_augment[1] <= 10
            )
            _require(
                "rand_augment", self.rand_augment, strength, "one or two operations, and their strength from 0 to 10"
            )
        _require("std", self.std, self.std is None or min(self.std, default=0) > 0, "numbers above 0, one a channel")
        _require("clip_grad", self.clip_grad, self.clip_grad is None or self.clip_grad > 0, "above 0, or null")
        in_order = len(self.scale) == 2 and 0 < self.scale[0] <= self.scale[1] <= 1
        _require("scale", self.scale, in_order, "two numbers above 0 and at most 1, the smaller first")
        _require("seed", self.seed, self.seed < 2**32, "below 2^32")

    @property
    def workers(self) -> int:
        """The threads of the data pipeline; MindSpore takes no more than the machine has processors."""
        return min(self.num_parallel_workers, os.cpu_count() or 1)

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return Path(self.ckpt_save_dir or Path("runs") / self.name)


def _require(key: str, value, holds: bool, rule: str) -> None:
    if not holds:
        raise UserError(f"{key} is {value}; it must be {rule}")


def list_recipes() -> list[str]:
    """The names of the recipes that come with the package."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load_recipe(config: str, options: dict | None = None, exact: dict | None = None) -> Recipe:
    """Read a recipe and put the options of the command in place of its values.

    Args:
        config (str): the name of a recipe of the package, or the path of a YAML file.
        options (dict): values by the names of Recipe's arguments; None leaves the recipe's. With another epoch_size the
            warm-up keeps its share of the run.
        exact (dict): more values, among which None is one.

    Raises:
        UserError: If there is no such recipe, or a key is unknown, missing or of the wrong type, or a value is impossible.
    """
    path = FOLDER / f"{config}.yaml" if config in list_recipes() else Path(config)
    if not path.is_file():
        raise UserError(f"config {config!r} is no file and no recipe{did_you_mean(config, list_recipes())}")
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is no YAML: {' '.join(str(error).split())}") from None
    if not isinstance(settings, dict):
        raise UserError(f"{path} holds no 'key: value' lines")
    given = {key: value for key, value in (options or {}).items() if value is not None} | (exact or {})
    recipe = recipe_from({"name": path.stem, **settings}, str(path))
    epochs = given.get("epoch_size")
    if isinstance(epochs, int) and epochs > 0 and "warmup_epochs" not in given:
        # A shorter run keeps the warm-up's share of it.
        given["warmup_epochs"] = recipe.warmup_epochs * given["epoch_size"] // recipe.epoch_size
    return recipe_from(dataclasses.asdict(recipe) | given, "options") if given else recipe


def parse_settings(words: list[str]) -> dict:
    """The settings in words like "lr=1e-3", their values as YAML reads them.

    Raises:
        UserError: If a word has no "=", or its value is no YAML.
    """
    settings = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise UserError(f"{word!r} is no setting: write KEY=VALUE, for example momentum=0.8")
        try:
            settings[key] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise UserError(f"the value of {word!r} is no YAML: write KEY=VALUE, for example momentum=0.8") from None
    return settings


def recipe_from(settings: dict, origin: str) -> Recipe:
    """Check the keys and types of settings and make a recipe of them; `origin` is named in errors."""
    fields = {item.name: item for item in dataclasses.fields(Recipe)}
    hints = typing.get_type_hints(Recipe)
    for key, value in settings.items():
        if key not in fields:
            raise UserError(f"{origin}: key {key!r} is unknown{did_you_mean(str(key), fields)}")
        settings[key] = typed(value, hints[key], f"{origin}: {key}")
    missing = [name for name in ("model", "dataset") if name not in settings]
    if missing:
        raise UserError(f"{origin}: {' and '.join(missing)} must be given")
    try:
        return Recipe(**settings)
    except UserError as error:
        raise UserError(f"{origin}: {error}") from None
