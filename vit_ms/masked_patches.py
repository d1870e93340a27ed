"""Masked patch prediction: a ViT learns from images without labels, by telling the colours of patches that it cannot see.

It is the ViT paper's trial of self-supervision. Shape comments: B images, C channels, P patch size, N patches, D embed_dim,
K = 8^C colours.
"""

import csv
import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops
from mindspore.common.initializer import Normal

from vit_ms import engine, runtime, visualize
from vit_ms import functional as F
from vit_ms.data.batches import TrainBatches, eval_batches
from vit_ms.data.catalog import open_dataset
from vit_ms.data.transforms import Augmentation
from vit_ms.errors import UserError, check_positive
from vit_ms.files import whole_file
from vit_ms.layers import Dense, init
from vit_ms.losses import CrossEntropySmooth
from vit_ms.models.vit import ViT
from vit_ms.optim import HEADS, create_optimizer, learning_rates, scaled_rate
from vit_ms.recipe import Recipe, load_recipe
from vit_ms.run import RunInfo
from vit_ms.weights import save_weights

LEVELS = 8  # of each channel: 3 bits
MASKED, REPLACED = 0.8, 0.1  # shares of the corrupted patches; the others are kept as they are
CORRUPTED, FATE, OTHER = -1, -2, -3  # salts of what is drawn; the cells of a network have theirs from 0


