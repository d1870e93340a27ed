"""Judges a solution by what it does: its outputs and gradients against the reference's, in PyNative and in graph mode."""

import functools
import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import mindspore as ms
import numpy as np
from mindspore import nn

from vit_ms.checkin.calling import LACKING, Answer, Case, Text, ask
from vit_ms.checkin.exercise import Exercise, Mistake, Property, Wrong


@dataclass(frozen=True)
class Result:
    """What grading came to.

    Args:
        exercise (str): its name.
        passed (bool): whether the solution does what it should.
        message (Text): what broke and what to look at, or what was tried.
        code (str): the mistake in a few words; empty for one that passed.
        details (tuple[str, ...]): shapes, values and places.
        seconds (float): that grading took.
    """

    exercise: str
    passed: bool
    message: Text
    code: str = ""
    details: tuple[str, ...] = ()
    seconds: float = 0.0

    def __str__(self) -> str:
        lines = [f"{'✓' if self.passed else '✗'} {self.exercise}: {self.message.en}", f"  {self.message.zh}"]
        return "\n".join(lines + [f"    {detail}" for detail in self.details])


class _Failure(Exception):
    def __init__(self, code: str, message: Text, case: Case | None = None, details: Sequence[str] = ()):
        super().__init__(code)
        about = [] if case is None else [f"case 输入: {case.about.en} ({case.about.zh})"]
        self.code, self.message, self.details = code, message, (*about, *details)


_STAGES = {"graph": (" in graph mode", "图模式下"), "gradient": (" in its gradient", "求梯度时")}
_NOT_LEARNED = Text(
    "the values are right, but training would not reach all that is learned: make a learned number a Parameter and a cell "
    "an attribute of its own (self.x = ...), not a Tensor or an item of a list, and compute with it, not with a copy",
    "数值正确，但训练时有的数不会更新：可学习的数应当是 Parameter，子 Cell 应当是单独的属性（self.x = ...），不能用 Tensor "
    "代替，也不能放在列表里；计算时要用它本身，不要用拷贝",
)
# Asks a solution: the case, the seed of the weights for its gradients or None, and whether to compile it.
Asking = Callable[[Case, int | None, bool], Answer]


def grade(exercise: Exercise, solution: Callable, seed: int = 0) -> Result:
    """Try a solution in this process.

    Args:
        exercise (Exercise): what it should do.
        solution (Callable): the function or the class, as the exercise's kind says.
        seed (int): of the inputs; the same seed gives the same ones.

    Returns:
        Result; whatever the solution raises is told in it.
    """
    # An error is then raised at the learner's line, not where a result is read. It cannot be undone, and slows an NPU: the
    # exercises are a notebook's last cells.
    ms.runtime.launch_blocking()
    is_class = isinstance(solution, type) and issubclass(solution, nn.Cell)
    if not callable(solution) or is_class != (exercise.kind == "cell"):
        a_class = Text("a class", "类")
        found = a_class if isinstance(solution, type) else Text(*[type(solution).__name__] * 2)
        wanted = {"cell": Text("a class that inherits nn.Cell", "继承 nn.Cell 的类")}
        en, zh = wanted.get(exercise.kind, Text("a function", "函数"))
        message = Text(f"the solution is to be {en}, this is {found.en}", f"应传入{zh}，这里是 {found.zh}")
        return Result(exercise.name, False, message, "wrong kind")
    return judge(exercise, lambda case, weighing, graph: ask(exercise.kind, solution, case, weighing, graph), seed)


def judge(exercise: Exercise, asking: Asking, seed: int = 0) -> Result:
    """Try a solution that answers somewhere, perhaps in another process."""
    start = time.perf_counter()
    gc.freeze()  # each compilation collects garbage, and would look through all that the learner's notebook holds
    try:
        tried = _try(exercise, asking, seed)
        message, code, details = Text(f"passed ({tried.en})", f"通过（{tried.zh}）"), "", ()
    except _Failure as failure:
        message, code, details = failure.message, failure.code, failure.details
    finally:
        gc.unfreeze()
    return Result(exercise.name, not code, message, code, details, time.perf_counter() - start)


