"""How far two versions' answers to the same request lie apart.

What a client acts upon must be equal: the label, the labels of a multi-label model, a discrete action. Probabilities
may move, and continuous actions within a tolerance; the largest such move is measured.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

ACTED_UPON = ("label", "labels", "action")
_SHOWN = 200  # characters of a value in the log


@dataclass(frozen=True, slots=True)
class Difference:
    """`change` is the largest move of a probability or of a component of a continuous action."""

    differs: bool
    change: float = 0.0
    first: tuple[Any, Any] | None = None

    @property
    def stable(self) -> str | None:
        """The first value that differs, for the log."""
        return None if self.first is None else repr(self.first[0])[:_SHOWN]

    @property
    def trial(self) -> str | None:
        """What the version under trial has in its place."""
        return None if self.first is None else repr(self.first[1])[:_SHOWN]


def compare(stable: bytes, trial: bytes, tolerance: float) -> Difference:
    """Compares two answers as the handlers wrote them; what is no answer of that form differs unless it is equal."""
    if stable == trial:
        return Difference(differs=False)
    try:
        old, new = orjson.loads(stable)["predictions"], orjson.loads(trial)["predictions"]
    except (orjson.JSONDecodeError, TypeError, KeyError):
        return Difference(differs=True)
    if not (isinstance(old, list) and isinstance(new, list) and len(old) == len(new)):
        return Difference(differs=True, first=(_length(old), _length(new)))
    try:
        found = [_pair(*pair, tolerance) for pair in zip(old, new, strict=True)]
    except (TypeError, ValueError):  # text where the other has a probability
        return Difference(differs=True, first=(old, new))
    first = next((each for each in found if each.differs), Difference(differs=False))
    return Difference(first.differs, max((each.change for each in found), default=0.0), first.first)


def _pair(old: Any, new: Any, tolerance: float) -> Difference:
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return Difference(old != new, first=(old, new))
    keys = [key for key in ACTED_UPON if key in old or key in new]
    if not keys:
        return Difference(old != new, first=(old, new))
    change = _moved(old.get("probabilities"), new.get("probabilities"))
    for key in keys:
        before, after = old.get(key), new.get(key)
        if (apart := _distance(before, after)) is not None:
            change = max(change, apart)
            if apart <= tolerance:
                continue
        if before != after:
            return Difference(differs=True, change=change, first=(before, after))
    return Difference(differs=False, change=change)


def _distance(old: Any, new: Any) -> float | None:
    """Between two continuous actions; None for anything else."""
    if not (isinstance(old, list) and isinstance(new, list) and len(old) == len(new)):
        return None
    pairs = list(zip(old, new, strict=True))
    numbers = all(isinstance(each, int | float) for pair in pairs for each in pair)
    continuous = any(isinstance(each, float) for pair in pairs for each in pair)
    return max(abs(a - b) for a, b in pairs) if numbers and continuous else None


def _moved(old: Any, new: Any) -> float:
    """The largest move of a class's probability that both answers name; a cut to the top k leaves some out."""
    if not (isinstance(old, Mapping) and isinstance(new, Mapping)):
        return 0.0
    return max((abs(float(old[name]) - float(new[name])) for name in old.keys() & new.keys()), default=0.0)


def _length(predictions: Any) -> str:
    return f"{len(predictions)} predictions" if isinstance(predictions, list) else "no predictions"
