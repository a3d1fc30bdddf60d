"""Which setting to try next: near the best so far, where single changes have helped before.

A trial costs mostly the rollout, so there are tens of trials, not hundreds. At that number a model of the surface (TPE,
Gaussian processes: what Optuna offers) is still drawing its first points at random, while a guess by rules of thumb and
steps to its neighbours are near the top already. What halves is the effort: each setting is looked at shortly, longer
only when its luckiest round reaches the best one's median, and only finalists are measured again, in turn.
"""

import statistics
from collections.abc import Mapping, Sequence

from loadtest.tune.goal import Goal, Measured
from loadtest.tune.space import DIMENSIONS, Setting, Space
from loadtest.verdict import judge

PATIENCE = 10  # trials without a better one, after which no more are made
WITHIN = 0.98  # of the best rate; a cheaper setting that noise does not tell from the best may have so little
NEAR = 0.95

Trials = Mapping[Setting, Measured]
"""In the order in which they were first tried."""


def next_trial(space: Space, goal: Goal, trials: Trials, starts: Sequence[Setting]) -> Setting | None:
    """The setting to try next; None when nothing is left, or nothing more is to be expected."""
    for start in starts:
        if start not in trials:
            return start
    best = best_of(trials, goal)
    if best is None or _since_best(trials, best) >= PATIENCE:
        return None
    near = [setting for setting in space.neighbours(best) if setting not in trials]
    if near:
        return max(dict.fromkeys(near), key=lambda setting: _expected(setting, trials, goal))
    rest = [setting for setting in space.all() if setting not in trials]
    return max(rest, key=lambda setting: _expected(setting, trials, goal)) if rest else None


def best_of(trials: Trials, goal: Goal) -> Setting | None:
    """The setting with the highest score; None without trials."""
    return max(trials, key=lambda setting: trials[setting].score(goal)) if trials else None


def finalists(trials: Trials, goal: Goal, most: int) -> list[Setting]:
    """The best, the second, and what came so near that another moment might have it in front.

    The second always: whatever the machine did besides during one look of the two is none of their merit.
    """
    ranked = sorted(trials, key=lambda setting: trials[setting].score(goal), reverse=True)
    if not ranked or not trials[ranked[0]].keeps(goal):
        return ranked[:1]
    top = trials[ranked[0]]
    near = [
        setting
        for place, setting in enumerate(ranked)
        if not trials[setting].failed
        and (place < 2 or (trials[setting].keeps(goal) and max(trials[setting].rates) >= NEAR * top.rate))
    ]
    return near[:most]


def choose(trials: Trials, goal: Goal) -> Setting | None:
    """The best setting; or a cheaper one that keeps the goal too and that noise does not tell from the best."""
    best = best_of(trials, goal)
    if best is None or not trials[best].keeps(goal):
        return best
    top = trials[best]
    equals = [
        setting
        for setting, measured in trials.items()
        if measured.keeps(goal)
        and measured.rate >= WITHIN * top.rate
        and judge(top.rates, measured.rates).kind in ("open", "higher")
    ]
    return min([best, *equals], key=lambda setting: (setting.cost, -trials[setting].rate))


def front(trials: Trials) -> list[Setting]:
    """Settings that no other beats in both rate and latency, from the lowest latency up."""
    sound = [setting for setting, measured in trials.items() if not measured.failed]
    ranked = sorted(sound, key=lambda setting: (trials[setting].latency_ms, -trials[setting].rate))
    found: list[Setting] = []
    for setting in ranked:
        if not found or trials[setting].rate > trials[found[-1]].rate:
            found.append(setting)
    return found


def _since_best(trials: Trials, best: Setting) -> int:
    return len(trials) - 1 - list(trials).index(best)


def _expected(setting: Setting, trials: Trials, goal: Goal) -> float:
    """What the values of a setting have brought where they were tried, each by itself, as a share of the mean.

    A value that was never tried is expected to bring what the mean does, so it comes before those that have failed.
    """
    worth = {tried: _worth(measured, goal) for tried, measured in trials.items()}
    mean = statistics.fmean(worth.values()) or 1.0
    effect = 0.0
    for name in DIMENSIONS:
        own = [value for tried, value in worth.items() if getattr(tried, name) == getattr(setting, name)]
        effect += (statistics.fmean(own) / mean - 1) if own else 0.05
    return effect


def _worth(measured: Measured, goal: Goal) -> float:
    """A rate that sinks with the square of what the latency is above the goal, so that there is a slope to climb."""
    if measured.failed:
        return 0.0
    return measured.rate * min(1.0, goal.limit_ms / max(measured.latency_ms, 1e-9)) ** 2
