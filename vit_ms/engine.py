"""One training step, one training loop, one evaluation. Works on any Cell, data pipeline and optimizer."""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import mindspore as ms
import mindspore.dataset as ds
import numpy as np
from mindspore import Parameter, Tensor, amp, nn, ops
from tqdm import tqdm

from vit_ms import runtime


def clip_by_global_norm(grads: tuple[Tensor, ...], clip_norm: float) -> tuple[Tensor, ...]:
    """Scale all gradients by one factor, so that the root of the sum of all their squares is clip_norm at most.

    ops.clip_by_global_norm divides each gradient on its own and takes four times as long on CPU.

    Reference:
        Pascanu et al. 2013, algorithm 1.
    """
    norm = ops.sqrt(ops.addn(_map(_sum_of_squares, grads)))
    return _map(ops.partial(_scaled, clip_norm / ops.maximum(norm, clip_norm)), grads)


_map = ops.HyperMap()  # compiles in a fraction of the time of a Python loop over the gradients


def _sum_of_squares(grad):
    return (grad.astype(ms.float32) * grad.astype(ms.float32)).sum()


def _scaled(scale, grad):
    return grad * scale.astype(grad.dtype)


class TrainStep(nn.Cell):
    """Forward, loss, gradients, clipping and update as one cell, so that graph mode compiles them as one graph.

    All that it keeps from step to step, `state` says, is in Parameters: to restore them is to go on as if nothing had been.

    Args:
        network (nn.Cell): images to logits, or to a pair of them, of which the first are judged; without a teacher both
            learn from the labels.
        loss_fn (nn.Cell): logits and labels to a scalar; with a teacher, logits, labels and the teacher's logits.
        optimizer (nn.Optimizer): over the parameters to train.
        clip_grad (float): largest global norm of the gradients; None: no clipping.
        loss_scaler (amp.LossScaler): keeps small gradients above float16's smallest number; a step whose gradients overflow
            all the same updates nothing. None: none.
        teacher (nn.Cell): images to logits; it is not trained. None: none.
        accumulate (int): calls whose gradients, averaged, make one step: that of a batch so many times as large.
        ema_decay (float): of the running average of the weights; None: no average.
        seed (int): of dropout and drop path, as far as the network's cells have a method `draw_from`.
        rank, ranks (int): which of how many devices this is; gradients are averaged over all.

    Inputs:
        - **images** (Tensor): what the network takes, (B, C, height, width).
        - **labels** (Tensor): (B,), int32, or (B, K), float32.

    Outputs:
        tuple of two scalar Tensors, the loss before the update and the number of images classified rightly.

    Reference:
        Pascanu et al. 2013, algorithm 1, for the clipping; Micikevicius et al. 2018, section 3.2, for the scaling; Polyak &
        Juditsky 1992 for the average, in the exponential form of Dosovitskiy et al. 2021, appendix B.1.
    """

    def __init__(
        self,
        network: nn.Cell,
        loss_fn: nn.Cell,
        optimizer: nn.Optimizer,
        clip_grad: float | None = None,
        loss_scaler: amp.LossScaler | None = None,
        teacher: nn.Cell | None = None,
        accumulate: int = 1,
        ema_decay: float | None = None,
        seed: int = 0,
        rank: int = 0,
        ranks: int = 1,
    ):
        # Without the prefix the parameters keep their names, "cls" and not "network.cls".
        super().__init__(auto_prefix=False)
        self.network = network
        self.loss_fn = loss_fn
        self.optimizer = optimizer
        self.clip_grad = clip_grad
        self.loss_scaler = loss_scaler
        if teacher is not None:
            teacher.set_train(False)
            if not all(parameter.name.startswith("teacher.") for parameter in teacher.get_parameters()):
                teacher.update_parameters_name("teacher.")  # else MindSpore renames those of the network, too
        self.teacher = teacher
        self.accumulate = accumulate
        self.ema_decay = ema_decay
        self.reduce = nn.DistributedGradReducer(optimizer.parameters) if ranks > 1 else None
        self.draw = Parameter(Tensor([seed % 2**31, 0, rank], ms.int32), name="draw", requires_grad=False)
        chunks = ranks * accumulate if accumulate > 1 else 0
        self.next_chunk, self.next_step = Tensor([0, 0, ranks], ms.int32), Tensor([0, 1, -chunks], ms.int32)
        for salt, (_, cell) in enumerate(network.cells_and_names()):
            if hasattr(cell, "draw_from"):
                cell.draw_from(self.draw, salt)
        self.grad_fn = ms.value_and_grad(self.forward, None, optimizer.parameters, has_aux=True)
        self.sums = optimizer.parameters.clone("sum", init="zeros") if accumulate > 1 else None
        self.ema = optimizer.parameters.clone("ema", init="same") if ema_decay is not None else None
        self.calls = 0
        self.apply_sums = _ApplySums(self) if accumulate > 1 else None

    def forward(self, images, labels):
        logits = self.network(images)
        if self.teacher is not None:
            loss = self.loss_fn(logits, labels, ops.stop_gradient(self.teacher(images)))
        elif isinstance(logits, tuple):
            loss = (self.loss_fn(logits[0], labels) + self.loss_fn(logits[1], labels)) / 2
        else:
            loss = self.loss_fn(logits, labels)
        if isinstance(logits, tuple):
            logits = logits[0]
        return loss if self.loss_scaler is None else self.loss_scaler.scale(loss), loss, logits

    def construct(self, images, labels):
        (_, loss, logits), grads = self.grad_fn(images, labels)
        if self.accumulate > 1:
            loss = ops.depend(loss, _map(_add_to, self.sums, grads))
            loss = ops.depend(loss, ops.assign_add(self.draw, self.next_chunk))
        else:
            loss = ops.depend(loss, self.step(grads))
        if labels.ndim == 2:
            labels = labels.argmax(axis=-1)
        correct = (logits.argmax(axis=-1) == labels).astype(ms.int32).sum()
        return loss, correct

    def __call__(self, images, labels):
        loss, correct = super().__call__(images, labels)
        if self.accumulate > 1:
            self.calls += 1
            if self.calls % self.accumulate == 0:
                self.apply_sums()
        return loss, correct

    def step(self, grads):
        """One update with these gradients, unless they overflowed."""
        if self.reduce is not None:
            grads = self.reduce(grads)
        done = ops.assign_add(self.draw, self.next_step)
        if self.loss_scaler is None:
            return ops.depend(done, self.update(grads))
        grads = self.loss_scaler.unscale(grads)
        finite = amp.all_finite(grads)
        done = ops.depend(done, self.loss_scaler.adjust(finite))
        if finite:
            done = ops.depend(done, self.update(grads))
        return done

    def update(self, grads):
        if self.clip_grad is not None:
            grads = clip_by_global_norm(grads, self.clip_grad)
        done = self.optimizer(grads)
        if self.ema is not None:
            done = ops.depend(
                done, _map(ops.partial(_average, 1.0 - self.ema_decay), self.ema, self.optimizer.parameters)
            )
        return done

    def state(self) -> dict[str, Parameter]:
        """Everything that a step changes, by name."""
        found = {p.name: p for p in (*self.network.get_parameters(), *self.optimizer.get_parameters(), self.draw)}
        found |= {p.name: p for p in self.ema or ()}
        if self.loss_scaler is not None:
            found |= {"loss_scale": self.loss_scaler.scale_value, "loss_scale_steps": self.loss_scaler.counter}
        return found

    @contextlib.contextmanager
    def averaged(self):
        """Within it the network has the running average of its weights, if there is one."""
        if self.ema is None:
            yield
            return
        weights = [p.asnumpy().copy() for p in self.optimizer.parameters]
        for parameter, average in zip(self.optimizer.parameters, self.ema, strict=True):
            parameter.set_data(Tensor(average.asnumpy()))
        try:
            yield
        finally:
            for parameter, weight in zip(self.optimizer.parameters, weights, strict=True):
                parameter.set_data(Tensor(weight))


