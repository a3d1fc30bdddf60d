"""States made for a load: drawn inside the observation space that the model's card declares."""

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from errors import LoadError
from loadtest.sample import Sample

# A bound beyond this stands for none (CartPole's velocities: 3.4e38), and a normal draw says more than a uniform one.
FAR = 1e6
# Draws stay this far inside their bounds, because a bound is rounded when it becomes float32.
INSIDE = 0.98


def make_states(observation: Mapping[str, Any], count: int, draw: random.Random) -> tuple[Sample, ...]:
    """`count` observations: an object where the card names fields or parts, else an array of the space's shape.

    Raises LoadError for a space that is neither a box nor a dict of boxes.
    """
    space = observation.get("space")
    if not isinstance(space, Mapping) or space.get("type") not in ("box", "dict"):
        raise LoadError("states are made for boxes and dicts of boxes; give a JSON file of states as stress.inputs")
    if space["type"] == "dict":
        return tuple(Sample.of_json(f"state-{number}", _parts(space["spaces"], draw)) for number in range(count))
    fields = observation.get("fields")
    return tuple(Sample.of_json(f"state-{number}", _state(space, fields, draw)) for number in range(count))


def _parts(parts: Sequence[Mapping[str, Any]], draw: random.Random) -> object:
    """An object of exactly the parts, which is an observation whatever they are called, but for `instances` alone."""
    state = {part["key"]: _state(part["space"], None, draw) for part in parts}
    return {"observation": state} if state.keys() == {"instances"} else state


def _state(space: Mapping[str, Any], fields: list[str] | None, draw: random.Random) -> object:
    shape = [int(length) for length in space["shape"]]
    size = math.prod(shape)
    whole = str(space.get("dtype", "float32")).startswith(("int", "uint"))
    bounds = zip(_flat(space.get("low"), size), _flat(space.get("high"), size), strict=True)
    values = [_value(low, high, draw, whole=whole) for low, high in bounds]
    return dict(zip(fields, values, strict=True)) if fields else _shaped(iter(values), shape)


def _value(low: float | None, high: float | None, draw: random.Random, *, whole: bool) -> float:
    """One number within its bounds; None and far bounds do not bind."""
    low = -math.inf if low is None or low < -FAR else low
    high = math.inf if high is None or high > FAR else high
    if math.isfinite(low) and math.isfinite(high):
        return draw.randint(math.ceil(low), math.floor(high)) if whole else _uniform(low, high, draw)
    value = min(max(draw.gauss(0, 1), low), high)
    return round(value) if whole else round(value, 6)


def _uniform(low: float, high: float, draw: random.Random) -> float:
    middle, half = (low + high) / 2, (high - low) / 2
    return middle + half * INSIDE * draw.uniform(-1, 1)


def _flat(bounds: Any, size: int) -> list[float | None]:
    """Bounds of every number: None or one number stands for all, nested lists are laid out in a row."""
    flat = list(_leaves(bounds))
    return flat * size if len(flat) == 1 else flat


def _leaves(bounds: Any) -> Iterator[float | None]:
    if isinstance(bounds, list):
        for bound in bounds:
            yield from _leaves(bound)
    else:
        yield bounds


def _shaped(values: Iterator[float], shape: list[int]) -> object:
    if not shape:
        return next(values)
    return [_shaped(values, shape[1:]) for _ in range(shape[0])]
