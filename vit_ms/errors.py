"""The one exception that means "the user can mend this", and what its messages share."""

import difflib
import math
import types
import typing
from collections.abc import Iterable


class UserError(ValueError):
    """A mistake of the user: its message names the thing, the value and the remedy in one line.

    The commands print that line and exit with 2; any other exception is a failure of ours and exits with 1.
    """


class Interrupted(Exception):
    """The user or the system ended a command early; the message says how to go on.

    Args:
        message (str): one line.
        signal (int): the number of what ended it; the commands exit with 128 more.
    """

    def __init__(self, message: str, signal: int):
        super().__init__(message)
        self.signal = signal


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The names in `known` that are close to `name`, as the end of an error message.

    Returns:
        `"; did you mean 'vit_b_16'?"`, or all the known names when none is close.
    """
    known = list(known)
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    if close:
        return "; did you mean " + " or ".join(repr(item) for item in close) + "?"
    return "; known: " + ", ".join(known)


def typed(value, hint, where: str):
    """`value` as the type it is declared with, or a UserError that begins with `where`.

    An int passes for a float, and so does text like 1e-3, which YAML does not read as a number.

    Args:
        value: from a file, a command or a call.
        hint: int, float, str, bool, dict, a list or tuple of them, or any of them with `|`.
        where (str): names the thing in the message.
    """
    if typing.get_origin(hint) in (types.UnionType, typing.Union):  # Python 3.10 makes an Optional of the first
        kinds = typing.get_args(hint)
        if value is None and types.NoneType in kinds:
            return None
        kinds = [item for item in kinds if item is not types.NoneType]
        # Of several the one that the value has the look of, or the first, which then says what is wrong.
        looks = [
            item for item in kinds if isinstance(value, (list, tuple)) == (typing.get_origin(item) in (list, tuple))
        ]
        hint = (looks or kinds)[0]
    if typing.get_origin(hint) is list:
        if not isinstance(value, (list, tuple)):
            raise UserError(f"{where} is {value!r}; it must be a list")
        return [typed(item, *typing.get_args(hint), where) for item in value]
    if typing.get_origin(hint) is tuple:
        kinds = typing.get_args(hint)
        if not isinstance(value, (list, tuple)) or len(value) != len(kinds):
            raise UserError(f"{where} is {value!r}; it must be a list of {len(kinds)}")
        return tuple(typed(item, kind, where) for item, kind in zip(value, kinds, strict=True))
    if hint is float and not isinstance(value, (bool, dict, list, type(None))):
        try:
            if math.isfinite(float(value)):
                return float(value)
        except ValueError:
            pass
    elif isinstance(value, hint) and (hint is bool or not isinstance(value, bool)):
        return value
    kind = {int: "a whole number", float: "a number", str: "text", bool: "true or false", dict: "a mapping"}[hint]
    raise UserError(f"{where} is {value!r}; it must be {kind}")


def check_positive(**values: int) -> None:
    """Raise a UserError that names the first of `values` that is below 1."""
    for name, value in values.items():
        if value < 1:
            raise UserError(f"{name} is {value}; it must be at least 1")
