"""A recipe carried out: training that goes on after any interruption, and the folder that keeps what came of it."""

import contextlib
import csv
import dataclasses
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn

from vit_ms import engine, runtime, visualize
from vit_ms.checkpoint import States
from vit_ms.data.batches import TrainBatches, eval_batches
from vit_ms.data.catalog import open_dataset
from vit_ms.data.transforms import Augmentation
from vit_ms.errors import Interrupted, UserError
from vit_ms.files import locked, remove_temporary, whole_file
from vit_ms.losses import CrossEntropySmooth, DistillationLoss
from vit_ms.optim import HEADS, create_optimizer, freeze, learning_rates, scaled_rate
from vit_ms.recipe import Recipe
from vit_ms.registry import create_model
from vit_ms.report import write_report
from vit_ms.run import RunInfo, read_json, write_json
from vit_ms.weights import load_weights, save_weights

# Settings that may differ between a run and its resumption, for they do not decide what comes out.
_FREE = ("ckpt_save_dir", "ckpt_interval")


def train(recipe: Recipe, resume: bool = False, say: Callable[[str], None] = print) -> list[Path]:
    """Carry out a recipe: train, validate after each epoch, keep the best and the last weights.

    Under msrun every process calls this with the same recipe; the first of them speaks and writes.

    Args:
        recipe (Recipe): what to do.
        resume (bool): go on where the same run in the same folder was interrupted; on CPU the result is that of a run that
            was not, to the last bit. With another number of devices batch_size changes so that a step's images stay.
        say (Callable): told one line at a time how it goes.

    Returns:
        list[Path], the files written into the run's folder.

    Raises:
        UserError: If the recipe, the data or the folder does not allow the run; nothing has been trained then.
        Interrupted: If it is told to stop (SIGTERM, Ctrl-C); the state has been saved.
        engine.LossNotFinite: If the loss is NaN or infinite; the state before it is kept.
        MemoryError: If memory runs out; the message says what takes less.
    """
    chosen = runtime.setup(
        recipe.device_target, recipe.mode, recipe.seed, recipe.precision, recipe.implementation, in_turn=False
    )
    if recipe.data_dir is not None:
        # run.json must say it to a command that is called from another folder.
        recipe = dataclasses.replace(recipe, data_dir=str(Path(recipe.data_dir).resolve()))
    first = runtime.rank() == 0
    with locked(recipe.folder) if first else contextlib.nullcontext():
        training = _Training(recipe, resume, chosen, say if first else _silent)
        with training.signals(), _memory(training.recipe):
            return training.run()


def _silent(line: str) -> None:
    pass


