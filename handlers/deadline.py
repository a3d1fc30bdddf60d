"""X-Deadline-At: when nobody waits for an answer any more, in milliseconds since 1970.

A moment, and not a span as in X-Deadline-Ms: how long a request stood in TorchServe's queue is told to no worker. It is
judged by this machine's clock, so whoever sends it must be on the same machine or keep the same time (NTP).
"""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from handlers.errors import DeadlinePassed

HEADER = "x-deadline-at"
# Until the year 5138; what is longer is no moment, and Python would not read thousands of digits.
_DIGITS = 14


@dataclass(frozen=True)
class Deadline:
    """A moment, in milliseconds since 1970, after which nobody waits for the answer; infinite for none."""

    at_ms: float

    @property
    def passed(self) -> bool:
        """Whether the moment is over."""
        return self.at_ms <= time.time() * 1000

    def check(self) -> None:
        """Raise DeadlinePassed when the moment is over."""
        if self.passed:
            raise DeadlinePassed("the deadline passed before the worker was done")


NEVER = Deadline(math.inf)


def of(headers: Mapping[str, Any]) -> Deadline:
    """Return the deadline of a request; NEVER where it has none, or one that cannot be read."""
    given = next((value for name, value in headers.items() if name.lower() == HEADER), None)
    if not isinstance(given, str) or len(given) > _DIGITS or not (given.isascii() and given.isdigit()):
        return NEVER
    return Deadline(int(given))
