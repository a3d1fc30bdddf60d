"""One look at a setting: brought to serve by the very program that a person would type, then put under load."""

import asyncio
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import aiohttp

import engines
from errors import LoadError
from loadtest.around import surroundings
from loadtest.measure import Round
from loadtest.plan import Plan
from loadtest.resources import GENERATOR, Usage, workers_of
from loadtest.run import run
from loadtest.summary import Percentiles
from loadtest.target import Target, look_up
from loadtest.tune.goal import Goal, Measured
from loadtest.tune.space import Setting
from settings import Settings
from settings.load import ROOT

SEEN_S = 15.0  # the gateway looks at the engine every two seconds; beyond this it never will
WATCH = "rollout.watch_s=0.5"  # a trial is watched by its own load


class Silent:
    """Nobody watches single rounds of a trial."""

    def planned(self, plan: Plan) -> None:
        """Nothing to say."""

    def answered(self) -> None:
        """Nothing to say."""

    def measured(self, one: Round) -> None:
        """Nothing to say."""


@dataclass(frozen=True)
class Trials:
    """The stack under search. `overrides` are those of the search, handed on to each upload."""

    settings: Settings
    overrides: tuple[str, ...]
    goal: Goal
    env: Mapping[str, str]

    @property
    def model(self) -> str:
        """The model that is tuned."""
        return self.settings.served_model.model_name

    async def target(self) -> Target:
        """What serves now. Raises LoadError."""
        headers = surroundings(self.settings).headers
        async with aiohttp.ClientSession(trust_env=False, headers=headers) as session:
            return await look_up(session, self.settings.stress.url, self.model)

    async def serve(self, setting: Setting) -> None:
        """Have the stack serve the model with this setting. Raises LoadError with the upload's last words."""
        if not await self._serves(setting):
            await self.upload(setting)
        deadline = time.monotonic() + SEEN_S
        while not await self._serves(setting):
            if time.monotonic() > deadline:
                raise LoadError(f"{self.model} was uploaded with {setting}, but the gateway never showed it")
            await asyncio.sleep(0.2)

    async def upload(self, setting: Setting, *more: str) -> list[str]:
        """Run upload_model.py; returns its lines. Raises LoadError with the last of them when it failed."""
        params = (f"served_model.request_params.{key}={_said(value)}" for key, value in asdict(setting).items())
        # In a session of its own: Ctrl-C ends the search, and the upload under way ends by itself, whole.
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(ROOT / "upload_model.py"),
            *self.overrides,
            *params,
            "rollout.tuned=false",
            WATCH,
            *more,
            env=dict(self.env),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            printed, _ = await process.communicate()
        except asyncio.CancelledError:
            await process.wait()
            raise
        lines = printed.decode(errors="replace").strip().splitlines() or ["it said nothing"]
        if process.returncode != 0:
            raise LoadError(f"the upload of {self.model} with {setting} failed: {lines[-1]}")
        return lines

    async def measure(self, rounds: int) -> Measured:
        """Put the load on what serves now. A round that was broken off, or a failed run, raises."""
        tune = self.settings.tune
        stress = self.settings.stress.model_copy(update={"rounds": rounds, "seconds": tune.seconds})
        report = await run(stress, self.model, Silent(), surroundings(self.settings))
        if report.interrupted:
            raise asyncio.CancelledError
        answered = [one for one in report.rounds if one.latencies_ms]
        if not answered:
            raise LoadError(f"{self.model} answered nothing: {report.errors}")
        return Measured(
            rates=tuple(one.rate for one in answered),
            latencies_ms=tuple(getattr(Percentiles.of(one.latencies_ms), self.goal.key) for one in answered),
            requests=report.requests,
            failed=sum(report.errors.values()),
            memory=_memory(report.usage, workers_of(engines.profile(self.settings))),
            cores=_cores(report.usage),
        )

    async def _serves(self, setting: Setting) -> bool:
        batching = (await self.target()).batching
        return batching is not None and Setting.serving(batching) == setting


def handed_on(arguments: Sequence[str]) -> tuple[str, ...]:
    """The overrides of a search that an upload understands and needs: all but its own groups'."""
    own = ("tune.", "stress.", "served_model.request_params.")
    return tuple(one for one in arguments if not one.lstrip("+~").startswith(own))


def environment() -> dict[str, str]:
    """That of the uploads."""
    return dict(os.environ)


def _said(value: int | None) -> str:
    return "null" if value is None else str(value)


def _memory(usage: Usage, workers: str) -> int | None:
    found = usage.get(workers)
    return max(one.memory for one in found) if found else None


def _cores(usage: Usage) -> float | None:
    parts = [found for name, found in usage.items() if name != GENERATOR]
    return sum(sum(one.cores for one in found) / len(found) for found in parts) if parts else None
