"""The exercises, one a file: each defines EXERCISE. A new file here is a new exercise."""

import functools
import importlib
import pkgutil

from vit_ms.checkin.exercise import Exercise
from vit_ms.errors import UserError, did_you_mean


@functools.cache
def exercises() -> dict[str, Exercise]:
    """All of them by name, in the order of the notebooks."""
    names = [module.name for module in pkgutil.iter_modules(__path__)]
    found = [importlib.import_module(f"{__name__}.{name}").EXERCISE for name in names]
    for name, exercise in zip(names, found, strict=True):
        if exercise.name != name:
            raise UserError(f"the exercise in {name}.py calls itself {exercise.name!r}: the file's name is its name")
    return {exercise.name: exercise for exercise in sorted(found, key=lambda one: (one.notebook, one.section))}


def exercise(name: str) -> Exercise:
    """The exercise of this name.

    Raises:
        UserError: If there is none.
    """
    if not isinstance(name, str):
        raise UserError(f'the exercise\'s name comes first, as in check("attention", attention), not {name!r:.60}')
    if name not in exercises():
        raise UserError(f"there is no exercise {name!r}{did_you_mean(name, exercises())}")
    return exercises()[name]