class _Training:
    """The objects of one call of `train`."""

    def __init__(self, recipe: Recipe, resume: bool, chosen: runtime.Settings, say: Callable[[str], None]):
        self.folder, self.chosen, self.say = recipe.folder, chosen, say
        self.states = States(self.folder / "state")
        if runtime.rank() == 0:
            for folder in (self.folder, self.states.folder):
                remove_temporary(folder)
        _refuse_other_run(self.folder, recipe)
        found = self.states.load() if resume else None
        self.resumed = found is not None
        self.recipe = recipe = _same_step(recipe, found[1]) if found else recipe
        dataset = open_dataset(recipe.dataset, recipe.data_dir)
        for split in ("train", "val"):
            if split not in dataset.splits:
                raise UserError(f"training needs the splits train and val; the dataset has {', '.join(dataset.splits)}")
        self.dataset, self.info = dataset, RunInfo.of(recipe, dataset)
        self.network = _network(recipe, self.info, self.resumed, say)
        ranks = {"rank": runtime.rank(), "ranks": runtime.ranks()}
        if dataset.size("val") < runtime.ranks():
            raise UserError(f"val has {dataset.size('val')} images, fewer than the {runtime.ranks()} devices")
        names = [field.name for field in dataclasses.fields(Augmentation)]
        augmentation = Augmentation(**{name: getattr(recipe, name) for name in names})
        accumulate = recipe.gradient_accumulation_steps
        self.train_data = TrainBatches(
            dataset,
            self.info.preprocessing,
            recipe.batch_size,
            augmentation,
            recipe.workers,
            recipe.seed,
            accumulate=accumulate,
            **ranks,
        )
        self.val_data = eval_batches(
            dataset, "val", self.info.preprocessing, recipe.batch_size, recipe.workers, **ranks
        )
        self.steps = self.train_data.batches // accumulate
        self.rates = _rates(recipe, self.steps)
        optimizer = create_optimizer(
            self.network.trainable_params(),
            recipe.opt,
            self.rates,
            recipe.weight_decay,
            recipe.betas,
            recipe.momentum,
            recipe.layer_decay,
        )
        loss_fn = CrossEntropySmooth(not augmentation.mixes, "mean", recipe.label_smoothing, len(self.info.classes))
        teacher = _teacher(recipe, self.info)
        if teacher is not None:
            loss_fn = DistillationLoss(
                loss_fn, recipe.distillation, recipe.distillation_alpha, recipe.distillation_temperature
            )
        self.step = engine.TrainStep(
            self.network,
            loss_fn,
            optimizer,
            recipe.clip_grad,
            engine.loss_scaler() if chosen.precision == "fp16" else None,
            teacher,
            accumulate,
            recipe.ema_decay,
            recipe.seed,
            **ranks,
        )
        if recipe.jit_level is not None:
            self.step.set_jit_config(ms.JitConfig(jit_level=recipe.jit_level))
        self.progress, self.history, self.best = engine.Progress(), [], {}
        self.signal, self.saved_at = None, time.monotonic()

        size = sum(p.size for p in self.network.trainable_params())
        say(f"{self.info.model}: {size:,} parameters, {len(self.info.classes)} classes, seed {recipe.seed}")
        say(f"{chosen}{': ' if chosen.note else ''}{chosen.note}")
        if dataset.left_out:
            path = self.folder / "left_out.txt"
            _write_lines(path, dataset.left_out)
            say(f"{len(dataset.left_out)} images cannot be read and are left out; the list is {path}")
        images = recipe.batch_size * accumulate * runtime.ranks()
        say(f"{self.steps} steps of {images} images an epoch, {recipe.epoch_size} epochs; the first step compiles")
        if found:
            self._go_on(*found)
        elif resume:
            say(f"there is no state in {self.folder} to go on from: this is the beginning")
        elif runtime.rank() == 0:
            self.states.clear()

    def run(self) -> list[Path]:
        """Train to the end."""
        if runtime.rank() == 0 and not self.resumed:
            write_json(self.folder / "run.json", dataclasses.asdict(self.info))
        try:
            engine.fit(
                self.step,
                self.train_data,
                self.recipe.epoch_size,
                self.on_epoch_end,
                progress=self.progress,
                watch=self.watch,
                urgent=self.urgent,
                sink=self.recipe.sink and self.chosen.device == "Ascend" and self.chosen.mode == "graph",
            )
        except engine.LossNotFinite as error:
            path = self.folder / "not_finite.txt"
            _write_lines(path, self.train_data.describe(error.epoch, error.batch))
            raise engine.LossNotFinite(
                f"{error}; the images of that step are listed in {path}", error.epoch, error.batch
            ) from None
        if runtime.rank():
            return []
        visualize.plot_curve(self.history, self.folder / "curve.png")
        self.say(f"best validation accuracy {self.best['top1']:.2%}, after epoch {self.best['epoch']}")
        written = ("best.ckpt", "last.ckpt", "run.json", "log.csv", "curve.png", "metrics.json")
        return [*(self.folder / name for name in written), write_report(self.folder)]

    def on_epoch_end(self, done: engine.Epoch) -> dict[str, float] | None:
        """Validate, keep what is good, save the state; None: there has been nothing better for too long."""
        loss, accuracy = runtime.sum_over_ranks([done.loss, done.accuracy]) / runtime.ranks()
        with self.step.averaged():
            metrics = self.validate()
            self._check_finite(np.isfinite(metrics["loss"]), done.epoch, self.train_data.batches)
            row = {"epoch": done.epoch, "lr": self.rates[done.epoch * self.steps - 1], "train_loss": float(loss)}
            row |= {"train_acc": float(accuracy), "val_loss": metrics["loss"], "val_acc": metrics["top1"]}
            self.history.append(row | {"seconds": round(done.seconds, 3)})
            # Of equals the later: it has been trained for longer.
            better = not self.best or metrics["top1"] >= self.best["top1"]
            if better:
                self.best = {"epoch": done.epoch, **metrics}
            if runtime.rank() == 0:
                for name in ["best.ckpt", "last.ckpt"] if better else ["last.ckpt"]:
                    save_weights(self.network, self.folder / name)
        if runtime.rank() == 0:
            with whole_file(self.folder / "log.csv") as temporary, temporary.open("w", newline="") as file:
                writer = csv.DictWriter(file, self.history[0])
                writer.writeheader()
                writer.writerows(self.history)
            write_json(self.folder / "metrics.json", {"val": self.best})
        patience = self.recipe.patience
        if patience is not None and done.epoch - self.best["epoch"] >= patience:
            self.say(f"no better validation accuracy for {patience} epochs: training ends after epoch {done.epoch}")
            self.progress.epoch = self.recipe.epoch_size + 1
        self.save()
        self.stop_if_told()
        return None if self.progress.epoch > self.recipe.epoch_size else {"val_acc": metrics["top1"]}

    def validate(self) -> dict:
        """The metrics on all images of val, whichever device saw them."""
        found = engine.evaluate(self.network, self.val_data)
        rank, ranks, total = runtime.rank(), runtime.ranks(), self.dataset.size("val")
        if ranks > 1:
            for name in ("labels", "top", "probabilities", "losses"):
                mine = getattr(found, name)
                everybodys = np.zeros((total, *mine.shape[1:]), np.float32)
                everybodys[rank::ranks] = mine
                setattr(found, name, runtime.sum_over_ranks(everybodys).astype(mine.dtype))
        return found.metrics(self.info.classes)

    # The state

    def save(self) -> None:
        """Write the state; the first process does it for all."""
        if runtime.rank() == 0:
            arrays = {name: parameter.asnumpy() for name, parameter in self.step.state().items()}
            finite = all(np.isfinite(array).all() for array in arrays.values())
            self._check_finite(finite, self.progress.epoch, self.progress.batches)
            info = {"progress": vars(self.progress), "history": self.history, "best": self.best}
            info |= {"batch_size": self.recipe.batch_size, "ranks": runtime.ranks()}
            batch = (self.progress.epoch - 1) * self.train_data.batches + self.progress.batches
            self.states.save(batch // self.recipe.gradient_accumulation_steps, arrays, info)
        self.saved_at = time.monotonic()

    @staticmethod
    def _check_finite(finite: bool, epoch: int, batches: int) -> None:
        """A step's loss is of the weights before it: those it leaves behind may be lost without a sign of it yet."""
        if not finite:
            last = max(batches - 1, 0)
            raise engine.LossNotFinite(
                f"the weights are not finite after batch {batches} of epoch {epoch}: lower lr or set clip_grad",
                epoch,
                last,
            )

    def _go_on(self, arrays: dict[str, np.ndarray], info: dict, damaged: list[str]) -> None:
        for line in damaged:
            self.say(line)
        state = self.step.state()
        if arrays.keys() != state.keys() or any(arrays[name].shape != state[name].shape for name in arrays):
            raise UserError(f"the state in {self.states.folder} is another version's: train without --resume")
        for name, parameter in state.items():
            parameter.set_data(Tensor(arrays[name]))
        draw = arrays["draw"]
        self.step.draw.set_data(Tensor([draw[0], draw[1], runtime.rank()], ms.int32))
        vars(self.progress).update(info["progress"])
        self.history, self.best = info["history"], info["best"]
        self.say(f"going on in epoch {self.progress.epoch}, after {self.progress.batches} of its batches")

    # What interrupts

    @contextlib.contextmanager
    def signals(self) -> Iterator[None]:
        """Within it SIGTERM and Ctrl-C are remembered; a second Ctrl-C ends the process at once."""

        def remember(number, frame):
            self.signal = number
            signal.signal(signal.SIGINT, signal.default_int_handler)

        if threading.current_thread() is not threading.main_thread():  # Python allows handlers there alone
            yield
            return
        before = {number: signal.signal(number, remember) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def urgent(self) -> bool:
        """Whether the state is to be saved after this step; many devices agree on it at every reading."""
        return runtime.ranks() == 1 and self._due()

    def watch(self, progress: engine.Progress) -> None:
        """Save the state where it is time to, and stop where that was asked for."""
        if runtime.sum_over_ranks([self._due()]).any():
            self.save()
        self.stop_if_told()

    def _due(self) -> bool:
        return self.signal is not None or time.monotonic() - self.saved_at > self.recipe.ckpt_interval

    def stop_if_told(self) -> None:
        """Raise Interrupted if any device's process was told to stop; the state must have been saved."""
        number = int(runtime.sum_over_ranks([self.signal or 0]).max())
        if number:
            raise Interrupted(
                f"stopped in epoch {self.progress.epoch}: the same command with --resume goes on", min(number, 64)
            )


def _refuse_other_run(folder: Path, recipe: Recipe) -> None:
    """The same run again writes the same files; another one must not take the place of what it cannot bring back."""
    if not any((folder / name).exists() for name in ("best.ckpt", "last.ckpt", "state")):
        return
    earlier, now = read_json(folder / "run.json").get("recipe", {}), dataclasses.asdict(recipe)
    changed = [
        f"{key} {earlier.get(key)!r} -> {value!r}"
        for key, value in now.items()
        if earlier.get(key) != value and key not in _FREE
    ]
    if changed:
        raise UserError(
            f"{folder} holds another run ({', '.join(changed[:4])}): choose another --ckpt_save_dir, or remove the folder"
        )


def _same_step(recipe: Recipe, info: dict) -> Recipe:
    """The recipe with as many images on each device that all of them together see what the run's devices saw."""
    images = info["batch_size"] * info["ranks"]
    if images % runtime.ranks():
        raise UserError(
            f"the run has batches of {images} images over {info['ranks']} devices, which {runtime.ranks()} cannot share"
        )
    return dataclasses.replace(recipe, batch_size=images // runtime.ranks())


def _network(recipe: Recipe, info: RunInfo, resumed: bool, say: Callable[[str], None]) -> nn.Cell:
    """The network as training begins with it."""
    network = info.network()
    if recipe.recompute:
        network.recompute_blocks()
    if recipe.ckpt_path is not None and not resumed:
        say(f"starting from {recipe.ckpt_path}: {load_weights(network, recipe.ckpt_path, skip=recipe.ckpt_skip)}")
    for parameter in network.trainable_params():
        if recipe.zero_head and parameter.name.startswith(HEADS):
            parameter.set_data(Tensor(np.zeros(parameter.shape, np.float32)))
    if recipe.freeze_backbone:
        freeze(network)
    return network


def _rates(recipe: Recipe, steps: int) -> list[float]:
    """The learning rate of every step, scaled to the images that a step has."""
    images = recipe.batch_size * recipe.gradient_accumulation_steps * runtime.ranks()
    lr, min_lr, warmup_lr = (
        scaled_rate(rate, images, recipe.lr_batch_size) for rate in (recipe.lr, recipe.min_lr, recipe.warmup_lr)
    )
    return learning_rates(
        recipe.scheduler, lr, min_lr, recipe.warmup_epochs, recipe.epoch_size, steps, warmup_lr=warmup_lr
    )


def _teacher(recipe: Recipe, info: RunInfo) -> nn.Cell | None:
    """The network that is learnt from, with its weights."""
    if recipe.teacher is None and recipe.teacher_ckpt_path is None:
        return None
    if recipe.teacher_ckpt_path is None:
        return create_model(recipe.teacher, pretrained=True, num_classes=len(info.classes))
    found = RunInfo.read(recipe.teacher_ckpt_path)
    for what, its, ours in (
        ("classes", found.classes, info.classes),
        ("preprocessing", found.preprocessing, info.preprocessing),
    ):
        if its != ours:
            raise UserError(
                f"the teacher {recipe.teacher_ckpt_path} has other {what} than this run: it must have the same"
            )
    teacher = found.network()
    load_weights(teacher, recipe.teacher_ckpt_path)
    return teacher


@contextlib.contextmanager
def _memory(recipe: Recipe) -> Iterator[None]:
    """Say what takes less memory where MindSpore says that there is none left."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        # In PyNative mode MindSpore has no name for a failed allocation.
        known = r"(?i)bad_alloc|out of memory|not enough|isn't enough|alloc\w* .*fail|fail.* alloc|^Unknown Error!$"
        ran_out = re.search(known, str(error))
        if isinstance(error, MemoryError) or ran_out:
            accumulated = f"gradient_accumulation_steps ({recipe.gradient_accumulation_steps})"
            raise MemoryError(
                f"memory ran out: halve --batch_size ({recipe.batch_size}) and double --{accumulated}, "
                "which gives the same steps, or compute blocks again with --recompute"
            ) from error
        raise


def _write_lines(path: Path, lines: list[str]) -> None:
    with whole_file(path) as temporary:
        temporary.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
