"""`python -m bench.tune [--model digits] [--seconds S] [--write docs/performance.md]`: the search beside the full grid.

On a stack of its own, it rolls out and measures every candidate of a small grid. Then the search of `make tune` gets a
quarter of that time. At last the best candidates of both take turns, and a statistical test compares them.
"""

import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from bench import document, options
from bench.local_stack import environment, local_stack
from bench.tables import table
from loadtest.resources import HostInfo
from loadtest.round_stats import Significance, judge
from loadtest.tune import search
from loadtest.tune.evaluation_log import Evaluation, open_log
from loadtest.tune.evaluator import Evaluator
from loadtest.tune.goal import EvaluationResult, LatencyGoal, pooled
from loadtest.tune.search import Search
from loadtest.tune.space import Candidate, SearchSpace
from settings import Settings, load

SECTION = "tune"
GRID = ("tune.threads=[1,2]", "tune.max_batch_delay=[0,5]", "tune.coalesce=[1,128]")
LOAD = ("stress.clients=16", "stress.picture_size=[727,1200]")
TURNS = 4  # of the last comparison; each measurement has `tune.rounds` rounds
WANTED = 0.25


@dataclass(frozen=True)
class SearchBesideGrid:
    """Seconds and best candidate of the grid and of the search, and the measurements of both candidates in turn."""

    grid_s: float
    search_s: float
    settings: int
    tried: int
    grid_best: Candidate
    search_best: Candidate
    grid: EvaluationResult
    search: EvaluationResult
    verdict: Significance


