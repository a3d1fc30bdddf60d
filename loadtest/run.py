"""A whole run: look up the models, warm up, run the rounds, and measure server and machine meanwhile."""

import asyncio
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import engines
from engines.engine_profile import EngineProfile
from errors import LoadError
from loadtest.feed import Environments, Feed, SampleCycle
from loadtest.load_client import RequestResult, Send, sender, session_for
from loadtest.loops import RoundLength, arrivals, closed_loop, open_loop
from loadtest.plan import LoadPlan, make_plan
from loadtest.report import LoadReport
from loadtest.resources import GeneratorMonitor, HostInfo, ResourceSampler
from loadtest.rounds import RoundResult, Tally
from loadtest.server_metrics import ServerCounters, server_side
from loadtest.target import look_up
from settings import Settings
from settings.schema import StressSettings

OPEN_CONNECTIONS = 1024  # of an open loop; beyond it requests wait here, and that wait counts as latency


class RunObserver(Protocol):
    """A receiver of the progress of a run."""

    def planned(self, plan: LoadPlan) -> None:
        """Receive the plan before the load starts."""

    def answered(self) -> None:
        """Receive the end of one more request."""

    def measured(self, one: RoundResult) -> None:
        """Receive a finished round."""


@dataclass(frozen=True)
class StackInfo:
    """The stack under load: addresses of the engine's metrics and, if it runs here, of its processes.

    `archives` is the folder of built and adopted archives. `headers` hold the gateway's API key; `configuration` goes
    into the report as it is.
    """

    engine_metrics: str | None = None
    engine: EngineProfile | None = None
    state: Path | None = None
    archives: Path | None = None
    configuration: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


UNKNOWN_STACK = StackInfo()


def stack_info(settings: Settings) -> StackInfo:
    """Return what the settings say about the stack under load.

    A gateway elsewhere gives UNKNOWN_STACK, because its engine, processes and API key are not those of the settings.
    Raises ConfigError when the key cannot be read.
    """
    if settings.stress.url.rstrip("/") != settings.gateway.url:
        return UNKNOWN_STACK
    engine, gateway = settings.engine, settings.gateway
    shown = {"processes", "admission", "coalesce", "cache", "upstream_connections", "deadline_ms"}
    return StackInfo(
        engine_metrics=engine.metrics_url,
        engine=engines.profile(settings),
        state=Path(settings.paths.state),
        archives=Path(settings.paths.archives),
        headers=gateway.key_headers(),
        configuration={
            "gateway": gateway.model_dump(mode="json", include=shown),
            "engine": engine.model_dump(mode="json", include={"name", "job_queue_size", "response_timeout_s"}),
        },
    )


@dataclass(frozen=True)
class _Load:
    plan: LoadPlan
    send: Send
    feed: Feed
    observer: RunObserver


async def run(
    stress: StressSettings, model: str, observer: RunObserver, stack: StackInfo = UNKNOWN_STACK
) -> LoadReport:
    """Load `model`, or the models of the mix. A cancellation ends the load and reports what was measured.

    Raises LoadError or ConfigError in one line when there is nothing to load, or no warm-up request was answered.
    """
    connections = stress.clients if stress.rate is None else OPEN_CONNECTIONS
    async with session_for(connections, stress.timeout_s, stack.headers) as session:
        targets = [await look_up(session, stress.url, name) for name in (stress.mix or (model,))]
        plan = make_plan(stress, targets, stack.archives)
        feed = _feed(plan)
        observer.planned(plan)
        load = _Load(plan, sender(session, plan.target.url, plan.target.model), feed, observer)
        try:
            return await _measured_load(load, stack)
        finally:
            if isinstance(feed, Environments):
                feed.close()


def _feed(plan: LoadPlan) -> Feed:
    stress, observation = plan.stress, plan.target.observation or {}
    if stress.environment is None:
        return SampleCycle(plan.samples)
    return Environments(stress.environment, stress.clients, stress.seed, observation.get("fields"), plan.target.model)


async def _measured_load(load: _Load, stack: StackInfo) -> LoadReport:
    started, host = datetime.now(UTC), HostInfo.this()
    counters = ServerCounters(load.plan.target.url, stack.headers, stack.engine_metrics)
    warmup = await _warm_up(load) if load.plan.stress.warmup else None
    before = await counters.read()
    sampler = ResourceSampler(stack.state, stack.engine)
    try:
        rounds = await _rounds(load) if warmup is None or warmup.complete else ()
    finally:
        usage = await asyncio.to_thread(sampler.stop)
    growth = await counters.since(before)
    sides = (server_side(target.model, growth, stack.engine) for target in load.plan.targets)
    return LoadReport(
        plan=load.plan,
        started=started,
        warmup=warmup,
        rounds=rounds,
        interrupted=any(not one.complete for one in (*rounds, *((warmup,) if warmup else ()))),
        servers=tuple(side for side in sides if side is not None),
        unread=growth.unread,
        usage=usage,
        machine=host,
        configuration=stack.configuration,
        episodes=tuple(load.feed.finished) if isinstance(load.feed, Environments) else (),
    )


async def _warm_up(load: _Load) -> RoundResult:
    """Send the warm-up requests. Raises LoadError when none of them was answered."""
    warmup = await _round(load, RoundLength(requests=load.plan.stress.warmup), lambda: None, rate=None)
    if warmup.complete and not warmup.items:
        kinds = ", ".join(f"{count} x {kind}" for kind, count in warmup.errors)
        raise LoadError(f"{load.plan.name}: no warm-up request was answered: {kinds}")
    return warmup


async def _rounds(load: _Load) -> tuple[RoundResult, ...]:
    rounds: list[RoundResult] = []
    while len(rounds) < load.plan.stress.rounds and all(one.complete for one in rounds):
        seed = load.plan.stress.seed + len(rounds)
        rounds.append(
            await _round(load, load.plan.length, load.observer.answered, rate=load.plan.stress.rate, seed=seed)
        )
        load.observer.measured(rounds[-1])
    return tuple(rounds)


async def _round(
    load: _Load, length: RoundLength, answered: Callable[[], None], *, rate: float | None, seed: int = 0
) -> RoundResult:
    """Run one round. A cancellation ends it early and is not passed on, because its figures so far are valid."""
    tally, monitor = Tally(), GeneratorMonitor()

    def record(result: RequestResult) -> None:
        tally.add(result)
        answered()

    complete = True
    try:
        if rate is None:
            await closed_loop(load.send, load.feed, clients=load.plan.stress.clients, length=length, record=record)
        else:
            draw = random.Random(seed)  # noqa: S311 - send times of a load, nothing secret
            send_times = arrivals(rate, load.plan.stress.arrivals, draw)
            await open_loop(load.send, load.feed, send_times, length=length, record=record)
    except asyncio.CancelledError:
        complete = False
    return tally.stop(complete=complete, generator=monitor.stop(tally.lags_ms))