class _ApplySums(nn.Cell):
    """The step with the accumulated gradients: a small graph beside the large one that accumulates."""

    def __init__(self, train_step: TrainStep):
        super().__init__(auto_prefix=False)
        self.step = train_step.step
        self.sums = train_step.sums
        self.scale = Tensor(1.0 / train_step.accumulate, ms.float32)

    def construct(self):
        done = self.step(_map(ops.partial(_scaled, self.scale), self.sums))
        return ops.depend(done, _map(_clear, self.sums))


def _add_to(total, grad):
    return ops.assign_add(total, grad)


def _clear(total):
    return ops.assign(total, ops.zeros_like(total))


def _average(share, average, parameter):
    return ops.assign_add(average, (parameter - average) * share)


def loss_scaler() -> amp.LossScaler:
    """The loss scale for float16: from 2^16, halved at an overflow, doubled after 2000 steps without one."""
    return amp.DynamicLossScaler(scale_value=2**16, scale_factor=2, scale_window=2000)


@dataclass
class Epoch:
    """What one epoch of training came to.

    Args:
        epoch (int): from 1.
        loss (float): mean over the epoch's batches.
        accuracy (float): share of the training images classified rightly, as they were met, in [0, 1].
        seconds (float): for training alone.
    """

    epoch: int
    loss: float
    accuracy: float
    seconds: float


