"""The pictures say what the arrays say."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_rgba
from PIL import Image

from vit_ms import visualize


def _texts(axes):
    return [text.get_text() for text in axes.texts]


def test_the_curve_holds_every_epoch_and_names_the_best():
    history = [
        {"epoch": e, "train_loss": 3.0 / e, "train_acc": 0.2 * e, "val_loss": 2.0 / e, "val_acc": acc}
        for e, acc in ((1, 0.5), (2, 0.75), (3, 0.75), (4, 0.7))
    ]
    figure = visualize.plot_curve(history, "curve.png")
    loss, accuracy = figure.axes
    assert [list(line.get_ydata()) for line in loss.lines] == [[3.0, 1.5, 1.0, 0.75], [2.0, 1.0, 2 / 3, 0.5]]
    # Of two equal ones the later is kept, as the run keeps its checkpoint.
    assert accuracy.get_title() == "Accuracy (best validation 75.00%, epoch 3)"
    assert [text.get_text() for text in accuracy.get_legend().get_texts()] == ["train", "val"]
    assert Image.open("curve.png").format == "PNG"


def test_the_confusion_matrix_counts():
    labels, predicted = np.array([0, 0, 1, 2, 2, 2]), np.array([0, 1, 1, 2, 2, 0])
    axes = visualize.plot_confusion(labels, predicted, ("cat", "dog", "cow"), "confusion.png").axes[0]
    assert axes.get_title() == "4 of 6 right (66.67%)"
    assert sorted((int(t.get_position()[1]), int(t.get_position()[0]), t.get_text()) for t in axes.texts) == [
        (0, 0, "1"),
        (0, 1, "1"),
        (1, 1, "1"),
        (2, 0, "1"),
        (2, 2, "2"),
    ]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["cat", "dog", "cow"]


def test_a_thousand_classes_still_make_a_picture():
    labels = np.arange(1000)
    visualize.plot_confusion(labels, labels, tuple(f"class {i}" for i in labels), "large.png")
    assert max(Image.open("large.png").size) < 2500


def test_wrong_predictions_are_marked_and_only_those():
    images = np.zeros((3, 8, 8, 1), np.uint8)
    figure = visualize.plot_predictions(
        images, ["1", "2", "3"], np.array([0.9, 0.8, 0.7]), labels=["1", "7", "3"], path="grid.png"
    )
    assert Image.open("grid.png").format == "PNG"
    marked = [axes.spines["left"].get_edgecolor() == to_rgba(visualize.RED) for axes in figure.axes]
    assert marked == [False, True, False]
    assert [axes.get_title() for axes in figure.axes] == ["1 (90%)", "✗ 2 (80%)\ntrue: 7", "3 (70%)"]


def test_top5_bars_are_the_probabilities():
    answers = [("cat", 0.75), ("dog", 0.2), ("cow", 0.05)]
    figure = visualize.plot_top5([np.zeros((4, 6, 3), np.uint8)], ["photo.jpg"], [answers])
    assert not list(Path().iterdir())
    picture, bars = figure.axes
    assert [bar.get_width() for bar in bars.patches] == [0.75, 0.2, 0.05]
    assert _texts(bars) == ["75.0%", "20.0%", "5.0%"] and picture.get_title() == "photo.jpg"


def test_a_picture_that_fails_leaves_the_old_one(monkeypatch, tmp_path):
    history = [{"epoch": 1, "train_loss": 1, "train_acc": 0.5, "val_loss": 1, "val_acc": 0.5}]
    visualize.plot_curve(history, "curve.png")
    before = (tmp_path / "curve.png").read_bytes()

    def half(self, path, **options):
        path.write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", half)
    with pytest.raises(OSError, match="No space left"):
        visualize.plot_curve(history, "curve.png")
    assert (tmp_path / "curve.png").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["curve.png"]
