"""The pictures of a run: curves, confusion matrix, predictions. Arrays in, a figure out, and a PNG where a path is given."""

import contextlib
import functools
import io
import logging
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ft2font import FT2Font
from PIL import Image

from vit_ms.files import whole_file

# parse_math=False: names of files and classes may hold a $.

# Okabe & Ito's palette: told apart by colour-blind readers too.
BLUE, ORANGE, GREEN, RED, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#999999"


# The first has Latin letters and signs; of the others the first that is installed draws Chinese. matplotlib knows a
# collection of fonts by its first member: Noto's is Japanese, with Chinese beside it.
_LATIN = "DejaVu Sans"
_CHINESE = (
    "Noto Sans CJK SC",
    "Noto Sans SC",
    "Microsoft YaHei",
    "PingFang SC",
    "SimHei",
    "WenQuanYi Zen Hei",
    "Noto Sans CJK JP",
)


@functools.cache
def _fonts() -> tuple[FT2Font, ...]:
    """The fonts that are used, and a word to matplotlib to use them."""
    manager = font_manager.fontManager
    if not {font.name for font in manager.ttflist}.intersection(_CHINESE):
        # matplotlib keeps a list: what was installed after it was made is missing there.
        for path in set(font_manager.findSystemFonts()) - {font.fname for font in manager.ttflist}:
            with contextlib.suppress(Exception):  # a broken font file must not keep a picture from being drawn
                manager.addfont(path)
    installed = {font.name for font in manager.ttflist}
    names = [_LATIN] + [name for name in _CHINESE if name in installed][:1]
    matplotlib.rcParams["font.family"] = names
    # Of the files of a family, light and bold among them, the one that is drawn with.
    return tuple(font_manager.get_font(font_manager.findfont(name)) for name in names)


def can_draw(text: str) -> bool:
    """Whether an installed font has a glyph for every character; one that none has is drawn as a box."""
    return all(letter.isspace() or any(font.get_char_index(ord(letter)) for font in _fonts()) for letter in text)


def legible(text: str) -> str:
    """The text, with the code point in place of each character that no installed font has: U+732B."""
    if can_draw(text):
        return text
    _tell_once("no installed font draws all class names: install one with Chinese (Debian: apt install fonts-noto-cjk)")
    told = "".join(letter if can_draw(letter) else f" U+{ord(letter):04X} " for letter in text)
    return re.sub(" +", " ", told).strip()


@functools.cache
def _tell_once(line: str) -> None:
    logging.getLogger("vit_ms").warning(line)


def both(en: str, zh: str) -> str:
    """A label in both languages: English, then Chinese where a font for it is installed.

    Args:
        en (str): the English text.
        zh (str): the Chinese text. Neither may have a formula between $: matplotlib has no Chinese in formulas.
    """
    return f"{en} {zh}" if can_draw(zh) else en


def show(figure: Figure, en: str, zh: str) -> None:
    """Show a figure in a notebook, with a description for those who do not see it.

    nbconvert and GitHub give it to screen readers; JupyterLab 4 knows none for an output.

    Args:
        figure (Figure): of pyplot or of a function here; it is closed.
        en, zh (str): what the picture shows, one sentence in each language.
    """
    from IPython.display import display  # what only notebooks need
    from matplotlib import pyplot

    drawn, picture = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=80, facecolor="white")
    pyplot.close(figure)
    whole = Image.open(drawn).convert("RGB")
    few = whole.quantize(256, dither=Image.Dither.NONE)
    # A plot has so few colours that the eye sees no difference, and takes half the space; most photographs have more.
    change = np.abs(np.asarray(few.convert("RGB"), np.int16) - np.asarray(whole, np.int16)).mean()
    (few if change < 0.5 else whole).save(picture, "png", optimize=True)
    text = f"{en} / {zh}"
    display({"image/png": picture.getvalue(), "text/plain": text}, raw=True, metadata={"image/png": {"alt": text}})


