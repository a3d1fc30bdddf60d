"""X-Deadline-At: when nobody waits for an answer any more, in milliseconds since 1970.

A moment, and not a span as in X-Deadline-Ms: how long a request stood in TorchServe's queue is told to no worker. It is
judged by this machine's clock, so whoever sends it must be on the same machine or keep the same time (NTP).
"""

import time
from collections.abc import Mapping
from typing import Any

from handlers.errors import DeadlinePassed

HEADER = "x-deadline-at"
# Until the year 5138; what is longer is no moment, and Python would not read thousands of digits.
_DIGITS = 14


def check(headers: Mapping[str, Any]) -> None:
    """Raise DeadlinePassed when the request's moment is over; one that cannot be read counts as none."""
    given = next((value for name, value in headers.items() if name.lower() == HEADER), None)
    if not isinstance(given, str) or len(given) > _DIGITS or not (given.isascii() and given.isdigit()):
        return
    if int(given) <= time.time() * 1000:
        raise DeadlinePassed("the deadline passed while the request waited for a worker")
