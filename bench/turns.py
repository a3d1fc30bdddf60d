"""Sides of a comparison take turns, each round in another order: what disturbs the machine disturbs them alike."""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

Side = TypeVar("Side")


def turned(sides: Sequence[Side], number: int) -> list[Side]:
    """All sides in the order of round `number`, counted from 0: every round another one begins."""
    at = number % len(sides) if sides else 0
    return [*sides[at:], *sides[:at]]


def take_turns(sides: Mapping[str, Callable[[], float]], rounds: int, log: logging.Logger) -> dict[str, list[float]]:
    """What each side measured, once a round; each figure is logged as it comes."""
    found: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds):
        for name in turned(list(sides), number):
            found[name].append(sides[name]())
            log.info("round %d, %s: %.4g", number + 1, name, found[name][-1])
    return found