def _try(exercise: Exercise, asking: Asking, seed: int) -> Text:
    """Every check; what was tried, for one that passes them all."""
    tensors, rng = exercise.kind != "numpy", np.random.default_rng(seed)
    cases, tried = list(exercise.cases(rng)), []
    for number, case in enumerate(cases):
        wanted = _wanted(exercise, seed, number)
        found = asking(case, _weighing(exercise, seed, number), False)
        _check(exercise, case, found, wanted, functools.partial(_recognised, exercise, seed, cases, number, found))
    if cases and exercise.graph and tensors:  # at the end: what is wrong is found before anything is compiled
        found = asking(case, None, True)
        _check_error(found, case)
        _check_unchanged(found, case, graph=True)
        message = Text("right in PyNative mode, other values in graph mode", "动态图下正确，图模式下的结果不同")
        _check_equal(exercise, case, found.outputs, wanted.outputs, "graph mode", message, "")
    if cases:
        tried.append(Text(f"{len(cases)} case{'s' * (len(cases) > 1)}", f"{len(cases)} 组输入"))
        tried += [Text("gradients", "梯度")] if exercise.gradient and tensors else []
        tried += [Text("graph mode", "图模式")] if exercise.graph and tensors else []
    for one in exercise.properties:
        asked = list(one.cases(rng))
        _judge_property(one, asked, [asking(case, seed if one.gradient else None, False) for case in asked])
        if one.graph:
            tried.append(Text("graph mode", "图模式"))
            _judge_property(one, asked[:1], [asking(asked[0], None, True)], graph=True)
    if exercise.properties:
        count = len(exercise.properties)
        tried.append(Text("1 property" if count == 1 else f"{count} properties", f"{count} 条性质"))
    return Text(", ".join(text.en for text in tried), "、".join(text.zh for text in tried))


def _weighing(exercise: Exercise, seed: int, number: int) -> int | None:
    """The seed of the weights for the gradients of a case; None: they are not asked."""
    return seed + number if exercise.gradient else None


@functools.lru_cache(maxsize=256)  # a learner tries an exercise more than once
def _wanted(exercise: Exercise, seed: int, number: int) -> Answer:
    """What the reference answers to a case."""
    case = list(exercise.cases(np.random.default_rng(seed)))[number]
    answer = ask(exercise.kind, exercise.reference, case, _weighing(exercise, seed, number))
    if answer.error or answer.outputs is None:
        raise RuntimeError(f"exercise {exercise.name}: its reference fails: {answer.error}: {answer.told}")
    return answer


def _judge_property(one: Property, cases: list[Case], answers: list[Answer], graph: bool = False) -> None:
    for case, answer in zip(cases, answers, strict=True):
        _check_error(answer, case)
        if answer.error:
            _raise_error(answer, case)
        _check_unchanged(answer, case, graph)
        if one.gradient and not answer.gradients:
            raise _Failure("gradient", Text("there is no gradient", "没有梯度"), case)
    try:
        one.judge(cases, [answer.gradients if one.gradient else answer.outputs for answer in answers])
    except Wrong as wrong:
        en, zh = ("in graph mode alone: ", "仅图模式下：") if graph else ("", "")
        raise _Failure(wrong.code, Text(en + wrong.message.en, zh + wrong.message.zh)) from None


def _check_error(found: Answer, case: Case) -> None:
    """That there is an output. An error in the gradient waits until the outputs are judged."""
    if found.error and found.stage != "gradient":
        _raise_error(found, case)
    if found.outputs is None:
        name = found.returned
        en, zh = (": is there a return?", "：是不是忘了 return") if name == "NoneType" else ("", "")
        raise _Failure("no output", Text(f"the result is of type {name}{en}", f"返回值的类型是 {name}{zh}"), case)


