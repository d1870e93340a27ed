"""Few-shot evaluation: how well a frozen network's representation tells classes apart, given a handful of images of each.

Shape comments: n images, D the width of the representation, K classes.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import mindspore.dataset as ds
import numpy as np
from mindspore import Tensor, nn
from mindspore import dtype as mstype
from tqdm import tqdm

from vit_ms import visualize
from vit_ms.data.batches import eval_batches
from vit_ms.data.catalog import open_dataset
from vit_ms.errors import UserError, check_positive
from vit_ms.run import RunInfo, write_json
from vit_ms.weights import load_weights

# Of the L2 penalty. big_vision's evaluator has 2^10 for all; here each choice of images finds its own.
STRENGTHS = 2.0 ** np.arange(-10, 21)


class Representation(nn.Cell):
    """What the head of a network reads, as a network of its own.

    Args:
        network (nn.Cell): of vit_ms.

    Inputs:
        - **x** (Tensor): what the network takes, (B, C, height, width).

    Outputs:
        Tensor, (B, D), float.
    """

    def __init__(self, network: nn.Cell):
        super().__init__(auto_prefix=False)
        self.network = network

    def construct(self, x):
        return self.network.representation(x)


def features(network: nn.Cell, batches: ds.Dataset, progress: str | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The representation of every image, which the network's head reads.

    Args:
        network (nn.Cell): of vit_ms; it is put into evaluation mode.
        batches (Dataset): columns image and label; only the last batch may be short.
        progress (str): text of a progress bar; None: no bar.

    Returns:
        tuple of two np.ndarray, the representations, (n, D) float32, and the labels, (n,) int32.
    """
    represent = Representation(network).set_train(False)
    found, labels, batch_size = [], [], 0
    iterator = batches.create_tuple_iterator(num_epochs=1, output_numpy=True)
    bar = tqdm(iterator, total=batches.get_dataset_size(), unit="batch", desc=progress, disable=progress is None)
    for images, truth in bar:
        batch_size = batch_size or len(images)
        # Graph mode compiles each new shape, so a short batch is filled up.
        filled = np.concatenate([images, np.repeat(images[:1], batch_size - len(images), axis=0)])
        found.append(represent(Tensor(filled)).astype(mstype.float32).asnumpy()[: len(images)])
        labels.append(truth)
    return np.concatenate(found), np.concatenate(labels)


def least_squares():
    """The paper's classifier: a linear map to -1 and 1 for each class, by least squares with an L2 penalty, in closed form.

    As in big_vision, each feature is brought to mean 0 and variance 1 over the training images, and the offset bears no
    penalty. The penalty's strength is the one of STRENGTHS with the least squared error over the training images, each of
    them left out in turn.

    Returns:
        a classifier of scikit-learn.

    Reference:
        Dosovitskiy et al. 2021, section 4.1, "Metrics"; big_vision/evaluators/fewshot_lsr.py.
    """
    from sklearn.linear_model import RidgeClassifierCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), RidgeClassifierCV(STRENGTHS))


def nearest(neighbours: int):
    """k-NN: the training images with the smallest angle to an image vote for its class, the closer ones with more weight.

    Args:
        neighbours (int): k.

    Returns:
        a classifier of scikit-learn.
    """
    from sklearn.neighbors import KNeighborsClassifier

    return KNeighborsClassifier(neighbours, metric="cosine", weights="distance")


def choose(labels: np.ndarray, shots: int, seed: int, classes: Sequence[str]) -> np.ndarray:
    """The same number of random images of each class; with the same seed, fewer shots are the first of more.

    Args:
        labels (np.ndarray): (n,), class indices.
        shots (int): images a class.
        seed (int): of the choice.
        classes (Sequence[str]): their names.

    Returns:
        np.ndarray, (K, shots) indices into labels.

    Raises:
        UserError: If a class has fewer images.
    """
    rng, chosen = np.random.default_rng(seed), []
    for index, name in enumerate(classes):
        images = rng.permutation(np.flatnonzero(labels == index))
        if len(images) < shots:
            raise UserError(f"shots is {shots}, but class {name!r} has {len(images)} images to learn from: take fewer")
        chosen.append(images[:shots])
    return np.stack(chosen)


def _labels(dataset) -> np.ndarray:
    """The labels of the training images: (n,). Those that a dataset has at hand need no reading."""
    if hasattr(dataset, "labels"):
        return np.asarray(dataset.labels["train"])
    rows = dataset.read("train").project("label").batch(1024)
    batches = tqdm(rows.create_tuple_iterator(num_epochs=1, output_numpy=True), desc="labels", unit="batch")
    return np.concatenate([labels for (labels,) in batches])


