"""The stack under test, what it is sent, and what counts as right."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bench import answers, targets
from bench.client import Result
from bench.server import Failed
from bench.targets import Sample
from bench.turns import take_turns
from settings import Settings

_log = logging.getLogger("bench.gateway")

JPEG, JSON = "image/jpeg", "application/json"


@dataclass(frozen=True)
class Bench:
    """The stack under test and how long to look at it."""

    settings: Settings
    rounds: int
    seconds: float
    overload_seconds: float

    def log(self, line: str) -> None:
        """Tell how far it is."""
        _log.info(line)

    def take_turns(self, sides: Mapping[str, Callable[[], float]]) -> dict[str, list[float]]:
        """Each side once a round, each round in another order."""
        return take_turns(sides, self.rounds, _log)


def pictures(bench: Bench, model: str = "digits") -> list[Sample]:
    """The pictures with what TorchServe says to each when it is asked alone."""
    return answers.as_told(targets.engine(bench.settings, model), targets.pictures(), JPEG)


def states(bench: Bench) -> list[Sample]:
    """The same for the states."""
    return answers.as_told(targets.engine(bench.settings, "cartpole"), targets.states(), JSON)


def checked(result: Result, *refusals: str) -> Result:
    """The result when all of it is right; `refusals` are statuses that a slow machine may bring, and count for nothing.

    A gateway on a machine busy with other things refuses what it could not answer in time.
    """
    others = sum(result.statuses.get(each, 0) for each in refusals)
    if result.failed > others:
        raise Failed(f"answers that are not right: statuses {result.statuses}, wrong {result.wrong}")
    return result
