"""The values that pass between the stages of a handler: one batch of requests, each with its own outcome so far.

The engines use the deadline rule without numpy, so numpy is imported for the type checker only.
"""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from handlers.errors import DeadlinePassed, RequestError

if TYPE_CHECKING:
    from numpy.typing import NDArray

DEADLINE_HEADER = "x-deadline-at"
"""The header with a request's absolute deadline, in milliseconds since 1970.

X-Deadline-Ms holds a duration instead, but a worker cannot see how long a request waited in TorchServe's queue. A
worker compares the deadline with its own clock, so the sender must share it or be synchronised by NTP.
"""
# Enough until the year 5138; a longer number is invalid, and Python parses no number of thousands of digits.
_DIGITS = 14

Outputs = Mapping[str, "NDArray[Any]"]
"""The network's outputs by name; the first dimension of each counts the instances."""


def apart(arrays: "Sequence[NDArray[Any]]") -> "NDArray[Any]":
    """Return an array of arrays, whose shapes may differ; numpy itself would merge arrays of equal shape."""
    import numpy as np

    found = np.empty(len(arrays), dtype=object)
    found[:] = arrays
    return found


@dataclass(frozen=True)
class Deadline:
    """A time in milliseconds since 1970 after which the client no longer waits for the answer; infinite for none."""

    at_ms: float

    @property
    def passed(self) -> bool:
        """True after the deadline."""
        return self.at_ms <= time.time() * 1000

    def check(self) -> None:
        """Raise DeadlinePassed after the deadline."""
        if self.passed:
            raise DeadlinePassed("the deadline passed before the worker was done")


NEVER = Deadline(math.inf)


def deadline_of(headers: Mapping[str, Any]) -> Deadline:
    """Return the deadline of a request; NEVER where its headers hold none, or one that cannot be read."""
    given = next((value for name, value in headers.items() if name.lower() == DEADLINE_HEADER), None)
    if not isinstance(given, str) or len(given) > _DIGITS or not (given.isascii() and given.isdigit()):
        return NEVER
    return Deadline(int(given))


@dataclass(frozen=True, eq=False)
class Instances:
    """The instances of one request [k, ...], and the options that join the network's outputs, one row an instance."""

    inputs: "NDArray[Any]"
    options: Outputs = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class PredictRequest:
    """A request for predictions: its instances [k, ...], the options that join the outputs, and its deadline."""

    inputs: "NDArray[Any]"
    options: Outputs
    until: Deadline


@dataclass(frozen=True, eq=False)
class ExplainRequest:
    """A request for explanations: its instances [k, ...], the class as the client named it, or None."""

    inputs: "NDArray[Any]"
    target: Any
    until: Deadline


@dataclass(frozen=True, eq=False)
class Explanations:
    """The explanations of one request, one for each instance, as JSON."""

    items: list[dict[str, Any]]


@dataclass(frozen=True, eq=False)
class Batch:
    """The result of `preprocess`: for each request its input, or its error."""

    requests: tuple[PredictRequest | ExplainRequest | RequestError, ...]
    decode_s: float

    @property
    def inputs(self) -> "list[NDArray[Any]]":
        """Instances of the requests for predictions, in order."""
        return [request.inputs for request in self.requests if isinstance(request, PredictRequest)]


@dataclass(frozen=True, eq=False)
class Forwarded:
    """The result of `inference`: for each request the network's outputs, its explanations, or its error."""

    requests: tuple[Outputs | Explanations | RequestError, ...]
    decode_s: float
    forward_s: float
