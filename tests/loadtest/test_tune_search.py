"""The search on a computed surface: no server, a simulated clock, and the noise of a busy machine."""

import asyncio
import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from errors import LoadError
from loadtest.tune import search
from loadtest.tune.evaluation_log import Evaluation, EvaluationLog, open_log
from loadtest.tune.goal import EvaluationResult, LatencyGoal, pooled
from loadtest.tune.search import Search, SearchEnd
from loadtest.tune.space import Candidate, SearchSpace
from settings import load
from settings.schema import TuneSettings

SPACE = SearchSpace((1, 2, 4), (1, 2, 4), (1, 2, 4, 8, 16), (0, 2, 5, 10), (None,))
GOAL = LatencyGoal.of("p99:80ms")
BEFORE = Candidate(1, None, 4, 5, None)


def surface(candidate: Candidate) -> tuple[float, float]:
    """(rate, latency) of a machine of two cores with 16 clients."""
    busy = min(2.0, candidate.initial_workers * (candidate.threads or 1) ** 0.5)
    crowd = max(1.0, candidate.initial_workers * (candidate.threads or 1) / 2)
    batching = 1 + 0.25 * min(3, candidate.batch_size.bit_length() - 1)
    waits = candidate.max_batch_delay * (0.2 if candidate.batch_size <= 8 / candidate.initial_workers else 1.5)
    rate = 100 * busy * batching / crowd / (1 + waits / 100)
    return rate, 16 / rate * 1000 * 0.8 + waits


class SurfaceStack:
    """A stack with the figures of the surface; a rollout takes ten seconds, a round two."""

    def __init__(self, noise: float = 0.03, seed: int = 0, dies_after: int | None = None) -> None:
        self.now, self.served, self.measured = 0.0, [BEFORE], 0
        self._noise, self._draw, self._dies_after = noise, random.Random(seed), dies_after

    def clock(self) -> float:
        return self.now

    async def serve(self, candidate: Candidate) -> None:
        if self.served[-1] != candidate:
            self.now += 10
            self.served.append(candidate)

    async def measure(self, rounds: int) -> EvaluationResult:
        if self.measured == self._dies_after:
            raise KeyboardInterrupt
        self.measured += 1
        self.now += 2 * rounds
        rate, latency = surface(self.served[-1])
        factors = [self._draw.gauss(1, self._noise) for _ in range(rounds)]
        rates = tuple(rate * factor for factor in factors)
        return EvaluationResult(rates, tuple(latency / factor for factor in factors), 100, 0, 2**28, 1.5)


class Nobody:
    def evaluating(self, candidate: Candidate, number: int, purpose: str) -> None: ...
    def evaluated(self, evaluation: Evaluation, best: Candidate | None) -> None: ...


DEFAULTS = load().tune.model_dump()


def _tune(**changed: object) -> TuneSettings:
    return TuneSettings.model_validate(DEFAULTS | changed)


def _search(
    folder: Path, stack: SurfaceStack, *, goal: LatencyGoal = GOAL, minutes: float = 15, rounds: int = 3
) -> tuple[SearchEnd, EvaluationLog]:
    starts = (BEFORE, SPACE.guess(16, 2))
    with open_log(folder, "digits", {"goal": str(goal)}, BEFORE) as log:
        tuner = Search(stack, log, SPACE, goal, _tune(minutes=minutes, rounds=rounds), Nobody(), stack.clock)
        return asyncio.run(tuner.run(starts)), log


def _best_of_grid(goal: LatencyGoal) -> float:
    return max(rate for rate, latency in map(surface, SPACE.all()) if latency <= goal.limit_ms)


@pytest.mark.parametrize("seed", range(3))
def test_search_finds_best_of_grid_in_quarter_of_time(tmp_path: Path, seed: int) -> None:
    grid_minutes = sum(1 for _ in SPACE.all()) * (10 + 2 * 3) / 60
    found, log = _search(tmp_path, SurfaceStack(seed=seed), minutes=grid_minutes / 4)
    assert found.reached
    assert surface(found.best)[0] >= 0.95 * _best_of_grid(GOAL)
    assert log.spent_s <= grid_minutes / 4 * 60


def test_search_evaluates_serving_candidate_first_without_rollout(tmp_path: Path) -> None:
    stack = SurfaceStack()
    _search(tmp_path, stack, minutes=0.01)
    assert stack.served == [BEFORE]


def test_search_impossible_goal_returns_closest(tmp_path: Path) -> None:
    found, _ = _search(tmp_path, SurfaceStack(noise=0.0), goal=LatencyGoal.of("p99:1ms"))
    assert not found.reached
    least = min(surface(candidate)[1] for candidate in SPACE.all())
    assert surface(found.best)[1] <= 1.1 * least


def test_search_tight_goal_is_met(tmp_path: Path) -> None:
    tight = LatencyGoal.of("p90:46ms")
    found, log = _search(tmp_path, SurfaceStack(noise=0.01), goal=tight)
    assert found.reached
    assert surface(found.best)[1] <= 46 * 1.03
    assert log.results()[found.best].meets(tight)


