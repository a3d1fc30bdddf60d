"""The search: candidates near the best one until the time is over, then the finalists again.

An evaluation costs mostly its rollout, so a search makes tens of them. With so few, a model of the surface (TPE,
Gaussian processes, as in Optuna) still draws its first points at random, while a rule of thumb and steps to neighbours
are near the top already. Effort is saved otherwise: each candidate gets a short evaluation, and a longer one only if
its best round reaches the median of the best candidate. Only finalists are evaluated again, in turn.
"""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from loadtest.round_stats import judge
from loadtest.tune.evaluation_log import Evaluation, EvaluationLog
from loadtest.tune.goal import EvaluationResult, LatencyGoal
from loadtest.tune.space import DIMENSIONS, Candidate, SearchSpace
from settings.schema import TuneSettings

PATIENCE = 10  # candidates without an improvement after which the search ends
WITHIN = 0.98  # of the best rate: a cheaper candidate with this rate is chosen if noise cannot distinguish them
NEAR = 0.95  # of the best rate: a candidate with a round this fast is a finalist

Results = Mapping[Candidate, EvaluationResult]
"""The results in the order of the first evaluations."""


class CandidateStack(Protocol):
    """A stack that serves a candidate and measures it; `loadtest.tune.evaluator.Evaluator` is one."""

    async def serve(self, candidate: Candidate) -> None:
        """Serve with this candidate."""

    async def measure(self, rounds: int) -> EvaluationResult:
        """Run this many rounds of load."""


class SearchObserver(Protocol):
    """A receiver of the progress of a search."""

    def evaluating(self, candidate: Candidate, number: int, purpose: str) -> None:
        """Receive the start of an evaluation."""

    def evaluated(self, evaluation: Evaluation, best: Candidate | None) -> None:
        """Receive a finished evaluation, and the best candidate so far."""


@dataclass(frozen=True)
class SearchEnd:
    """The end of a search. `best` meets the goal if any candidate does; `reason` says why the search ended."""

    best: Candidate
    reached: bool
    reason: str


