"""The three tests that a version under trial is judged by, each by its textbook formula.

Shares: Fisher's exact test, one-sided (R. A. Fisher, The Design of Experiments, 1935), and Wilson's score interval
(E. B. Wilson, JASA 22, 1927). Latency: the interval of a quantile by the ranks around it, which are binomially
distributed whatever the latencies' own distribution is (W. J. Conover, Practical Nonparametric Statistics, 3.2).
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


def z_of(alpha: float) -> float:
    """The standard normal distribution's value that is exceeded with probability `alpha`."""
    return NormalDist().inv_cdf(1 - alpha)


def more_often(hits: int, total: int, other_hits: int, other_total: int) -> float:
    """P-value of `hits` in `total` being no more than chance beside `other_hits` in `other_total`; small: more often.

    The hypergeometric probability of as many hits or more, given all hits there are.
    """
    everything, all_hits = total + other_total, hits + other_hits
    most = min(total, all_hits)
    base = _log_choose(everything, total)
    tail = 0.0
    for found in range(hits, most + 1):
        term = math.exp(_log_choose(all_hits, found) + _log_choose(everything - all_hits, total - found) - base)
        tail += term
        # Beyond the mode each term is smaller than the one before: what is left adds nothing.
        if term < tail * 1e-12 and found * everything > total * all_hits:
            break
    return min(1.0, tail)


def share(hits: int, total: int, alpha: float) -> Interval:
    """A share with Wilson's score interval; each bound is passed with probability `alpha`."""
    if total == 0:
        return Interval(0.0, 0.0, 1.0)
    z, found = z_of(alpha), hits / total
    middle = found + z * z / (2 * total)
    half = z * math.sqrt(found * (1 - found) / total + z * z / (4 * total * total))
    scale = 1 + z * z / total
    return Interval(max(0.0, (middle - half) / scale), found, min(1.0, (middle + half) / scale))


def quantile(cumulative: Mapping[float, int], q: float, alpha: float) -> Interval | None:
    """A quantile of what a histogram counted up to each bound, in its unit; None when it counted too little.

    Too little is a sample whose extremes are no bounds yet for this quantile at this `alpha`.
    """
    total = max(cumulative.values(), default=0)
    half = z_of(alpha) * math.sqrt(total * q * (1 - q))
    low, middle, high = total * q - half, total * q, total * q + half
    if low < 1 or high > total:
        return None
    bounds = sorted(cumulative.items())
    return Interval(*(_at_rank(bounds, rank) for rank in (low, middle, high)))


def ratio(new: Interval, old: Interval) -> Interval:
    """The ratio of two independent positive estimates, by the delta method on their logarithms."""
    found = math.log(new.estimate / old.estimate)
    below = math.hypot(math.log(new.estimate / new.low), math.log(old.high / old.estimate))
    above = math.hypot(math.log(new.high / new.estimate), math.log(old.estimate / old.low))
    return Interval(math.exp(found - below), math.exp(found), math.exp(found + above))


def _at_rank(bounds: list[tuple[float, int]], rank: float) -> float:
    """The value at a rank, by interpolation in its bucket; the last finite bound for what lies beyond it."""
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
