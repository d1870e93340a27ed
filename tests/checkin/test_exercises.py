"""Every exercise passes what is right, however it is written, and says of what is wrong what is wrong with it."""

import importlib.util
import inspect
import re
import sys
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, ops

from vit_ms.checkin.exercises import exercises
from vit_ms.checkin.grader import grade

FOLDER = Path(__file__).parent / "solutions"
CHINESE = re.compile(r"[\u4e00-\u9fff]")


def _load(path):
    spec = importlib.util.spec_from_file_location(f"solutions_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # MindSpore's compiler looks a function up by its module
    spec.loader.exec_module(module)
    return module


SOLUTIONS = {path.stem: _load(path) for path in sorted(FOLDER.glob("*.py"))}


RIGHT = [(name, solution) for name, module in SOLUTIONS.items() for solution in module.RIGHT]
WRONG = [(name, *wrong) for name, module in SOLUTIONS.items() for wrong in module.WRONG.items()]
each_exercise = pytest.mark.parametrize("exercise", exercises().values(), ids=lambda one: one.name)


def _id(value):
    return value if isinstance(value, str) else value.__name__


@each_exercise
def test_there_are_solutions_of_every_kind(exercise):
    module = SOLUTIONS[exercise.name]
    assert len(module.RIGHT) >= 3 and len(module.WRONG) >= 5
    # Of the usual mistakes each is made by somebody.
    assert {mistake.code for mistake in exercise.mistakes} <= set(module.WRONG.values())


@pytest.mark.parametrize(("name", "solution"), RIGHT, ids=_id)
def test_what_is_right_passes(name, solution):
    result = grade(exercises()[name], solution)
    assert result.passed, str(result)


@pytest.mark.parametrize(("name", "solution", "code"), WRONG, ids=_id)
def test_what_is_wrong_fails_for_its_reason(name, solution, code):
    exercise = exercises()[name]
    result = grade(exercise, solution)
    assert not result.passed and result.code == code, str(result)
    told = {mistake.code: mistake.message for mistake in exercise.mistakes}
    if code in told:
        assert result.message == told[code]
    assert result.message.en and CHINESE.search(result.message.zh)


@each_exercise
def test_the_texts_are_in_both_languages(exercise):
    texts = [exercise.title, exercise.statement, *exercise.hints, *(mistake.message for mistake in exercise.mistakes)]
    for text in texts:
        assert CHINESE.search(text.zh) and not CHINESE.search(text.en), text


@each_exercise
def test_the_starter_is_code_that_does_not_pass(exercise):
    space = {}
    exec(
        compile("from mindspore import Tensor, nn, ops\nimport numpy as np\n" + exercise.starter, "starter", "exec"),
        space,
    )
    result = grade(exercise, space[exercise.solution])
    assert not result.passed


def test_an_operation_that_the_device_lacks_is_told_with_a_way_round_it():
    result = grade(exercises()["attention"], SOLUTIONS["attention"].by_einsum)
    assert "Unsupported op [Einsum]" in result.details[-2] and "ops.matmul" in result.details[-1]


def other_shapes(q, k, v):
    scores = q + Tensor(np.ones(7, np.float32))
    return scores * 2.0


def out_of_range(q, k, v):
    picked = ops.gather(q, Tensor([99], ms.int32), 0)
    return picked * 2.0


@pytest.mark.parametrize("solution", [other_shapes, out_of_range], ids=_id)
def test_an_error_is_told_at_the_line_of_the_operation_that_met_it(solution):
    """MindSpore would raise these where the result is read."""
    result = grade(exercises()["attention"], solution)
    line = inspect.getsource(solution).splitlines()[1].strip()
    assert any(detail.endswith(line) for detail in result.details), str(result)


def test_nothing_is_fused_while_it_is_graded_and_the_notebook_s_choice_comes_back():
    """Compiling fused kernels would take seconds."""
    seen = set()

    def solution(q, k, v):
        seen.add(ms.get_context("enable_graph_kernel"))
        return SOLUTIONS["attention"].matmul(q, k, v)

    ms.set_context(mode=ms.GRAPH_MODE, enable_graph_kernel=True)
    grade(exercises()["attention"], solution)
    assert seen == {False}
    assert ms.get_context("enable_graph_kernel") and ms.get_context("mode") == ms.GRAPH_MODE
