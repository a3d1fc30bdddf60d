"""`python -m loadtest.tune served_model=NAME slo=p99:80ms [--dry-run] [hydra overrides]`: finds the best settings.

Exit status: 0 when the goal is kept, 1 when no setting keeps it or something failed, 130 after Ctrl-C.
"""

import asyncio
import contextlib
import hashlib
import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import commands
from errors import ConfigError, LoadError, MarinaError, StoreError
from loadtest.files import write_new
from loadtest.html.words import mib, ms
from loadtest.machine import Machine
from loadtest.target import Target
from loadtest.tune.goal import Goal
from loadtest.tune.journal import Journal, Look, open_journal
from loadtest.tune.outcome import Outcome, as_json, tune_page, write_settings
from loadtest.tune.space import Setting, Space
from loadtest.tune.trials import Trials, environment, handed_on
from loadtest.tune.tuner import Tuner
from settings import Settings, load
from settings.load import ROOT, tuned_file

USAGE = """\
usage: python -m loadtest.tune served_model=NAME slo=p99:80ms [--dry-run] [hydra overrides]

  slo=p99:80ms   the latency goal
  --dry-run      search, and leave the model with its present settings

exit status: 0 when the goal is kept, 1 when no setting keeps it or something failed, 130 after Ctrl-C
"""


class Screen:
    """Prints a line for each look."""

    def __init__(self, journal: Journal, goal: Goal, unit: str, minutes: float) -> None:
        self._journal, self._goal, self._unit, self._minutes = journal, goal, unit, minutes

    def trying(self, setting: Setting, number: int, purpose: str) -> None:
        """Say what is tried."""
        spent = self._journal.spent_s / 60
        print(
            f"[{spent:4.1f} of {self._minutes:g} min] {number}: {setting}{f' ({purpose})' if purpose else ''}",
            flush=True,
        )

    def looked(self, look: Look, best: Setting | None) -> None:
        """Say what came of it, and what is the best so far."""
        one = look.measured
        fault = f", {one.failed} of {one.requests} failed" if one.failed else ""
        held = "" if one.keeps(self._goal) else ", misses the goal"
        cost = f", {mib(one.memory)} in workers" if one.memory else ""
        print(
            f"    {one.rate:.1f} {self._unit}/s, {self._goal.name} {ms(one.latency_ms)}{fault}{held}{cost}", flush=True
        )
        if best is not None and best != look.setting:
            top = self._journal.trials()[best]
            print(f"    best so far: {best}: {top.rate:.1f} {self._unit}/s, {ms(top.latency_ms)}", flush=True)


def main(arguments: Sequence[str]) -> int:
    """Search and print; returns the exit status."""
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
    """The short words of this program as Hydra overrides."""
    if argument == "--dry-run":
        return "tune.dry_run=true"
    if argument.startswith("slo="):
        return f"tune.slo='{argument.removeprefix('slo=')}'"
    return argument


async def _tune(settings: Settings, given: tuple[str, ...]) -> int:
    if settings.stress.mix:
        raise ConfigError("stress.mix: one model is tuned at a time")
    goal = Goal.of(settings.tune.slo)
    trials = Trials(settings, handed_on(given), goal, environment())
    target = await trials.target()
    if target.batching is None:
        raise LoadError(f"{target.model} has no worker; `make upload_model MODEL={target.model}` brings it to serve")
    machine, serving = Machine.this(), Setting.serving(target.batching)
    space = Space.of(settings.tune, target, settings.stress.clients, machine.cores)
    searched = _searched(settings, space, machine)
    with open_journal(Path(settings.paths.state), target.model, searched, serving) as journal:
        if journal.resumed:
            print(f"goes on after {len(journal.looks)} looks in {journal.spent_s / 60:.1f} minutes")
        else:
            await _check_archive(trials, serving)
        choices = sum(1 for _ in space.all())
        print(f"{target.model}: {_load(settings)}; wanted: a {goal}; {choices} settings to choose from", flush=True)
        screen = Screen(journal, goal, target.unit, settings.tune.minutes)
        starts = list(dict.fromkeys((journal.before, space.guess(settings.stress.clients, machine.cores))))
        try:
            found = await Tuner(trials, journal, space, goal, settings.tune, screen).run(starts)
        except BaseException:
            # Whatever happened: what is left behind is what was found, not a trial.
            await asyncio.shield(_put_back(trials, journal.before))
            raise
        journal.end()
        outcome = Outcome(
            model=target.model,
            unit=target.unit,
            goal=goal,
            load=_load(settings),
            found=found,
            trials=journal.trials(),
            before=journal.before,
            spent_s=journal.spent_s,
            ended=datetime.now(UTC),
            machine=machine,
        )
        return await _finish(outcome, trials, settings, target)


async def _finish(outcome: Outcome, trials: Trials, settings: Settings, target: Target) -> int:
    best, reached, dry = outcome.found.best, outcome.found.reached, settings.tune.dry_run
    print(f"The search ended: {outcome.found.reason}, after {len(outcome.trials)} settings.")
    print(f"{'Best' if reached else 'No setting keeps the goal; the closest'}: {outcome.words}")
    await trials.serve(best if reached and not dry else outcome.before)
    if reached and not dry:
        path = Path(settings.tune.file) if settings.tune.file else tuned_file(outcome.model)
        write_settings(outcome, path)
        print(f"{outcome.model} serves with it, and the next upload will: {path}")
    else:
        print(f"{outcome.model} serves as before: {outcome.before}")
        params = (f"served_model.request_params.{k}={v}" for k, v in asdict(best).items() if v is not None)
        print(f'  make upload_model MODEL={target.model} ARGS="{" ".join(params)}"')
    if settings.stress.reports is not None:
        print(f"Report: {_write(outcome, ROOT / settings.stress.reports)}")
    return 0 if reached else 1


async def _put_back(trials: Trials, before: Setting) -> None:
    try:
        await trials.serve(before)
    except MarinaError as error:
        print(f"tune: not put back to {before}: {error}", file=sys.stderr)


async def _check_archive(trials: Trials, serving: Setting) -> None:
    """Raise LoadError when the built archive is not what serves: then settings would be blamed for another content."""
    plan = await trials.upload(serving, "rollout.dry_run=true")
    if not any("serves it already" in line for line in plan):
        raise LoadError(
            f"what serves is not the archive that was built last; `make upload_model MODEL={trials.model}` first"
        )


def _searched(settings: Settings, space: Space, machine: Machine) -> dict[str, Any]:
    """What must agree for the looks of a journal to be comparable with new ones."""
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


def _write(outcome: Outcome, folder: Path) -> Path:
    stem = f"tune-{outcome.model}-{outcome.ended:%Y%m%d-%H%M%S}"
    try:
        write_new(folder / f"{stem}.json", json.dumps(as_json(outcome), indent=1) + "\n")
        write_new(folder / f"{stem}.html", tune_page(outcome))
    except (StoreError, FileExistsError) as error:
        raise LoadError(f"the report is not written: {error}") from None
    return folder / f"{stem}.html"


if __name__ == "__main__":
    sys.exit(commands.run(main, USAGE, overrides=_full, level=logging.WARNING))
