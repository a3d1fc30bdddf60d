"""`python -m loadtest.tune served_model=NAME slo=p99:80ms [--dry-run] [hydra overrides]`: find the best settings.

Exit status: 0 when the goal is met, 1 when no candidate meets it or something failed, 130 after Ctrl-C.
"""

import asyncio
import contextlib
import hashlib
import json
import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import commands
from errors import ConfigError, LoadError, MarinaError, StoreError
from loadtest.pages import mib, ms
from loadtest.report_files import write_new
from loadtest.resources import HostInfo
from loadtest.target import LoadTarget
from loadtest.tune.evaluation_log import Evaluation, EvaluationLog, open_log
from loadtest.tune.evaluator import Evaluator, upload_overrides
from loadtest.tune.goal import LatencyGoal
from loadtest.tune.result import SearchResult, search_document, search_page, write_settings
from loadtest.tune.search import Search
from loadtest.tune.space import Candidate, SearchSpace
from settings import Settings, load
from settings.load import ROOT, tuned_file

USAGE = """\
usage: python -m loadtest.tune served_model=NAME slo=p99:80ms [--dry-run] [hydra overrides]

  slo=p99:80ms   the latency goal
  --dry-run      search, and leave the model with its present settings

exit status: 0 when the goal is met, 1 when no setting meets it or something failed, 130 after Ctrl-C
"""


class Screen:
    """The lines of a search: two for each evaluation."""

    def __init__(self, log: EvaluationLog, goal: LatencyGoal, unit: str, minutes: float) -> None:
        self._log, self._goal, self._unit, self._minutes = log, goal, unit, minutes

    def evaluating(self, candidate: Candidate, number: int, purpose: str) -> None:
        """Print the time and the candidate."""
        why = f" ({purpose})" if purpose else ""
        print(f"[{self._log.spent_s / 60:4.1f} of {self._minutes:g} min] {number}: {candidate}{why}", flush=True)

    def evaluated(self, evaluation: Evaluation, best: Candidate | None) -> None:
        """Print the result, and the best candidate so far if it is another one."""
        one = evaluation.result
        fault = f", {one.failed} of {one.requests} failed" if one.failed else ""
        missed = "" if one.meets(self._goal) else ", misses the goal"
        memory = f", {mib(one.memory)} in workers" if one.memory else ""
        figures = f"{one.rate:.1f} {self._unit}/s, {self._goal.name} {ms(one.latency_ms)}"
        print(f"    {figures}{fault}{missed}{memory}", flush=True)
        if best is not None and best != evaluation.candidate:
            top = self._log.results()[best]
            print(f"    best so far: {best}: {top.rate:.1f} {self._unit}/s, {ms(top.latency_ms)}", flush=True)


