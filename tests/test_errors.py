"""Values as the types that they are declared with."""

import pytest
from helpers import error_of

from vit_ms.errors import typed

TAKEN = [
    (3, int | None, 3),
    (None, int | None, None),
    ("1e-3", float, 1e-3),
    (2, float, 2.0),
    ((1, 2), list[int], [1, 2]),
    (["1e-1", 2], list[float], [0.1, 2.0]),
    ([56, 84], int | tuple[int, int], (56, 84)),
    (56, int | tuple[int, int], 56),
]


@pytest.mark.parametrize("value, hint, wanted", TAKEN)
def test_a_value_of_the_type_is_taken(value, hint, wanted):
    found = typed(value, hint, "x")
    assert found == wanted and type(found) is type(wanted)


REFUSED = [
    (True, int, "x is True; it must be a whole number"),
    (2.5, int | tuple[int, int], "x is 2.5; it must be a whole number"),
    ([1, 2, 3], int | tuple[int, int], "x is [1, 2, 3]; it must be a list of 2"),
    ([1, "b"], tuple[int, int], "x is 'b'; it must be a whole number"),
    (3, list[int], "x is 3; it must be a list"),
    (None, int | tuple[int, int], "x is None; it must be a whole number"),
    ("inf", float, "x is 'inf'; it must be a number"),
]


@pytest.mark.parametrize("value, hint, message", REFUSED)
def test_a_value_of_another_type_is_refused(value, hint, message):
    assert error_of(typed, value, hint, "x") == message
