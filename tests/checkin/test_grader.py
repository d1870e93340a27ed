"""What the grader says of a solution whose values are right and which cannot pass all the same: what to write instead."""

import inspect

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, mint, nn, ops

from vit_ms.checkin import check
from vit_ms.checkin.exercises import exercises
from vit_ms.checkin.grader import grade


def attend(q, k, v):
    return ops.softmax(q @ k.swapaxes(-1, -2) / q.shape[-1] ** 0.5, -1) @ v


def without_operation(q, k, v):
    return attend(q, k, mint.stack([v, v])[0])


def without_kernel(q, k, v):
    return attend(q, k, v).repeat(1)


def two_loops_in_one(q, k, v):
    images, heads = range(q.shape[0]), range(q.shape[1])
    return ops.stack([attend(q[b, h], k[b, h], v[b, h]) for b in images for h in heads]).reshape(v.shape)


def scaled(scores, d):
    import math

    return scores / math.sqrt(d)


def import_inside(q, k, v):
    return ops.softmax(scaled(q @ k.swapaxes(-1, -2), q.shape[-1]), -1) @ v


def broadcast_product(q, k, v):
    return attend(q, k, v) + ops.ones((*q.shape[:2], 1, 1), ms.float32) @ (v[:, :, :1] * 0.0)


def copied(q, k, v):
    return attend(q, Tensor(k.asnumpy()), v)


def copied_all(q, k, v):
    return Tensor(attend(q, k, v).asnumpy())


def infinite_slope(q, k, v):
    return attend(q, k, v) + ops.sqrt(v * 0.0) * 0.0


def slope_lost_in_part(q, k, v):
    return attend(q, ops.cat([k[:, :, :1], ops.stop_gradient(k[:, :, 1:])], axis=2), v)


def items(q, k, v):
    return [[attend(q, k, v)], 3]


def rows(q, k, v):
    return list(attend(q, k, v))


class NoFunction(nn.Cell):
    pass


@pytest.mark.parametrize(
    ("solution", "line", "words"),
    [
        (without_operation, "mint.stack", ["StackExt unregistered", "this device has not the operation"]),
        (without_kernel, ".repeat(1)", ["not supported on this device", "this device has not the operation"]),
        (two_loops_in_one, "", ["2 comprehensions", "graph mode compiles the source"]),
        (import_inside, "scaled(q", ["'Import'", "no try, import"]),
        (broadcast_product, "", ["MatMulExt", "cannot differentiate one of its operations"]),
        (copied, "", ["none comes through to float input 1"]),
        (copied_all, "", ["none comes through, compute with Tensors alone"]),
        (infinite_slope, "", ["it is not finite"]),
        (slope_lost_in_part, "", ["something stops it", "mint.split"]),
        (items, "", ["of type list of list, int"]),
        (rows, "", ["number of outputs: 2, expected: 1: stack them"]),
        (NoFunction, "", ["is to be a function, this is a class"]),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_what_is_no_mistake_of_the_formula_is_told_as_what_it_is(solution, line, words):
    result = grade(exercises()["attention"], solution)
    told = str(result)
    assert not result.passed and all(word in told for word in words), told
    place = next((detail for detail in result.details if detail.startswith("line of your code")), "")
    assert line in place and bool(line) == bool(place), told
    assert not line or place.split(" 你的代码行 ")[1].split(": ", 1)[1] in inspect.getsource(solution)


@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.uint64])
def test_whole_numbers_may_be_of_any_size_and_without_sign(dtype):
    exercise = exercises()["relative_position_index"]
    result = grade(exercise, lambda *sizes: exercise.reference(*sizes).astype(dtype))
    assert result.passed, str(result)
    result = grade(exercise, lambda *sizes: exercise.reference(*sizes).astype(np.float64))
    assert result.code == "dtype"


def test_an_error_of_a_library_is_not_at_the_learner_s_line():
    """The library's line would be shown as theirs."""
    result = grade(exercises()["patchify"], lambda images, patch_size: np.random.default_rng("no number"))
    place = next(detail for detail in result.details if detail.startswith("line of your code"))
    assert "default_rng" in place


class InNumpy(nn.Cell):
    def __init__(self, norm, reduction):
        super().__init__()
        self.norm, self.reduction = norm, reduction

    def construct(self, x):
        x = x.asnumpy()
        four = [x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]]
        return self.reduction(self.norm(Tensor(np.concatenate(four, axis=-1))))


def in_place(q, k, v):
    q *= 2.0
    return attend(q / 2.0, k, v)


def test_writing_into_an_input_is_told_of_the_mode_that_does_it():
    result = grade(exercises()["attention"], in_place)
    assert result.code == "input changed" and result.message.en.startswith("in graph mode input 0 was changed")


def test_the_line_is_not_that_of_an_error_before():
    """MindSpore's later messages still have the lines of a failed compilation."""
    assert "import math" not in str(grade(exercises()["attention"], import_inside))
    result = grade(exercises()["attention"], lambda q, k, v: q @ k)
    assert any("q @ k)" in detail for detail in result.details), str(result)


def test_the_compiler_prints_nothing_besides(capfd):
    """It would print its own stack of calls, with lines of the grader."""
    assert grade(exercises()["patch_merging"], InNumpy).code == "graph mode"
    assert capfd.readouterr() == ("", "")


def test_the_name_comes_first(capsys):
    check(attend, "attention")
    assert capsys.readouterr().out.startswith("the exercise's name comes first, as in check(")
