"""The rounds of a run: results collected while a round runs, and the figures of finished rounds over time."""

import math
import time
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from loadtest.load_client import RequestResult
from loadtest.resources import GeneratorUsage
from loadtest.round_stats import percentile

BIN_WIDTHS_S = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0)
MOST_BINS = 150
COVERED = 0.4  # of a bin; if rounds cover less of it, its rate is unknown
TAIL_STEPS = 20  # points of the percentile curve for each nine


@dataclass(frozen=True)
class ModelShare:
    """The part of a round that one model answered."""

    model: str
    items: int
    latencies_ms: tuple[float, ...]
    failed: int


@dataclass(frozen=True)
class RoundResult:
    """One round: its predictions, the latencies of their requests, and the errors.

    `latencies_ms` holds correct responses only. `ended_s` holds their ends in seconds since the round began, and
    `failed_s` those of errors. `errors` counts failed requests by kind. `complete` is False for an interrupted round.
    `began` is a time of a clock that all rounds share.
    """

    seconds: float
    items: int
    latencies_ms: tuple[float, ...]
    errors: tuple[tuple[str, int], ...]
    complete: bool
    began: float = 0.0
    ended_s: tuple[float, ...] = ()
    failed_s: tuple[float, ...] = ()
    parts: tuple[ModelShare, ...] = ()
    generator: GeneratorUsage | None = None

    @property
    def rate(self) -> float:
        """Predictions a second; failed requests have none."""
        return self.items / self.seconds if self.seconds > 0 else 0.0

    @property
    def failed(self) -> int:
        """The number of failed requests."""
        return sum(count for _, count in self.errors)

    @property
    def requests(self) -> int:
        """The number of requests with a known result."""
        return len(self.latencies_ms) + self.failed


class _ModelTally:
    """Counts of one model, in a few bytes a request."""

    def __init__(self) -> None:
        self.items = 0
        self.failed = 0
        self.latencies_ms = array("d")


class Tally:
    """The results of a running round; its clock starts with it."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._began = clock()
        self._latencies_ms, self._ended_s = array("d"), array("d")
        self._failed_s = array("d")
        self._lags_ms = array("d")
        self._errors: Counter[str] = Counter()
        self._models: dict[str, _ModelTally] = {}

    def add(self, result: RequestResult) -> None:
        """Count one result."""
        model = self._models.setdefault(result.model, _ModelTally())
        self._lags_ms.append(result.lag_ms)
        if result.error is not None:
            self._errors[result.error] += 1
            self._failed_s.append(result.ended - self._began)
            model.failed += 1
            return
        model.items += result.items
        model.latencies_ms.append(result.latency_ms)
        self._latencies_ms.append(result.latency_ms)
        self._ended_s.append(result.ended - self._began)

    @property
    def lags_ms(self) -> Sequence[float]:
        """The delays between intended and actual send times."""
        return self._lags_ms

    def stop(self, *, complete: bool, generator: GeneratorUsage | None = None) -> RoundResult:
        """Return the round up to now."""
        return RoundResult(
            seconds=self._clock() - self._began,
            items=sum(model.items for model in self._models.values()),
            latencies_ms=tuple(self._latencies_ms),
            errors=tuple(self._errors.most_common()),
            complete=complete,
            began=self._began,
            ended_s=tuple(self._ended_s),
            failed_s=tuple(self._failed_s),
            parts=tuple(
                ModelShare(name, model.items, tuple(model.latencies_ms), model.failed)
                for name, model in sorted(self._models.items())
            ),
            generator=generator,
        )


@dataclass(frozen=True)
class TimeBin:
    """Requests that ended in one bin. The rate refers to the part of the bin in which a round ran."""

    at_s: float
    answers: int
    errors: int
    rate: float | None
    p50: float | None
    p99: float | None


@dataclass(frozen=True)
class TimeSeries:
    """Bins of equal width since the first round began."""

    width_s: float
    bins: tuple[TimeBin, ...]


def over_time(rounds: Sequence[RoundResult]) -> TimeSeries:
    """Return the rounds one after the other, in the narrowest bins of which 150 are enough."""
    if not rounds:
        return TimeSeries(BIN_WIDTHS_S[0], ())
    zero = rounds[0].began
    spans = [(one.began - zero, one.began - zero + one.seconds) for one in rounds]
    last = spans[-1][1]
    width = next((width for width in BIN_WIDTHS_S if last / width <= MOST_BINS), BIN_WIDTHS_S[-1])
    count = max(1, math.ceil(last / width))
    latencies: list[list[float]] = [[] for _ in range(count)]
    errors = [0] * count
    for one in rounds:
        for ended, latency in zip(one.ended_s, one.latencies_ms, strict=False):
            latencies[min(count - 1, int((one.began - zero + ended) / width))].append(latency)
        for ended in one.failed_s:
            errors[min(count - 1, int((one.began - zero + ended) / width))] += 1
    return TimeSeries(width, tuple(_bin(n * width, width, latencies[n], errors[n], spans) for n in range(count)))


def _bin(at: float, width: float, latencies: list[float], errors: int, spans: list[tuple[float, float]]) -> TimeBin:
    covered = sum(max(0.0, min(end, at + width) - max(begin, at)) for begin, end in spans)
    ranked = sorted(latencies)
    return TimeBin(
        at_s=at,
        answers=len(ranked),
        errors=errors,
        rate=len(ranked) / covered if covered > COVERED * width else None,
        p50=percentile(ranked, 50) if ranked else None,
        p99=percentile(ranked, 99) if ranked else None,
    )


def percentile_curve(latencies: Sequence[float]) -> tuple[tuple[float, float], ...]:
    """Return points (percent, latency), as many from 90 to 99 % as from 99 to 99.9 %, as in an HDR plot.

    The curve ends with the maximum, at the highest percentile that the number of values can show.
    """
    ranked = sorted(latencies)
    points: list[tuple[float, float]] = []
    for step in range(math.ceil(math.log10(len(ranked)) * TAIL_STEPS) + 1 if ranked else 0):
        percent = 100 * (1 - 10 ** (-step / TAIL_STEPS))
        if 1 - percent / 100 < 1 / len(ranked):
            break
        points.append((percent, percentile(ranked, max(percent, 1e-9))))
    if ranked:
        points.append((100 * (1 - 1 / len(ranked)) if len(ranked) > 1 else 0.0, ranked[-1]))
    return tuple(points)


def histogram(latencies: Sequence[float], most: int = 48) -> tuple[tuple[float, float, int], ...]:
    """Return (from, to, count) of equally wide bins from the minimum to p99.9; the last bin holds all beyond."""
    ranked = sorted(latencies)
    if not ranked:
        return ()
    low, high = ranked[0], percentile(ranked, 99.9)
    width = (high - low) / most or 1.0
    edges = [low + width * number for number in range(most)]
    starts = [bisect_left(ranked, edge) for edge in edges] + [len(ranked)]
    return tuple((edge, edge + width, starts[n + 1] - starts[n]) for n, edge in enumerate(edges))
