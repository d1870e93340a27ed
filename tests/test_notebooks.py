"""The notebooks are what their sources give, were run, and the first one trains to what it promises."""

import re
import shutil

import nbformat
import pytest
from nbclient.exceptions import DeadKernelError
from notebook_build import build

from vit_ms.checkin.course import NOTEBOOKS
from vit_ms.checkin.exercises import exercises

FOLDER = build.FOLDER
SOURCES = build.sources()
CHINESE = re.compile(r"[\u4e00-\u9fff]")

each_source = pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
each_language = pytest.mark.parametrize("language", build.LANGUAGES)


def committed(source, language):
    return nbformat.read(build.notebook_path(source, language), as_version=4)


def cells_of(notebook, kind):
    return [cell for cell in notebook.cells if cell.cell_type == kind]


def outputs_of(notebook):
    return [output for cell in cells_of(notebook, "code") for output in cell.outputs]


def files_below(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if "__pycache__" not in path.parts}


def test_every_notebook_has_a_source():
    assert SOURCES
    for language in build.LANGUAGES:
        assert {path.stem for path in (FOLDER / language).glob("*.ipynb")} == {path.stem for path in SOURCES}


@each_source
@each_language
def test_notebook_is_what_its_source_gives(source, language):
    assert not build.is_stale(source, language), f"run: python notebooks/build.py {source.stem}"


@each_source
@each_language
def test_notebook_was_run_from_top_to_bottom(source, language):
    notebook = committed(source, language)
    nbformat.validate(notebook)
    code = cells_of(notebook, "code")
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert not [output for output in outputs_of(notebook) if output.output_type == "error"]
    assert build.notebook_path(source, language).stat().st_size < 800_000


@each_source
def test_languages_share_code_and_outputs(source):
    english, chinese = (cells_of(committed(source, language), "code") for language in build.LANGUAGES)
    assert english == chinese


@each_source
def test_markdown_is_in_both_languages(source):
    english, chinese = (build.notebook_cells(source, language) for language in build.LANGUAGES)
    assert [(cell.cell_type, cell.id) for cell in english] == [(cell.cell_type, cell.id) for cell in chinese]
    for left, right in zip(english, chinese, strict=True):
        if left.cell_type == "markdown":
            assert not CHINESE.search(left.source)
            assert CHINESE.search(right.source)
            # The same pictures, formulas' numbers and links in both.
            for pattern in (r"\\tag\{\d\}", r"\]\(([^)]+)\)", r"^#+ ", r"<details>"):
                assert re.findall(pattern, left.source, re.M) == re.findall(pattern, right.source, re.M)


@each_source
def test_the_first_cell_examines_the_environment_and_the_last_asks(source):
    cells = build.notebook_cells(source, "en")
    first = next(cell for cell in cells if cell.cell_type == "code").source.splitlines()
    assert first[0].startswith("import vit_ms") and first[-1] == "vit_ms.doctor()"
    assert any("runtime.setup(device_target=" in line for line in first)
    assert cells[-1].cell_type == "markdown" and cells[-1].source.startswith("## Summary")
    assert cells[-1].source.count("<details><summary>") == 3 and "### Where to go next" in cells[-1].source


@each_source
def test_the_exercises_come_before_the_summary(source):
    mine = [one for one in exercises().values() if one.notebook == source.stem]
    assert 2 <= len(mine) <= 4
    for language in build.LANGUAGES:
        cells = build.notebook_cells(source, language)
        first = next(place for place, cell in enumerate(cells) if cell.source.startswith(("## Exercises", "## 练习")))
        headings = re.findall(r"^## (\d+)\. ", "\n".join(cell.source for cell in cells[:first]), re.M)
        assert {str(one.section) for one in mine} <= set(headings)
        assert [cell.cell_type for cell in cells[first:]] == ["markdown"] + ["markdown", "code"] * (len(mine) + 1) + [
            "markdown"
        ]
        assert cells[0].source.splitlines()[0] == f"# {getattr(NOTEBOOKS[source.stem], language)}"


@each_source
def test_an_exercise_that_was_not_begun_is_no_attempt(source):
    printed = "".join(output.get("text", "") for output in outputs_of(committed(source, "en")))
    mine = [one.name for one in exercises().values() if one.notebook == source.stem]
    assert re.findall(r"· (\w+): not begun", printed) == mine and "✗" not in printed


@each_source
def test_every_picture_is_described_in_both_languages(source):
    pictures = [output for output in outputs_of(committed(source, "en")) if "image/png" in output.get("data", {})]
    assert pictures
    for picture in pictures:
        text = picture.metadata["image/png"]["alt"]
        assert CHINESE.search(text) and re.match(r"[A-Z][^\u4e00-\u9fff]{15,} / ", text), text


