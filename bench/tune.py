"""`python -m bench.tune [--model digits] [--seconds S] [--write docs/performance.md]`: the search beside the full grid.

On a stack of its own: every setting of a small grid is brought to serve and measured, then `make tune`'s search gets a
quarter of the time that took. Then the best of both are measured again in turn, and the verdict knows the noise.
"""

import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import commands
from bench import document, options
from bench.ground import ground
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
TURNS = 4  # of the last comparison; each look has `tune.rounds` rounds
WANTED = 0.25


@dataclass(frozen=True)
class Result:
    """Seconds of both ways, what each found, and what the two bests did in turn."""

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
    """Print the section, and write it where asked; 1 when the search found less, or took longer."""
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
    document.check(given.write, SECTION)
    with ExitStack() as stack:
        stage = stack.enter_context(ground({given.model: []}, []))
        # Settings come from the environment, in this process and in every upload that it starts.
        stack.enter_context(_environment(stage.env))
        result, settings = asyncio.run(_measure(overrides))
    text = section(result, settings, " ".join(["python -m bench.tune", *arguments]))
    sys.stdout.write(text)
    document.write(given.write, SECTION, text)
    return 0 if result.verdict.kind != "lower" and result.search_s <= WANTED * result.grid_s * 1.05 else 1


@contextmanager
def _environment(env: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(env)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


async def _measure(overrides: tuple[str, ...]) -> tuple[Result, Settings]:
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
    return Result(grid_s, search_s, len(grid), tried, grid_best, found.best, theirs, ours, verdict), settings


class Progress:
    """A line for each look, on standard error."""

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
    """Both settings again and again, so that what drifts drifts under both; one setting is compared with itself."""
    looks: dict[str, list[EvaluationResult]] = {"first": [], "second": []}
    for turn in range(TURNS):
        order = [("first", first), ("second", second)]
        for name, setting in order if turn % 2 else reversed(order):
            await trials.serve(setting)
            looks[name].append(await trials.measure(rounds))
    return pooled(looks["first"]), pooled(looks["second"])


def section(result: Result, settings: Settings, command: str) -> str:
    """What stands in the document: the two ways, their bests in turn, and the verdict."""
    machine = HostInfo.this()
    share = result.search_s / result.grid_s
    kinds = {
        "open": "no difference that the noise allows to tell",
        "too few": "too few rounds to tell",
        "higher": "the search's setting is better",
        "lower": "the grid's setting is better",
    }
    where = f"{machine.cpu}, {machine.cores} cores, {settings.served_model.model_name}"
    verdict = result.verdict
    bounds = f"95 of 100 within {verdict.low:.3f} to {verdict.high:.3f}"
    lines = [
        f"{datetime.now(UTC):%Y-%m-%d}, {where}, {settings.stress.clients} clients, goal {settings.tune.slo}:",
        f"`{command}`",
        "",
        "| | settings tried | time | best setting | median rate of it, in turn | p99, in turn |",
        "| --- | --- | --- | --- | --- | --- |",
        _row("full grid", result.settings, result.grid_s, result.grid_best, result.grid),
        _row("`make tune`", result.tried, result.search_s, result.search_best, result.search),
        "",
        f"Time: {share:.2f} of the grid's (wanted: at most {WANTED}).",
        f"Rate: {verdict.ratio:.3f} of the grid's best ({bounds}): {kinds[verdict.kind]}.",
    ]
    return "\n".join(lines) + "\n"


def _row(name: str, tried: int, seconds: float, setting: Candidate, measured: EvaluationResult) -> str:
    low, high = min(measured.rates), max(measured.rates)
    rate = f"{statistics.median(measured.rates):.1f}/s ({low:.1f} to {high:.1f})"
    return f"| {name} | {tried} | {seconds:.0f} s | {setting} | {rate} | {measured.latency_ms:.0f} ms |"


if __name__ == "__main__":
    sys.exit(commands.run(main, None, unwind=options.UNWOUND))
