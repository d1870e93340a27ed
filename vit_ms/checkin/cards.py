"""The check-in card: a picture to post, a text for a blog, and the record that anybody can verify."""

import csv
import json
import math
import platform
from collections.abc import Sequence
from datetime import datetime
from importlib import metadata
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

import vit_ms
from vit_ms.checkin.calling import Text
from vit_ms.checkin.course import NOTEBOOKS, title_of
from vit_ms.checkin.exercises import exercises
from vit_ms.checkin.progress import Progress
from vit_ms.checkin.record import accuracy_of, make_record, write_record
from vit_ms.errors import UserError, did_you_mean
from vit_ms.files import whole_file
from vit_ms.visualize import BLUE, GREEN, ORANGE, can_draw, legible

LANGUAGES = ("en", "zh")
_WORDS = {
    "title": Text("MindSpore check-in · day {day}", "昇思学习打卡 · 第 {day} 天"),
    "course": Text("The Vision Transformer, vit_ms {version}", "Vision Transformer 课程，vit_ms {version}"),
    "exercises": Text("exercises {done} / {total}", "练习 {done} / {total}"),
    "streak": Text("{days} days in a row", "连续 {days} 天"),
    "one day": Text("1 day", "1 天"),
    "accuracy": Text("accuracy {share:.2%}", "准确率 {share:.2%}"),
    "training": Text("training", "训练"),
    "validation": Text("validation", "验证"),
    "epoch": Text("epoch", "轮次"),
    "loss": Text("loss", "损失"),
    "solved": Text("Solved", "已通过的练习"),
    "none": Text("no exercise yet", "还没有通过的练习"),
    "verify": Text(
        "Anybody can verify it: `python -m vit_ms checkin verify {file} --regrade`",
        "任何人都可以验证：`python -m vit_ms checkin verify {file} --regrade`",
    ),
    "trained": Text("My own training run: {epochs} epochs", "自己训练的结果：{epochs} 个 epoch"),
}


def make_card(
    day: int,
    name: str,
    history: Sequence[dict] | None = None,
    accuracy: float | None = None,
    run: str | Path | None = None,
    notebook: str | None = None,
    language: str = "zh",
    token: str | None = None,
    output: str | Path = "checkin",
) -> list[Path]:
    """Make the card of a day from the learner's record.

    Args:
        day (int): of the camp, from 1.
        name (str): of the learner.
        history (Sequence[dict]): the learner's own run, an epoch each, with epoch, train_loss and val_loss, as `plot_curve`
            takes it; None: that of `run`, or no curve.
        accuracy (float): what the run came to on held-out images, in [0, 1]; None: that of `run`, or none.
        run (str or Path): the folder of a run, in place of history and accuracy.
        notebook (str): of the day, like 03_attention_by_hand; None: that of the exercise solved last.
        language (str): `"zh"` or `"en"`, of the picture and the text.
        token (str): what the instructor gave to this learner, to sign the record with.
        output (str or Path): the folder for the three files.

    Returns:
        list[Path], the PNG, the Markdown and the JSON record.

    Raises:
        UserError: If an argument is wrong, or the run's folder has no log; nothing is written then.
    """
    if language not in LANGUAGES:
        raise UserError(f"language is {language!r}; choose one of {', '.join(LANGUAGES)}")
    if notebook is not None and notebook not in NOTEBOOKS:
        raise UserError(f"notebook is {notebook!r}{did_you_mean(notebook, NOTEBOOKS)}; one of {', '.join(NOTEBOOKS)}")
    if run is not None:
        history, accuracy = _read_run(Path(run))
    told = None
    if history is not None or accuracy is not None:
        if accuracy is not None and not 0.0 <= float(accuracy) <= 1.0:
            raise UserError(f"accuracy is {accuracy}; it is a share, between 0 and 1")
        epochs = [_numbers(row, number) for number, row in enumerate(history or [], 1)]
        told = {"history": epochs, "accuracy": accuracy and float(accuracy)}
    versions = {"vit_ms": vit_ms.__version__, "mindspore": metadata.version("mindspore")}
    versions["python"] = platform.python_version()
    progress = Progress()
    if notebook is None:
        solved = [attempt.exercise for attempt in progress.attempts() if attempt.passed]
        notebook = next((exercises()[one].notebook for one in reversed(solved) if one in exercises()), "")
    record = make_record(progress, name, day, datetime.now().astimezone(), versions, told, token, notebook)
    paths = [Path(output) / f"day{day:02}.{suffix}" for suffix in ("png", "md", "json")]
    _draw(record, language, paths[0])
    with whole_file(paths[1]) as temporary:
        temporary.write_text(_markdown(record, language, paths), encoding="utf-8")
    write_record(record, paths[2])
    return paths


def _numbers(row: dict, number: int) -> dict:
    """What a record keeps of an epoch, which is the `number`-th where the row does not say."""
    if not isinstance(row, dict):
        raise UserError(f"history has {row!r}; it is a list of dicts, one an epoch")
    found = {"epoch": float(number)}
    for key in ("epoch", "train_loss", "train_acc", "val_loss", "val_acc"):
        try:
            if math.isfinite(value := float(row.get(key, math.nan))):
                found[key] = round(value, 6)
        except (TypeError, ValueError):
            raise UserError(f"history, epoch {number}: {key} is {row[key]!r}; give a number") from None
    return found


def _read_run(folder: Path) -> tuple[list[dict], float | None]:
    try:
        with (folder / "log.csv").open(encoding="utf-8", newline="") as file:
            history = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]
        metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        return history, metrics.get("test", metrics.get("val"))["top1"]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(f"{folder} is not the folder of a finished run ({error}): train first, then evaluate") from None


