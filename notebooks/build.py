"""Build the notebooks: each source in src/ holds both languages, is run once and written to en/ and zh/ with its outputs.

A source is a jupytext percent file. Its Markdown cells come in pairs, `# %% [markdown] lang="en"` and then lang="zh"; its
code cells are the same in both notebooks. The notebook's exercises, which are in vit_ms/checkin/exercises, come before the
summary, its last pair.
"""

import argparse
import os
import re
import sys
import tempfile
import time
from pathlib import Path

import jupytext
import nbformat
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbformat import NotebookNode, v4

from vit_ms.checkin.calling import Text
from vit_ms.checkin.exercises import exercises
from vit_ms.files import whole_file
from vit_ms.visualize import can_draw

FOLDER = Path(__file__).resolve().parent
LANGUAGES = ("en", "zh")
EXERCISES = Text(
    "## Exercises\n\nWrite each in its cell and run the cell. The grader calls your code with random inputs and compares "
    "what it does with a reference, so any correct way passes; of what is wrong it says what to look at. Code for Tensors "
    'is compiled in graph mode as well; inputs are to stay as they are. `hint("{name}")` in a new cell shows a hint, one '
    "more at each call.",
    "## 练习\n\n在各个单元格里写出代码并运行。评分器用随机输入调用你的代码，与参考实现比较结果，所以任何正确的写法都能通过；"
    "有错时会指出该检查哪里。用 Tensor 写的代码还会在图模式下编译；请勿修改输入。在新单元格里运行 "
    '`hint("{name}")` 可以查看提示，每次多一条。',
)
AFTER = Text("*After section {section}.*", "*对应第 {section} 小节。*")
CHECK_IN = Text(
    '### Check in\n\n`status` shows what is solved; `status()` that of all notebooks. `card(day=1, name="...")` makes a '
    "picture to post, a text for a blog and a record that anybody can verify ([how](../../docs/checkin.md)); with "
    "`history=` and `accuracy=` it has the curve of your own run.",
    '### 打卡\n\n`status` 显示本课已通过的练习，`status()` 显示全部。`card(day=1, name="...")` 生成一张打卡图片、一段博客'
    "文字和一份任何人都能验证的记录（[说明](../../docs/checkin.md)）；加上 `history=` 和 `accuracy=`，卡片上就有你"
    "自己训练的曲线。",
)

# A line may end between two Chinese characters or punctuation marks; a browser would show that as a space.
_CHINESE = r"[\u3000-\u303f\u4e00-\u9fff\uff00-\uffef]"
_CHINESE_LINE_END = re.compile(rf"(?<={_CHINESE})\n(?: +|> )?(?={_CHINESE})")


def sources(names: list[str] | None = None) -> list[Path]:
    """The source files of these notebooks, of all of them without names.

    Raises:
        FileNotFoundError: If a name has no source.
    """
    if not names:
        return sorted((FOLDER / "src").glob("*.py"))
    found = [FOLDER / "src" / f"{Path(name).stem}.py" for name in names]
    for path in found:
        if not path.is_file():
            raise FileNotFoundError(f"{path} does not exist")
    return found


def notebook_path(source: Path, language: str) -> Path:
    """Where the notebook of a source is."""
    return FOLDER / language / f"{source.stem}.ipynb"


def notebook_cells(source: Path, language: str) -> list[NotebookNode]:
    """The cells of one language, without outputs.

    Raises:
        ValueError: If the Markdown cells are not pairs of English and Chinese.
    """
    cells = source_cells(source, language)
    cells[-1:-1] = exercise_cells(source.stem, language)
    for number, cell in enumerate(cells):
        cell.id = f"cell-{number:02}"
    return cells


def source_cells(source: Path, language: str) -> list[NotebookNode]:
    """The cells that the source has for one language."""
    cells, expected = [], "en"
    for cell in jupytext.read(source, fmt="py:percent").cells:
        if cell.cell_type == "markdown":
            found = cell.metadata.get("lang")
            if found != expected:
                raise ValueError(f'{source.name}: lang="{expected}" is due, not {found}, at: {cell.source[:60]!r}')
            expected = "zh" if found == "en" else "en"
            if found == language:
                text = _CHINESE_LINE_END.sub("", cell.source)
                cells.append(v4.new_markdown_cell(text))
        elif expected == "zh":
            raise ValueError(f'{source.name}: lang="zh" is due, not code, at: {cell.source[:60]!r}')
        else:
            cells.append(v4.new_code_cell(cell.source))
    if expected == "zh":
        raise ValueError(f'{source.name}: lang="zh" is due at the end')
    return cells


