"""The search: trials until the time is over or nothing more is to be expected, then the finalists again."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from loadtest.tune import search
from loadtest.tune.goal import Goal, Measured
from loadtest.tune.journal import Journal, Look
from loadtest.tune.space import Setting, Space
from settings.schema import TuneSettings


class Stack(Protocol):
    """Serves a setting, and measures what it serves; `loadtest.tune.trials.Trials` is one."""

    async def serve(self, setting: Setting) -> None:
        """Have it serve this setting."""

    async def measure(self, rounds: int) -> Measured:
        """So many rounds of load on it."""


class Progress(Protocol):
    """Follows a search."""

    def trying(self, setting: Setting, number: int, purpose: str) -> None:
        """A look begins."""

    def looked(self, look: Look, best: Setting | None) -> None:
        """A look is over; `best` is the best setting so far."""


@dataclass(frozen=True)
class Found:
    """What the search ended with. `best` keeps the goal if any setting does; `reason` says why it ended."""

    best: Setting
    reached: bool
    reason: str


class Tuner:
    """One search. The time that a resumed journal has spent already counts."""

    def __init__(
        self,
        stack: Stack,
        journal: Journal,
        space: Space,
        goal: Goal,
        tune: TuneSettings,
        progress: Progress,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stack, self._journal, self._space, self._goal = stack, journal, space, goal
        self._tune, self._progress, self._clock = tune, progress, clock

    async def run(self, starts: Sequence[Setting]) -> Found:
        """Search, measure the finalists again, choose. `starts` are tried first, whatever happens."""
        reason = await self._search(starts)
        await self._finals()
        trials = self._journal.trials()
        best = search.choose(trials, self._goal)
        assert best is not None  # the starts were tried
        return Found(best, trials[best].keeps(self._goal), reason)

    async def _search(self, starts: Sequence[Setting]) -> str:
        while True:
            trials = self._journal.trials()
            setting = search.next_trial(self._space, self._goal, trials, starts)
            if setting is None:
                return "nothing better is to be expected" if len(trials) > search.PATIENCE else "everything was tried"
            if trials and self._left_s() < self._look_s() + self._reserve_s():
                return f"the {self._tune.minutes:g} minutes are over"
            await self._look(setting, "")

    async def _finals(self) -> None:
        """In turn, each in another order than the time before: what drifts meanwhile drifts under all of them."""
        chosen = search.finalists(self._journal.trials(), self._goal, self._tune.finalists)
        if len(chosen) < 2:
            return
        for number in range(self._tune.repeats):
            for setting in chosen if number % 2 else reversed(chosen):
                if self._left_s() < self._look_s():
                    return
                await self._look(setting, f"finalist, again {number + 1} of {self._tune.repeats}")

    async def _look(self, setting: Setting, purpose: str) -> None:
        self._progress.trying(setting, len(self._journal.looks) + 1, purpose)
        began = self._clock()
        trials = self._journal.trials()
        await self._stack.serve(setting)
        measured = await self._stack.measure(self._tune.rounds)
        self._keep(Look(setting, measured, self._clock() - began))
        best = search.best_of(trials, self._goal)
        if not purpose and best is not None and measured.promising(trials[best], self._goal):
            self._progress.trying(setting, len(self._journal.looks) + 1, "promising, a longer look")
            began = self._clock()
            more = await self._stack.measure(self._tune.rounds)
            self._keep(Look(setting, more, self._clock() - began))

    def _keep(self, look: Look) -> None:
        self._journal.add(look)
        self._progress.looked(look, search.best_of(self._journal.trials(), self._goal))

    def _left_s(self) -> float:
        return self._tune.minutes * 60 - self._journal.spent_s

    def _look_s(self) -> float:
        """Seconds that a look takes with its rollout: the mean of those before."""
        settings = len({look.setting for look in self._journal.looks})
        return self._journal.spent_s / max(1, settings)

    def _reserve_s(self) -> float:
        """For one turn of the finalists, if that leaves most of the time to the search."""
        return min(2 * self._look_s(), 0.3 * self._tune.minutes * 60)