@dataclass
class Progress:
    """How far a training is.

    Args:
        epoch (int): the one being trained, from 1.
        batches (int): of it that are done.
        losses (list[float]): of those batches.
        correct (int): images of those batches that were classified rightly.
        seconds (float): that they took.
    """

    epoch: int = 1
    batches: int = 0
    losses: list[float] = field(default_factory=list)
    correct: int = 0
    seconds: float = 0.0


class LossNotFinite(FloatingPointError):
    """The loss is NaN or infinite.

    Args:
        message (str): one line.
        epoch (int): from 1.
        batch (int): of the epoch, from 0.
    """

    def __init__(self, message: str, epoch: int, batch: int):
        super().__init__(message)
        self.epoch, self.batch = epoch, batch


# Under loss scaling a few batches may overflow one after the other until the scale has come down: 2^16 to 1.
OVERFLOWS = 20


def fit(
    train_step: TrainStep,
    data,
    epoch_size: int,
    on_epoch_end: Callable[[Epoch], dict[str, float] | None],
    log_interval: int = 10,
    progress: Progress | None = None,
    watch: Callable[[Progress], None] | None = None,
    urgent: Callable[[], bool] | None = None,
    sink: bool = False,
) -> list[Epoch]:
    """The training loop, with a bar that shows loss, accuracy and the time left.

    Args:
        train_step (TrainStep): one update.
        data: batches of equal shape, columns image and label: a Dataset, or a TrainBatches, which begins every epoch anew
            and so can be gone on with in the middle of one.
        epoch_size (int): epochs to train.
        on_epoch_end (Callable): validates, saves; what it returns is shown in the bar. None ends the training.
        log_interval (int): steps between two readings of the loss. Reading waits for the device.
        progress (Progress): where to begin; it is kept up to date. None: at the beginning.
        watch (Callable): called with it at every reading; it may save the state.
        urgent (Callable): asked after every step whether to read at once.
        sink (bool): let the device take the batches from a queue of its own, which MindSpore has on Ascend; data must be a
            TrainBatches.

    Returns:
        list[Epoch], one for each that was ended.

    Raises:
        LossNotFinite: If the loss is no longer finite. The weights are not, either.
    """
    progress = progress or Progress()
    batches, batch_size = data.get_dataset_size(), data.get_batch_size()
    interval = log_interval * train_step.accumulate
    results = _sunk if sink else _fed
    epoch_of = data.epoch if hasattr(data, "epoch") else _repeated(data, epoch_size)
    epochs, shown, overflows = [], {}, 0
    with tqdm(total=epoch_size * batches, unit="step", mininterval=0.5, disable=runtime.rank() > 0) as bar:
        bar.update((progress.epoch - 1) * batches + progress.batches)
        while progress.epoch <= epoch_size:
            train_step.network.set_train(True)
            bar.set_description(f"epoch {progress.epoch}/{epoch_size}", refresh=False)
            start, unread = time.perf_counter(), []
            stream = results(train_step, data.pipeline if sink else epoch_of, progress.epoch, progress.batches)
            for batch, result in enumerate(stream, progress.batches):
                unread.append(result)
                bar.update()
                full_step = (batch + 1) % train_step.accumulate == 0
                asked = urgent is not None and full_step and urgent()
                if (batch + 1) % interval and batch + 1 < batches and not asked:
                    continue
                for number, (loss, correct) in enumerate(unread, progress.batches):
                    progress.losses.append(float(loss))
                    progress.correct += int(correct)
                    overflows = 0 if np.isfinite(progress.losses[-1]) else overflows + 1
                    if overflows > (OVERFLOWS if train_step.loss_scaler is not None else 0):
                        where = f"step {number // train_step.accumulate + 1} of epoch {progress.epoch}"
                        raise LossNotFinite(
                            f"the loss is {progress.losses[-1]} at {where}: lower lr or set clip_grad",
                            progress.epoch,
                            number,
                        )
                unread, progress.batches = [], batch + 1
                progress.seconds, start = progress.seconds + time.perf_counter() - start, time.perf_counter()
                accuracy = progress.correct / (progress.batches * batch_size)
                shown |= {"loss": f"{_mean(progress.losses):.4f}", "acc": f"{accuracy:.4f}"}
                bar.set_postfix(shown, refresh=False)
                if watch is not None and full_step and batch + 1 < batches:
                    watch(progress)
                start = time.perf_counter()
            done = Epoch(progress.epoch, _mean(progress.losses), accuracy, progress.seconds)
            epochs.append(done)
            vars(progress).update(vars(Progress(epoch=progress.epoch + 1)))
            found = on_epoch_end(done)
            if found is None:
                break
            shown |= {name: f"{value:.4f}" for name, value in found.items()}
            bar.set_postfix(shown, refresh=False)
    return epochs


def _fed(train_step: TrainStep, epoch_of: Callable, epoch: int, start: int) -> Iterator[tuple]:
    """The results of an epoch's steps, each of a batch that the host hands over."""
    for images, labels in epoch_of(epoch, start):
        yield train_step(images, labels)


def _sunk(train_step: TrainStep, pipeline_of: Callable, epoch: int, start: int) -> Iterator[tuple]:
    """The results of an epoch's steps, each of a batch that waits on the device already."""
    pipeline = pipeline_of(epoch)
    take = ms.data_sink(train_step, pipeline.skip(start) if start else pipeline)
    for _ in range(pipeline.get_dataset_size() - start):
        yield take()


def _mean(losses: list[float]) -> float:
    """Of those that are finite: under loss scaling, one that is not was skipped."""
    return float(np.mean([loss for loss in losses if np.isfinite(loss)] or [np.nan]))


def _repeated(dataset: ds.Dataset, epoch_size: int) -> Callable:
    # One iterator for all epochs: a new one would repeat the order of the first.
    batches = dataset.create_tuple_iterator(num_epochs=epoch_size)
    return lambda number, start: batches


def log_probabilities(network: nn.Cell, images: np.ndarray, batch_size: int) -> np.ndarray:
    """The logarithms of the class probabilities of at most one batch of images.

    A short batch is filled up and its answers cut off again: graph mode compiles each new shape.

    Args:
        network (nn.Cell): images to logits, in evaluation mode.
        images (np.ndarray): (n, C, height, width) float32, n from 1 to batch_size.
        batch_size (int): the shape that is compiled.

    Returns:
        np.ndarray, (n, K) float64.
    """
    n = len(images)
    filled = np.concatenate([images, np.repeat(images[:1], batch_size - n, axis=0)])
    logits = network(Tensor(filled)).astype(ms.float32).asnumpy()[:n].astype(np.float64)  # NumPy has no bfloat16
    logits -= logits.max(axis=1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


@dataclass
class Predictions:
    """What a network says of n images, its likeliest classes first.

    Args:
        labels (np.ndarray): (n,), int32, the truth.
        top (np.ndarray): (n, 5) class indices, or (n, K) if there are fewer than 5 classes.
        probabilities (np.ndarray): of those classes, float32, same shape.
        losses (np.ndarray): (n,), float32, the cross entropy of each image.
        examples (list[int]): which images were kept to be shown, the wrong ones first.
        example_images (np.ndarray): those, (len(examples), C, height, width) float32, as the network got them.
    """

    labels: np.ndarray
    top: np.ndarray
    probabilities: np.ndarray
    losses: np.ndarray
    examples: list[int]
    example_images: np.ndarray

    def metrics(self, classes: list[str]) -> dict:
        """Top-1 and top-5 accuracy, mean loss, and accuracy of each class that has images; shares in [0, 1]."""
        hits = self.top == self.labels[:, None]
        return {
            "images": len(self.labels),
            "top1": float(hits[:, 0].mean()),
            "top5": float(hits.any(axis=1).mean()),
            "loss": float(self.losses.mean()),
            "per_class": {
                name: float(hits[self.labels == index, 0].mean())
                for index, name in enumerate(classes)
                if (self.labels == index).any()
            },
        }


def evaluate(network: nn.Cell, dataset: ds.Dataset, progress: str | None = None, examples: int = 0) -> Predictions:
    """Run a network in evaluation mode over every image of a dataset.

    Args:
        network (nn.Cell): images to logits, (B, K).
        dataset (Dataset): batches, columns image and label; only the last may be short.
        progress (str): text of a progress bar; None: no bar.
        examples (int): how many images to keep, the wrong ones before the right ones.

    Returns:
        Predictions, in the dataset's order.
    """
    network.set_train(False)
    labels, top, probabilities, losses = [], [], [], []
    kept = {False: [], True: []}  # right or wrong -> (index, image)
    batch_size = seen = hits = 0
    batches = dataset.create_tuple_iterator(num_epochs=1, output_numpy=True)
    bar = tqdm(batches, total=dataset.get_dataset_size(), unit="batch", desc=progress, disable=progress is None)
    for images, truth in bar:
        batch_size = batch_size or len(images)
        log_probs = log_probabilities(network, images, batch_size)  # (n, K)
        order = np.argsort(-log_probs, axis=1, kind="stable")[:, :5]
        right = order[:, 0] == truth
        for index, hit in enumerate(right):
            if len(kept[bool(hit)]) < examples:
                kept[bool(hit)].append((seen + index, images[index]))
        labels.append(truth)
        top.append(order)
        probabilities.append(np.exp(np.take_along_axis(log_probs, order, axis=1)))
        losses.append(-log_probs[np.arange(len(truth)), truth])
        seen, hits = seen + len(truth), hits + int(right.sum())
        bar.set_postfix({"acc": f"{hits / seen:.4f}", "loss": f"{np.concatenate(losses).mean():.4f}"}, refresh=False)
    shown = (kept[False] + kept[True])[:examples]
    return Predictions(
        np.concatenate(labels),
        np.concatenate(top),
        np.concatenate(probabilities).astype(np.float32),
        np.concatenate(losses).astype(np.float32),
        [index for index, _ in shown],
        np.array([image for _, image in shown]),
    )
