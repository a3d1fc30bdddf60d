"""Reaches every worker of one version: to warm it up, and to prove that it holds no request from before.

TorchServe gives a request to whichever worker is free and does not report what a worker still holds. A worker takes its
next batch only after it has returned the responses of the one before, and the queue is first in, first out. So once
each worker has answered a request that was sent after a moment, the version holds no request from before it. The
project's handlers name their worker in `x-worker-pid`; the Management API lists the same process ids.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from engines.engine_profile import ModelVersion, PredictionResponse
from errors import EngineError

log = logging.getLogger(__name__)

MAX_ERRORS = 20  # in a row; after that, no worker is going to answer
PAUSE_S = 0.05  # before the next request, when the last one went to a worker that was already reached
# A frontend thread that had looked up the default just before the switch queues its request microseconds later.
SETTLE_S = 0.2
POLL_S = 0.1


class NoWorkerAnswers(EngineError):
    """The version answers with errors only."""


class WorkerNotNamed(EngineError):
    """The version's handler does not name the worker that answered."""


@dataclass(frozen=True)
class Probe:
    """One version under observation.

    `describe` returns its state, None once it is removed. `send` sends it a request and waits at most the given
    seconds.
    """

    version: ModelVersion
    describe: Callable[[], ModelVersion | None]
    send: Callable[[float], PredictionResponse]

    @property
    def name(self) -> str:
        """Model and version, for a message."""
        return f"{self.version.model} {self.version.version}"


def reach_all(probe: Probe, deadline: float, times: int = 1) -> bool:
    """Send requests until every ready worker has answered `times` times; return False when `deadline` has passed.

    `deadline` is a time of `time.monotonic`. Raises WorkerNotNamed when responses do not name their worker, and
    NoWorkerAnswers when all of them are errors.
    """
    reached: Counter[int] = Counter()
    errors = 0
    while True:
        found = probe.describe()
        if found is None or not _is_waiting(found, reached, times):
            return True
        if time.monotonic() >= deadline:
            return False
        pid = _answering_worker(probe, deadline)
        if pid is None or reached[pid] >= times:
            time.sleep(PAUSE_S)
        errors = errors + 1 if pid is None else 0
        if errors > MAX_ERRORS:
            raise NoWorkerAnswers(f"{probe.name} gave {errors} errors in a row")
        if pid is not None:
            reached[pid] += 1


def wait_until_drained(probe: Probe, timeout_s: float) -> bool:
    """Wait until the queue of a version is empty and no request is in flight.

    Returns False, after a warning, when that takes longer than `timeout_s`.
    """
    deadline = time.monotonic() + timeout_s
    time.sleep(SETTLE_S)
    try:
        while reach_all(probe, deadline):
            found = probe.describe()
            if found is None or found.pending_requests == 0:
                return True
            time.sleep(POLL_S)
    except (WorkerNotNamed, NoWorkerAnswers) as reason:
        return _drain_by_time(probe, deadline, reason)
    except EngineError as reason:
        log.warning("%s is not drained: %s", probe.name, reason)
        return False
    log.warning("%s still holds requests after %g s", probe.name, timeout_s)
    return False


def _is_waiting(found: ModelVersion, reached: Counter[int], times: int) -> bool:
    if not found.pids:
        # The requests of a dying worker were answered with an error; those in the queue wait for its successor.
        return found.pending_requests > 0
    return any(reached[pid] < times for pid in found.pids)


def _answering_worker(probe: Probe, deadline: float) -> int | None:
    """Return the process id of the worker that answered; None when the engine itself answered as there is none."""
    answer = probe.send(max(1.0, deadline - time.monotonic()))
    if answer.worker is None and answer.status == 200:
        raise WorkerNotNamed(f"the handler of {probe.name} does not name its worker")
    return answer.worker


def _drain_by_time(probe: Probe, deadline: float, reason: EngineError) -> bool:
    """Wait for an empty queue, and then as long as a batch is usually delayed and answered."""
    log.warning("%s; waiting for its queue and one more second", reason)
    while (found := probe.describe()) is not None and found.pending_requests:
        if time.monotonic() >= deadline:
            return False
        time.sleep(POLL_S)
    time.sleep(1 + min(probe.version.max_batch_delay / 1000, max(0.0, deadline - time.monotonic())))
    return True
