"""What one round showed."""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from loadtest.client import Outcome


@dataclass(frozen=True)
class Round:
    """One round: predictions that came, their requests' latencies, and what failed.

    `latencies_ms` holds answered requests only: an error's is no latency of an answer. `errors` counts requests by
    kind. `complete` is False when the round was broken off.
    """

    seconds: float
    items: int
    latencies_ms: tuple[float, ...]
    errors: tuple[tuple[str, int], ...]
    complete: bool

    @property
    def rate(self) -> float:
        """Predictions a second; an error is none."""
        return self.items / self.seconds if self.seconds > 0 else 0.0

    @property
    def failed(self) -> int:
        """Requests that were not answered rightly."""
        return sum(count for _, count in self.errors)

    @property
    def requests(self) -> int:
        """Requests whose outcome is known."""
        return len(self.latencies_ms) + self.failed


class Tally:
    """Collects outcomes while a round runs; the clock starts with it."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._started = clock()
        self._items = 0
        self._latencies_ms: list[float] = []
        self._errors: Counter[str] = Counter()

    def add(self, outcome: Outcome) -> None:
        """Count one outcome."""
        if outcome.error is not None:
            self._errors[outcome.error] += 1
            return
        self._items += outcome.items
        self._latencies_ms.append(outcome.latency_ms)

    def stop(self, *, complete: bool) -> Round:
        """The round as it stands now."""
        seconds = self._clock() - self._started
        errors = tuple(self._errors.most_common())
        return Round(seconds, self._items, tuple(self._latencies_ms), errors, complete)
