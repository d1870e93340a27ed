"""A run's folder as one page: report.html, with everything in it and nothing to fetch."""

import base64
import csv
import dataclasses
import json
import shlex
from collections.abc import Callable
from html import escape
from pathlib import Path

from vit_ms.errors import UserError
from vit_ms.files import whole_file
from vit_ms.recipe import Recipe
from vit_ms.weights import read_weights

FILES = ("run.json", "metrics.json", "log.csv", "curve.png", "confusion.png", "predictions.png")

# What the files call things, as a reader does; a name that is not here stands as it is.
WORDS = {
    "model": "Model 模型",
    "overrides": "Model arguments 模型参数设置",
    "parameters": "Parameters 参数量",
    "numerics": "Numerics 数值约定",
    "dataset": "Data set 数据集",
    "data_dir": "Folder 数据目录",
    "classes": "Classes 类别",
    "preprocessing": "Input 输入预处理",
    "seed": "Seed 随机种子",
    "device_target": "Device 设备",
    "device": "Device 设备",
    "mode": "Mode 运行模式",
    "precision": "Precision 精度",
    "versions": "Versions 版本",
    "split": "Split 划分",
    "checkpoint": "Checkpoint 权重文件",
    "epoch": "Epoch 轮次",
    "images": "Images 图像数",
    "top1": "Top-1",
    "top5": "Top-5",
    "loss": "Loss 损失",
    "lr": "Learning rate 学习率",
    "train_loss": "Training loss 训练损失",
    "train_acc": "Training accuracy 训练准确率",
    "val_loss": "Validation loss 验证损失",
    "val_acc": "Validation accuracy 验证准确率",
    "seconds": "Seconds 秒",
}
SPLITS = {"train": "train 训练集", "val": "val 验证集", "test": "test 测试集"}
SHARES = ("top1", "top5", "train_acc", "val_acc")  # in [0, 1], written as percentages
ELSEWHERE = (
    "name",
    "model",
    "dataset",
    "data_dir",
    "overrides",
    "numerics",
    "seed",
    "ckpt_save_dir",
)  # not in the recipe's part
MANY = 20  # more classes than this are folded away

PICTURES = {
    "curve.png": (
        "Training 训练",
        "Loss and accuracy after each epoch, training beside validation; the log below has the numbers.",
    ),
    "confusion.png": (
        "Confusion matrix 混淆矩阵",
        "How many images of each class, a row each, were taken for each class, a column each.",
    ),
    "predictions.png": (
        "Predictions 预测示例",
        "Images with what the network takes them for; wrong answers come first and have a red frame and both names.",
    ),
}

# One palette for light and one for dark; a telephone scrolls a wide table within itself, paper has no folds.
STYLE = """
:root { color-scheme: light dark; --back: #fff; --text: #1b1b1b; --soft: #5c5c5c; --line: #d5d5d5; --fill: #f3f5f7; }
@media (prefers-color-scheme: dark) {
  :root { --back: #16181b; --text: #e6e6e6; --soft: #a3a9b0; --line: #3a3f45; --fill: #202429; }
}
body { margin: 0 auto; padding: 1rem; max-width: 60rem; background: var(--back); color: var(--text);
  font: 1rem/1.5 system-ui, "Noto Sans CJK SC", "Microsoft YaHei", "PingFang SC", sans-serif; overflow-wrap: anywhere; }
h1 { margin: 0.5rem 0; line-height: 1.2; }
h2 { margin: 2rem 0 0.5rem; border-bottom: 1px solid var(--line); }
.best { font-size: 1.2rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; }
th, td { padding: 0.3rem 0.8rem 0.3rem 0; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top;
  overflow-wrap: break-word; }
thead th { color: var(--soft); font-weight: normal; }
tbody th { font-weight: 600; }
td { font-variant-numeric: tabular-nums; }
meter { width: clamp(2rem, 12vw, 6rem); vertical-align: middle; }
img { display: block; max-width: 100%; height: auto; margin: 0 auto; background: #fff; border-radius: 4px; }
figure { margin: 0; }
figcaption, .soft { color: var(--soft); font-size: 0.9rem; }
pre { padding: 0.6rem; background: var(--fill); white-space: pre-wrap; }
summary { cursor: pointer; padding: 0.3rem 0; }
.damaged { padding: 0.6rem; border-left: 4px solid #d55e00; background: var(--fill); }
@media screen and (max-width: 40rem) { img { max-width: none; width: 34rem; } }
@media print {
  :root { --back: #fff; --text: #000; --soft: #444; --line: #bbb; --fill: #fff; }
  body { max-width: none; padding: 0; font-size: 10pt; }
  .wide { overflow: visible; }
  figure, tr, pre { break-inside: avoid; }
  h2 { break-after: avoid; }
  details::details-content { content-visibility: visible; }
}
"""