class _Chosen:
    """Some of the training images of a dataset, as a dataset."""

    splits = ("train",)

    def __init__(self, dataset, indices: np.ndarray):
        self.dataset, self.indices, self.encoded = dataset, indices, dataset.encoded

    def read(self, split: str, order: None, num_parallel_workers: int) -> ds.Dataset:
        return self.dataset.read(split, self.indices, num_parallel_workers)


def few_shot(
    info: RunInfo,
    ckpt_path: str | Path,
    shots: Sequence[int] = (5, 10),
    seeds: int = 5,
    knn: int = 5,
    dataset: str | None = None,
    data_dir: str | None = None,
    output: str | Path | None = None,
    say: Callable[[str], None] = print,
) -> list[Path]:
    """Measure a checkpoint's representation by what simple classifiers learn from a few images of each class.

    The network stays as it is. Its head is not used, so the classes may be others than those it was trained on. Call
    `runtime.setup` before.

    Args:
        info (RunInfo): what the checkpoint is.
        ckpt_path (str or Path): its weights.
        shots (Sequence[int]): training images a class.
        seeds (int): how many times the images are chosen anew.
        knn (int): neighbours that vote.
        dataset (str): a name of the catalog; None: the run's.
        data_dir (str): where its files are; None: where the run found them.
        output (str or Path): the folder to write to; None: the checkpoint's.
        say (Callable): told one line at a time what came out.

    Returns:
        list[Path], the files written: fewshot.json and fewshot.png.

    Raises:
        UserError: If a class has too few images, or the weights or the data do not fit.
    """
    check_positive(shots=min(shots, default=0), seeds=seeds, knn=knn)
    recipe, folder = info.recipe, Path(output or Path(ckpt_path).parent)
    name = dataset or recipe.dataset
    data = open_dataset(name, data_dir or (recipe.data_dir if name == recipe.dataset else None))
    split = next((split for split in ("test", "val") if split in data.splits), None)
    if "train" not in data.splits or split is None:
        raise UserError(f"few-shot needs the splits train and val or test; {name} has {', '.join(data.splits)}")
    if data.channels != info.preprocessing.channels:
        raise UserError(f"{name} has {data.channels} channels, but the network takes {info.preprocessing.channels}")
    if knn > min(shots) * len(data.classes):
        raise UserError(f"knn is {knn}; with {min(shots)} shots it must be at most {min(shots) * len(data.classes)}")
    labels = _labels(data)
    choices = [choose(labels, max(shots), seed, data.classes) for seed in range(seeds)]
    used = np.unique(choices)  # a large dataset has many more

    network = info.network()
    load_weights(network, ckpt_path)

    def represent(part, split: str) -> tuple[np.ndarray, np.ndarray]:
        batches = eval_batches(part, split, info.preprocessing, recipe.batch_size, recipe.workers)
        return features(network, batches, f"features of {split}")

    known, known_labels = represent(_Chosen(data, used), "train")
    asked, truth = represent(data, split)
    classifiers = {"least squares": least_squares, f"{knn}-NN": lambda: nearest(knn)}
    say(
        f"{split}: {len(truth)} images, {len(data.classes)} classes, {known.shape[1]} features; {seeds} choices of images"
    )
    rows = []
    for number in sorted(set(shots)):
        for method, make in classifiers.items():
            accuracies = []
            for chosen in tqdm(choices, desc=f"{method}, {number} shots", unit="choice", leave=False):
                places = np.searchsorted(used, chosen[:, :number].ravel())
                classifier = make().fit(known[places], known_labels[places])
                accuracies.append(float((classifier.predict(asked) == truth).mean()))
            mean, spread = float(np.mean(accuracies)), float(np.std(accuracies, ddof=min(1, seeds - 1)))
            rows.append({"method": method, "shots": number, "mean": mean, "std": spread, "accuracies": accuracies})
            say(f"{number:>3} images a class, {method:<13} {mean:7.2%} +- {spread:.2%}")
    path = folder / "fewshot.json"
    content = {"checkpoint": Path(ckpt_path).name, "dataset": name, "split": split, "images": len(truth), "rows": rows}
    write_json(path, content)
    title = f"Few-shot accuracy, {name}, {len(truth)} images of {split}"
    visualize.plot_few_shot(rows, title, 1 / len(data.classes), folder / "fewshot.png")
    return [path, folder / "fewshot.png"]
