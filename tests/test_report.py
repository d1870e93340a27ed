"""The report of a run, read as a browser reads it."""

import base64
import json
from html.parser import HTMLParser
from pathlib import Path

import pytest
from helpers import error_of
from PIL import Image

from vit_ms.recipe import Recipe
from vit_ms.report import FILES, write_report

RUN = {
    "model": "vit_nano_4",
    "overrides": {"pool": "mean"},
    "numerics": "timm",
    "classes": ["cat", "a <b>\"quoted\"</b> & 'single' name", "狗"],
    "preprocessing": {"image_size": 16, "channels": 1, "mean": [0.5], "std": [0.5]},
    "recipe": {"name": "digits", "model": "vit_nano_4", "dataset": "digits", "lr": 0.003, "batch_size": 64, "seed": 7},
    "versions": {"vit_ms": "0.1.0", "mindspore": "2.10.0"},
}
SHARES = dict(zip(RUN["classes"], (1.0, 0.25, 0.5), strict=True))
METRICS = {
    "val": {"epoch": 2, "images": 180, "top1": 0.875, "top5": 1.0, "loss": 0.34567, "per_class": SHARES},
    "test": {"checkpoint": "best.ckpt", "images": 360, "top1": 0.75, "top5": 0.9, "loss": 0.5, "per_class": SHARES},
}
LOG = "epoch,lr,train_loss,train_acc,val_loss,val_acc,seconds\n1,0.0015,2.3,0.15,2.2,0.25,7.1\n2,0,1.5,0.5,1.2,0.875,1.1\n"


@pytest.fixture
def folder(tmp_path):
    """A run's folder with everything in it, its name one that HTML would take for a tag."""
    folder = tmp_path / "<i>run & 'one'"
    folder.mkdir()
    (folder / "run.json").write_text(json.dumps(RUN), encoding="utf-8")
    (folder / "metrics.json").write_text(json.dumps(METRICS), encoding="utf-8")
    (folder / "log.csv").write_text(LOG, encoding="utf-8")
    for index, name in enumerate(("curve.png", "confusion.png", "predictions.png")):
        Image.new("RGB", (8, 8), (index * 80, 0, 0)).save(folder / name)
    return folder


VOID = ("meta", "img", "br", "link", "input", "hr")


class Page(HTMLParser):
    """What a page says and what it asks for; every tag must be closed."""

    def __init__(self, path: Path):
        super().__init__()
        self.open, self.tags, self.attributes, self.texts = [], [], [], []
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *pair) for pair in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style" and data.strip():
            self.texts.append(data.strip())

    @property
    def text(self) -> str:
        return "\n".join(self.texts)

    @property
    def headings(self) -> list[str]:
        return [text for text in self.source.split("<h2>")[1:] for text in [text[: text.index("</h2>")]]]

    def values(self, *names: str) -> list[str]:
        return [value for _, name, value in self.attributes if name in names]

    def rows(self) -> list[list[str]]:
        """The texts of each row of each table."""
        cut = [row[: row.index("</tr>")] for row in self.source.split("<tr>")[1:]]
        return [_Texts(row).texts for row in cut]


class _Texts(HTMLParser):
    def __init__(self, source: str):
        super().__init__()
        self.texts = []
        self.feed(source)
        self.close()

    def handle_data(self, data):
        self.texts.append(data.strip())


def test_the_page_holds_everything_and_asks_for_nothing(folder):
    path = write_report(folder)
    assert path == folder / "report.html"
    page = Page(path)
    asked = page.values("src", "href", "srcset", "poster", "data", "action", "background")
    pictures = [(folder / name).read_bytes() for name in FILES if name.endswith(".png")]
    assert [base64.b64decode(url.removeprefix("data:image/png;base64,")) for url in asked] == pictures
    assert not {"script", "link", "iframe", "object", "embed"} & set(page.tags)
    assert "url(" not in page.source and "@import" not in page.source and "http" not in page.source
    assert "on" not in {name[:2] for _, name, _ in page.attributes}  # onclick and its kind
    assert len(page.values("alt")) == 3 and all(len(text) > 20 for text in page.values("alt"))
    assert "width=device-width" in page.source and "prefers-color-scheme: dark" in page.source
    assert page.headings == [
        "What was run 运行内容",
        "Recipe 训练配方",
        "Result 结果",
        "Training 训练",
        "Confusion matrix 混淆矩阵",
        "Predictions 预测示例",
        "Accuracy of each class 各类别准确率",
        "Log 训练日志",
    ]


def test_the_tables_say_what_the_files_say(folder):
    rows = Page(write_report(folder)).rows()
    for row in (
        ["Model 模型", "vit_nano_4"],
        ["Model arguments 模型参数设置", "pool mean"],
        ["Data set 数据集", "digits"],
        ["Seed 随机种子", "7"],
        ["Versions 版本", "vit_ms 0.1.0, mindspore 2.10.0"],
        ["val 验证集", "87.50%", "100.00%", "0.3457", "best.ckpt", "2", "180"],
        ["test 测试集", "75.00%", "90.00%", "0.5000", "best.ckpt", "–", "360"],
        ["cat", "100.0%", "100.0%"],
        ["2", "0", "1.5", "50.00%", "1.2", "87.50%", "1.1"],
    ):
        assert row in rows