def write_report(folder: str | Path) -> Path:
    """Write what a run was and what came of it as one HTML page beside its files.

    The page holds its pictures and its style and asks for nothing else: it can be sent and printed. A file that is not there
    yet leaves its part out; one that is damaged is named in its place.

    Args:
        folder (str or Path): the run's.

    Returns:
        Path, the folder's report.html, the old one or the new one whatever happens.

    Raises:
        UserError: If there is no such folder, or nothing of a run in it.
    """
    folder = Path(folder)
    if not any((folder / name).is_file() for name in FILES):
        raise UserError(f"{folder} holds no run, none of {', '.join(FILES)}: give the folder that train wrote")
    parts = [
        _part(folder / "metrics.json", _headline),
        _part(folder / "run.json", _what_was_run),
        _part(folder / "metrics.json", _result),
        *(_part(folder / name, _picture) for name in PICTURES),
        _part(folder / "metrics.json", _per_class),
        _part(folder / "log.csv", _log),
        _commands(folder),
    ]
    name = escape(folder.resolve().name)
    page = (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{name} – vit_ms</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        f"<h1>Run 训练报告: {name}</h1>\n" + "\n".join(dict.fromkeys(filter(None, parts))) + "\n</body>\n</html>\n"
    )
    path = folder / "report.html"
    with whole_file(path) as temporary:
        # What no encoding can write, such as half a surrogate pair in a JSON file, becomes a question mark.
        temporary.write_bytes(page.encode("utf-8", errors="replace"))
    return path


def _part(path: Path, build: Callable[[Path], str]) -> str:
    """What `build` makes of a file: nothing where there is none, and a line that says so where it is damaged."""
    if not path.is_file():
        return ""
    try:
        return build(path)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError, csv.Error) as error:
        reason = escape(f"{type(error).__name__}: {error}"[:200])
        return f'<p class="damaged">{path.name} is damaged and left out 文件损坏，已略去 ({reason})</p>'


class _Html(str):
    """Text that is HTML already; all other text is escaped where it is put into the page."""

    __slots__ = ()


def _inline(value) -> str:
    return value if isinstance(value, _Html) else escape(_text(value))