def exercise_cells(notebook: str, language: str) -> list[NotebookNode]:
    """The section with the exercises of a notebook; none where it has none."""
    chosen = [one for one in exercises().values() if one.notebook == notebook]
    if not chosen:
        return []
    cells = [v4.new_markdown_cell(getattr(EXERCISES, language).format(name=chosen[0].name))]
    for one in chosen:
        title, statement = getattr(one.title, language), getattr(one.statement, language)
        after = getattr(AFTER, language).format(section=one.section)
        cells.append(v4.new_markdown_cell(f"### {title}\n\n{after}\n\n{statement}"))
        modules = "import numpy as np\n"
        if one.kind != "numpy":
            modules = f"import mindspore as ms\n{modules}from mindspore import Parameter, Tensor, nn, ops\n"
        code = f"{modules}\nfrom vit_ms.checkin import check, hint\n\n\n{one.starter.strip()}\n\n\n"
        cells.append(v4.new_code_cell(f'{code}check("{one.name}", {one.solution})'))
    cells.append(v4.new_markdown_cell(getattr(CHECK_IN, language)))
    cells.append(v4.new_code_cell(f'from vit_ms.checkin import card, status\n\nstatus("{notebook}")'))
    return cells


def build(source: Path, language: str) -> NotebookNode:
    """The notebook of one language, not run."""
    metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    return v4.new_notebook(cells=notebook_cells(source, language), metadata=metadata)


def execute(notebook: NotebookNode, folder: Path, timeout: int = 900) -> NotebookNode:
    """Run a notebook in a folder, with the interpreter that runs this and the vit_ms of this repository.

    Args:
        notebook (NotebookNode): its outputs are filled in.
        folder (Path): the working directory, where whatever it writes stays.
        timeout (int): seconds for one cell.

    Raises:
        CellExecutionError: If a cell fails.
        ValueError: If an output shows a path of this machine, or a file is left outside runs/.
    """
    metadata = notebook.metadata.copy()
    search_path = [str(FOLDER.parent), os.environ.get("PYTHONPATH", "")]
    env = os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, search_path)),
        "IPYTHONDIR": str(folder / ".ipython"),
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        "VIT_MS_STILL": "1",  # a page that does not run has no sliders
        "VIT_MS_HOME": str(folder / ".home"),  # a learner's record that is empty
    }
    for last_try in (False, True):
        specs = KernelSpecManager(kernel_dirs=[])  # leaves the kernel of this interpreter
        client = NotebookClient(
            notebook,
            km=AsyncKernelManager(kernel_name="python3", kernel_spec_manager=specs),
            timeout=timeout,
            startup_timeout=180,
            resources={"metadata": {"path": str(folder)}},
            coalesce_streams=True,  # of a progress bar the last line is left
            record_timing=False,
            extra_arguments=["--log-level=ERROR"],
        )
        try:
            client.execute(env=env, cleanup_kc=True)
            break
        except RuntimeError:
            # Of two builds at a time both may find the same ports free; one of the kernels does not start then.
            if last_try or any(cell.get("execution_count") for cell in notebook.cells):
                raise
    notebook.metadata = metadata  # without the interpreter's version
    for cell in notebook.cells:
        for place in (str(folder), str(FOLDER.parent), str(Path.home()) + os.sep):
            if place in str(cell.get("outputs")):
                raise ValueError(f"an output shows {place}: {cell.source[:60]!r}")
    # The last is the kernel compiler's, which vit_ms removes unless the kernel is ended too soon for that.
    ours = (".ipython", ".home", "runs", "dsa_transfrom.log")
    left = sorted(path.name for path in folder.iterdir() if path.name not in ours)
    if left:
        raise ValueError(f"files outside runs/: {', '.join(left)}")
    return notebook


