"""Comparison of golden answers number by number, and of two versions' answers by the fields that clients act on."""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

_SHOWN = 200  # characters of a value in the log


@dataclass(frozen=True)
class Difference:
    """One value that differs between two JSON documents; `deviation` is infinite unless both are numbers."""

    path: str
    expected: Any
    actual: Any
    deviation: float

    def __str__(self) -> str:
        by = f", off by {self.deviation:.3g}" if math.isfinite(self.deviation) else ""
        return f"{self.path} is {self.actual!r} instead of {self.expected!r}{by}"


@dataclass(frozen=True, slots=True)
class Comparison:
    """The result of comparing a stable version's answer with that of a version on trial.

    `differs` says that a client would act differently. `change` is the largest change of a probability or of a
    component of a continuous action. `first` is the first pair of values that differ.
    """

    differs: bool
    change: float = 0.0
    first: tuple[Any, Any] | None = None

    @property
    def stable(self) -> str | None:
        """The first differing value of the stable version, shortened for the log."""
        return None if self.first is None else repr(self.first[0])[:_SHOWN]

    @property
    def trial(self) -> str | None:
        """The value of the version on trial at the same position, shortened for the log."""
        return None if self.first is None else repr(self.first[1])[:_SHOWN]


def json_differences(expected: Any, actual: Any, path: str = "$") -> Iterator[Difference]:
    """Yield every difference between two JSON values, however small; the order of an object's keys is ignored."""
    if _is_number(expected) and _is_number(actual):
        deviation = abs(expected - actual)
        if deviation != 0:  # nan included
            yield Difference(path, expected, actual, deviation if deviation == deviation else math.inf)
    elif isinstance(expected, list) and isinstance(actual, list) and len(expected) == len(actual):
        for index, (left, right) in enumerate(zip(expected, actual, strict=True)):
            yield from json_differences(left, right, f"{path}[{index}]")
    elif isinstance(expected, Mapping) and isinstance(actual, Mapping) and expected.keys() == actual.keys():
        for key, value in expected.items():
            yield from json_differences(value, actual[key], f"{path}.{key}")
    elif type(expected) is not type(actual) or expected != actual:
        yield Difference(path, expected, actual, math.inf)


def relative(found: Difference) -> Difference:
    """Return the difference with a deviation relative to the larger number where that is beyond 1.

    Two whole numbers keep theirs: a class, a count or a time is another one even where it differs by little.
    """
    if type(found.expected) is int and type(found.actual) is int:
        return found
    sizes = [abs(each) for each in (found.expected, found.actual) if isinstance(each, int | float)]
    return replace(found, deviation=found.deviation / max(1.0, *sizes, 1.0))


def comparison_of(differences: Iterable[Difference], tolerance: float) -> Comparison:
    """Return the comparison of two predictions by their differences, which count beyond the tolerance.

    `change` is the largest deviation of a number.
    """
    found = list(differences)
    beyond = next((each for each in found if each.deviation > tolerance), None)
    change = max((each.deviation for each in found if each.deviation < math.inf), default=0.0)
    return Comparison(beyond is not None, change, (beyond.expected, beyond.actual) if beyond else None)


def distance(stable: Any, trial: Any) -> float | None:
    """Return the largest difference between two lists of numbers, at least one of them fractional; None otherwise."""
    if not (isinstance(stable, list) and isinstance(trial, list) and len(stable) == len(trial)):
        return None
    pairs = list(zip(stable, trial, strict=True))
    numbers = all(isinstance(each, int | float) for pair in pairs for each in pair)
    continuous = any(isinstance(each, float) for pair in pairs for each in pair)
    return max(abs(a - b) for a, b in pairs) if numbers and continuous else None


def largest_change(stable: Any, trial: Any) -> float:
    """Return the largest change of a number that both mappings name; a list cut to the top k leaves some out."""
    if not (isinstance(stable, Mapping) and isinstance(trial, Mapping)):
        return 0.0
    common = stable.keys() & trial.keys()
    return max((abs(float(stable[name]) - float(trial[name])) for name in common), default=0.0)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