class MaskedPatches(nn.Cell):
    """A ViT that is to tell the mean colour of each of its patches, half of which are corrupted.

    Of each image N // 2 patches, chosen at random, are corrupted: with probability 0.8 the patch's embedding is replaced by
    a learned [mask] embedding, with 0.1 by that of a random other patch of the image, and with 0.1 it is kept as it is. The
    positions are added after that, so every token knows its place.

    The target of a patch is the 3-bit mean colour. With the image x on the scale of 0 to 1 and m_c the mean of channel c
    over the P^2 pixels of the patch, q_c = min(floor(8 m_c), 7), and the target is 64 q_R + 8 q_G + q_B, one of K = 512. A
    grey image has one channel, and so 8 targets, q itself; images of C channels have 8^C.

    Args:
        vit (ViT): what is trained; its head is not used and learns nothing.
        mean, std (list[float]): the input's normalisation, one a channel: x = images * std + mean.

    Inputs:
        - **images** (Tensor): (B, C, height, width), float, normalised.

    Outputs:
        Tensor, (B N, K), float, the logits of every patch, corrupted or not.

    Raises:
        UserError: If the network is no ViT, or mean and std are not equally long.
        ValueError: If the images have another number of channels than mean.

    Reference:
        Dosovitskiy et al. 2021, section 4.6 and appendix B.1.2. The paper does not say whether the other patch is one of
        the same image; Devlin et al. 2019, section 3.1, on which it builds, has the shares.
    """

    def __init__(self, vit: ViT, mean: list[float], std: list[float]):
        # Without the prefix the ViT's parameters keep their names, and its weights can be saved as they are.
        super().__init__(auto_prefix=False)
        if not isinstance(vit, ViT):
            raise UserError(f"masked patches are for models of vit.py, {type(vit).__name__} is none: choose a vit_*")
        if len(mean) != len(std):
            raise UserError(f"mean is {mean} and std {std}; they must have one value for each channel")
        channels, embed_dim = len(mean), vit.cls_token.shape[-1]
        self.vit = vit
        self.num_patches = vit.patch_embedding.num_patches
        self.mask_embedding = init(Normal(0.02), (1, 1, embed_dim), ms.float32, "mask_embedding")
        self.head = Dense(embed_dim, LEVELS**channels)
        self.head.update_parameters_name("colour_head.")
        self.mean = Tensor(np.reshape(mean, (1, -1, 1, 1)), ms.float32)
        self.std = Tensor(np.reshape(std, (1, -1, 1, 1)), ms.float32)
        self.places = Tensor(LEVELS ** np.arange(channels)[::-1], ms.float32)  # (64, 8, 1)
        self.draw = Tensor([0, 0, 0], ms.int32)

    def draw_from(self, draw: Parameter, salt: int) -> None:
        """Draw the masks from `draw`, as `functional.uniform` takes it: a run that goes on draws them as it would have."""
        object.__setattr__(self, "draw", draw)  # not one of this cell's parameters: those are what is learnt

    def corrupted(self, b: int):
        """Which patches are corrupted: (B, N), bool."""
        chance = F.uniform((b, self.num_patches), self.draw, CORRUPTED)
        return chance < ops.sort(chance)[0][:, self.num_patches // 2].reshape(-1, 1)

    def corrupt(self, x):
        """The embedded patches, half of them corrupted: (B, N, D) -> (B, N, D)"""
        b, n, d = x.shape
        fate = F.uniform((b, n), self.draw, FATE)
        # 1 to N - 1 places on, counted in a circle: any patch of the image but itself.
        step = 1 + ops.floor(F.uniform((b, n), self.draw, OTHER) * (n - 1)).astype(ms.int32)
        first = ops.arange(0, b * n, n, dtype=ms.int32).reshape(-1, 1)
        other = first + (ops.arange(0, n, 1, dtype=ms.int32) + step) % n  # (B, N), rows of (B N, D)
        others = ops.gather(x.reshape(b * n, d), other.reshape(-1), 0).reshape(b, n, d)

        corrupted = self.corrupted(b)
        masked = ops.logical_and(corrupted, fate < MASKED).expand_dims(-1).astype(x.dtype)
        changed = ops.logical_and(corrupted, fate < MASKED + REPLACED).expand_dims(-1).astype(x.dtype)
        return x * (1 - changed) + others * (changed - masked) + self.mask_embedding.astype(x.dtype) * masked

    def colours(self, images):
        """The 3-bit mean colour of each patch: (B, C, height, width) -> (B, N), int32"""
        b, c, h, _ = images.shape
        if c != self.mean.shape[1]:
            raise ValueError(f"The images have {c} channels, mean has {self.mean.shape[1]}.")
        x = images.astype(ms.float32) * self.std + self.mean
        patches = F.patchify(x, h // self.vit.patch_embedding.grid[0])  # (B, N, C P P)
        means = patches.reshape(b, self.num_patches, c, -1).mean(axis=-1)  # (B, N, C)
        levels = ops.clamp(ops.floor(means * LEVELS), 0, LEVELS - 1)
        return (levels * self.places).sum(axis=-1).astype(ms.int32)

    def targets(self, images):
        """The colours of the corrupted patches, and -1 for the others: (B, C, height, width) -> (B N,), int32"""
        corrupted = self.corrupted(images.shape[0]).astype(ms.int32)
        return ((self.colours(images) + 1) * corrupted - 1).reshape(-1)

    def construct(self, images):
        vit = self.vit
        x = vit.embed_tokens(self.corrupt(vit.embed_patches(images)))  # (B, prefix + N, D)
        x = vit.norm(vit.transformer(vit.pos_dropout(x)))
        x = self.head(x[:, vit.NUM_PREFIX :])  # (B, N, K)
        return x.reshape(-1, x.shape[-1])


class MaskedPatchLoss(nn.Cell):
    """The mean cross entropy over the patches that have a target.

    Inputs:
        - **logits** (Tensor): (M, K), float.
        - **targets** (Tensor): (M,), int32, each in [0, K), or -1 for a patch that does not count.

    Outputs:
        Tensor, float32, a scalar.
    """

    def construct(self, logits, targets):
        counts = (targets >= 0).astype(ms.float32)  # (M,)
        log_probs = ops.log_softmax(logits.astype(ms.float32), axis=-1)  # (M, K)
        of_target = ops.gather_elements(log_probs, 1, ops.maximum(targets, 0).reshape(-1, 1)).reshape(-1)
        return -(of_target * counts).sum() / ops.maximum(counts.sum(), 1.0)


class MaskedPatchStep(engine.TrainStep):
    """engine.TrainStep of a MaskedPatches and a MaskedPatchLoss. The labels are ignored, and what is counted as classified
    rightly is corrupted patches."""

    def construct(self, images, labels):
        return super().construct(images, self.network.targets(images))


class PatchBatches(TrainBatches):
    """Training images of which patches are told: corrupted patches are what a batch is counted in.

    Args:
        args, kwargs: of `TrainBatches`.
        corrupted (int): patches of each image.
    """

    def __init__(self, *args, corrupted: int, **kwargs):
        super().__init__(*args, **kwargs)
        self.corrupted = corrupted

    def get_batch_size(self) -> int:
        """Corrupted patches a batch, of which `engine.fit` takes the share that was told rightly."""
        return self.batch_size * self.corrupted


def _batches(kind: type[TrainBatches], dataset, info: RunInfo, seed: int, **more) -> TrainBatches:
    """The training batches of a recipe. Images are not mixed: a mixed one has mixed colours, and few stay few."""
    recipe = info.recipe
    augmentation = Augmentation(
        recipe.augment, recipe.scale, recipe.hflip, recipe.rand_augment, recipe.color_jitter, recipe.re_prob
    )
    return kind(dataset, info.preprocessing, recipe.batch_size, augmentation, recipe.workers, seed, **more)


def _train_step(kind: type[engine.TrainStep], network: nn.Cell, loss_fn: nn.Cell, recipe: Recipe, batches: int):
    """The training step of a recipe with so many batches an epoch, on one device."""
    lr, min_lr, warmup_lr = (
        scaled_rate(rate, recipe.batch_size, recipe.lr_batch_size)
        for rate in (recipe.lr, recipe.min_lr, recipe.warmup_lr)
    )
    rates = learning_rates(
        recipe.scheduler, lr, min_lr, recipe.warmup_epochs, recipe.epoch_size, batches, warmup_lr=warmup_lr
    )
    optimizer = create_optimizer(
        network.trainable_params(), recipe.opt, rates, recipe.weight_decay, recipe.betas, recipe.momentum
    )
    scaler = engine.loss_scaler() if runtime.settings().precision == "fp16" else None
    return kind(network, loss_fn, optimizer, recipe.clip_grad, scaler, seed=recipe.seed)


def _pretraining(recipe: Recipe, dataset) -> tuple[RunInfo, MaskedPatchStep, PatchBatches]:
    """What pretraining a recipe's ViT takes."""
    info = RunInfo.of(recipe, dataset)
    network = MaskedPatches(info.network(), recipe.mean, recipe.std)
    data = _batches(PatchBatches, dataset, info, recipe.seed, corrupted=network.num_patches // 2)
    return info, _train_step(MaskedPatchStep, network, MaskedPatchLoss(), recipe, data.get_dataset_size()), data


def _setup(recipe: Recipe) -> runtime.Settings:
    return runtime.setup(
        recipe.device_target, recipe.mode, recipe.seed, recipe.precision, recipe.implementation, in_turn=False
    )


def pretrain(recipe: Recipe, say: Callable[[str], None] = print) -> list[Path]:
    """Train the ViT of a recipe to tell the colours of masked patches of its training images; labels are not used.

    What is written is for `train --ckpt_path <folder>/masked_patches.ckpt --ckpt_skip dense.`, in a folder of its own. The
    recipe's optimizer, schedule, epochs and augmentation serve here too, but for mixed images and smoothed labels.

    Args:
        recipe (Recipe): of a ViT.
        say (Callable): told one line at a time how it goes.

    Returns:
        list[Path], the files written into the recipe's folder: masked_patches.ckpt and, with the loss and the share of
        colours told rightly in each epoch, masked_patches.csv.

    Raises:
        UserError: If the model is no ViT, or the data does not allow the run.
    """
    chosen = _setup(recipe)
    info, step, data = _pretraining(recipe, open_dataset(recipe.dataset, recipe.data_dir))
    say(f"{info.model}: masked patches, {LEVELS**info.preprocessing.channels} colours, seed {recipe.seed}")
    say(f"{chosen}{': ' if chosen.note else ''}{chosen.note}")
    ckpt, log, rows = recipe.folder / "masked_patches.ckpt", recipe.folder / "masked_patches.csv", []

    def on_epoch_end(done: engine.Epoch) -> dict[str, float]:
        rows.append({"epoch": done.epoch, "loss": done.loss, "accuracy": done.accuracy, "seconds": done.seconds})
        save_weights(step.network.vit, ckpt)
        with whole_file(log) as temporary, temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
        return {"patch_acc": done.accuracy}

    engine.fit(step, data, recipe.epoch_size, on_epoch_end)
    say(f"of the corrupted patches {rows[-1]['accuracy']:.2%} were told rightly in the last epoch")
    return [ckpt, log]


class Few:
    """A dataset with few of its training images, repeated until they are as many as all: an epoch is as long as before.

    Args:
        dataset: as the catalog opens them.
        shots (int): images of each class; None: all of them.
        seed (int): of the choice.

    Raises:
        UserError: If a class has fewer images.
    """

    def __init__(self, dataset, shots: int | None, seed: int):
        self.dataset = dataset
        labels = np.asarray(dataset.labels["train"])
        self.indices = np.arange(len(labels))
        if shots is None:
            return
        of_class = [np.flatnonzero(labels == index) for index in range(len(dataset.classes))]
        if min(map(len, of_class)) < shots:
            raise UserError(f"shots is {shots}; a class has only {min(map(len, of_class))} training images")
        rng = np.random.default_rng([seed, shots])
        chosen = rng.permutation(np.concatenate([rng.choice(rows, shots, replace=False) for rows in of_class]))
        self.indices = np.resize(chosen, len(labels))

    def __getattr__(self, name: str):
        return getattr(self.dataset, name)

    def read(self, split: str, order: Sequence[int] | None = None, num_parallel_workers: int = 1):
        if split == "train":
            order = self.indices if order is None else self.indices[np.asarray(order)]
        return self.dataset.read(split, order, num_parallel_workers)


METHODS = ("from scratch", "pretrained")


def masked_patch_gain(
    config: str = "digits",
    shots: Sequence[int] = (10, 25, 100),
    seeds: int = 5,
    pretrain_epochs: int = 40,
    epoch_size: int = 20,
    output: str | Path = "runs/masked_patches",
    say: Callable[[str], None] = print,
) -> list[Path]:
    """Measure what masked patch prediction on all training images is worth where few of them, or all, have labels.

    For each seed the recipe's ViT is pretrained on the training images without labels. Then, for each number of labelled
    images, it is trained with the labels twice: from its initial values and from the pretrained ones. Both trainings take
    the same images, views, steps and head; what is compared is the accuracy on test after the last step.

    What is finished is kept in masked_patches.json, seed by seed: the same call goes on from there.

    Args:
        config (str): the name of a recipe or its YAML file; its model is a ViT, and its dataset has a split test.
        shots (Sequence[int]): labelled images of each class; all of them come on top.
        seeds (int): runs of each, with the seeds from 0.
        pretrain_epochs, epoch_size (int): epochs without and with labels, over as many images as there are to train on.
        output (str or Path): the folder for what is written.
        say (Callable): told one line at a time how it goes.

    Returns:
        list[Path], the files written: masked_patches.json, masked_patches.md and masked_patches.png.

    Raises:
        UserError: If the model is no ViT, the dataset has no test, a class has too few images, or the folder holds other
            results.
    """
    check_positive(seeds=seeds, pretrain_epochs=pretrain_epochs, epoch_size=epoch_size, shots=min(shots, default=1))
    output = Path(output)
    path = output / "masked_patches.json"
    first = load_recipe(config, {"epoch_size": pretrain_epochs})
    second = load_recipe(config, {"epoch_size": epoch_size})
    settings = {"config": config, "shots": list(shots), "pretrain_epochs": pretrain_epochs, "epoch_size": epoch_size}
    rows = _finished(path, settings)
    missing = [seed for seed in range(seeds) if seed not in {row["seed"] for row in rows}]
    _setup(first)
    dataset = open_dataset(first.dataset, first.data_dir)
    if "test" not in dataset.splits:
        raise UserError(f"the gain is measured on the split test; the dataset has {', '.join(dataset.splits)}")
    if missing:
        bench = _Bench(first, second, dataset, [*shots, None])
    for seed in missing:
        for row in bench.measure(seed):
            rows.append(row)
            say(f"seed {seed}, {row['shots']} a class, {row['method']}: test top-1 {row['top1']:.2%}")
        _write(path, json.dumps({**settings, "rows": rows}, indent=1))

    rows = [row for row in rows if row["seed"] < seeds]
    lines = markdown(rows)
    for line in lines:
        say(line)
    _write(output / "masked_patches.md", "\n".join(lines))
    points = [
        {"method": method, "shots": number, "mean": float(np.mean(shares)), "accuracies": shares}
        for method in METHODS[::-1]
        for number, shares in _by_shots(rows, method).items()
    ]
    title = f"{config}: {pretrain_epochs} epochs of masked patches without labels, then {epoch_size} with few labels"
    visualize.plot_few_shot(points, title, 1 / len(dataset.classes), output / "masked_patches.png")
    return [output / f"masked_patches.{kind}" for kind in ("json", "md", "png")]


class _Bench:
    """Two training steps, compiled once, that are set back for every run.

    Args:
        first, second (Recipe): without and with labels.
        dataset: as the catalog opens them.
        shots (list[int]): labelled images of each class; None: all.
    """

    def __init__(self, first: Recipe, second: Recipe, dataset, shots: list[int | None]):
        self.first, self.second, self.dataset, self.shots = first, second, dataset, shots
        for number in shots:
            Few(dataset, number, 0)  # too many are refused before anything is trained
        self.info, self.blind, data = _pretraining(first, dataset)
        self.network = self.info.network()
        loss_fn = CrossEntropySmooth(smooth_factor=second.label_smoothing, num_classes=len(dataset.classes))
        self.sighted = _train_step(engine.TrainStep, self.network, loss_fn, second, data.get_dataset_size())
        self.test = eval_batches(dataset, "test", self.info.preprocessing, second.batch_size, second.workers)
        self.starts = {step: _values(step.state().values()) for step in (self.blind, self.sighted)}

    def restart(self, step: engine.TrainStep, weights: dict[str, np.ndarray], seed: int) -> None:
        """Set a step back to before its first call, but with these weights and this seed."""
        values = self.starts[step] | weights | {"draw": np.array([seed, 0, 0], np.int32)}
        for parameter in step.state().values():
            parameter.set_data(Tensor(values[parameter.name]))

    def pretrained(self, seed: int, weights: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], engine.Epoch]:
        """What the weights become without labels, but for the head, and what the last epoch came to."""
        self.restart(self.blind, weights, seed)
        masked = self.blind.network
        data = _batches(PatchBatches, self.dataset, self.info, seed, corrupted=masked.num_patches // 2)
        done = engine.fit(self.blind, data, self.first.epoch_size, lambda done: {"patch_acc": done.accuracy})[-1]
        learnt = _values(masked.vit.get_parameters())
        return {name: value for name, value in learnt.items() if not name.startswith(HEADS)}, done

    def accuracy(self, seed: int, shots: int | None, weights: dict[str, np.ndarray]) -> float:
        """Top-1 on test of what the weights become with labels."""
        self.restart(self.sighted, weights, seed)
        data = _batches(TrainBatches, Few(self.dataset, shots, seed), self.info, seed)
        engine.fit(self.sighted, data, self.second.epoch_size, lambda done: {"seed": seed})
        return engine.evaluate(self.network, self.test).metrics(list(self.dataset.classes))["top1"]

    def measure(self, seed: int) -> Iterator[dict]:
        """The rows of one seed, as they come."""
        _setup(dataclasses.replace(self.second, seed=seed))
        initial = _values(MaskedPatches(self.info.network(), self.first.mean, self.first.std).get_parameters())
        learnt, done = self.pretrained(seed, initial)
        for shots in self.shots:
            number = shots or self.dataset.size("train") // len(self.dataset.classes)
            for method, weights in zip(METHODS, (initial, initial | learnt), strict=True):
                row = {"seed": seed, "shots": number, "method": method, "top1": self.accuracy(seed, shots, weights)}
                yield row | {"patch_loss": done.loss, "patch_accuracy": done.accuracy}


def _values(parameters) -> dict[str, np.ndarray]:
    return {parameter.name: parameter.asnumpy().copy() for parameter in parameters}


def _by_shots(rows: list[dict], method: str) -> dict[int, list[float]]:
    """The accuracies of one method by the number of labelled images a class, in the order of the seeds."""
    mine = sorted((row for row in rows if row["method"] == method), key=lambda row: (row["shots"], row["seed"]))
    return {
        number: [row["top1"] for row in mine if row["shots"] == number]
        for number in dict.fromkeys(row["shots"] for row in mine)
    }


def markdown(rows: list[dict]) -> list[str]:
    """The results of `masked_patch_gain` as the lines of a Markdown table.

    Args:
        rows (list[dict]): each with seed, shots, method and top1.
    """
    scratch, pretrained = (_by_shots(rows, method) for method in METHODS)
    lines = [
        "| labelled images a class | runs | from scratch, test top-1, % | pretrained, test top-1, % | gain |",
        "|---|---|---|---|---|",
    ]
    for number in scratch:
        shares = [100 * np.array(method[number]) for method in (scratch, pretrained)]
        told = [f"{share.mean():.2f} ± {_deviation(share):.2f}" for share in shares]
        gains = shares[1] - shares[0]
        told.append(f"{gains.mean():+.2f} ± {_deviation(gains) / len(gains) ** 0.5:.2f}")
        lines.append(f"| {number} | {len(gains)} | {' | '.join(told)} |")
    return [*lines, "", "±: the standard deviation between seeds; of the gain, the standard error of its mean."]


def _deviation(shares: np.ndarray) -> float:
    return float(np.std(shares, ddof=min(1, len(shares) - 1)))


def _finished(path: Path, settings: dict) -> list[dict]:
    """The rows that are there already; they must be of the same settings."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        earlier, rows = {key: found[key] for key in settings}, found["rows"]
    except FileNotFoundError:
        return []
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is damaged ({error}): remove it, or choose another output") from None
    if earlier != settings:
        changed = [f"{key} {earlier[key]!r} -> {settings[key]!r}" for key in settings if earlier[key] != settings[key]]
        raise UserError(f"{path} holds other results ({', '.join(changed)}): choose another output")
    return rows


def _write(path: Path, text: str) -> None:
    with whole_file(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
