"""A run over time, and its latencies from the median to the far tail: few enough points to draw."""

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from loadtest.measure import Round
from loadtest.summary import percentile

WIDTHS_S = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0)
MOST = 150
COVERED = 0.4  # of its width; a bin of which less was measured says nothing about a rate
STEPS = 20  # points of the curve for each nine


@dataclass(frozen=True)
class Bin:
    """What ended between `at_s` and one width later; the rate counts the part of it in which a round ran."""

    at_s: float
    answers: int
    errors: int
    rate: float | None
    p50: float | None
    p99: float | None


@dataclass(frozen=True)
class Series:
    """Bins of equal width since the first round began."""

    width_s: float
    bins: tuple[Bin, ...]


def over_time(rounds: Sequence[Round]) -> Series:
    """The rounds one after the other, in at most 150 bins; one that never fills a bin gets narrower ones."""
    if not rounds:
        return Series(WIDTHS_S[0], ())
    zero = rounds[0].began
    spans = [(one.began - zero, one.began - zero + one.seconds) for one in rounds]
    last = spans[-1][1]
    width = next((width for width in WIDTHS_S if last / width <= MOST), WIDTHS_S[-1])
    count = max(1, math.ceil(last / width))
    latencies: list[list[float]] = [[] for _ in range(count)]
    errors = [0] * count
    for one in rounds:
        for ended, latency in zip(one.ended_s, one.latencies_ms, strict=False):
            latencies[min(count - 1, int((one.began - zero + ended) / width))].append(latency)
        for ended in one.failed_s:
            errors[min(count - 1, int((one.began - zero + ended) / width))] += 1
    return Series(width, tuple(_bin(n * width, width, latencies[n], errors[n], spans) for n in range(count)))


def _bin(at: float, width: float, latencies: list[float], errors: int, spans: list[tuple[float, float]]) -> Bin:
    covered = sum(max(0.0, min(end, at + width) - max(begin, at)) for begin, end in spans)
    ranked = sorted(latencies)
    return Bin(
        at_s=at,
        answers=len(ranked),
        errors=errors,
        rate=len(ranked) / covered if covered > COVERED * width else None,
        p50=percentile(ranked, 50) if ranked else None,
        p99=percentile(ranked, 99) if ranked else None,
    )


def tail(latencies: Sequence[float]) -> tuple[tuple[float, float], ...]:
    """(percent, latency) with as many points from 90 to 99 % as from 99 to 99.9 %, as an HDR plot has them.

    It ends at the last percentile that the number of values can tell, which is their maximum.
    """
    ranked = sorted(latencies)
    points: list[tuple[float, float]] = []
    for step in range(math.ceil(math.log10(len(ranked)) * STEPS) + 1 if ranked else 0):
        percent = 100 * (1 - 10 ** (-step / STEPS))
        if 1 - percent / 100 < 1 / len(ranked):
            break
        points.append((percent, percentile(ranked, max(percent, 1e-9))))
    if ranked:
        points.append((100 * (1 - 1 / len(ranked)) if len(ranked) > 1 else 0.0, ranked[-1]))
    return tuple(points)


def shares(latencies: Sequence[float], most: int = 48) -> tuple[tuple[float, float, int], ...]:
    """A histogram (from, to, count) of equally wide bins from the least to p99.9; the last takes what is beyond."""
    ranked = sorted(latencies)
    if not ranked:
        return ()
    low, high = ranked[0], percentile(ranked, 99.9)
    width = (high - low) / most or 1.0
    edges = [low + width * number for number in range(most)]
    starts = [bisect_left(ranked, edge) for edge in edges] + [len(ranked)]
    return tuple((edge, edge + width, starts[n + 1] - starts[n]) for n, edge in enumerate(edges))