@pytest.mark.parametrize("dies_after", [0, 4])
def test_search_killed_resumes_from_log(tmp_path: Path, dies_after: int) -> None:
    killed = SurfaceStack(dies_after=dies_after)
    with pytest.raises(KeyboardInterrupt):
        _search(tmp_path, killed)
    resumed = SurfaceStack(seed=1)
    found, log = _search(tmp_path, resumed)
    assert len(log.evaluations) == killed.measured + resumed.measured
    assert surface(found.best)[0] >= 0.95 * _best_of_grid(GOAL)


def _log_file(folder: Path) -> Path:
    return folder / "tune" / "digits.jsonl"


@pytest.mark.parametrize(
    ("spoil", "kept"),
    [
        pytest.param(lambda text: text[:-20], 3, id="the last line cut short"),
        pytest.param(lambda text: text + '{"look": {"sett', 4, id="half a line more"),
        pytest.param(lambda text: "", 0, id="empty"),
        pytest.param(lambda text: "garbage\n" + text, 0, id="garbage in front"),
        pytest.param(lambda text: text.replace("80", "81", 1), 0, id="another search"),
        pytest.param(lambda text: text + '{"end": true}\n', 0, id="finished"),
        pytest.param(lambda text: text.replace('"rates"', '"rate"'), 0, id="of another form"),
    ],
)
def test_evaluation_log_damaged_file_keeps_complete_lines(
    tmp_path: Path, spoil: Callable[[str], str], kept: int
) -> None:
    with pytest.raises(KeyboardInterrupt):
        _search(tmp_path, SurfaceStack(dies_after=4))
    _log_file(tmp_path).write_text(spoil(_log_file(tmp_path).read_text()))
    with open_log(tmp_path, "digits", {"goal": str(GOAL)}, BEFORE) as log:
        assert len(log.evaluations) == kept
        log.add(Evaluation(BEFORE, EvaluationResult((1.0,), (2.0,), 1, 0, None, None), 3.0))
    lines = [json.loads(line) for line in _log_file(tmp_path).read_text().splitlines()]
    assert len(lines) == kept + 2


def test_evaluation_log_second_search_is_refused(tmp_path: Path) -> None:
    with (
        open_log(tmp_path, "digits", {}, BEFORE),
        pytest.raises(LoadError, match="another search tunes digits"),
        open_log(tmp_path, "digits", {}, BEFORE),
    ):
        pass


def test_choose_equal_candidates_returns_cheaper() -> None:
    def result(rate: float) -> EvaluationResult:
        return EvaluationResult((rate, rate * 1.02, rate * 0.98, rate * 1.01), (50.0,) * 4, 100, 0, None, None)

    cheap, dear, slow = Candidate(1, 2, 4, 5, None), Candidate(4, 1, 4, 5, None), Candidate(1, 1, 1, 0, None)
    assert search.choose({dear: result(100.0), cheap: result(99.5), slow: result(80.0)}, GOAL) == cheap


def test_choose_never_returns_candidate_with_failures() -> None:
    good, lossy = Candidate(1, 1, 1, 0, None), Candidate(2, 1, 4, 0, None)
    results = {
        good: EvaluationResult((10.0,), (70.0,), 100, 0, None, None),
        lossy: EvaluationResult((99.0,), (9.0,), 100, 1, None, None),
    }
    assert search.choose(results, GOAL) == good
    assert search.pareto_front(results) == [good]


def test_pareto_front_has_unbeaten_candidates() -> None:
    settings = [Candidate(1, 1, size, 0, None) for size in (1, 2, 4, 8)]
    values = [(10.0, 10.0), (20.0, 30.0), (15.0, 40.0), (40.0, 80.0)]
    results = {
        s: EvaluationResult((rate,), (ms,), 1, 0, None, None) for s, (rate, ms) in zip(settings, values, strict=True)
    }
    assert search.pareto_front(results) == [settings[0], settings[1], settings[3]]


def test_pooled_merges_results_of_one_candidate() -> None:
    both = pooled(
        [EvaluationResult((1.0,), (5.0,), 10, 0, 4, 1.0), EvaluationResult((3.0,), (7.0,), 10, 1, None, None)]
    )
    assert both == EvaluationResult((1.0, 3.0), (5.0, 7.0), 20, 1, 4, 1.0)


@pytest.mark.parametrize(("text", "key", "limit"), [("p99:80ms", "p99", 80), ("p99.9:1.5s", "p999", 1500)])
def test_latency_goal_parses_percentile_and_limit(text: str, key: str, limit: float) -> None:
    assert (LatencyGoal.of(text).key, LatencyGoal.of(text).limit_ms) == (key, limit)


@pytest.mark.parametrize("text", ["p98:80ms", "80ms", "p99:80", "p99", "p99:-1ms", ""])
def test_tune_settings_invalid_goal_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="slo"):
        _tune(slo=text)


def test_neighbours_of_outside_candidate_are_inside() -> None:
    found = set(SPACE.neighbours(Candidate(3, None, 6, 7, None)))
    assert {candidate.initial_workers for candidate in found} >= {2, 4}
    assert {candidate.batch_size for candidate in found} >= {4, 8}
    assert all(candidate.coalesce is None for candidate in found)
