"""A learner's record is kept, by several notebooks at a time, whatever happens to them."""

import os
import signal
import subprocess
import sys
from datetime import date, datetime, timedelta, timezone

import pytest
from mindspore import ops

from vit_ms import checkin, cli, functional
from vit_ms.checkin.exercises import exercise
from vit_ms.checkin.progress import Attempt, Progress, streak
from vit_ms.errors import UserError


def attempt(name="attention", passed=True, day=1, **changes):
    when = datetime(2026, 3, day, 12, tzinfo=timezone(timedelta(hours=8)))
    return Attempt(
        **{"exercise": name, "time": when, "passed": passed, "code": "", "source": "x = 1\n", "seconds": 0.5} | changes
    )


def test_what_was_added_comes_back(tmp_path):
    progress = Progress(tmp_path / "new" / "checkin.sqlite")
    several = [
        attempt(passed=False, code="scale forgotten"),
        attempt(source="注意力 = 1\n"),
        attempt("patchify", day=2),
    ]
    for one in several:
        progress.add(one)
    assert Progress(progress.path).attempts() == several
    assert progress.passed() == {"attention": several[1], "patchify": several[2]}


def test_hints_come_one_at_a_time_and_stay(tmp_path):
    progress = Progress(tmp_path / "checkin.sqlite")
    assert [progress.next_hint("attention", 3) for _ in range(5)] == [1, 2, 3, 3, 3]
    assert progress.next_hint("patchify", 2) == 1


WRITER = """
import sys
from datetime import datetime
from vit_ms.checkin.progress import Attempt, Progress
progress = Progress(sys.argv[1])
for number in range(int(sys.argv[3])):
    progress.add(Attempt(sys.argv[2], datetime.now().astimezone(), True, "", f"{number}", 0.1))
    print(number, flush=True)
"""


def test_two_notebooks_lose_nothing(tmp_path):
    path = str(tmp_path / "checkin.sqlite")
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, path, name, "60"], stdout=subprocess.DEVNULL) for name in "ab"
    ]
    assert [writer.wait(timeout=120) for writer in writers] == [0, 0]
    found = Progress(path).attempts()
    for name in "ab":
        assert [one.source for one in found if one.exercise == name] == [str(number) for number in range(60)]


def test_what_was_said_to_be_kept_outlives_a_kill(tmp_path):
    path = str(tmp_path / "checkin.sqlite")
    writer = subprocess.Popen([sys.executable, "-c", WRITER, path, "a", "100000"], stdout=subprocess.PIPE, text=True)
    said = [writer.stdout.readline() for _ in range(20)]
    os.kill(writer.pid, signal.SIGKILL)
    said += writer.stdout.readlines()
    writer.wait()
    kept = [one.source for one in Progress(path).attempts()]
    whole = [line.strip() for line in said if line.endswith("\n")]
    assert kept[: len(whole)] == whole


def test_a_file_that_is_none_of_ours_is_one_line(tmp_path, monkeypatch, capsys):
    path = tmp_path / "checkin.sqlite"
    path.write_text("this is no database " * 100)
    with pytest.raises(UserError, match="move it away"):
        Progress(path).attempts()
    monkeypatch.setenv("VIT_MS_HOME", str(tmp_path))
    checkin.status()
    assert capsys.readouterr().out.count("\n") == 1


@pytest.mark.parametrize(
    ("days", "today", "length"),
    [([], 5, 0), ([5], 5, 1), ([4], 5, 1), ([3], 5, 0), ([3, 4, 5], 5, 3), ([1, 3, 4], 5, 2), ([5, 5, 4], 5, 2)],
)
def test_the_streak_counts_days_in_a_row(days, today, length):
    assert streak([attempt(day=day) for day in days], date(2026, 3, today)) == length
    assert streak([attempt(day=day, passed=False) for day in days], date(2026, 3, today)) == 0


def right(q, k, v):
    return ops.matmul(ops.softmax(ops.matmul(q, k.swapaxes(-2, -1)) / q.shape[-1] ** 0.5, -1), v)


def test_check_says_and_keeps_how_it_came_out(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("VIT_MS_HOME", str(tmp_path))
    checkin.check("attention", lambda q, k, v: v)
    assert "✗ attention" in capsys.readouterr().out
    checkin.check("attention", right)
    said = capsys.readouterr().out
    assert "✓ attention: passed" in said and "exercises" in said and "name it attention" in said
    assert [one.passed for one in Progress().attempts()] == [False, True]
    assert "def right(q, k, v):" in Progress().passed()["attention"].source
    checkin.check("atention", right)
    assert capsys.readouterr().out.startswith("there is no exercise 'atention'; did you mean 'attention'")
    assert len(Progress().attempts()) == 2

    assert cli.main(["checkin", "status"]) == 0
    assert "✓ attention" in capsys.readouterr().out


def test_the_code_to_begin_with_is_no_attempt(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("VIT_MS_HOME", str(tmp_path))
    one = exercise("attention")
    for added, said in (("", "· attention: not begun"), ("    return v\n", "✗ attention")):
        path = tmp_path / f"cell{len(added)}.py"
        path.write_text("import numpy as np\nfrom vit_ms.checkin import check\n\n" + one.starter + added)
        space = {}
        exec(compile(path.read_text(), str(path), "exec"), space)
        checkin.check("attention", space["attention"])
        assert capsys.readouterr().out.startswith(said)
    assert len(Progress().attempts()) == 1


def borrowed(x, gamma, beta, epsilon):
    return functional.layer_norm(x, gamma, beta, epsilon)


def test_a_call_of_the_package_is_no_solution(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("VIT_MS_HOME", str(tmp_path))
    checkin.check("layer_norm", borrowed)
    assert "calls functional of vit_ms" in capsys.readouterr().out
    assert [one.code for one in Progress().attempts()] == ["vit_ms used"]


def test_the_status_of_one_notebook(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("VIT_MS_HOME", str(tmp_path))
    checkin.status("03_attention_by_hand")
    shown = capsys.readouterr().out
    assert (
        shown.startswith("3. Attention by hand 第 3 课 手算注意力\n")
        and "attention" in shown
        and "patchify" not in shown
    )
    checkin.status("03_attention_by_hands")
    assert "did you mean '03_attention_by_hand'?" in capsys.readouterr().out


def test_a_task_is_shown_with_the_code_to_begin_with(capsys):
    checkin.task("attention")
    said = capsys.readouterr().out
    assert "Scaled dot-product attention 缩放点积注意力" in said and "```python\ndef attention(q, k, v):" in said
    checkin.task("atention")
    assert capsys.readouterr().out.count("\n") == 1


def test_what_is_of_the_check_in_is_not_of_the_solution():
    cell = """%matplotlib inline
import vit_ms
from vit_ms.checkin import (
    check,
)
import numpy as np
!ls

def attention(q, k, v):
    return q

check("attention", attention)
vit_ms.checkin.hint("attention")
"""
    kept = checkin._without_checkin(cell)
    assert "import numpy as np" in kept and "def attention" in kept
    assert not [word for word in ("vit_ms", "check", "hint", "%", "!ls") if word in kept]
    compile(kept, "cell", "exec")
    assert checkin._without_checkin("def broken(:\n") == "def broken(:\n"


def test_a_clock_that_stands_still_gives_an_order_still(tmp_path):
    progress = Progress(tmp_path / "checkin.sqlite")
    for number in range(5):
        progress.add(attempt(source=str(number)))
    assert progress.passed()["attention"].source == "4"