def main(arguments: Sequence[str]) -> int:
    """Print the section; return 1 when the search found a worse candidate, or took longer than it may."""
    parser = options.parser("bench.tune", SECTION, rounds=3, seconds=1.5)
    parser.add_argument("--model", default="digits", choices=("digits", "cartpole"))
    parser.add_argument("--workers", type=options.count, nargs="+", default=[1, 2])
    parser.add_argument("--batch", type=options.count, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--slo", default="p99:500ms")
    given = parser.parse_args(arguments)
    overrides = (
        f"served_model={given.model}",
        *GRID,
        *LOAD,
        f"tune.workers={given.workers}".replace(" ", ""),
        f"tune.batch_size={given.batch}".replace(" ", ""),
        f"tune.slo='{given.slo}'",
        f"tune.seconds={given.seconds:g}",
        f"tune.rounds={given.rounds}",
        "stress.warmup=32",
    )
    # The environment has the stack's settings, for this process and for every upload that it starts.
    with local_stack({given.model: []}, []) as stack, environment(stack.env):
        result, settings = asyncio.run(_measure(overrides))
    text = section(result, settings, " ".join(["python -m bench.tune", *arguments]))
    document.publish(given.write, SECTION, text)
    return 0 if result.verdict.kind != "lower" and result.search_s <= WANTED * result.grid_s * 1.05 else 1


async def _measure(overrides: tuple[str, ...]) -> tuple[SearchBesideGrid, Settings]:
    settings = load(overrides)
    goal = LatencyGoal.of(settings.tune.slo)
    handed = tuple(one for one in overrides if one.startswith("served_model="))
    trials = Evaluator(settings, handed, goal, dict(os.environ))
    target = await trials.target()
    assert target.batching is not None
    before, machine = Candidate.serving(target.batching), HostInfo.this()
    space = SearchSpace.of(settings.tune, target, settings.stress.clients, machine.cores)
    grid, grid_s = await _grid(trials, space, settings.tune.rounds)
    await trials.serve(before)
    limited = settings.tune.model_copy(update={"minutes": WANTED * grid_s / 60})
    with tempfile.TemporaryDirectory() as folder, open_log(Path(folder), trials.model, {}, before) as log:
        starts = list(dict.fromkeys((before, space.guess(settings.stress.clients, machine.cores))))
        found = await Search(trials, log, space, goal, limited, Progress(), time.monotonic).run(starts)
        tried, search_s = len(log.results()), log.spent_s
    grid_best = search.choose(grid, goal)
    assert grid_best is not None
    theirs, ours = await _in_turn(trials, grid_best, found.best, settings.tune.rounds)
    verdict = judge(theirs.rates, ours.rates)
    compared = SearchBesideGrid(grid_s, search_s, len(grid), tried, grid_best, found.best, theirs, ours, verdict)
    return compared, settings


class Progress:
    """Prints a line for each evaluation on standard error."""

    def evaluating(self, candidate: Candidate, number: int, purpose: str) -> None:
        """Print the candidate."""
        print(f"{number}: {candidate} {purpose}", file=sys.stderr, flush=True)

    def evaluated(self, evaluation: Evaluation, best: Candidate | None) -> None:
        """Print the result."""
        print(f"    {evaluation.result.rate:.1f}/s, {evaluation.result.latency_ms:.0f} ms", file=sys.stderr, flush=True)


async def _grid(trials: Evaluator, space: SearchSpace, rounds: int) -> tuple[dict[Candidate, EvaluationResult], float]:
    found: dict[Candidate, EvaluationResult] = {}
    began, progress = time.monotonic(), Progress()
    for number, setting in enumerate(space.all(), 1):
        progress.evaluating(setting, number, "of the grid")
        start = time.monotonic()
        await trials.serve(setting)
        found[setting] = await trials.measure(rounds)
        progress.evaluated(Evaluation(setting, found[setting], time.monotonic() - start), None)
    return found, time.monotonic() - began


async def _in_turn(
    trials: Evaluator, first: Candidate, second: Candidate, rounds: int
) -> tuple[EvaluationResult, EvaluationResult]:
    """Measure both candidates in turn, so that drift of the machine affects both."""
    looks: dict[str, list[EvaluationResult]] = {"first": [], "second": []}
    for turn in range(TURNS):
        order = [("first", first), ("second", second)]
        for name, setting in order if turn % 2 else reversed(order):
            await trials.serve(setting)
            looks[name].append(await trials.measure(rounds))
    return pooled(looks["first"]), pooled(looks["second"])


def section(result: SearchBesideGrid, settings: Settings, command: str) -> str:
    """Return the section: grid and search, their best candidates in turn, and the test."""
    machine = HostInfo.this()
    share = result.search_s / result.grid_s
    kinds = {
        "open": "no difference beyond the noise",
        "too few": "too few rounds for a test",
        "higher": "the search's setting is better",
        "lower": "the grid's setting is better",
    }
    where = f"{machine.cpu}, {machine.cores} cores, {settings.served_model.model_name}"
    verdict = result.verdict
    bounds = f"95 % interval {verdict.low:.3f} to {verdict.high:.3f}"
    rows = (
        _row("full grid", result.settings, result.grid_s, result.grid_best, result.grid),
        _row("`make tune`", result.tried, result.search_s, result.search_best, result.search),
    )
    lines = [
        f"{datetime.now(UTC):%Y-%m-%d}, {where}, {settings.stress.clients} clients, goal {settings.tune.slo}:",
        f"`{command}`",
        "",
        table(("", "candidates", "time", "best candidate", "its median rate, in turn", "p99, in turn"), rows),
        "",
        f"Time: {share:.2f} of the grid's (wanted: at most {WANTED}).",
        f"Rate: {verdict.ratio:.3f} of the grid's best ({bounds}): {kinds[verdict.kind]}.",
    ]
    return "\n".join(lines)


def _row(name: str, tried: int, seconds: float, candidate: Candidate, measured: EvaluationResult) -> tuple[str, ...]:
    low, high = min(measured.rates), max(measured.rates)
    rate = f"{statistics.median(measured.rates):.1f}/s ({low:.1f} to {high:.1f})"
    return (name, str(tried), f"{seconds:.0f} s", str(candidate), rate, f"{measured.latency_ms:.0f} ms")


if __name__ == "__main__":
    options.program(main)