def _text(value) -> str:
    """A value of a JSON file as a reader writes it."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {_text(item)}" for key, item in value.items()) or "none"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_text, value)) or "none"
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)


def _table(head: list[str], rows: list[list]) -> str:
    """A table whose first column names its rows."""
    columns = "".join(f'<th scope="col">{_inline(item)}</th>' for item in head)
    top = f"<thead><tr>{columns}</tr></thead>" if head else ""
    body = "\n".join(
        f'<tr><th scope="row">{_inline(row[0])}</th>'
        + "".join(f"<td>{_inline(item)}</td>" for item in row[1:])
        + "</tr>"
        for row in rows
    )
    return f'<div class="wide"><table>{top}<tbody>\n{body}\n</tbody></table></div>'


def _folded(summary: str, content: str) -> str:
    return f"<details><summary>{summary}</summary>\n{content}\n</details>"


def _read(path: Path) -> dict:
    content = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise TypeError(f"it holds {type(content).__name__}, not names and values")
    return content


def _headline(path: Path) -> str:
    """The accuracy of every split that has been measured."""
    told = ", ".join(f"{SPLITS.get(split, split)} {metrics['top1']:.2%}" for split, metrics in _read(path).items())
    return f'<p class="best">Top-1 accuracy 准确率: <strong>{escape(told)}</strong></p>'


def _what_was_run(path: Path) -> str:
    """The model, the data and the machine, and what of the recipe is not as it comes."""
    run = _read(path)
    recipe, classes = run.pop("recipe"), run.pop("classes")
    shown = {"model": run.pop("model"), "overrides": run.pop("overrides", {})}
    shown["parameters"] = run.pop("parameters", None) or _parameters(path.parent)
    shown |= {key: recipe[key] for key in ("dataset", "data_dir") if recipe.get(key) is not None}
    names = ", ".join(map(_text, classes[:MANY])) + (", …" if len(classes) > MANY else "")
    shown["classes"] = f"{len(classes)}: {names}"
    asked = ("seed",) if run.get("device") else ("seed", "device_target", "mode", "precision")
    shown |= {key: recipe[key] for key in asked if key in recipe}
    shown |= run  # and whatever else the run has to say
    if isinstance(shown["parameters"], int):
        shown["parameters"] = f"{shown['parameters']:,}"
    rows = [[WORDS.get(key, key), value] for key, value in shown.items() if value not in (None, {})]
    text = "<h2>What was run 运行内容</h2>\n" + _table([], rows)
    return text + "\n<h2>Recipe 训练配方</h2>\n" + _changed(recipe)


def _parameters(folder: Path) -> int | str | None:
    """How many numbers the weights are, or what is wrong with the file."""
    found = [folder / name for name in ("best.ckpt", "last.ckpt") if (folder / name).is_file()]
    if not found:
        return None
    try:
        return sum(array.size for array in read_weights(found[0]).arrays.values())
    except UserError as error:
        return str(error)


def _changed(recipe: dict) -> str:
    """The settings of a recipe that are not the defaults, with the defaults beside them."""
    defaults = {}
    for field in dataclasses.fields(Recipe):
        if field.default_factory is not dataclasses.MISSING:
            defaults[field.name] = field.default_factory()
        elif field.default is not dataclasses.MISSING:
            defaults[field.name] = field.default
    rows = [
        [_Html(f"<code>{escape(key)}</code>"), value, defaults.get(key, "–")]
        for key, value in recipe.items()
        if key not in ELSEWHERE and (key not in defaults or defaults[key] != value)
    ]
    note = '<p class="soft">Settings that are not the defaults 与默认值不同的设置</p>\n'
    if not rows:
        return '<p class="soft">All settings are the defaults 全部为默认设置</p>'
    return note + _table(["Setting 设置", "This run 本次", "Default 默认"], rows)


def _number(key: str, value) -> str:
    if key in SHARES:
        return f"{float(value):.2%}"
    return f"{value:.4f}" if isinstance(value, float) else _text(value)


def _result(path: Path) -> str:
    """What was measured, a row for each split."""
    splits = {split: {"checkpoint": "best.ckpt", **metrics} for split, metrics in _read(path).items()}
    found = dict.fromkeys(key for metrics in splits.values() for key in metrics)
    keys = [key for key in found if not any(isinstance(m.get(key), (dict, list)) for m in splits.values())]
    keys.sort(key=lambda key: key not in ("top1", "top5", "loss"))  # these first: a telephone shows no more
    rows = [
        [SPLITS.get(split, split), *(_number(key, metrics[key]) if key in metrics else "–" for key in keys)]
        for split, metrics in splits.items()
    ]
    return "<h2>Result 结果</h2>\n" + _table([WORDS["split"], *(WORDS.get(key, key) for key in keys)], rows)


def _per_class(path: Path) -> str:
    """The accuracy within each class, a column for each split."""
    splits = {split: metrics["per_class"] for split, metrics in _read(path).items()}
    names = list(dict.fromkeys(name for shares in splits.values() for name in shares))

    def bar(share: float | None):
        return "–" if share is None else _Html(f'<meter value="{share:.4f}"></meter> {share:.1%}')

    rows = [[name, *(bar(shares.get(name)) for shares in splits.values())] for name in names]
    table = _table(["Class 类别", *(SPLITS.get(split, split) for split in splits)], rows)
    if len(names) > MANY:
        table = _folded(f"{len(names)} classes 个类别", table)
    return "<h2>Accuracy of each class 各类别准确率</h2>\n" + table


def _picture(path: Path) -> str:
    data = path.read_bytes()
    if not data.startswith(b"\x89PNG\r\n\x1a\n"):
        raise ValueError("it is no PNG picture")
    title, text = PICTURES[path.name]
    source = f"data:image/png;base64,{base64.b64encode(data).decode()}"
    image = f'<div class="wide"><img src="{source}" alt="{escape(text)}"></div>'
    return f"<h2>{title}</h2>\n<figure>{image}\n<figcaption>{escape(text)}</figcaption></figure>"


def _log(path: Path) -> str:
    """Every epoch, folded away: the curve says it shorter."""
    with path.open(newline="", encoding="utf-8") as file:
        head, *rows = csv.reader(file)

    def short(key: str, value: str) -> str:
        try:
            return f"{float(value):.2%}" if key in SHARES else f"{float(value):.5g}"
        except ValueError:
            return value

    rows = [[short(key, value) for key, value in zip(head, row, strict=False)] for row in rows if row]
    table = _table([WORDS.get(key, key) for key in head], rows)
    return "<h2>Log 训练日志</h2>\n" + _folded(f"{len(rows)} epochs 轮", table)


def _commands(folder: Path) -> str:
    """How to go on with what is in the folder."""
    commands = []
    if (folder / "state").is_dir():
        resume = f"python -m vit_ms train … --ckpt_save_dir {shlex.quote(str(folder))} --resume"
        commands.append(
            ("Go on where the run stopped: the same command with --resume 从中断处继续: 原命令加 --resume", resume)
        )
    weights = [folder / name for name in ("best.ckpt", "last.ckpt") if (folder / name).is_file()]
    if weights:
        given = f"--ckpt_path {shlex.quote(str(weights[0]))}"
        commands.append(("Evaluate on held-out images 评估", f"python -m vit_ms eval {given}"))
        commands.append(("Say what is in your own images 预测", f"python -m vit_ms predict photo.jpg {given}"))
    if not commands:
        return ""
    lines = [f"<p>{text}:</p>\n<pre><code>{escape(command)}</code></pre>" for text, command in commands]
    return "<h2>What next 下一步</h2>\n" + "\n".join(lines)
