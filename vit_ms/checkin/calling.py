"""Calls a solution and tells what came of it, in arrays and words alone.

It knows no reference: the process that grades a stranger's solution anew has this file and not the others.
"""

import copy
import linecache
import re
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn

# As MindSpore says that a device has not the operation.
LACKING = re.compile(r"Unsupported op|kernel \S+ unregistered|kernelmod for op \S+ failed|not supported on this device")
KINDS = ("function", "numpy", "cell")
NUMBERS = "biuf"  # what outputs and gradients are made of, by NumPy's kinds of dtype: no words, no complex numbers
_OURS = Path(__file__).resolve().parents[1]
_PACKAGES = Path(ms.__file__).resolve().parents[1]
_PYTHON = Path(linecache.__file__).resolve().parent


class Text(NamedTuple):
    """One text in both languages."""

    en: str
    zh: str


class Part(NamedTuple):
    """A cell that a solution's constructor is given, by what it computes.

    Args:
        kind (str): `"dense"`, x W^T + b, with arrays W (out, in) and b (out,); or `"layer_norm"`, with gamma and beta (D,).
        arrays (tuple): its parameters.
    """

    kind: str
    arrays: tuple[np.ndarray, ...]

    def cell(self) -> nn.Cell:
        """It, made anew."""
        first, second = self.arrays
        if self.kind == "dense":
            cell = nn.Dense(first.shape[1], first.shape[0])
            cell.weight, cell.bias = Parameter(first, name="weight"), Parameter(second, name="bias")
        else:
            cell = nn.LayerNorm(first.shape, epsilon=1e-6)
            cell.gamma, cell.beta = Parameter(first, name="gamma"), Parameter(second, name="beta")
        return cell


@dataclass(frozen=True)
class Case:
    """One call that a solution is tried with.

    Args:
        about (Text): what is particular about it; shown where it fails.
        inputs (tuple): arrays; they become Tensors unless the exercise is in NumPy. Other values stay what they are.
        config (dict): the other arguments, by name: of the function, or of the cell's constructor. Numbers, words, lists of
            them, and Parts, which become cells.
        training (bool): what a cell is set to.
        calls (int): how often it is called, one cell or function; the outputs of all calls come one after another.
    """

    about: Text
    inputs: tuple
    config: dict = field(default_factory=dict)
    training: bool = False
    calls: int = 1


@dataclass
class Answer:
    """What came of a call.

    Args:
        outputs (list[np.ndarray]): None where there were none.
        gradients (list[np.ndarray]): by each float input, of the outputs' sum with given weights; None where not asked.
        parameters (int): how many trainable numbers a cell has.
        learning (int): how many of them have a gradient above 1e-5 of the largest; 0 where not asked.
        returned (str): the type of a result that is no Tensor or array.
        changed (int): which input the solution wrote into; -1: none.
        error (str): type of the exception that the solution raised; empty: none.
        told (str): its message.
        place (str): line number and text of the learner's line that raised it.
        stage (str): where it did so: `"graph"` in graph mode, `"gradient"` after the outputs were there; else empty.
    """

    outputs: list[np.ndarray] | None = None
    gradients: list[np.ndarray] | None = None
    parameters: int = 0
    learning: int = 0
    returned: str = ""
    changed: int = -1
    error: str = ""
    told: str = ""
    place: str = ""
    stage: str = ""


def ask(kind: str, solution: Callable, case: Case, weighing: int | None = None, graph: bool = False) -> Answer:
    """Call a solution.

    Args:
        kind (str): one of KINDS.
        solution (Callable): the function or the class.
        case (Case): what to call it with.
        weighing (int): the seed of the weights of the outputs in the sum whose gradients are taken; None: no gradients.
        graph (bool): compile it and call it in graph mode; else in PyNative mode.
    """
    answer = Answer(stage="graph" if graph else "")
    before = {"mode": ms.get_context("mode")}
    if ms.get_context("enable_graph_kernel"):  # fused kernels, which a notebook may have on, take seconds to compile
        before["enable_graph_kernel"] = True
        ms.set_context(enable_graph_kernel=False)
    try:
        ms.set_context(mode=ms.GRAPH_MODE if graph else ms.PYNATIVE_MODE)
        given = _given(kind, case)
        call = _Whole(solution, _config(case)) if graph and kind != "cell" else _callable(kind, solution, case)
        if kind == "cell":
            answer.parameters = sum(parameter.size for parameter in call.trainable_params())
        answer.outputs = []
        for _ in range(case.calls):
            found = _outputs_of(call(*given))
            if not isinstance(found, _Arrays):
                answer.returned, answer.outputs = _type_of(found), None
                return answer
            answer.outputs += found
        now = [item.asnumpy() if isinstance(item, Tensor) else item for item in given]
        pairs = enumerate(zip(now, case.inputs, strict=True))
        answer.changed = next((place for place, (one, other) in pairs if not np.array_equal(one, other)), -1)
        if kind != "numpy" and weighing is not None:
            answer.stage = "gradient"
            rng = np.random.default_rng(weighing)
            weights = [Tensor(rng.standard_normal(array.shape).astype(np.float32)) for array in found]
            answer.gradients, answer.learning = _gradients(kind, solution, case, weights)
        answer.stage = ""
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit is a learner's too
        # The line on what the device lacks says it, else the first with a word; the rest is for MindSpore's developers.
        lines = [line.strip() for line in str(error).splitlines() if any(map(str.isalnum, line))]
        answer.error, answer.told = type(error).__name__, ([*filter(LACKING.search, lines), *lines, ""])[0]
        answer.place = _place_of(error, solution if graph else None)
    finally:
        ms.set_context(**before)
    return answer


