"""A new exercise is one file: it is graded, listed, and in its notebook."""

import sys

import pytest
from notebook_build import build

from vit_ms import checkin
from vit_ms.checkin.exercises import exercises
from vit_ms.errors import UserError

FILE = '''
"""Doubling."""

import numpy as np

from vit_ms.checkin.exercise import Case, Exercise, Mistake, Text


def double(x):
    return x + x


def cases(rng):
    yield Case(Text("4 numbers", "4 个数"), (rng.standard_normal(4).astype(np.float32),))


EXERCISE = Exercise(
    name="double",
    notebook="13_to_the_npu",
    section=1,
    kind="function",
    title=Text("Doubling", "加倍"),
    statement=Text("Write `double(x)`: twice `x`.", "写出 `double(x)`：`x` 的两倍。"),
    solution="double",
    starter="def double(x):\\n    ...\\n",
    hints=(Text("Add.", "相加。"),),
    reference=double,
    cases=cases,
    mistakes=(Mistake("squared", lambda x: x * x, Text("it is squared", "这是平方")),),
)
'''


@pytest.fixture
def added(tmp_path, monkeypatch):
    """The file's folder; the cached table of exercises is read again, then and afterwards."""
    (tmp_path / "double.py").write_text(FILE, encoding="utf-8")
    package = sys.modules[exercises.__module__]
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
    monkeypatch.setenv("VIT_MS_HOME", str(tmp_path / "home"))
    exercises.cache_clear()
    yield tmp_path
    monkeypatch.undo()
    sys.modules.pop(f"{package.__name__}.double", None)
    exercises.cache_clear()


def twice(x):
    return 2 * x


def test_one_file_is_an_exercise(added, capsys):
    checkin.check("double", lambda x: x**2)
    assert "✗ double: it is squared" in capsys.readouterr().out
    checkin.check("double", twice)
    assert "✓ double: passed (1 case, gradients, graph mode)" in capsys.readouterr().out
    checkin.status()
    assert "✓ double" in capsys.readouterr().out
    checkin.hint("double")
    assert "1/1 Add." in capsys.readouterr().out
    source = build.FOLDER / "src" / "13_to_the_npu.py"
    cells = [cell.source for cell in build.notebook_cells(source, "zh")]
    place = next(place for place, cell in enumerate(cells) if cell.startswith("### 加倍\n"))
    assert cells[place + 1].endswith('def double(x):\n    ...\n\n\ncheck("double", double)')


def test_a_file_with_another_name_is_refused(added):
    (added / "double.py").rename(added / "twice.py")
    with pytest.raises(UserError, match=r"twice\.py calls itself 'double'"):
        exercises()
