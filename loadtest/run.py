"""A whole run: look the models up, warm up, then round after round, watched from all sides."""

import asyncio
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from engines.engine_profile import EngineProfile
from errors import LoadError
from loadtest.client import Outcome, Send, sender, session_for
from loadtest.closed_loop import closed_loop
from loadtest.environment import Environments
from loadtest.extent import Extent
from loadtest.feed import Feed, InTurn
from loadtest.generator import Watch
from loadtest.machine import Machine
from loadtest.measure import Round, Tally
from loadtest.open_loop import arrivals, open_loop
from loadtest.plan import Plan, make_plan
from loadtest.report import Report
from loadtest.resources import Sampler
from loadtest.server import Servers, server_side
from loadtest.target import look_up
from settings.schema import StressSettings

OPEN_CONNECTIONS = 1024  # of an open loop; beyond it requests wait here, and that wait counts as latency


class Watcher(Protocol):
    """Whoever follows a run while it goes on."""

    def planned(self, plan: Plan) -> None:
        """The load is about to start."""

    def answered(self) -> None:
        """One more request of a round has its outcome."""

    def measured(self, one: Round) -> None:
        """A round is over."""


@dataclass(frozen=True)
class Surroundings:
    """What may be looked at beside the answers: the engine's metrics and, when it runs here, the stack's processes.

    `engine` tells how both are named, `headers` hold the gateway's API key, `configuration` goes into the report as it
    is.
    """

    engine_metrics: str | None = None
    engine: EngineProfile | None = None
    state: Path | None = None
    configuration: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


NOTHING = Surroundings()


async def run(stress: StressSettings, model: str, watcher: Watcher, around: Surroundings = NOTHING) -> Report:
    """Load `model`, or the models of the mix, and report. Cancelling it ends the load and reports what was measured.

    Raises LoadError or ConfigError in one line when there is nothing to load, or no warm-up request was answered.
    """
    connections = stress.clients if stress.rate is None else OPEN_CONNECTIONS
    async with session_for(connections, stress.timeout_s, around.headers) as session:
        targets = [await look_up(session, stress.url, name) for name in (stress.mix or (model,))]
        plan = make_plan(stress, targets)
        feed = _feed(plan)
        watcher.planned(plan)
        load = _Load(plan, sender(session, plan.target.url, plan.target.model), feed, watcher)
        try:
            return await _watched(load, Servers(plan.target.url, around.headers, around.engine_metrics), around)
        finally:
            if isinstance(feed, Environments):
                feed.close()


def _feed(plan: Plan) -> Feed:
    if plan.environment is None:
        return InTurn(plan.samples)
    observation = plan.target.observation or {}
    return Environments(plan.environment, plan.clients, plan.seed, observation.get("fields"), plan.target.model)


@dataclass(frozen=True)
class _Load:
    plan: Plan
    send: Send
    feed: Feed
    watcher: Watcher


async def _watched(load: _Load, servers: Servers, around: Surroundings) -> Report:
    started, machine = datetime.now(UTC), Machine.this()
    warmup = await _warm_up(load) if load.plan.warmup else None
    before = await servers.read()
    sampler = Sampler(around.state, around.engine)
    try:
        rounds = await _rounds(load) if warmup is None or warmup.complete else ()
    finally:
        usage = await asyncio.to_thread(sampler.stop)
    counted = await servers.since(before)
    sides = (server_side(target.model, counted, around.engine) for target in load.plan.targets)
    return Report(
        plan=load.plan,
        started=started,
        warmup=warmup,
        rounds=rounds,
        interrupted=any(not one.complete for one in (*rounds, *((warmup,) if warmup else ()))),
        servers=tuple(side for side in sides if side is not None),
        unread=counted.unread,
        usage=usage,
        machine=machine,
        configuration=around.configuration,
        episodes=tuple(load.feed.finished) if isinstance(load.feed, Environments) else (),
    )


async def _warm_up(load: _Load) -> Round:
    """Raises LoadError when no request of it was answered."""
    warmup = await _measure(load, Extent(requests=load.plan.warmup), lambda: None, rate=None)
    if warmup.complete and not warmup.items:
        kinds = ", ".join(f"{count} x {kind}" for kind, count in warmup.errors)
        raise LoadError(f"{load.plan.name}: no warm-up request was answered: {kinds}")
    return warmup


async def _rounds(load: _Load) -> tuple[Round, ...]:
    rounds: list[Round] = []
    while len(rounds) < load.plan.rounds and all(one.complete for one in rounds):
        seed = load.plan.seed + len(rounds)
        rounds.append(await _measure(load, load.plan.extent, load.watcher.answered, rate=load.plan.rate, seed=seed))
        load.watcher.measured(rounds[-1])
    return tuple(rounds)


async def _measure(
    load: _Load, extent: Extent, answered: Callable[[], None], *, rate: float | None, seed: int = 0
) -> Round:
    """One round. A cancellation ends it early instead of passing through: its figures so far are still true."""
    tally, watch = Tally(), Watch()

    def record(outcome: Outcome) -> None:
        tally.add(outcome)
        answered()

    complete = True
    try:
        if rate is None:
            await closed_loop(load.send, load.feed, clients=load.plan.clients, extent=extent, record=record)
        else:
            draw = random.Random(seed)  # noqa: S311 - moments of a load, nothing secret
            moments = arrivals(rate, load.plan.arrivals, draw)
            await open_loop(load.send, load.feed, moments, extent=extent, record=record)
    except asyncio.CancelledError:
        complete = False
    return tally.stop(complete=complete, generator=watch.stop(tally.lags_ms))
