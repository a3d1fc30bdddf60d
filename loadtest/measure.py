"""What one round showed."""

import time
from array import array
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from loadtest.client import Outcome
from loadtest.generator import Generator


@dataclass(frozen=True)
class Part:
    """One model's share of a round."""

    model: str
    items: int
    latencies_ms: tuple[float, ...]
    failed: int


@dataclass(frozen=True)
class Round:
    """One round: predictions that came, their requests' latencies, and what failed.

    `latencies_ms` holds answered requests only: an error's is no latency of an answer; `ended_s` says when each of
    them ended, in seconds since the round began, `failed_s` the same of errors. `errors` counts requests by kind.
    `complete` is False when the round was broken off. `began` is a time of the clock that all rounds share.
    """

    seconds: float
    items: int
    latencies_ms: tuple[float, ...]
    errors: tuple[tuple[str, int], ...]
    complete: bool
    began: float = 0.0
    ended_s: tuple[float, ...] = ()
    failed_s: tuple[float, ...] = ()
    parts: tuple[Part, ...] = ()
    generator: Generator | None = None

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


class _Share:
    """What is counted for one model, in a few bytes a request."""

    def __init__(self) -> None:
        self.items = 0
        self.failed = 0
        self.latencies_ms = array("d")


class Tally:
    """Collects outcomes while a round runs; the clock starts with it."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._began = clock()
        self._latencies_ms, self._ended_s = array("d"), array("d")
        self._failed_s = array("d")
        self._lags_ms = array("d")
        self._errors: Counter[str] = Counter()
        self._shares: dict[str, _Share] = {}

    def add(self, outcome: Outcome) -> None:
        """Count one outcome."""
        share = self._shares.setdefault(outcome.model, _Share())
        self._lags_ms.append(outcome.lag_ms)
        if outcome.error is not None:
            self._errors[outcome.error] += 1
            self._failed_s.append(outcome.ended - self._began)
            share.failed += 1
            return
        share.items += outcome.items
        share.latencies_ms.append(outcome.latency_ms)
        self._latencies_ms.append(outcome.latency_ms)
        self._ended_s.append(outcome.ended - self._began)

    @property
    def lags_ms(self) -> Sequence[float]:
        """How late each request left."""
        return self._lags_ms

    def stop(self, *, complete: bool, generator: Generator | None = None) -> Round:
        """The round as it stands now."""
        return Round(
            seconds=self._clock() - self._began,
            items=sum(share.items for share in self._shares.values()),
            latencies_ms=tuple(self._latencies_ms),
            errors=tuple(self._errors.most_common()),
            complete=complete,
            began=self._began,
            ended_s=tuple(self._ended_s),
            failed_s=tuple(self._failed_s),
            parts=tuple(
                Part(model, share.items, tuple(share.latencies_ms), share.failed)
                for model, share in sorted(self._shares.items())
            ),
            generator=generator,
        )