def interactive(draw: Callable[..., Figure], **choices: tuple | list) -> None:
    """Sliders and menus that redraw a picture, in a notebook that runs; a line stands there where ipywidgets is absent.

    With VIT_MS_STILL in the environment, as where notebooks are built, it draws once and leaves a line: nobody is there to
    move a slider.

    Args:
        draw (Callable): a Figure from the chosen values, which it takes by name.
        choices: for each name either the lowest and the highest whole number, as a tuple, or a list to choose from.
    """
    if os.environ.get("VIT_MS_STILL"):
        from matplotlib import pyplot

        pyplot.close(draw(**{name: values[0] for name, values in choices.items()}))
        print("Run this cell to move the sliders. 运行本单元即可拖动滑块。")
        return
    try:
        import ipywidgets
    except ImportError:
        print("sliders need ipywidgets 滑块需要 ipywidgets：pip install 'ipywidgets>=8.1,<9.0'")
        return

    def control(name, values):
        about = {"description": name, "continuous_update": False}
        if isinstance(values, tuple):
            return ipywidgets.IntSlider(min=values[0], max=values[1], **about)
        return ipywidgets.Dropdown(options=values, description=name)

    def redraw(**chosen):
        show(draw(**chosen), ", ".join(f"{name} {value}" for name, value in chosen.items()), "")

    ipywidgets.interact(redraw, **{name: control(name, values) for name, values in choices.items()})


def _save(figure: Figure, path: str | Path | None) -> None:
    if path is None:
        return
    with whole_file(path) as temporary:
        figure.savefig(temporary, dpi=120, facecolor="white")


def plot_curve(history: list[dict], path: str | Path | None = None) -> Figure:
    """Loss and accuracy over the epochs, training beside validation.

    Args:
        history (list[dict]): one an epoch, with epoch, train_loss, train_acc, val_loss and val_acc.
        path (str or Path): the PNG; None: none.
    """
    epochs = [row["epoch"] for row in history]
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for axes, what, title in ((left, "loss", both("Loss", "损失")), (right, "acc", both("Accuracy", "准确率"))):
        # Training sees smoothed labels and random views, so its loss is the higher one.
        for split, colour, style in (("train", BLUE, "-"), ("val", ORANGE, "--")):
            axes.plot(epochs, [row[f"{split}_{what}"] for row in history], style, color=colour, label=split)
        axes.set(title=title, xlabel=both("epoch", "轮次"))
        axes.grid(alpha=0.3)
        axes.legend()
    best = max(history, key=lambda row: (row["val_acc"], row["epoch"]))
    right.plot(best["epoch"], best["val_acc"], "o", color=RED)
    right.set_title(f"{both('Accuracy', '准确率')} (val: {best['val_acc']:.2%}, epoch {best['epoch']})")
    _save(figure, path)
    return figure


def plot_confusion(
    labels: np.ndarray, predicted: np.ndarray, classes: Sequence[str], path: str | Path | None = None
) -> Figure:
    """How many images of each class (row) were taken for each class (column).

    Args:
        labels, predicted (np.ndarray): (n,), class indices.
        classes (Sequence[str]): their names.
        path (str or Path): the PNG; None: none.
    """
    k = len(classes)
    counts = np.zeros((k, k), np.int64)
    np.add.at(counts, (labels, predicted), 1)
    side = min(max(4.5, 0.45 * k + 1.5), 14)
    figure = Figure(figsize=(side + 0.8, side), layout="constrained")
    axes = figure.subplots()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, label=both("share of the class", "占该类的比例"), shrink=0.8)
    right = int(np.trace(counts))
    title = both(f"{right} of {len(labels)} right ({right / len(labels):.2%})", "正确")
    axes.set(xlabel=both("predicted", "预测"), ylabel=both("true", "真实"), title=title)
    # More names or numbers than this cannot be read.
    if k <= 40:
        names = [legible(name) for name in classes]
        axes.set_xticks(range(k), names, rotation=0 if k <= 12 else 90, parse_math=False)
        axes.set_yticks(range(k), names, parse_math=False)
    if k <= 20:
        for row, column in zip(*np.nonzero(counts), strict=True):
            colour = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, counts[row, column], ha="center", va="center", color=colour, fontsize=9)
    _save(figure, path)
    return figure


