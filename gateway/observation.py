"""Which observations may travel with others: those that the model's card says are fine, beyond any doubt.

What is doubtful or wrong travels alone, so that the handler judges it in its own words and nobody else pays for it.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from gateway.card import Card, kind_of, registration
from handlers import limits

# Types whose bounds and values compare here as they do in the handler. Larger numbers are infinite in 32 bits.
_TYPES = {"float32", "float64"}
_LARGEST = 3.4e38


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads one observation of a policy with a flat space: names of its fields if it has some, bounds of each.

    `most` observations may travel together; None is for the gateway's settings to say. Never more than `limit`, which a
    worker takes in one request.
    """

    names: tuple[str, ...] | None
    bounds: tuple[tuple[float, float], ...]
    most: int | None = None
    limit: int = limits.MAX_INSTANCES["policy"]

    def read(self, body: bytes) -> list[float] | None:
        """The observation's numbers in order; None for whatever is not one good observation."""
        try:
            content = orjson.loads(body)
        except orjson.JSONDecodeError:
            return None
        if type(content) is dict:
            content = self._in_order(content)
        if type(content) is not list or len(content) != len(self.bounds):
            return None
        for value, (low, high) in zip(content, self.bounds, strict=True):
            kind = type(value)
            if (kind is not float and kind is not int) or not low <= value <= high:
                return None
        return content

    def _in_order(self, content: dict[str, Any]) -> list[Any] | None:
        names = self.names
        if names is None or len(content) != len(names):
            return None
        try:
            return [content[name] for name in names]
        except KeyError:
            return None


def reader_for(card: Card) -> Reader | None:
    """The reader of a policy's observations; None for other models and for spaces that are not flat."""
    observation = card.get("observation")
    most = registration(card).get("coalesce")
    if kind_of(card) != "policy" or not isinstance(observation, Mapping) or most == 1:
        return None
    space = observation.get("space")
    if not isinstance(space, Mapping) or space.get("type") != "box" or space.get("dtype") not in _TYPES:
        return None
    shape = space.get("shape")
    if not isinstance(shape, list) or len(shape) != 1 or not isinstance(shape[0], int):
        return None
    lows, highs = _bounds(space.get("low"), shape[0], -_LARGEST), _bounds(space.get("high"), shape[0], _LARGEST)
    names = observation.get("fields")
    if lows is None or highs is None or (names is not None and len(names) != shape[0]):
        return None
    return Reader(
        None if names is None else tuple(names),
        tuple(zip(lows, highs, strict=True)),
        most,
        limits.of(card).max_instances,
    )


def _bounds(given: Any, count: int, otherwise: float) -> list[float] | None:
    each = given if isinstance(given, list) else [given] * count
    if len(each) != count or any(type(value) not in (int, float, type(None)) for value in each):
        return None
    found = [otherwise if value is None else max(-_LARGEST, min(_LARGEST, float(value))) for value in each]
    return None if any(math.isnan(value) for value in found) else found
