"""One rollout of a model at a time: a second waits for the first."""

import contextlib
import fcntl
import logging
from collections.abc import Iterator
from pathlib import Path

from archive.workplace import explained
from settings import Settings

log = logging.getLogger(__name__)


@contextlib.contextmanager
def alone(model: str, settings: Settings) -> Iterator[None]:
    """Hold the model's lock; a second run waits, and then finds its work done, or does its own.

    Raises StoreError, of one line, when the lock cannot be made.
    """
    path = Path(settings.paths.state) / "rollouts" / f"{model}.lock"
    with contextlib.ExitStack() as opened:
        with explained(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = opened.enter_context(path.open("w"))
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.warning("another rollout of %s is under way; waiting for it", model)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