class _Whole(nn.Cell):
    """A function as a cell, to be compiled."""

    def __init__(self, call: Callable, config: dict):
        super().__init__()
        self.call, self.config = call, config
        for name, value in config.items():
            if isinstance(value, nn.Cell):
                value.update_parameters_name(f"{name}.")  # the compiler wants names of their own

    def construct(self, *inputs):
        return self.call(*inputs, **self.config)


def _config(case: Case) -> dict:
    return {
        name: value.cell() if isinstance(value, Part) else copy.deepcopy(value) for name, value in case.config.items()
    }


def _callable(kind: str, solution: Callable, case: Case) -> Callable:
    """What takes a case's inputs alone."""
    if kind == "cell":
        return solution(**_config(case)).set_train(case.training)
    config = _config(case)
    return lambda *inputs: solution(*inputs, **config)


def _given(kind: str, case: Case) -> list:
    copies = [copy.deepcopy(item) for item in case.inputs]
    return copies if kind == "numpy" else [Tensor(item) if isinstance(item, np.ndarray) else item for item in copies]


def _is_plain(value) -> bool:
    return isinstance(value, (int, float, np.generic)) or (isinstance(value, list) and all(map(_is_plain, value)))


class _Arrays(list):
    """The outputs of a call, as NumPy arrays."""


def _outputs_of(result):
    """The result as arrays; what is none comes back as it is.

    A list of numbers, or of such lists, is one array; a list or tuple of arrays is several.
    """
    if isinstance(result, list) and _is_plain(result):
        result = np.array(result) if len({np.shape(row) for row in result}) == 1 else result
    several = list(result) if isinstance(result, (tuple, list)) else [result]
    arrays = [output.asnumpy() if isinstance(output, Tensor) else output for output in several]
    if not all(isinstance(array, (np.ndarray, np.generic, int, float)) for array in arrays):
        return result
    arrays = _Arrays(np.array(array) for array in arrays)
    return arrays if all(array.dtype.kind in NUMBERS for array in arrays) else result


def _gradients(kind: str, solution: Callable, case: Case, weights: list[Tensor]) -> tuple[list[np.ndarray], int]:
    """By each float input, and how many numbers of the parameters have one."""
    floats = tuple(
        place for place, item in enumerate(case.inputs) if isinstance(item, np.ndarray) and item.dtype.kind == "f"
    )
    call = _callable(kind, solution, case)
    learned = call.trainable_params() if kind == "cell" else []

    def weighted(*tensors):
        outputs = call(*tensors)
        outputs = outputs if isinstance(outputs, (tuple, list)) else (outputs,)
        return sum((output * weight).sum() for output, weight in zip(outputs, weights, strict=False))

    if not floats:
        return [], 0
    if not learned:
        return list(_outputs_of(ms.grad(weighted, floats)(*_given(kind, case)))), 0
    by_input, by_parameter = ms.grad(weighted, floats, learned)(*_given(kind, case))
    sizes = np.abs(np.concatenate([gradient.asnumpy().ravel() for gradient in by_parameter]))
    # Rounding gives what should have none, like the bias of the keys, a little.
    return list(_outputs_of(by_input)), int((sizes > 1e-5 * sizes.max(initial=0.0)).sum())


def _type_of(result) -> str:
    name = type(result).__name__
    if isinstance(result, (np.ndarray, np.generic)):
        return f"{name} of {result.dtype}"
    if not isinstance(result, (tuple, list)) or not result:
        return name
    return f"{name} of {', '.join(type(item).__name__ for item in result[:4])}{', ...' * (len(result) > 4)}"


def _place_of(error: BaseException, compiled: Callable | None) -> str:
    """The learner's line that raised an error; empty where none is known."""
    frames = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    # Graph mode names the lines that it compiles in its message, the inner ones last; so may later messages, of other code.
    members = [compiled, *vars(compiled).values()] if isinstance(compiled, type) else [compiled]
    files = {member.__code__.co_filename for member in members if hasattr(member, "__code__")}
    named = re.findall(r"In file (.+?):(\d+),", str(error))
    frames += [(filename, int(line)) for filename, line in named if filename in files]
    for filename, line in reversed(frames):
        if _is_learners(filename) and (text := linecache.getline(filename, line).strip()):
            return f"{line}: {text}"
    return ""


def _is_learners(filename: str) -> bool:
    path = Path(filename)
    return (
        not filename.startswith("<frozen")
        and path.parent != _PYTHON
        and not any(path.is_relative_to(place) for place in (_OURS, _PACKAGES))
    )
