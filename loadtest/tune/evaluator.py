"""The evaluation of a candidate: registered by the upload_model.py that people run, then measured under load."""

import asyncio
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import aiohttp

import engines
from errors import LoadError
from loadtest.plan import LoadPlan
from loadtest.resources import GENERATOR, Usage, workers_label
from loadtest.round_stats import Percentiles
from loadtest.rounds import RoundResult
from loadtest.run import run, stack_info
from loadtest.target import LoadTarget, look_up
from loadtest.tune.goal import EvaluationResult, LatencyGoal
from loadtest.tune.space import Candidate
from settings import Settings
from settings.load import ROOT

SEEN_S = 15.0  # the gateway refreshes its catalog every two seconds; beyond this it will not
WATCH = "rollout.watch_s=0.5"  # the load of the evaluation watches the candidate


class _NoObserver:
    def planned(self, plan: LoadPlan) -> None: ...
    def answered(self) -> None: ...
    def measured(self, one: RoundResult) -> None: ...


@dataclass(frozen=True)
class Evaluator:
    """The stack under search. `overrides` are passed on to each upload, which runs in the environment `env`."""

    settings: Settings
    overrides: tuple[str, ...]
    goal: LatencyGoal
    env: Mapping[str, str]

    @property
    def model(self) -> str:
        """The name of the model."""
        return self.settings.served_model.model_name

    async def target(self) -> LoadTarget:
        """Return what serves now. Raises LoadError."""
        headers = stack_info(self.settings).headers
        async with aiohttp.ClientSession(trust_env=False, headers=headers) as session:
            return await look_up(session, self.settings.stress.url, self.model)

    async def serve(self, candidate: Candidate) -> None:
        """Serve the model with this candidate. Raises LoadError with the last line of a failed upload."""
        if not await self._serves(candidate):
            await self.upload(candidate)
        deadline = time.monotonic() + SEEN_S
        while not await self._serves(candidate):
            if time.monotonic() > deadline:
                raise LoadError(f"{self.model} was uploaded with {candidate}, but the gateway never showed it")
            await asyncio.sleep(0.2)

    async def upload(self, candidate: Candidate, *more: str) -> list[str]:
        """Run upload_model.py and return its lines. Raises LoadError with the last of them when it fails."""
        values = ((key, "null" if value is None else value) for key, value in asdict(candidate).items())
        # In a session of its own: Ctrl-C ends the search, and the running upload completes.
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(ROOT / "upload_model.py"),
            *self.overrides,
            *(f"served_model.request_params.{key}={value}" for key, value in values),
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
        lines = printed.decode(errors="replace").strip().splitlines() or ["it printed nothing"]
        if process.returncode != 0:
            raise LoadError(f"the upload of {self.model} with {candidate} failed: {lines[-1]}")
        return lines

    async def measure(self, rounds: int) -> EvaluationResult:
        """Put the load on what serves now. Raises LoadError without an answer, CancelledError when interrupted."""
        tune = self.settings.tune
        stress = self.settings.stress.model_copy(update={"rounds": rounds, "seconds": tune.seconds})
        report = await run(stress, self.model, _NoObserver(), stack_info(self.settings))
        if report.interrupted:
            raise asyncio.CancelledError
        answered = [one for one in report.rounds if one.latencies_ms]
        if not answered:
            raise LoadError(f"{self.model} answered nothing: {report.errors}")
        return EvaluationResult(
            rates=tuple(one.rate for one in answered),
            latencies_ms=tuple(getattr(Percentiles.of(one.latencies_ms), self.goal.key) for one in answered),
            requests=report.requests,
            failed=sum(report.errors.values()),
            memory=_memory(report.usage, workers_label(engines.profile(self.settings))),
            cores=_cores(report.usage),
        )

    async def _serves(self, candidate: Candidate) -> bool:
        batching = (await self.target()).batching
        return batching is not None and Candidate.serving(batching) == candidate


def upload_overrides(arguments: Sequence[str]) -> tuple[str, ...]:
    """Return the overrides of a search that an upload needs: all but the groups of the search itself."""
    own = ("tune.", "stress.", "served_model.request_params.")
    return tuple(one for one in arguments if not one.lstrip("+~").startswith(own))


def _memory(usage: Usage, workers: str) -> int | None:
    found = usage.get(workers)
    return max(one.memory for one in found) if found else None


def _cores(usage: Usage) -> float | None:
    services = [found for name, found in usage.items() if name != GENERATOR]
    return sum(sum(one.cores for one in found) / len(found) for found in services) if services else None