class Search:
    """One search. The time of a resumed log counts."""

    def __init__(
        self,
        stack: CandidateStack,
        log: EvaluationLog,
        space: SearchSpace,
        goal: LatencyGoal,
        tune: TuneSettings,
        observer: SearchObserver,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stack, self._log, self._space, self._goal = stack, log, space, goal
        self._tune, self._observer, self._clock = tune, observer, clock

    async def run(self, starts: Sequence[Candidate]) -> SearchEnd:
        """Search, evaluate the finalists again, and choose. `starts` are always evaluated first."""
        reason = await self._explore(starts)
        await self._finals()
        results = self._log.results()
        best = choose(results, self._goal)
        assert best is not None  # the starts were evaluated
        return SearchEnd(best, results[best].meets(self._goal), reason)

    async def _explore(self, starts: Sequence[Candidate]) -> str:
        while True:
            results = self._log.results()
            candidate = next_candidate(self._space, self._goal, results, starts)
            if candidate is None:
                return "nothing better is to be expected" if len(results) > PATIENCE else "everything was tried"
            if results and self._left_s() < self._evaluation_s() + self._reserve_s():
                return f"the {self._tune.minutes:g} minutes are over"
            await self._evaluate(candidate, "")

    async def _finals(self) -> None:
        """Evaluate the finalists in alternating order, so that a drift of the machine affects all of them."""
        chosen = finalists(self._log.results(), self._goal, self._tune.finalists)
        if len(chosen) < 2:
            return
        for number in range(self._tune.repeats):
            for candidate in chosen if number % 2 else reversed(chosen):
                if self._left_s() < self._evaluation_s():
                    return
                await self._evaluate(candidate, f"finalist, again {number + 1} of {self._tune.repeats}")

    async def _evaluate(self, candidate: Candidate, purpose: str) -> None:
        results = self._log.results()
        best = best_of(results, self._goal)
        first = await self._measure(candidate, purpose, serve=True)
        if not purpose and best is not None and first.is_promising(results[best], self._goal):
            await self._measure(candidate, "promising, a longer look", serve=False)

    async def _measure(self, candidate: Candidate, purpose: str, *, serve: bool) -> EvaluationResult:
        self._observer.evaluating(candidate, len(self._log.evaluations) + 1, purpose)
        began = self._clock()
        if serve:
            await self._stack.serve(candidate)
        result = await self._stack.measure(self._tune.rounds)
        evaluation = Evaluation(candidate, result, self._clock() - began)
        self._log.add(evaluation)
        self._observer.evaluated(evaluation, best_of(self._log.results(), self._goal))
        return result

    def _left_s(self) -> float:
        return self._tune.minutes * 60 - self._log.spent_s

    def _evaluation_s(self) -> float:
        """Return the expected seconds of an evaluation with its rollout: the mean per candidate so far."""
        candidates = len({evaluation.candidate for evaluation in self._log.evaluations})
        return self._log.spent_s / max(1, candidates)

    def _reserve_s(self) -> float:
        """Return the time kept for the finalists, which leaves most of the time to the search."""
        return min(2 * self._evaluation_s(), 0.3 * self._tune.minutes * 60)


def next_candidate(
    space: SearchSpace, goal: LatencyGoal, results: Results, starts: Sequence[Candidate]
) -> Candidate | None:
    """Return the candidate to evaluate next; None when none is left or no improvement is expected."""
    for start in starts:
        if start not in results:
            return start
    best = best_of(results, goal)
    if best is None or _since_best(results, best) >= PATIENCE:
        return None
    near = [candidate for candidate in space.neighbours(best) if candidate not in results]
    if near:
        return max(dict.fromkeys(near), key=lambda candidate: _expected(candidate, results, goal))
    rest = [candidate for candidate in space.all() if candidate not in results]
    return max(rest, key=lambda candidate: _expected(candidate, results, goal)) if rest else None


def best_of(results: Results, goal: LatencyGoal) -> Candidate | None:
    """Return the candidate with the highest score; None without results."""
    return max(results, key=lambda candidate: results[candidate].score(goal)) if results else None


def finalists(results: Results, goal: LatencyGoal, most: int) -> list[Candidate]:
    """Return the best two candidates, and others so close that they may be the best at another time.

    The second is always included, because other work of the machine may have disturbed one of the two evaluations.
    """
    ranked = sorted(results, key=lambda candidate: results[candidate].score(goal), reverse=True)
    if not ranked or not results[ranked[0]].meets(goal):
        return ranked[:1]
    top = results[ranked[0]]
    near = [
        candidate
        for rank, candidate in enumerate(ranked)
        if not results[candidate].failed
        and (rank < 2 or (results[candidate].meets(goal) and max(results[candidate].rates) >= NEAR * top.rate))
    ]
    return near[:most]


def choose(results: Results, goal: LatencyGoal) -> Candidate | None:
    """Return the best candidate, or a cheaper one that meets the goal and that noise cannot distinguish from it."""
    best = best_of(results, goal)
    if best is None or not results[best].meets(goal):
        return best
    top = results[best]
    equals = [
        candidate
        for candidate, result in results.items()
        if result.meets(goal)
        and result.rate >= WITHIN * top.rate
        and judge(top.rates, result.rates).kind in ("open", "higher")
    ]
    return min([best, *equals], key=lambda candidate: (candidate.cost, -results[candidate].rate))


def pareto_front(results: Results) -> list[Candidate]:
    """Return candidates that no other beats in both rate and latency, by ascending latency."""
    sound = [candidate for candidate, result in results.items() if not result.failed]
    ranked = sorted(sound, key=lambda candidate: (results[candidate].latency_ms, -results[candidate].rate))
    found: list[Candidate] = []
    for candidate in ranked:
        if not found or results[candidate].rate > results[found[-1]].rate:
            found.append(candidate)
    return found


def _since_best(results: Results, best: Candidate) -> int:
    return len(results) - 1 - list(results).index(best)


def _expected(candidate: Candidate, results: Results, goal: LatencyGoal) -> float:
    """Return the sum of the effects that the candidate's values had so far, relative to the mean.

    A value without a result is expected to be slightly better than the mean, so it precedes those that failed.
    """
    worth = {known: _worth(result, goal) for known, result in results.items()}
    mean = statistics.fmean(worth.values()) or 1.0
    effect = 0.0
    for name in DIMENSIONS:
        own = [value for known, value in worth.items() if getattr(known, name) == getattr(candidate, name)]
        effect += (statistics.fmean(own) / mean - 1) if own else 0.05
    return effect


def _worth(result: EvaluationResult, goal: LatencyGoal) -> float:
    """Return the rate, reduced by the square of the excess latency, so that candidates beyond the goal differ."""
    if result.failed:
        return 0.0
    return result.rate * min(1.0, goal.limit_ms / max(result.latency_ms, 1e-9)) ** 2
