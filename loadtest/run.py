"""A whole run: look the model up, warm up, then round after round."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol

from errors import LoadError
from loadtest.client import Outcome, Send, sender, session_for
from loadtest.closed_loop import closed_loop
from loadtest.measure import Round, Tally
from loadtest.plan import Plan, make_plan
from loadtest.report import Report
from loadtest.target import look_up
from settings.schema import Stress


class Watcher(Protocol):
    """Whoever follows a run while it goes on."""

    def planned(self, plan: Plan) -> None:
        """The load is about to start."""

    def answered(self) -> None:
        """One more request of a round has its outcome."""

    def measured(self, one: Round) -> None:
        """A round is over."""


async def run(stress: Stress, model: str, watcher: Watcher) -> Report:
    """Load `model` and report. Cancelling it ends the load and gives the report of what was measured so far.

    Raises LoadError or ConfigError in one line when there is nothing to load, or no warm-up request was answered.
    """
    async with session_for(stress.clients, stress.timeout_s) as session:
        target = await look_up(session, stress.url, model)
        plan = make_plan(stress, target)
        watcher.planned(plan)
        return await _rounds(plan, sender(session, target.url, model), watcher)


async def _rounds(plan: Plan, send: Send, watcher: Watcher) -> Report:
    started = datetime.now(UTC)
    warmup = await _measure(plan, send, plan.warmup, lambda: None) if plan.warmup else None
    interrupted = warmup is not None and not warmup.complete
    if warmup is not None and warmup.complete and not warmup.items:
        kinds = ", ".join(f"{count} x {kind}" for kind, count in warmup.errors)
        raise LoadError(f"{plan.target.model}: no warm-up request was answered: {kinds}")
    rounds: list[Round] = []
    while not interrupted and len(rounds) < plan.rounds:
        one = await _measure(plan, send, plan.requests, watcher.answered)
        rounds.append(one)
        watcher.measured(one)
        interrupted = not one.complete
    return Report(plan, started, warmup, tuple(rounds), interrupted)


async def _measure(plan: Plan, send: Send, requests: int, answered: Callable[[], None]) -> Round:
    """One round. A cancellation ends it early instead of passing through: its figures so far are still true."""
    tally = Tally()

    def record(outcome: Outcome) -> None:
        tally.add(outcome)
        answered()

    try:
        await closed_loop(send, plan.samples, clients=plan.clients, requests=requests, record=record)
    except asyncio.CancelledError:
        return tally.stop(complete=False)
    return tally.stop(complete=True)