@each_source
def test_no_output_needs_a_kernel_or_shows_a_warning(source):
    outputs = outputs_of(committed(source, "en"))
    assert not [output for output in outputs if any("widget" in kind for kind in output.get("data", {}))]
    printed = "".join(output.text for output in outputs if output.output_type == "stream")
    assert "Warning" not in printed and "[WARNING]" not in printed and "[ERROR]" not in printed


@pytest.mark.parametrize(("language", "readme"), [("en", "README.md"), ("zh", "README_CN.md")])
def test_the_list_names_every_notebook_with_its_time(language, readme):
    rows = [line for line in (FOLDER / readme).read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    for source in SOURCES:
        (row,) = (row for row in rows if f"]({language}/{source.stem}.ipynb)" in row)
        assert re.search(r"\| \d+ s \|", row), row


@each_source
def test_links_into_the_repository_exist(source):
    for cell in build.notebook_cells(source, "en"):
        if cell.cell_type == "markdown":
            for target in re.findall(r"\]\((\.\./[^)#]+)", cell.source):
                assert (FOLDER / "en" / target).exists(), target


EN, ZH, CODE = '# %% [markdown] lang="en"\n# Hello\n\n', '# %% [markdown] lang="zh"\n# 你好\n\n', "# %%\nx = 1\n\n"


@pytest.mark.parametrize("text", [EN + CODE, ZH + EN, EN + EN, CODE + EN, "# %% [markdown]\n# Hello\n"])
def test_markdown_without_its_pair_is_refused(text, tmp_path):
    source = tmp_path / "one.py"
    source.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"one\.py"):
        build.notebook_cells(source, "zh")


def test_chinese_lines_are_joined_without_a_space(tmp_path):
    source = tmp_path / "one.py"
    text = EN + ZH.replace("你好", "你好，\n# 世界\n#\n# - 第一\n#   项\n# - 第二 ViT\n# 项\n#\n# > 引\n# > 用")
    source.write_text(text, encoding="utf-8")
    (cell,) = build.notebook_cells(source, "zh")
    assert cell.source == "你好，世界\n\n- 第一项\n- 第二 ViT\n项\n\n> 引用"


def test_check_names_what_is_stale(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(build, "FOLDER", tmp_path)
    (tmp_path / "src").mkdir()
    source = tmp_path / "src" / "one.py"
    source.write_text(EN + ZH + CODE, encoding="utf-8")
    for language in build.LANGUAGES:
        build.write(build.build(source, language), build.notebook_path(source, language))
    assert build.main(["--check"]) == 0
    assert capsys.readouterr().out == ""

    source.write_text(EN + ZH.replace("你好", "您好") + CODE, encoding="utf-8")
    assert build.main(["--check"]) == 1
    named = capsys.readouterr().out
    assert "zh/one.ipynb" in named
    assert "en/one.ipynb" not in named

    shutil.rmtree(tmp_path / "en")
    assert build.main(["one", "--check", "--language", "en"]) == 1


def test_text_alone_is_written_without_a_run(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(build, "FOLDER", tmp_path)
    (tmp_path / "src").mkdir()
    source = tmp_path / "src" / "one.py"
    source.write_text(EN + ZH + CODE, encoding="utf-8")
    ran = build.build(source, "en")
    (code,) = cells_of(ran, "code")
    code.execution_count, code.outputs = 1, [nbformat.v4.new_output("stream", text="1\n")]
    build.write(ran, build.notebook_path(source, "en"))
    monkeypatch.setattr(build, "execute", None)
    source.write_text((EN + ZH).replace("Hello", "Hello again") + CODE, encoding="utf-8")
    assert build.main(["one", "--text"]) == 0
    for language in build.LANGUAGES:
        written = nbformat.read(build.notebook_path(source, language), as_version=4)
        assert cells_of(written, "code")[0].outputs == code.outputs and not build.is_stale(source, language)

    source.write_text(EN + ZH + CODE.replace("1", "2"), encoding="utf-8")
    with pytest.raises(SystemExit):
        build.main(["one", "--text"])
    assert "has other code than its source" in capsys.readouterr().err


def test_a_notebook_that_fails_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "FOLDER", tmp_path)
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "one.py").write_text(EN + ZH + "# %%\n1 / 0\n", encoding="utf-8")
    with pytest.raises(Exception, match="ZeroDivisionError"):
        build.main(["one"])
    assert not list(tmp_path.rglob("*.ipynb"))


