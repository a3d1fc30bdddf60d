"""Keeps the stack up: a part that ended by itself is started again, and the engine gets its models back.

`python -m stack keep` is a part of the stack itself, the last to start and among the first to stop. It looks at the
processes that were started, not at their answers: a part that hangs is left to who watches it.
"""

import logging
import time
from collections.abc import Callable
from typing import NoReturn

from delivery.model_keeper import ModelKeeper
from errors import MarinaError
from settings import Settings
from stack import control, processes
from stack.folders import Folders
from stack.parts import Part, started_parts

log = logging.getLogger(__name__)

INTERVAL_S = 1.0
# A part that does not start is tried again after the first pause, then after the next, and ever after the last.
RETRY_S = (5.0, 15.0, 60.0)


class Parts:
    """The parts that should run: those that `stack` names and that were started."""

    def __init__(self, stack: Callable[[], tuple[Part, ...]], folders: Folders) -> None:
        self._stack = stack
        self._folders = folders
        self._down: set[str] = set()
        self._failures = 0
        self._rests_until = 0.0

    def turn(self) -> bool:
        """Start again what has ended; says whether anything was."""
        stack = self._stack()
        self._down |= {part.name for part in stack if processes.has_ended(part.name, self._folders)}
        missing = tuple(part for part in stack if part.name in self._down)
        if not missing or time.monotonic() < self._rests_until:
            return False
        log.warning("%s ended, and is started again", ", ".join(part.name for part in missing))
        try:
            started = control.up(missing, self._folders)
        except (MarinaError, OSError) as error:
            log.error("not started again yet: %s", error)
            self._rests_until = time.monotonic() + RETRY_S[min(self._failures, len(RETRY_S) - 1)]
            self._failures += 1
            return False
        self._down.clear()
        self._failures = 0
        return bool(started)


def keep(settings: Settings, overrides: tuple[str, ...]) -> NoReturn:
    """Keep parts and models until this process is asked to end, which raises KeyboardInterrupt."""
    parts = Parts(lambda: started_parts(settings, overrides), Folders.of(settings))
    models = ModelKeeper(settings)
    next_turn = 0.0
    with control.interruptible():
        while True:
            restarted = parts.turn()
            if restarted or time.monotonic() >= next_turn:
                models.turn()
                next_turn = time.monotonic() + models.pause_s
            time.sleep(INTERVAL_S)
