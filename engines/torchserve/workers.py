"""Reaches every worker of one version: to warm it, and to know that it has finished what it held before.

TorchServe hands requests to whichever worker is free and tells nowhere what a worker still holds. A worker takes its
next batch only after it has handed on the answers of the one before, and the queue is first in, first out. So a
version holds nothing from before a moment once each of its workers has answered a request sent after it. The kit's
handlers name their worker in `x-worker-pid`, the Management API lists the same numbers.
"""

import time
from collections import Counter
from typing import Protocol

from engines.described import Answer, Request, Version
from errors import EngineError

MOST_ERRORS = 20  # in a row; beyond, no worker is going to answer
PAUSE_S = 0.05  # before the next request, when the one before went to a worker that was reached already


class Asked(Protocol):
    """The part of a host that is needed to know of its workers."""

    def find(self, model: str, version: str) -> Version | None:
        """One version; None when it is not registered."""
        ...

    def predict(self, model: str, version: str, request: Request, *, timeout_s: float | None = None) -> Answer:
        """One prediction by exactly this version."""
        ...


class Failing(EngineError):
    """The version answers with nothing but errors."""


class Unnamed(EngineError):
    """The version's handler does not say which worker answered."""


def reach_all(engine: Asked, target: Version, probe: Request, deadline: float, times: int = 1) -> bool:
    """Send `probe` until every ready worker of `target` has answered `times` times; False when `deadline` is over.

    `deadline` is a time of `time.monotonic`. Raises Unnamed when answers do not name their worker,
    Failing when there are none.
    """
    reached: Counter[int] = Counter()
    errors = 0
    while True:
        found = engine.find(target.model, target.version)
        if found is None or not _waiting(found, reached, times):
            return True
        if time.monotonic() >= deadline:
            return False
        pid = _answering_worker(engine, target, probe, deadline)
        if pid is None or reached[pid] >= times:
            time.sleep(PAUSE_S)
        errors = errors + 1 if pid is None else 0
        if errors > MOST_ERRORS:
            raise Failing(f"{target.model} {target.version} gave {errors} errors in a row")
        if pid is not None:
            reached[pid] += 1


def _waiting(found: Version, reached: Counter[int], times: int) -> bool:
    if not found.pids:
        # What a dying worker held was answered with an error; what still waits, waits for its successor.
        return found.pending_requests > 0
    return any(reached[pid] < times for pid in found.pids)


def _answering_worker(engine: Asked, target: Version, probe: Request, deadline: float) -> int | None:
    """Which worker answered; None when the engine did, because no worker is there."""
    timeout = max(1.0, deadline - time.monotonic())
    answer = engine.predict(target.model, target.version, probe, timeout_s=timeout)
    if answer.worker is None and answer.status == 200:
        raise Unnamed(f"the handler of {target.model} {target.version} does not name its worker")
    return answer.worker