def _raise_error(found: Answer, case: Case) -> None:
    en, zh = _STAGES.get(found.stage, ("", ""))
    where = [f"line of your code 你的代码行 {found.place}"] if found.place else []
    message = Text(f"it raises {found.error}{en}", f"{zh}运行时抛出 {found.error}")
    code = {"graph": "graph mode", "gradient": "gradient"}.get(found.stage, found.error)
    told = [f"{found.error}: {found.told}"]
    if LACKING.search(found.told):
        told += [
            "this device has not the operation: take one of ops or a Tensor's, like ops.matmul, transpose and sum "
            "当前设备没有这个算子，请改用 ops 或 Tensor 的算子，如 ops.matmul、transpose、sum"
        ]
    elif found.stage == "graph":
        told += [
            "graph mode compiles the source, and of Python only a part: a def in a cell or a file, with no try, import or "
            "second for in a comprehension 图模式编译的是源代码，且只支持部分 Python 语法：请用 def 写在单元格或文件里，"
            "不要用 try、import，推导式里只用一个 for"
        ]
    elif found.stage == "gradient":
        told += [
            "the output is right: probably this device cannot differentiate one of its operations, take others "
            "输出是对的：可能其中有的算子在当前设备上不能求梯度，请换用其他算子"
        ]
    raise _Failure(code, message, case, [*where, *told])


def _check_unchanged(found: Answer, case: Case, graph: bool = False) -> None:
    if found.changed >= 0:
        place = found.changed
        # In PyNative mode x += 1 makes a new Tensor.
        en, zh = ("in graph mode ", "图模式下，") if graph else ("", "")
        message = Text(
            f"{en}input {place} was changed: write x = x + 1, for x += 1 writes into what was given",
            f"{zh}第 {place} 个输入被修改了：请写 x = x + 1，因为 x += 1 会直接改写传入的数据",
        )
        raise _Failure("input changed", message, case)


def _check(
    exercise: Exercise, case: Case, found: Answer, wanted: Answer, recognised: Callable[[], Mistake | None]
) -> None:
    _check_error(found, case)
    _check_unchanged(found, case)
    many, due = len(found.outputs), len(wanted.outputs)
    if many != due:
        en, zh = (": stack them into one array", "：请堆叠成一个数组") if due == 1 and many else ("", "")
        message = Text(f"number of outputs: {many}, expected: {due}{en}", f"应有 {due} 个输出，这里有 {many} 个{zh}")
        raise _Failure("number of outputs", message, case)
    for number, (output, right) in enumerate(zip(found.outputs, wanted.outputs, strict=True)):
        of, which = (f" of output {number}", f"第 {number} 个输出：") if due > 1 else ("", "")
        if output.shape == right.shape and _close(exercise, output, right):
            alike = output.dtype.kind == right.dtype.kind or {output.dtype.kind, right.dtype.kind} == {"i", "u"}
            if not alike or (exercise.kind != "numpy" and output.dtype != right.dtype):
                message = Text(f"the values are right, the dtype{of} is not", f"{which}数值正确，数据类型不对")
                raise _Failure("dtype", message, case, [f"expected 应为 {right.dtype}, yours 实际 {output.dtype}"])
            continue
        difference = _difference(exercise, output, right, of)
        if mistake := recognised():
            raise _Failure(mistake.code, mistake.message, case, difference)
        if output.shape != right.shape:
            raise _Failure("shape", Text(f"the shape{of} is wrong", f"{which}输出的形状不对"), case, difference)
        if output.dtype.kind == "f" and not np.isfinite(output).all():
            raise _Failure(
                "not finite", Text(f"the values{of} are not finite", f"{which}输出中有 NaN 或无穷大"), case, difference
            )
        raise _Failure("value", Text(f"the values{of} are wrong", f"{which}输出的数值不对"), case, difference)
    if found.parameters < wanted.parameters:
        numbers = f"trainable numbers 可训练的数: expected 应为 {wanted.parameters}, yours 实际 {found.parameters}"
        raise _Failure("parameters", _NOT_LEARNED, case, [numbers])
    if found.stage == "gradient":
        _raise_error(found, case)
    if wanted.gradients:
        _check_gradients(exercise, case, found.gradients or [], wanted.gradients)
    if found.learning < wanted.learning - 1:  # by rounding one may be left out
        numbers = f"numbers with a gradient 有梯度的数: expected 应为 {wanted.learning}, yours 实际 {found.learning}"
        raise _Failure("parameters", _NOT_LEARNED, case, [numbers])