def write(notebook: NotebookNode, path: Path) -> None:
    """Write a notebook, whole or not at all."""
    nbformat.validate(notebook)
    with whole_file(path) as temporary:
        nbformat.write(notebook, temporary)


def is_stale(source: Path, language: str) -> bool:
    """Whether the notebook is absent or has other cells than its source gives."""
    path = notebook_path(source, language)
    if not path.is_file():
        return True
    found, wanted = nbformat.read(path, as_version=4).cells, notebook_cells(source, language)
    return [(cell.cell_type, cell.source) for cell in found] != [(cell.cell_type, cell.source) for cell in wanted]


def _code(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def _with_old_outputs(source: Path) -> NotebookNode:
    """The notebook with the outputs that its source's cells had before; its exercises, which need none of them, are run."""
    path = notebook_path(source, LANGUAGES[0])
    own = [cell for cell in source_cells(source, LANGUAGES[0]) if cell.cell_type == "code"]
    before = _code(nbformat.read(path, as_version=4))[: len(own)]
    if [cell.source for cell in before] != [cell.source for cell in own]:
        raise ValueError(f"{path.name} has other code than its source: leave out --text")
    notebook = build(source, LANGUAGES[0])
    code = _code(notebook)
    if len(code) > len(own):
        with tempfile.TemporaryDirectory() as folder:
            # The first cell makes the environment ready, in a notebook as here.
            alone = v4.new_notebook(cells=code[:1] + code[len(own) :], metadata=notebook.metadata)
            before += execute(alone, Path(folder)).cells[1:]
    for number, (cell, done) in enumerate(zip(code, before, strict=True), 1):
        cell.outputs, cell.execution_count = done.outputs, number
        for output in cell.outputs:
            if "execution_count" in output:
                output.execution_count = number
    return notebook


def main(argv: list[str] | None = None) -> int:
    """Build or check; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python notebooks/build.py", description=__doc__.splitlines()[0])
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="of notebooks, like 01_five_minutes_to_vit (default all)"
    )
    parser.add_argument("--language", choices=LANGUAGES, help="only this one (default both)")
    parser.add_argument(
        "--check", action="store_true", help="only name the notebooks that are not as their sources say"
    )
    parser.add_argument("--try", action="store_true", dest="only_run", help="run them and write nothing")
    parser.add_argument(
        "--text",
        action="store_true",
        help="the sources' code is as it was: keep its outputs, write the text anew and run the exercises alone",
    )
    args = parser.parse_args(argv)
    languages = (args.language,) if args.language else LANGUAGES
    try:
        chosen = sources(args.names)
    except FileNotFoundError as error:
        parser.error(str(error))

    if args.check:
        stale = [
            notebook_path(source, language) for source in chosen for language in languages if is_stale(source, language)
        ]
        for path in stale:
            print(
                f"{path.relative_to(FOLDER.parent)} is not what its source gives: python notebooks/build.py {path.stem}"
            )
        return 1 if stale else 0

    if not args.only_run and not can_draw("中文"):
        parser.error("no installed font draws Chinese, which the pictures have (Debian: apt install fonts-noto-cjk)")
    for source in chosen:
        print(f"{source.stem}: running", flush=True)
        start = time.perf_counter()
        notebooks = {language: build(source, language) for language in languages}
        if args.text:
            try:
                run = _with_old_outputs(source)
            except (OSError, ValueError) as error:
                parser.error(str(error))
        else:
            with tempfile.TemporaryDirectory() as folder:
                run = execute(build(source, languages[0]), Path(folder))
        if args.only_run:
            print(f"{source.stem}: {time.perf_counter() - start:.0f} s")
            continue
        for language, notebook in notebooks.items():
            # The code is the same, so are its outputs; the languages differ in the Markdown alone.
            for cell, done in zip(_code(notebook), _code(run), strict=True):
                cell.outputs, cell.execution_count = done.outputs, done.execution_count
            write(notebook, notebook_path(source, language))
        print(f"{source.stem}: {time.perf_counter() - start:.0f} s, wrote {', '.join(languages)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
