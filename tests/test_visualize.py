"""The pictures say what the arrays say."""

import sys
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib import font_manager
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
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
    assert accuracy.get_title() == f"{visualize.both('Accuracy', '准确率')} (val: 75.00%, epoch 3)"
    assert [text.get_text() for text in accuracy.get_legend().get_texts()] == ["train", "val"]
    assert Image.open("curve.png").format == "PNG"


def test_the_confusion_matrix_counts():
    labels, predicted = np.array([0, 0, 1, 2, 2, 2]), np.array([0, 1, 1, 2, 2, 0])
    axes = visualize.plot_confusion(labels, predicted, ("cat", "dog", "cow"), "confusion.png").axes[0]
    assert axes.get_title().startswith("4 of 6 right (66.67%)")
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


@pytest.fixture
def only_latin(monkeypatch):
    """A machine where no font has Chinese."""
    latin = font_manager.get_font(font_manager.findfont("DejaVu Sans"))
    monkeypatch.setattr(visualize, "_fonts", lambda: (latin,))
    monkeypatch.setitem(matplotlib.rcParams, "font.family", ["DejaVu Sans"])
    visualize._tell_once.cache_clear()


def _all_texts(figure):
    return [text.get_text() for text in figure.findobj(matplotlib.text.Text)]


def _draw_everything():
    names = ("猫", "狗 dog", "cow")
    images = np.zeros((3, 8, 8, 1), np.uint8)
    history = [{"epoch": 1, "train_loss": 1.0, "train_acc": 0.2, "val_loss": 2.0, "val_acc": 0.5}]
    return [
        visualize.plot_curve(history, "a.png"),
        visualize.plot_confusion(np.arange(3), np.arange(3), names, "b.png"),
        visualize.plot_images(images, names, columns=2, heading=visualize.both("Animals", "动物")),
        visualize.plot_predictions(images, list(names), np.ones(3), labels=list(names[::-1]), path="c.png"),
        visualize.plot_top5([images[0]], ["猫.jpg"], [[(name, 0.3) for name in names]], "d.png"),
    ]


def test_where_no_font_has_chinese_no_picture_has_boxes(only_latin, caplog, recwarn):
    figures = _draw_everything()
    texts = [text for figure in figures for text in _all_texts(figure)]
    assert all(visualize.can_draw(text) for text in texts)
    assert "U+732B" in texts and "U+72D7 dog" in texts  # each class keeps a name of its own
    assert {"Loss", "Accuracy (val: 50.00%, epoch 1)", "predicted", "Animals"} <= set(texts)
    assert sum("apt install fonts-noto-cjk" in record.message for record in caplog.records) == 1
    assert not [record for record in caplog.records if "glyph" in record.message.lower()]
    assert not [warning for warning in recwarn if "glyph" in str(warning.message).lower()]


@pytest.mark.skipif(not visualize.can_draw("中文"), reason="no font with Chinese is installed")
def test_where_a_font_has_chinese_it_is_drawn(caplog, recwarn):
    texts = [text for figure in _draw_everything() for text in _all_texts(figure)]
    assert {"猫", "狗 dog", "Loss 损失", "Animals 动物", "predicted 预测"} <= set(texts)
    assert not [record for record in caplog.records if "glyph" in record.message.lower()]
    assert not [warning for warning in recwarn if "glyph" in str(warning.message).lower()]


def test_a_font_installed_after_matplotlib_made_its_list_is_found(monkeypatch):
    manager, added = font_manager.fontManager, []
    latin = [font for font in manager.ttflist if font.name == "DejaVu Sans"]
    monkeypatch.setattr(manager, "ttflist", latin)
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: ["new.ttf", "broken.ttf"])

    def add(path):
        added.append(path)
        if path == "broken.ttf":
            raise RuntimeError("not a font")
        manager.ttflist.append(font_manager.FontEntry(fname=latin[0].fname, name="SimHei"))

    monkeypatch.setattr(manager, "addfont", add)
    monkeypatch.setitem(matplotlib.rcParams, "font.family", ["sans-serif"])
    assert len(visualize._fonts.__wrapped__()) == 2
    assert set(added) == {"new.ttf", "broken.ttf"} and matplotlib.rcParams["font.family"] == ["DejaVu Sans", "SimHei"]


def test_a_shown_figure_is_described(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda data, **options: shown.append((data, options)))
    figure = Figure(figsize=(2, 1))
    visualize.show(figure, "Nothing.", "空。")
    ((data, options),) = shown
    assert data["image/png"].startswith(b"\x89PNG") and data["text/plain"] == "Nothing. / 空。"
    assert options == {"raw": True, "metadata": {"image/png": {"alt": "Nothing. / 空。"}}}


def test_sliders_redraw_with_what_they_are_set_to(monkeypatch):
    ipywidgets = pytest.importorskip("ipywidgets")
    made = {}
    monkeypatch.setattr(ipywidgets, "interact", lambda function, **controls: made.update(run=function, **controls))
    drawn, shown = [], []
    monkeypatch.setattr(visualize, "show", lambda figure, en, zh: shown.append(en))
    visualize.interactive(lambda **values: drawn.append(values), head=(1, 4), patch_size=[8, 16])
    assert (made["head"].min, made["head"].max, made["patch_size"].options) == (1, 4, (8, 16))
    made["run"](head=2, patch_size=16)
    assert drawn == [{"head": 2, "patch_size": 16}] and shown == ["head 2, patch_size 16"]


def test_where_nobody_is_to_move_them_the_picture_is_drawn_once(monkeypatch, capsys):
    monkeypatch.setenv("VIT_MS_STILL", "1")
    drawn = []
    visualize.interactive(lambda **values: drawn.append(values) or Figure(), head=(1, 4), patch_size=[8, 16])
    assert drawn == [{"head": 1, "patch_size": 8}] and "sliders" in capsys.readouterr().out


def test_without_ipywidgets_a_line_stands_where_the_sliders_were(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    visualize.interactive(lambda head: None, head=(1, 4))
    assert "pip install 'ipywidgets" in capsys.readouterr().out