def plot_images(images: Sequence[np.ndarray], titles: Sequence[object], columns: int = 10, heading: str = "") -> Figure:
    """Images in a grid, each under its title.

    Args:
        images (Sequence[np.ndarray]): each (height, width) or (height, width, C) uint8, C 1 or 3.
        titles (Sequence[object]): one for each image.
        columns (int): images in a row.
        heading (str): over the grid.
    """
    rows = -(-len(images) // columns)
    figure = Figure(figsize=(0.95 * columns, 1.2 * rows + 0.4), layout="constrained")
    figure.suptitle(heading)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, image, title in zip(grid, images, titles, strict=False):
        _show(axes, image.reshape(*image.shape[:2], -1))
        axes.set_title(legible(str(title)), fontsize=10, parse_math=False)
        axes.set(xticks=[], yticks=[])
    for axes in grid[len(images) :]:
        axes.set_axis_off()
    return figure


def plot_predictions(
    images: np.ndarray,
    predicted: list[str],
    probabilities: np.ndarray,
    labels: list[str] | None = None,
    title: str = "",
    path: str | Path | None = None,
) -> Figure:
    """A grid of images with what the network takes them for; the wrong ones have a red frame and both names.

    Args:
        images (np.ndarray): (n, height, width, C) uint8, C 1 or 3, or a list of such of any size.
        predicted (list[str]): name of the likeliest class of each.
        probabilities (np.ndarray): (n,), its probability.
        labels (list[str]): the true names; None where nobody knows them.
        title (str): over the grid.
        path (str or Path): the PNG; None: none.
    """
    columns = min(len(images), 8)
    rows = -(-len(images) // columns)
    figure = Figure(figsize=(1.45 * columns + 0.4, 1.8 * rows + 0.5), layout="constrained")
    figure.suptitle(title)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for index, axes in enumerate(grid):
        axes.set(xticks=[], yticks=[])
        if index >= len(images):
            axes.set_axis_off()
            continue
        _show(axes, images[index])
        text, colour = f"{predicted[index]} ({probabilities[index]:.0%})", "black"
        if labels is not None and labels[index] != predicted[index]:
            text, colour = f"✗ {text}\ntrue: {labels[index]}", RED
            for spine in axes.spines.values():
                spine.set(color=RED, linewidth=4)
        axes.set_title(legible(text), fontsize=9, color=colour, parse_math=False)
    _save(figure, path)
    return figure


def plot_top5(
    images: list[np.ndarray], names: list[str], top: list[list[tuple[str, float]]], path: str | Path | None = None
) -> Figure:
    """Each image beside bars of its likeliest classes.

    Args:
        images (list[np.ndarray]): each (height, width, C) uint8, C 1 or 3.
        names (list[str]): what each image is called.
        top (list[list[tuple[str, float]]]): for each image class names and probabilities, the likeliest first.
        path (str or Path): the PNG; None: none.
    """
    figure = Figure(figsize=(7, 1.7 * len(images)), layout="constrained")
    grid = figure.subplots(len(images), 2, squeeze=False, width_ratios=(1, 2))
    for (picture, bars), image, name, answers in zip(grid, images, names, top, strict=True):
        _show(picture, image)
        picture.set_axis_off()
        picture.set_title(legible(name), fontsize=8, parse_math=False)
        classes, shares = zip(*answers, strict=True)
        positions = range(len(classes))
        bars.barh(positions, shares, color=[GREEN] + [BLUE] * (len(classes) - 1))
        bars.set_yticks(positions, [legible(name) for name in classes], fontsize=8, parse_math=False)
        bars.invert_yaxis()
        bars.set(xlim=(0, 1.12), xticks=[])
        for position, share in enumerate(shares):
            bars.text(share + 0.01, position, f"{share:.1%}", va="center", fontsize=8)
        for side in ("top", "right", "bottom"):
            bars.spines[side].set_visible(False)
    _save(figure, path)
    return figure


PEER_COLOURS = {"vit_ms": BLUE, "timm": ORANGE, "mindcv": GREEN, "reference": GREY, "onnx": RED}


def plot_bench(rows: list[dict], subtitle: str = "", path: str | Path | None = None) -> Figure:
    """Images a second of every contender, a panel for each row of the comparison, with the quartiles as whiskers.

    Above the bars of vit_ms stands how many times as fast as timm they are.

    Args:
        rows (list[dict]): each with title, contenders (peer, precision, images_per_s as quartiles) and speedups (of, over,
            median), as bench.json has them.
        subtitle (str): the machine and the versions.
        path (str or Path): the PNG; None: none.
    """
    columns = 2 if len(rows) == 4 else min(len(rows), 3)
    lines = -(-len(rows) // columns)
    figure = Figure(figsize=(0.6 + 3.9 * columns, 0.7 + 3.6 * lines), layout="constrained")
    figure.suptitle("Images a second" + (f"\n{subtitle}" if subtitle else ""), fontsize=9)
    panels = figure.subplots(lines, columns, squeeze=False).ravel()
    for axes in panels[len(rows) :]:
        axes.set_axis_off()
    for axes, row in zip(panels, rows, strict=False):
        ratios = {item["of"]: item["median"] for item in row["speedups"] if item["over"].startswith("timm ")}
        for position, item in enumerate(row["contenders"]):
            rate, name = item["images_per_s"], f"{item['peer']} {item['precision']}"
            height = rate["median"]
            whiskers = [[height - rate["lower"]], [rate["upper"] - height]]
            axes.bar(
                position,
                height,
                yerr=whiskers,
                capsize=3,
                color=PEER_COLOURS[item["peer"]],
                hatch="//" if item["precision"] == "bf16" else None,
                edgecolor="white",
            )
            if name in ratios:
                axes.annotate(
                    f"{ratios[name]:.2f}x\ntimm",
                    (position, rate["upper"]),
                    xytext=(0, 3),
                    textcoords="offset points",
                    ha="center",
                    fontsize=8,
                )
        labels = [f"{item['peer']}\n{item['precision']}" for item in row["contenders"]]
        axes.set_xticks(range(len(labels)), labels, fontsize=7)
        axes.set_title(row["title"], fontsize=9)
        axes.margins(y=0.16)
        axes.grid(axis="y", alpha=0.3)
        axes.set_axisbelow(True)
    _save(figure, path)
    return figure


def plot_scaling(series: list[dict], subtitle: str = "", path: str | Path | None = None) -> Figure:
    """The time of a step against what varies, a panel for each such thing, on logarithmic scales, with the fitted power.

    Args:
        series (list[dict]): each with vary, pass, precision, exponent and points, as scaling.json has them.
        subtitle (str): the model, the machine and the versions.
        path (str or Path): the PNG; None: none.
    """
    varied = list(dict.fromkeys(item["vary"] for item in series))
    figure = Figure(figsize=(0.6 + 3.9 * len(varied), 4.2), layout="constrained")
    figure.suptitle("Time of a step" + (f"\n{subtitle}" if subtitle else ""), fontsize=9)
    for axes, vary in zip(figure.subplots(1, len(varied), squeeze=False)[0], varied, strict=True):
        for item in series:
            if item["vary"] != vary:
                continue
            sizes = np.array([point[vary] for point in item["points"]], float)
            median, lower, upper = (
                np.array([point["ms_per_step"][name] for point in item["points"]])
                for name in ("median", "lower", "upper")
            )
            colour = {"forward": BLUE, "train": ORANGE}[item["pass"]]
            marker, style = ("s", "--") if item["precision"] == "bf16" else ("o", "-")
            label = f"{'training step' if item['pass'] == 'train' else 'forward'}, {item['precision']}"
            if item["exponent"] is not None:
                # The line of least squares goes through the mean of the logarithms.
                middle = np.exp(np.log(sizes).mean()), np.exp(np.log(median).mean())
                axes.plot(sizes, middle[1] * (sizes / middle[0]) ** item["exponent"], style, color=colour, alpha=0.6)
                label += f": power {item['exponent']:.2f}"
            axes.errorbar(
                sizes, median, [median - lower, upper - median], fmt=marker, color=colour, capsize=3, label=label
            )
        axes.set(xscale="log", yscale="log", xlabel=vary.replace("_", " "), ylabel="ms")
        ticks = sorted({point[vary] for item in series if item["vary"] == vary for point in item["points"]})
        axes.set_xticks(ticks, [str(tick) for tick in ticks])
        axes.set_xticks([], minor=True)
        for form in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
            form("{x:,g}")  # 60, not 6 x 10^1
        axes.grid(alpha=0.3, which="both")
        axes.legend(fontsize=8)
    _save(figure, path)
    return figure


def _show(axes: Axes, image: np.ndarray) -> None:
    grey = image.shape[-1] == 1
    axes.imshow(image[..., 0] if grey else image, cmap="gray" if grey else None, vmin=0, vmax=255)


def plot_few_shot(rows: list[dict], title: str = "", chance: float = 0.0, path: str | Path | None = None) -> Figure:
    """Accuracy by the number of training images a class: every choice of images as a dot, the mean over them as a line.

    Args:
        rows (list[dict]): each with method, shots and accuracies, as fewshot.json has them.
        title (str): what was measured.
        chance (float): the accuracy of guessing.
        path (str or Path): the PNG; None: none.
    """
    found = {(row["method"], row["shots"]): row["accuracies"] for row in rows}
    shots, methods = sorted({row["shots"] for row in rows}), dict.fromkeys(row["method"] for row in rows)
    series = {method: [found.get((method, number), []) for number in shots] for method in methods}
    figure, axes = _dots(series, [str(number) for number in shots])
    axes.set(xlabel="training images a class", ylabel="accuracy")
    axes.set_title(legible(title), fontsize=10, parse_math=False, wrap=True)
    axes.legend(title=f"dot: a choice of images\nline: mean; guessing: {chance:.1%}", fontsize=8, title_fontsize=8)
    _save(figure, path)
    return figure


def plot_ablation(rows: list[dict], title: str = "", path: str | Path | None = None) -> Figure:
    """Every run of an ablation as a dot, and the mean over the seeds as a line.

    Args:
        rows (list[dict]): each with position, seed, val and test, as ablation.json has them.
        title (str): what was trained.
        path (str or Path): the PNG; None: none.
    """
    positions = list(dict.fromkeys(row["position"] for row in rows))
    series = {
        split: [[row[split] for row in rows if row["position"] == position] for position in positions]
        for split in ("val", "test")
    }
    figure, axes = _dots(series, positions)
    axes.set(xlabel="position embedding", ylabel="top-1 accuracy")
    axes.set_title(legible(title), fontsize=10, parse_math=False, wrap=True)
    axes.legend(title="dot: a run, line: mean", fontsize=8, title_fontsize=8)
    _save(figure, path)
    return figure


def _dots(series: dict[str, list[list[float]]], groups: list[str]) -> tuple[Figure, Axes]:
    """Shares as dots with their mean as a line, for each group on the x axis the series side by side."""
    figure = Figure(figsize=(1.5 + 0.9 * len(series) * len(groups), 4.4), layout="constrained")
    axes = figure.subplots()
    width, styles = 0.8 / len(series), zip((BLUE, ORANGE, GREEN, RED, GREY), "os^Dv", strict=True)
    for number, ((name, values), (colour, marker)) in enumerate(zip(series.items(), styles, strict=False)):
        for place, shares in enumerate(values):
            middle = place + width * (number - (len(series) - 1) / 2)
            label = name if place == 0 else None
            # Equal shares would hide each other.
            spread = np.linspace(-0.22, 0.22, len(shares)) * width if len(shares) > 1 else np.zeros(len(shares))
            axes.plot(middle + spread, shares, marker, color=colour, alpha=0.7, label=label)
            if not shares:
                continue
            mean = float(np.mean(shares))
            axes.hlines(mean, middle - 0.4 * width, middle + 0.4 * width, color="black", linewidth=1.5)
            below = {"xytext": (0, -8), "textcoords": "offset points", "ha": "center", "va": "top"}
            axes.annotate(f"{mean:.2%}", (middle, min(shares)), fontsize=8, **below)
    axes.set_xticks(range(len(groups)), groups)
    axes.set_xlim(-0.5, len(groups) - 0.5)
    axes.yaxis.set_major_formatter(lambda share, _: f"{share:.1%}")
    axes.margins(y=0.12)
    axes.grid(axis="y", alpha=0.3)
    return figure, axes


_fonts()
