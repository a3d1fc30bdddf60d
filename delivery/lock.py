"""One rollout of a model at a time: a second one waits for the first."""

import logging
from contextlib import AbstractContextManager
from pathlib import Path

from files import file_lock
from settings import Settings

log = logging.getLogger(__name__)


def alone(model: str, settings: Settings) -> AbstractContextManager[None]:
    """Hold the model's lock. Raises StoreError, of one line, when the lock cannot be made."""
    path = Path(settings.paths.state) / "rollouts" / f"{model}.lock"
    return file_lock(path, on_wait=lambda: log.warning("another rollout of %s is under way; waiting for it", model))
