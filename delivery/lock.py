"""One rollout of a model at a time: a second waits for the first."""

import contextlib
import fcntl
import logging
from collections.abc import Iterator
from pathlib import Path

from settings import Settings

log = logging.getLogger(__name__)


@contextlib.contextmanager
def alone(model: str, settings: Settings) -> Iterator[None]:
    """Hold the model's lock; a second run waits, and then finds its work done, or does its own."""
    folder = Path(settings.paths.state) / "rollouts"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{model}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.warning("another rollout of %s is under way; waiting for it", model)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
