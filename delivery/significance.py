"""The statistical tests of a trial, each by its textbook formula.

Shares are compared by Fisher's exact test, one-sided (R. A. Fisher, The Design of Experiments, 1935), and bounded by
Wilson's score interval (E. B. Wilson, JASA 22, 1927). The interval of a latency quantile comes from the ranks around
it, which are binomially distributed for every distribution of latencies (W. J. Conover, Practical Nonparametric
Statistics, 3.2).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist


@dataclass(frozen=True)
class Interval:
    """An estimate and the bounds of its confidence interval."""

    low: float
    estimate: float
    high: float


def z_value(alpha: float) -> float:
    """Return the value that the standard normal distribution exceeds with probability `alpha`."""
    return NormalDist().inv_cdf(1 - alpha)


def p_more_frequent(hits: int, total: int, other_hits: int, other_total: int) -> float:
    """Return the p-value for `hits` in `total` being more frequent than `other_hits` in `other_total`.

    It is the hypergeometric probability of at least as many hits, given the number of all hits.
    """
    everything, all_hits = total + other_total, hits + other_hits
    most = min(total, all_hits)
    base = _log_choose(everything, total)
    tail = 0.0
    for found in range(hits, most + 1):
        term = math.exp(_log_choose(all_hits, found) + _log_choose(everything - all_hits, total - found) - base)
        tail += term
        # Beyond the mode each term is smaller than the one before, so the remaining ones add nothing.
        if term < tail * 1e-12 and found * everything > total * all_hits:
            break
    return min(1.0, tail)


def share_interval(hits: int, total: int, alpha: float) -> Interval:
    """Return a share with Wilson's score interval; the true share lies beyond each bound with probability `alpha`."""
    if total == 0:
        return Interval(0.0, 0.0, 1.0)
    z, found = z_value(alpha), hits / total
    middle = found + z * z / (2 * total)
    half = z * math.sqrt(found * (1 - found) / total + z * z / (4 * total * total))
    scale = 1 + z * z / total
    return Interval(max(0.0, (middle - half) / scale), found, min(1.0, (middle + half) / scale))


def quantile_interval(cumulative: Mapping[float, int], q: float, alpha: float) -> Interval | None:
    """Return a quantile of a histogram that counts values up to each bound, in the unit of its bounds.

    Returns None for a sample so small that its extremes do not bound this quantile at this `alpha`.
    """
    total = max(cumulative.values(), default=0)
    half = z_value(alpha) * math.sqrt(total * q * (1 - q))
    low, middle, high = total * q - half, total * q, total * q + half
    if low < 1 or high > total:
        return None
    bounds = sorted(cumulative.items())
    return Interval(*(_at_rank(bounds, rank) for rank in (low, middle, high)))


def ratio_interval(new: Interval, old: Interval) -> Interval:
    """Return the ratio of two independent positive estimates, by the delta method on their logarithms."""
    found = math.log(new.estimate / old.estimate)
    below = math.hypot(math.log(new.estimate / new.low), math.log(old.high / old.estimate))
    above = math.hypot(math.log(new.high / new.estimate), math.log(old.estimate / old.low))
    return Interval(math.exp(found - below), math.exp(found), math.exp(found + above))


def _at_rank(bounds: list[tuple[float, int]], rank: float) -> float:
    """Return the value at a rank by interpolation in its bucket; beyond the last finite bound, that bound."""
    below, counted = 0.0, 0
    for bound, number in bounds:
        if number >= rank:
            if math.isinf(bound):
                return below
            return below + (bound - below) * (rank - counted) / (number - counted)
        below, counted = bound, number
    return below


def _log_choose(n: int, k: int) -> float:
    if not 0 <= k <= n:
        return -math.inf
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