def test_of_the_recipe_only_what_is_not_the_default_is_told(folder):
    rows = Page(write_report(folder)).rows()
    assert ["lr", "0.003", "0.001"] in rows
    assert Recipe.batch_size == 64 and not any(row[0] == "batch_size" for row in rows)
    # A setting that this version does not know is told too.
    (folder / "run.json").write_text(json.dumps(RUN | {"recipe": RUN["recipe"] | {"lr": 1e-3, "of_later": [1, 2]}}))
    rows = Page(write_report(folder)).rows()
    assert ["of_later", "1, 2", "–"] in rows and not any(row[0] == "lr" for row in rows)


def test_names_are_text_and_never_tags(folder):
    page = Page(write_report(folder))
    assert not {"b", "i"} & set(page.tags)
    assert RUN["classes"][1] in page.text and "狗" in page.text
    assert "Run 训练报告: <i>run & 'one'" in page.text
    # Wherever a name can stand: keys and values of the JSON files, heads and cells of the log.
    evil = '"><script>alert(1)</script>'
    entry = {"epoch": evil, "top1": 0.5, "per_class": {evil: 0.5}, evil: evil}
    (folder / "metrics.json").write_text(json.dumps({evil: entry}))
    recipe = RUN["recipe"] | {"dataset": evil, "seed": evil, evil: evil}
    (folder / "run.json").write_text(
        json.dumps({"model": evil, "classes": [evil], "recipe": recipe, evil: {evil: evil}})
    )
    (folder / "log.csv").write_text(f"epoch,{evil}\n{evil},2\n")
    page = Page(write_report(folder))
    assert "script" not in page.tags and page.text.count("<script>") >= 15
    # And in what is said of damage.
    (folder / "metrics.json").write_text(json.dumps({"val": METRICS["val"] | {"top5": evil}}))
    page = Page(write_report(folder))
    assert (
        "script" not in page.tags and "metrics.json is damaged" in page.text and "to float: '\"><script>" in page.text
    )


def test_what_is_not_there_yet_is_left_out(folder):
    sections = {
        "run.json": ["What was run 运行内容", "Recipe 训练配方"],
        "metrics.json": ["Result 结果", "Accuracy of each class 各类别准确率"],
        "log.csv": ["Log 训练日志"],
        "curve.png": ["Training 训练"],
        "confusion.png": ["Confusion matrix 混淆矩阵"],
        "predictions.png": ["Predictions 预测示例"],
    }
    expected = Page(write_report(folder)).headings
    for name in FILES[1:]:
        (folder / name).unlink()
        expected = [heading for heading in expected if heading not in sections[name]]
        page = Page(write_report(folder))
        assert page.headings == expected and "damaged" not in page.text
    (folder / "run.json").unlink()
    assert "holds no run, none of run.json, metrics.json" in error_of(write_report, folder)
    assert "nowhere holds no run" in error_of(write_report, "nowhere")


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[1, 2]", b"null", b"\xff\xfe\x00", b'{"val": 3, "recipe": 3, "classes": 4}', b"[" * 100000]
)
def test_what_is_damaged_is_told_in_its_place(folder, content):
    for name in FILES:
        if name == "log.csv" and content not in (b"", b"\xff\xfe\x00"):
            continue  # all of these are tables
        before = (folder / name).read_bytes()
        (folder / name).write_bytes(content)
        page = Page(write_report(folder))
        assert page.text.count(f"{name} is damaged and left out 文件损坏，已略去") >= 1
        assert page.text.count("is damaged") <= 3 and len(page.headings) >= 6
        (folder / name).write_bytes(before)


def test_what_no_encoding_can_write_stops_nothing(folder):
    (folder / "run.json").write_text(json.dumps(RUN | {"classes": ["\ud800", "NaN\x00"]}))
    (folder / "metrics.json").write_text(json.dumps({"val": METRICS["val"] | {"loss": float("nan")}}))
    page = Page(write_report(folder))
    assert "nan" in page.text and "2: ?, NaN" in page.text


def test_many_classes_are_folded(folder):
    names = [f"class {index}" for index in range(1000)]
    (folder / "run.json").write_text(json.dumps(RUN | {"classes": names}))
    (folder / "metrics.json").write_text(json.dumps({"val": METRICS["val"] | {"per_class": dict.fromkeys(names, 0.5)}}))
    page = Page(write_report(folder))
    assert page.tags.count("details") == 2 and "1000 classes 个类别" in page.text  # and the log
    classes = next(row[1] for row in page.rows() if row[0] == "Classes 类别")
    assert classes.startswith("1000: class 0, class 1, ") and classes.endswith("class 19, …")


def test_the_commands_are_for_what_is_there_and_survive_the_shell(folder):
    assert "python -m" not in Page(write_report(folder)).text
    (folder / "last.ckpt").write_bytes(b"no weights")
    page = Page(write_report(folder))
    quoted = str(folder / "last.ckpt").replace("'", "'\"'\"'")
    assert f"python -m vit_ms eval --ckpt_path '{quoted}'" in page.text
    assert "resume" not in page.text
    told = next(row[1] for row in page.rows() if row[0] == "Parameters 参数量")
    assert "last.ckpt is no .ckpt file, or damaged" in told
    (folder / "state").mkdir()
    assert "--resume" in Page(write_report(folder)).text


def test_a_report_that_cannot_be_written_leaves_the_old_one(folder, monkeypatch):
    before = write_report(folder).read_bytes()
    (folder / "metrics.json").unlink()

    def full(self, data):
        self.open("wb").close()
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", full)
        with pytest.raises(OSError, match="No space left"):
            write_report(folder)
    assert (folder / "report.html").read_bytes() == before
    assert write_report(folder).read_bytes() != before
    assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == []
