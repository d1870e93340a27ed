"""One training step, one training loop, one evaluation. Works on any Cell, data pipeline and optimizer."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import mindspore as ms
import mindspore.dataset as ds
import numpy as np
from mindspore import Tensor, amp, nn, ops
from tqdm import tqdm


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

    Args:
        network (nn.Cell): images to logits, or to a pair of them, of which the first are judged; without a teacher both
            learn from the labels.
        loss_fn (nn.Cell): logits and labels to a scalar; with a teacher, logits, labels and the teacher's logits.
        optimizer (nn.Optimizer): over the parameters to train.
        clip_grad (float): largest global norm of the gradients; None: no clipping.
        loss_scaler (amp.LossScaler): keeps small gradients above float16's smallest number; a step whose gradients overflow
            all the same updates nothing. None: none.
        teacher (nn.Cell): images to logits; it is not trained. None: none.

    Inputs:
        - **images** (Tensor): what the network takes, (B, C, height, width).
        - **labels** (Tensor): (B,), int32.

    Outputs:
        tuple of two scalar Tensors, the loss before the update and the number of images classified rightly.

    Reference:
        Pascanu et al. 2013, algorithm 1, for the clipping; Micikevicius et al. 2018, section 3.2, for the scaling.
    """

    def __init__(
        self,
        network: nn.Cell,
        loss_fn: nn.Cell,
        optimizer: nn.Optimizer,
        clip_grad: float | None = None,
        loss_scaler: amp.LossScaler | None = None,
        teacher: nn.Cell | None = None,
    ):
        # Without the prefix the parameters keep their names, "cls" and not "network.cls".
        super().__init__(auto_prefix=False)
        self.network = network
        self.loss_fn = loss_fn
        self.optimizer = optimizer
        self.clip_grad = clip_grad
        self.loss_scaler = loss_scaler
        self.teacher = teacher
        if teacher is not None:
            teacher.set_train(False)
        self.grad_fn = ms.value_and_grad(self.forward, None, optimizer.parameters, has_aux=True)

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
        if self.loss_scaler is None:
            loss = ops.depend(loss, self.update(grads))
        else:
            grads = self.loss_scaler.unscale(grads)
            finite = amp.all_finite(grads)
            loss = ops.depend(loss, self.loss_scaler.adjust(finite))
            if finite:
                loss = ops.depend(loss, self.update(grads))
        correct = (logits.argmax(axis=-1) == labels).astype(ms.int32).sum()
        return loss, correct

    def update(self, grads):
        if self.clip_grad is not None:
            grads = clip_by_global_norm(grads, self.clip_grad)
        return self.optimizer(grads)


def loss_scaler() -> amp.LossScaler:
    """The loss scale for float16: from 2^16, halved at an overflow, doubled after 2000 steps without one."""
    return amp.DynamicLossScaler(scale_value=2**16, scale_factor=2, scale_window=2000)


@dataclass
class Epoch:
    """What one epoch of training came to.

    Args:
        epoch (int): from 1.
        loss (float): mean over the epoch's steps.
        accuracy (float): share of the training images classified rightly, as they were met, in [0, 1].
        seconds (float): for training alone.
    """

    epoch: int
    loss: float
    accuracy: float
    seconds: float


def fit(
    train_step: TrainStep,
    dataset: ds.Dataset,
    epoch_size: int,
    on_epoch_end: Callable[[Epoch], dict[str, float]],
    log_interval: int = 10,
) -> list[Epoch]:
    """The training loop, with a bar that shows loss, accuracy and the time left.

    Args:
        train_step (TrainStep): one update.
        dataset (Dataset): batches of equal shape, columns image and label.
        epoch_size (int): epochs to train.
        on_epoch_end (Callable): validates, saves; what it returns is shown in the bar.
        log_interval (int): steps between two readings of the loss. Reading waits for the device.

    Returns:
        list[Epoch], one an epoch.

    Raises:
        FloatingPointError: If the loss is no longer finite.
    """
    steps, batch_size = dataset.get_dataset_size(), dataset.get_batch_size()
    # One iterator for all epochs: a new one would repeat the order of the first.
    batches = dataset.create_tuple_iterator(num_epochs=epoch_size)
    epochs, shown = [], {}
    with tqdm(total=epoch_size * steps, unit="step", desc=f"epoch 1/{epoch_size}", mininterval=0.5) as bar:
        for epoch in range(1, epoch_size + 1):
            train_step.network.set_train(True)
            bar.set_description(f"epoch {epoch}/{epoch_size}", refresh=False)
            start, losses, corrects = time.perf_counter(), [], []
            for step, (images, labels) in enumerate(batches, start=1):
                loss, correct = train_step(images, labels)
                losses.append(loss)
                corrects.append(correct)
                if step % log_interval == 0 or step == steps:
                    losses[-log_interval:] = [float(item) for item in losses[-log_interval:]]
                    corrects[-log_interval:] = [int(item) for item in corrects[-log_interval:]]
                    if not np.isfinite(losses[-1]):
                        raise FloatingPointError(
                            f"the loss is {losses[-1]} at step {step} of epoch {epoch}: lower lr or set clip_grad"
                        )
                    accuracy = sum(corrects) / (step * batch_size)
                    shown |= {"loss": f"{np.mean(losses):.4f}", "acc": f"{accuracy:.4f}"}
                    bar.set_postfix(shown, refresh=False)
                bar.update()
            done = Epoch(epoch, float(np.mean(losses)), accuracy, time.perf_counter() - start)
            epochs.append(done)
            shown |= {name: f"{value:.4f}" for name, value in on_epoch_end(done).items()}
            bar.set_postfix(shown, refresh=epoch == epoch_size)
    return epochs


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
