"""Waits until a version that has lost its traffic has answered all it was given."""

import logging
import time

from engines.described import Request, Version
from engines.torchserve.workers import Asked, Failing, Unnamed, reach_all
from errors import EngineError

log = logging.getLogger(__name__)

# A frontend thread that had looked up the default just before the switch queues its request microseconds later.
SETTLE_S = 0.2
POLL_S = 0.1


def drain(engine: Asked, old: Version, probe: Request, timeout_s: float) -> bool:
    """True when the queue of `old` is empty and nothing is in flight; False, and a warning, after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    time.sleep(SETTLE_S)
    try:
        while reach_all(engine, old, probe, deadline):
            found = engine.find(old.model, old.version)
            if found is None or found.pending_requests == 0:
                return True
            time.sleep(POLL_S)
    except (Unnamed, Failing) as reason:
        return _drain_by_time(engine, old, deadline, reason)
    except EngineError as reason:
        log.warning("%s %s is not drained: %s", old.model, old.version, reason)
        return False
    log.warning("%s %s still holds requests after %g s", old.model, old.version, timeout_s)
    return False


def _drain_by_time(engine: Asked, old: Version, deadline: float, reason: EngineError) -> bool:
    """Without knowing its workers: an empty queue, then as long as a batch is usually delayed and answered."""
    log.warning("%s; waiting for its queue and a second more", reason)
    while (found := engine.find(old.model, old.version)) is not None and found.pending_requests:
        if time.monotonic() >= deadline:
            return False
        time.sleep(POLL_S)
    time.sleep(1 + old.max_batch_delay / 1000)
    return True
