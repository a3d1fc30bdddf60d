"""Follows the file that says which share of a model's requests a version under trial gets.

Looked at every `POLL_S` by its inode, time and size, beside the requests and never within one. A file that cannot be
read leaves what was read before; a file that is gone leaves nothing.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from deployments.traffic import TrafficSplit, read_traffic
from logs import event

_log = logging.getLogger(__name__)

POLL_S = 0.25

_Mark = tuple[int, int, int]


class Splits:
    """The splits that hold now, by model. `begun` is told of each new one."""

    def __init__(self, path: Path, begun: Callable[[str, TrafficSplit], None]) -> None:
        self._path = path
        self._begun = begun
        self._seen: _Mark | None = None
        self._read: Mapping[str, TrafficSplit] = {}
        self._now: dict[str, TrafficSplit] = {}
        self._gone: set[str] = set()
        self._timer: asyncio.TimerHandle | None = None

    def find(self, model: str) -> TrafficSplit | None:
        """The split of a model, None when all its requests go to one version."""
        return self._now.get(model)

    def gone(self, model: str) -> None:
        """The engine does not know the version under trial: it gets nothing more until the file is written anew."""
        self._gone.add(model)
        self._now.pop(model, None)

    def start(self) -> None:
        """Follows the file from now on."""
        self.look()
        self._timer = asyncio.get_running_loop().call_later(POLL_S, self.start)

    def close(self) -> None:
        """Follows it no more."""
        if self._timer is not None:
            self._timer.cancel()

    def look(self) -> None:
        """Reads the file if it is another than before, and lets go of splits that have ended."""
        try:
            found = self._path.stat()
            mark = (found.st_ino, found.st_mtime_ns, found.st_size)
            if mark != self._seen:
                self._seen = mark
                self._take(read_traffic(self._path).models)
        except FileNotFoundError:
            self._seen = None
            self._take({})
        except (OSError, ValueError) as error:
            event(_log, logging.ERROR, "traffic_unreadable", reason=type(error).__name__)
        now = time.time()
        self._now = {name: split for name, split in self._read.items() if split.until > now and name not in self._gone}

    def _take(self, models: Mapping[str, TrafficSplit]) -> None:
        for name, split in models.items():
            if self._read.get(name) != split:
                self._begun(name, split)
                event(_log, logging.INFO, "trial", model=name, version=split.trial, weight=split.weight)
        self._read = dict(models)
        self._gone.clear()
