"""What an exercise is: a statement, hints, a reference, inputs to try a solution on, and the mistakes that are usual."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from vit_ms.checkin.calling import KINDS, Case, Text
from vit_ms.errors import UserError

__all__ = ["Case", "Exercise", "Mistake", "Property", "Text", "Wrong"]


class Mistake(NamedTuple):
    """A usual mistake, recognised by what it computes.

    Args:
        code (str): a few words, for the statistics of a class: "scale forgotten".
        solution (Callable): makes it, and takes what the reference takes.
        message (Text): what to look at.
    """

    code: str
    solution: Callable
    message: Text


class Wrong(Exception):
    """What a property finds wrong with a solution.

    Args:
        code (str): a few words, for the statistics of a class.
        message (Text): which property broke, with what was found.
    """

    def __init__(self, code: str, message: Text):
        super().__init__(message.en)
        self.code, self.message = code, message


class Property(NamedTuple):
    """What holds of the outputs where no single value is right, as of a random mask.

    Args:
        cases (Callable): from a NumPy generator the calls to make.
        judge (Callable): takes the cases and, for each, the list of its outputs as arrays; raises `Wrong`.
        graph (bool): whether the first case is compiled as well, and its outputs judged by themselves.
        gradient (bool): whether `judge` is given, in place of outputs, the gradients by the float inputs of their sum with
            random weights.
    """

    cases: Callable[[np.random.Generator], Iterable[Case]]
    judge: Callable[[list[Case], list[list[np.ndarray]]], None]
    graph: bool = False
    gradient: bool = False


@dataclass(frozen=True)
class Exercise:
    """An exercise of the course.

    Args:
        name (str): as `check` takes it; that of its file.
        notebook (str): the notebook it belongs to, like 03_attention_by_hand.
        section (int): the notebook's section that it follows.
        kind (str): what a solution is: `"function"` of Tensors, `"numpy"`, a function of arrays, or `"cell"`, a class of
            nn.Cell whose constructor takes a case's config.
        title (Text): a few words.
        statement (Text): Markdown: what to write, with shapes, and which names are fixed.
        solution (str): the name of what a learner defines.
        starter (str): the cell to begin with; it defines that name.
        hints (tuple[Text, ...]): from a nudge to nearly the answer, at most three.
        reference (Callable): right.
        cases (Callable): from a NumPy generator the cases, several shapes among them: first one on which mistakes differ,
            last the one that is compiled, so let a learner's loops be short there.
        mistakes (tuple[Mistake, ...]): asked in this order when a value or shape is wrong.
        properties (tuple[Property, ...]): judged after the cases.
        tolerance (float): allowed difference, relative to the largest expected value or 1.
        gradient (bool): whether gradients are compared as well, by all float inputs; not in NumPy.
        graph (bool): whether the last case is compiled in graph mode as well; not in NumPy.
    """

    name: str
    notebook: str
    section: int
    kind: str
    title: Text
    statement: Text
    solution: str
    starter: str
    hints: tuple[Text, ...]
    reference: Callable
    cases: Callable[[np.random.Generator], Iterable[Case]]
    mistakes: tuple[Mistake, ...] = ()
    properties: tuple[Property, ...] = ()
    tolerance: float = 1e-4
    gradient: bool = True
    graph: bool = True

    def __post_init__(self):
        if self.kind not in KINDS:
            raise UserError(f"exercise {self.name}: kind is {self.kind!r}; choose one of {', '.join(KINDS)}")
        if not 1 <= len(self.hints) <= 3:
            raise UserError(f"exercise {self.name} has {len(self.hints)} hints; give one to three")
        if self.graph + sum(one.graph for one in self.properties) > 1:
            raise UserError(f"exercise {self.name} is compiled more than once, which takes too long: graph=True once")