def _say(language: str, key: str, **values) -> str:
    return getattr(_WORDS[key], language).format(**values)


def _facts(record: dict, language: str) -> dict[str, str]:
    days = record["streak"]
    done = [row["name"] for row in record["exercises"] if row["name"] in exercises()]
    facts = {
        "exercises": _say(language, "exercises", done=len(done), total=len(exercises())),
        "streak": _say(language, "one day") if days == 1 else _say(language, "streak", days=days),
    }
    if accuracy_of(record) is not None:
        facts["accuracy"] = _say(language, "accuracy", share=accuracy_of(record))
    return facts


def _draw(record: dict, language: str, path: Path) -> None:
    if language == "zh" and not can_draw("打卡"):
        language = "en"
    history = (record["run"] or {}).get("history") or []
    figure = Figure(figsize=(9, 5), facecolor="white")
    FigureCanvasAgg(figure)  # it measures text
    figure.add_artist(_bar(figure, (0.0, 0.985), 1.0, 0.015, BLUE))
    title = _say(language, "title", day=record["day"])
    figure.text(0.05, 0.87, title, fontsize=21, weight="bold", color=BLUE)
    _fitted(figure, (0.05, 0.765), legible(record["name"]), 26)
    notebook = getattr(title_of(record["notebook"]), language)
    _fitted(figure, (0.05, 0.705), legible(notebook), 15)
    when = datetime.fromisoformat(record["time"]).strftime("%Y-%m-%d %H:%M %z")
    course = _say(language, "course", version=record["versions"]["vit_ms"])
    figure.text(0.05, 0.645, f"{when}   {course}", fontsize=11, color="#555555")
    width = 0.42 if history else 0.9
    facts = _facts(record, language)
    for place, text in enumerate(facts.values()):
        figure.text(0.05, 0.55 - 0.085 * place, text, fontsize=17, color=(GREEN, ORANGE, BLUE)[place])
    done = {row["name"] for row in record["exercises"]}
    _grid(figure, done, (0.05, 0.08), width)
    if history:
        axes = figure.add_axes((0.57, 0.13, 0.38, 0.45))
        epochs = [row["epoch"] for row in history]
        for key, word, colour, style in (
            ("train_loss", "training", BLUE, "-"),
            ("val_loss", "validation", ORANGE, "--"),
        ):
            values = [row.get(key, math.nan) for row in history]
            axes.plot(epochs, values, style, color=colour, label=_say(language, word))
        axes.set(xlabel=_say(language, "epoch"), ylabel=_say(language, "loss"), ylim=0)
        axes.grid(alpha=0.3)
        axes.legend()
    with whole_file(path) as temporary:
        figure.savefig(temporary, dpi=120)


def _fitted(figure: Figure, corner: tuple[float, float], text: str, size: float) -> None:
    """A line of text, smaller where it would be wider than the card; a name may have a hundred characters."""
    drawn = figure.text(*corner, text, fontsize=size, parse_math=False)
    width = drawn.get_window_extent(figure.canvas.get_renderer()).width / figure.bbox.width
    drawn.set_fontsize(size * min(1.0, (0.97 - corner[0]) / width) if width else size)


def _bar(figure: Figure, corner: tuple[float, float], width: float, height: float, colour: str):
    return Rectangle(corner, width, height, color=colour, transform=figure.transFigure, linewidth=0)


def _grid(figure: Figure, done: set[str], corner: tuple[float, float], width: float) -> None:
    """A column for each notebook, with a square for each of its exercises, filled where it is solved."""
    columns = {}
    for name, one in exercises().items():
        columns.setdefault(one.notebook, []).append(name)
    high = max(map(len, columns.values()))
    step = min(width / len(columns), 0.24 / high * 5 / 9)
    for column, (notebook, names) in enumerate(columns.items()):
        x = corner[0] + column * step
        figure.text(
            x + 0.41 * step, corner[1] - 0.045, notebook[:2].lstrip("0"), fontsize=9, ha="center", color="#555555"
        )
        for row, name in enumerate(names):
            colour = GREEN if name in done else "#e4e4e4"
            place = x, corner[1] + (high - 1 - row) * step * 9 / 5
            figure.add_artist(_bar(figure, place, step * 0.82, step * 0.82 * 9 / 5, colour))


def _markdown(record: dict, language: str, paths: Sequence[Path]) -> str:
    def escaped(text: str) -> str:
        return "".join(f"\\{letter}" if letter in "\\`*_{}[]<>()#+-.!|~&" else letter for letter in text)

    facts = _facts(record, language)
    lines = [
        f"# {_say(language, 'title', day=record['day'])}",
        "",
        f"![{_say(language, 'title', day=record['day'])}]({paths[0].name})",
        "",
    ]
    lines += [f"**{escaped(record['name'])}** · {record['time']}", ""]
    if record["notebook"]:
        lines += [getattr(title_of(record["notebook"]), language), ""]
    lines += [f"- {text}" for text in facts.values()]
    history = (record["run"] or {}).get("history") or []
    if history:
        lines.append(f"- {_say(language, 'trained', epochs=len(history))}")
    known = exercises()
    titles = [getattr(known[row["name"]].title, language) for row in record["exercises"] if row["name"] in known]
    lines += ["", f"## {_say(language, 'solved')}", ""]
    lines += [f"- {title}" for title in titles] or [_say(language, "none")]
    lines += ["", _say(language, "verify", file=paths[2].name), ""]
    return "\n".join(lines)
