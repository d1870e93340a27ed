"""The check-in: exercises that are graded by what a solution does, and a record of what a learner has done.

In a notebook: task("attention") says what to write, check("attention", attention) grades it, hint("attention") helps,
status() tells what is done and card(day=3, name="...") makes the picture to post, a text and the record.
"""

import ast
import contextlib
import dis
import linecache
import re
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from vit_ms.checkin.course import title_of
from vit_ms.checkin.exercise import Exercise, Text
from vit_ms.checkin.exercises import exercise, exercises
from vit_ms.checkin.grader import Result, grade
from vit_ms.checkin.progress import Attempt, Progress
from vit_ms.errors import UserError, did_you_mean

_CALLS = ("check", "hint", "status", "task", "card")


def check(name: str, solution: Callable) -> None:
    """Grade a solution, say how it came out, and keep it in the learner's record.

    Args:
        name (str): of the exercise.
        solution (Callable): the function or the class, not its name and not its result.
    """
    try:
        one = exercise(name)
        source = source_of(solution)
        if _is_starter(one, source):
            print(f"· {name}: not begun; write it in this cell and run the cell again")
            print("  还没有作答：请在本单元格里写出代码，再运行一次")
            return
        result = grade(one, solution)
        if result.passed and (used := _of_the_package(solution)):
            message = Text(f"it calls {used} of vit_ms: write it yourself", f"调用了 vit_ms 的 {used}：请自己写出来")
            result = Result(name, False, message, "vit_ms used", seconds=result.seconds)
        print(result)
        if result.passed and getattr(solution, "__name__", "") != one.solution:
            print(f"  name it {one.solution}: so it is looked for when your record is verified")
            print(f"  请命名为 {one.solution}：验证打卡记录时会按这个名字查找")
        now = datetime.now().astimezone()
        attempt = Attempt(name, now, result.passed, result.code, source, result.seconds)
        Progress().add(attempt)
        if result.passed:
            print(f"  {_bar(Progress(), list(exercises()))}")
    except UserError as error:
        print(error)


def task(name: str) -> None:
    """Show what an exercise asks for, and the code to begin with."""
    try:
        one = exercise(name)
    except UserError as error:
        print(error)
        return
    text = (
        f"**{one.title.en} {one.title.zh}**\n\n{one.statement.en}\n\n{one.statement.zh}\n\n```python\n{one.starter}```"
    )
    try:
        from IPython import get_ipython
        from IPython.display import Markdown, display
    except ImportError:
        print(text)
        return
    if get_ipython() is None:
        print(text)
    else:
        display(Markdown(text))


def hint(name: str) -> None:
    """Show the next hint of an exercise, after those that were shown before."""
    try:
        hints = exercise(name).hints
        for number in range(Progress().next_hint(name, len(hints))):
            print(f"{number + 1}/{len(hints)} {hints[number].en}\n    {hints[number].zh}")
    except UserError as error:
        print(error)


def card(day: int, name: str, **options) -> list[Path]:
    """Make the card of a day, and show it where this is a notebook.

    Args:
        day (int): of the camp, from 1.
        name (str): of the learner.
        options: those of `cards.make_card`: history and accuracy or run, notebook, language, token, output.

    Returns:
        list[Path], the PNG, the Markdown and the JSON record; empty where an argument is wrong, which is told in a line.
    """
    from vit_ms.checkin.cards import make_card  # it draws: check does without

    try:
        paths = make_card(day, name, **options)
    except UserError as error:
        print(error)
        return []
    with contextlib.suppress(ImportError):
        from IPython import get_ipython
        from IPython.display import Image, display

        if get_ipython() is not None:
            display(Image(filename=str(paths[0]), width=720, alt=paths[1].read_text(encoding="utf-8").splitlines()[0]))
    print("wrote 已写入", ", ".join(map(str, paths)))
    return paths


def status(notebook: str = "") -> None:
    """Show which exercises are solved, by notebook, with a bar.

    Args:
        notebook (str): like 03_attention_by_hand, to show those of one alone.
    """
    try:
        progress = Progress()
        passed = progress.passed()
        tried = {attempt.exercise for attempt in progress.attempts()}
        names = list(dict.fromkeys(one.notebook for one in exercises().values()))
        if notebook and notebook not in names:
            raise UserError(f"there is no notebook {notebook!r} with exercises{did_you_mean(notebook, names)}")
        counted = [one for one in exercises().values() if one.notebook == notebook or not notebook]
        for shown in dict.fromkeys(one.notebook for one in counted):
            print(*title_of(shown))
            for one in (one for one in counted if one.notebook == shown):
                mark = "✓" if one.name in passed else "✗" if one.name in tried else "·"
                print(f"  {mark} {one.name:24} {one.title.en} {one.title.zh}")
        print(_bar(progress, [one.name for one in counted]))
    except UserError as error:
        print(error)


def _of_the_package(solution: Callable) -> str:
    """What of vit_ms a solution names in its code; empty: nothing."""
    members = [*vars(solution).values()] if isinstance(solution, type) else [solution]
    codes = [member.__code__ for member in members if hasattr(member, "__code__")]
    space = next((member.__globals__ for member in members if hasattr(member, "__globals__")), {})
    while codes:
        code = codes.pop()
        codes += [constant for constant in code.co_consts if hasattr(constant, "co_names")]
        for name in (step.argval for step in dis.get_instructions(code) if step.opname == "LOAD_GLOBAL"):
            value = space.get(name)
            home = getattr(value, "__module__", None) or getattr(value, "__name__", "")
            if str(home).split(".")[0] == "vit_ms":
                return name
    return ""


def _is_starter(one: Exercise, source: str) -> bool:
    """Whether a source defines only what the exercise begins with."""
    try:
        written = {ast.dump(statement) for statement in ast.parse(source).body}
    except (SyntaxError, ValueError, RecursionError):
        return False
    return all(ast.dump(statement) in written for statement in ast.parse(one.starter).body)


def source_of(solution: Callable) -> str:
    """The cell or the file that a solution is written in, without what is of the check-in; empty where there is none."""
    code = getattr(solution, "__code__", None)
    if code is None:
        methods = [vars(solution).get(name) for name in ("construct", "__init__")] if isinstance(solution, type) else []
        code = next((method.__code__ for method in methods if hasattr(method, "__code__")), None)
    return _without_checkin("".join(linecache.getlines(code.co_filename))) if code is not None else ""


def _without_checkin(source: str) -> str:
    """A cell without its magics, its imports of vit_ms and its calls of check: what is graded anew stands by itself."""
    lines = ["" if re.match(r"\s*[%!]", line) else line for line in source.splitlines()]
    try:
        statements = ast.parse("\n".join(lines)).body
    except (SyntaxError, ValueError, RecursionError):
        return "\n".join(lines).strip() + "\n"
    for statement in statements:
        called = (
            statement.value.func if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call) else None
        )
        named = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
        modules = [statement.module or ""] if isinstance(statement, ast.ImportFrom) else []
        modules += [alias.name for alias in statement.names] if isinstance(statement, ast.Import) else []
        if named in _CALLS or any(module.split(".")[0] == "vit_ms" for module in modules):
            lines[statement.lineno - 1 : statement.end_lineno] = [""] * (statement.end_lineno - statement.lineno + 1)
    return "\n".join(lines).strip() + "\n"


def _bar(progress: Progress, names: list[str], width: int = 30) -> str:
    done, total = len(progress.passed().keys() & set(names)), len(names)
    return f"[{'█' * (width * done // total):{width}}] {done} of {total} exercises 道练习已通过"