def test_an_output_with_a_path_of_this_machine_is_refused(tmp_path):
    source = tmp_path / "one.py"
    source.write_text(EN + ZH + "# %%\nimport os\n\nprint(os.getcwd())\n", encoding="utf-8")
    with pytest.raises(ValueError, match="an output shows"):
        build.execute(build.build(source, "en"), tmp_path)


def test_a_kernel_that_did_not_start_is_started_once_more(tmp_path, monkeypatch):
    source = tmp_path / "one.py"
    source.write_text(EN + ZH + CODE, encoding="utf-8")
    folder = tmp_path / "run"
    folder.mkdir()
    real, failures = build.NotebookClient.execute, [1, 1]

    def execute(client, **options):
        if failures.pop():
            raise DeadKernelError("Kernel died")
        return real(client, **options)

    monkeypatch.setattr(build.NotebookClient, "execute", execute)
    with pytest.raises(DeadKernelError):
        build.execute(build.build(source, "en"), folder)
    failures[:] = [0, 1]
    assert build.execute(build.build(source, "en"), folder).cells[1].execution_count == 1


def test_files_outside_the_output_folder_are_refused(tmp_path):
    source = tmp_path / "one.py"
    source.write_text(EN + ZH + "# %%\nopen('here.txt', 'w').close()\n", encoding="utf-8")
    folder = tmp_path / "run"
    folder.mkdir()
    with pytest.raises(ValueError, match=r"outside runs/: here\.txt"):
        build.execute(build.build(source, "en"), folder)


def test_sliders_leave_a_line(tmp_path):
    code = "# %%\nfrom matplotlib.figure import Figure\n\nfrom vit_ms.visualize import interactive\n\n"
    code += "interactive(lambda head: Figure(), head=(1, 4))\n"
    source = tmp_path / "one.py"
    source.write_text(EN + ZH + code, encoding="utf-8")
    folder = tmp_path / "run"
    folder.mkdir()
    notebook = build.execute(build.build(source, "en"), folder)
    (output,) = outputs_of(notebook)
    assert output.name == "stdout" and "sliders" in output.text
    assert "widgets" not in notebook.metadata


def test_compiling_a_cell_of_a_notebook_prints_nothing(tmp_path):
    code = """# %%
import vit_ms
import numpy as np
from mindspore import Tensor, nn

from vit_ms import runtime

runtime.setup("CPU", "graph")


class Double(nn.Cell):
    def construct(self, x):
        if x.sum() > 0:
            return x * 2
        return x


print(Double()(Tensor(np.ones(3, np.float32))))
"""
    source = tmp_path / "one.py"
    source.write_text(EN + ZH + code, encoding="utf-8")
    folder = tmp_path / "run"
    folder.mkdir()
    (output,) = outputs_of(build.execute(build.build(source, "en"), folder))
    assert output.name == "stdout" and output.text == "[2. 2. 2.]\n"


@pytest.mark.parametrize("name", ["02_from_image_to_tokens", "03_attention_by_hand"])
def test_the_next_notebooks_run(name, tmp_path):
    notebook = build.execute(build.build(FOLDER / "src" / f"{name}.py", "zh"), tmp_path)
    kinds = [output.output_type for output in outputs_of(notebook)]
    assert "error" not in kinds and kinds == [
        output.output_type for output in outputs_of(committed(FOLDER / name, "zh"))
    ]


def test_first_notebook_trains(tmp_path):
    before = files_below(FOLDER)
    notebook = build.execute(build.build(FOLDER / "src" / "01_five_minutes_to_vit.py", "en"), tmp_path)

    outputs = outputs_of(notebook)
    assert not [output for output in outputs if output.output_type == "error"]
    printed = "".join(output.text for output in outputs if output.output_type == "stream" and output.name == "stdout")
    (accuracy,) = re.findall(r"test accuracy: top-1 ([\d.]+)%", printed)
    assert float(accuracy) >= 95.0
    (before_training,) = re.findall(r"validation accuracy before training: ([\d.]+)%", printed)
    assert float(before_training) < 35.0
    assert "network(image) gives the same logits: True" in printed
    assert "equal before loading: False\nequal after loading:  True" in printed
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 7
    errors = "".join(output.text for output in outputs if output.output_type == "stream" and output.name == "stderr")
    assert errors.count("step/s") == 1, "of a progress bar the last line is left"

    assert (tmp_path / "runs" / "five_minutes" / "vit_nano_4.ckpt").is_file()
    assert files_below(FOLDER) == before