def main(arguments: Sequence[str]) -> int:
    """Search, print the result, and return the exit status."""
    try:
        given = [_full(one) for one in arguments]
        settings = load(given)
        with contextlib.suppress(asyncio.CancelledError):
            return asyncio.run(_tune(settings, tuple(given)))
    except MarinaError as error:
        print(f"tune: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        pass
    print("tune: interrupted; the same command goes on from here", file=sys.stderr)
    return 130


def _full(argument: str) -> str:
    """Return the short arguments of this program as Hydra overrides."""
    if argument == "--dry-run":
        return "tune.dry_run=true"
    if argument.startswith("slo="):
        return f"tune.slo='{argument.removeprefix('slo=')}'"
    return argument


async def _tune(settings: Settings, given: tuple[str, ...]) -> int:
    if settings.stress.mix:
        raise ConfigError("stress.mix: one model is tuned at a time")
    goal = LatencyGoal.of(settings.tune.slo)
    evaluator = Evaluator(settings, upload_overrides(given), goal, dict(os.environ))
    target = await evaluator.target()
    if target.batching is None:
        raise LoadError(f"{target.model} has no worker; `make upload_model MODEL={target.model}` starts one")
    machine, serving = HostInfo.this(), Candidate.serving(target.batching)
    space = SearchSpace.of(settings.tune, target, settings.stress.clients, machine.cores)
    searched = _searched(settings, space, machine)
    with open_log(Path(settings.paths.state), target.model, searched, serving) as log:
        if log.resumed:
            print(f"goes on after {len(log.evaluations)} looks in {log.spent_s / 60:.1f} minutes")
        else:
            await _check_archive(evaluator, serving)
        choices = sum(1 for _ in space.all())
        print(f"{target.model}: {_load(settings)}; wanted: a {goal}; {choices} settings to choose from", flush=True)
        screen = Screen(log, goal, target.unit, settings.tune.minutes)
        starts = list(dict.fromkeys((log.before, space.guess(settings.stress.clients, machine.cores))))
        try:
            end = await Search(evaluator, log, space, goal, settings.tune, screen).run(starts)
        except BaseException:
            # After any failure the stack must serve its previous settings again, not a candidate.
            await asyncio.shield(_restore(evaluator, log.before))
            raise
        log.end()
        result = SearchResult(
            model=target.model,
            unit=target.unit,
            goal=goal,
            load=_load(settings),
            end=end,
            results=log.results(),
            before=log.before,
            spent_s=log.spent_s,
            ended=datetime.now(UTC),
            machine=machine,
        )
        return await _finish(result, evaluator, settings, target)


async def _finish(search: SearchResult, evaluator: Evaluator, settings: Settings, target: LoadTarget) -> int:
    best, reached, dry = search.end.best, search.end.reached, settings.tune.dry_run
    print(f"The search ended: {search.end.reason}, after {len(search.results)} settings.")
    print(f"{'Best' if reached else 'No setting keeps the goal; the closest'}: {search.summary}")
    await evaluator.serve(best if reached and not dry else search.before)
    if reached and not dry:
        path = Path(settings.tune.file) if settings.tune.file else tuned_file(search.model)
        write_settings(search, path)
        print(f"{search.model} serves with it, and the next upload will: {path}")
    else:
        print(f"{search.model} serves as before: {search.before}")
        params = (f"served_model.request_params.{key}={value}" for key, value in best.chosen().items())
        print(f'  make upload_model MODEL={target.model} ARGS="{" ".join(params)}"')
    if settings.stress.reports is not None:
        print(f"Report: {_write(search, ROOT / settings.stress.reports)}")
    return 0 if reached else 1


async def _restore(evaluator: Evaluator, before: Candidate) -> None:
    try:
        await evaluator.serve(before)
    except MarinaError as error:
        print(f"tune: not put back to {before}: {error}", file=sys.stderr)


async def _check_archive(evaluator: Evaluator, serving: Candidate) -> None:
    """Raise LoadError when another archive serves than the one built last, because its results would differ."""
    plan = await evaluator.upload(serving, "rollout.dry_run=true")
    if not any("serves it already" in line for line in plan):
        raise LoadError(
            f"what serves is not the archive that was built last; `make upload_model MODEL={evaluator.model}` first"
        )


def _searched(settings: Settings, space: SearchSpace, machine: HostInfo) -> dict[str, Any]:
    """Return what must be the same for earlier evaluations to be comparable with new ones."""
    model = settings.served_model.model_name
    path = Path(settings.paths.archives) / f"{model}.mar"
    if not path.is_file():
        raise LoadError(f"no archive {path}; `make generate_mar MODEL={model}` builds it")
    return {
        "archive": hashlib.sha256(path.read_bytes()).hexdigest(),
        "space": asdict(space),
        "tune": settings.tune.model_dump(mode="json", include={"slo", "seconds"}),
        "stress": settings.stress.model_dump(
            mode="json", exclude={"rounds", "requests", "seconds", "report", "reports"}
        ),
        "machine": [machine.cpu, machine.cores],
    }


def _load(settings: Settings) -> str:
    stress = settings.stress
    how = f"{stress.clients} clients" if stress.rate is None else f"{stress.rate:g} requests/s ({stress.arrivals})"
    what = stress.inputs or stress.environment or "made inputs"
    return f"{how}, {what}, rounds of {settings.tune.seconds:g} s"


def _write(search: SearchResult, folder: Path) -> Path:
    stem = f"tune-{search.model}-{search.ended:%Y%m%d-%H%M%S}"
    try:
        write_new(folder / f"{stem}.json", json.dumps(search_document(search), indent=1) + "\n")
        write_new(folder / f"{stem}.html", search_page(search))
    except (StoreError, FileExistsError) as error:
        raise LoadError(f"the report is not written: {error}") from None
    return folder / f"{stem}.html"


if __name__ == "__main__":
    sys.exit(commands.run(main, USAGE, overrides=_full, level=logging.WARNING))