def _check_gradients(exercise: Exercise, case: Case, found: list[np.ndarray], wanted: list[np.ndarray]) -> None:
    pairs = list(zip(found, wanted, strict=False))
    lost = [place for place, (one, other) in enumerate(pairs) if other.any() and not one.any()]
    if not any(one.any() for one in found):
        en, zh = "none comes through, compute with Tensors alone", "没有梯度传回，请全程用 Tensor 运算"
    elif lost:
        en = f"none comes through to float input {lost[0]}: a new cell or Tensor made of it is a copy"
        zh = f"没有梯度传回第 {lost[0]} 个浮点输入：用它新建的 Cell 或 Tensor 只是一份拷贝"
    elif not all(np.isfinite(one).all() for one, _ in pairs):
        en = "it is not finite: a root at 0 has none, so epsilon goes in before a root is taken"
        zh = "梯度中有 NaN 或无穷大：0 处的平方根没有梯度，epsilon 应当在开方之前加上"
    else:
        en = (
            "something stops it (Tensor(...), asnumpy, stop_gradient), or an operation's own is wrong on this device, as "
            "mint.split's: take reshape, transpose or ops.split"
        )
        zh = (
            "梯度被 Tensor(...)、asnumpy 或 stop_gradient 截断，或者某个算子在当前设备上的梯度有误（如 mint.split）："
            "请改用 reshape、transpose 或 ops.split"
        )
    message = Text(f"the output is right, its gradient is wrong: {en}", f"输出正确，梯度不对：{zh}")
    _check_equal(exercise, case, found, wanted, "gradient", message, " of the gradient")


def _check_equal(exercise: Exercise, case: Case, found, wanted, code: str, message: Text, of: str) -> None:
    if len(found or []) != len(wanted):
        raise _Failure(code, message, case)
    for one, other in zip(found, wanted, strict=True):
        if one.shape != other.shape or not _close(exercise, one, other):
            raise _Failure(code, message, case, _difference(exercise, one, other, of))


def _recognised(exercise: Exercise, seed: int, cases: list[Case], number: int, found: Answer) -> Mistake | None:
    """The usual mistake that answers to this case as the solution does, and to those before rightly, as it did.

    Where a case is a plain one, like a single bin, different mistakes come to the same.
    """
    for mistake in exercise.mistakes:
        theirs = functools.partial(ask, exercise.kind, mistake.solution)
        if _alike(exercise, theirs(cases[number]), found) and all(
            _alike(exercise, theirs(cases[k]), _wanted(exercise, seed, k)) for k in range(number)
        ):
            return mistake
    return None


def _alike(exercise: Exercise, one: Answer, other: Answer) -> bool:
    if one.outputs is None or other.outputs is None or len(one.outputs) != len(other.outputs):
        return one.outputs is other.outputs
    pairs = zip(one.outputs, other.outputs, strict=True)
    return all(one.shape == other.shape and _close(exercise, one, other) for one, other in pairs)


def _close(exercise: Exercise, one: np.ndarray, other: np.ndarray) -> bool:
    return bool(_close_each(exercise, one, other).all())


def _close_each(exercise: Exercise, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    scale = max(1.0, float(np.abs(other[np.isfinite(other)]).max(initial=0.0))) if other.dtype.kind == "f" else 0.0
    one, other = one.astype(np.float64), other.astype(np.float64)  # unsigned numbers have no difference below 0
    return np.isclose(one, other, rtol=0.0, atol=exercise.tolerance * scale, equal_nan=True)


def _difference(exercise: Exercise, found: np.ndarray, wanted: np.ndarray, of: str) -> list[str]:
    if found.shape != wanted.shape:
        return [f"shape{of} 形状: expected 应为 {wanted.shape}, yours 实际 {found.shape}"]
    apart = ~_close_each(exercise, found, wanted)
    place = tuple(int(index) for index in np.argwhere(apart)[0])
    return [
        f"first difference{of} 首处差异 {list(place)}: expected 应为 {wanted[place]:.6g}, yours 实际 {found[place]:.6g}",
        f"{int(apart.sum())} of {apart.size} values differ 个数值不同",
    ]
