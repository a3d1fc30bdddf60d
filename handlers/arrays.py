"""Nested JSON lists of numbers, checked strictly and without recursion, as numpy arrays."""

from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handlers.errors import InvalidFields


def read(value: list[Any], max_dimensions: int) -> NDArray[np.float64]:
    """Turn nested lists into a float64 array of finite numbers.

    One level is opened at a time and at most `max_dimensions` are, so a deep nest costs nothing.
    Raises InvalidFields for a deeper or ragged nest, a boolean, text, null, or a number that is not finite.
    """
    shape = [len(value)]
    level = value
    while level and type(level[0]) is list:
        if len(shape) == max_dimensions:
            raise InvalidFields(f"lists are nested deeper than {max_dimensions}")
        if set(map(type, level)) != {list} or len(set(map(len, level))) != 1:
            raise InvalidFields("lists beside each other must have the same length")
        shape.append(len(level[0]))
        level = list(chain.from_iterable(level))
    return _numbers(level).reshape(shape)


def _numbers(leaves: list[Any]) -> NDArray[np.float64]:
    # numpy would take true for 1 and "1" for 1; the types are looked at first.
    for strange in set(map(type, leaves)) - {int, float}:
        raise InvalidFields(f"{_NAMES.get(strange, 'something else')} stands where a number must")
    try:
        array = np.array(leaves, dtype=np.float64)
    except OverflowError:
        raise InvalidFields("a number is too large") from None
    if not np.isfinite(array).all():
        raise InvalidFields("a number is not finite")
    return array


_NAMES = {bool: "a boolean", str: "text", type(None): "null", dict: "an object", list: "a list"}
