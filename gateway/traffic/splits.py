"""Follows `traffic.json`, which names the share of a model's requests that a version on trial gets.

The file's inode, time and size are checked every `POLL_S`, and never within a request. A file that cannot be read
changes nothing; a missing file ends every split.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from deployments.traffic import TrafficSplit, read_traffic
from files import file_mark
from logs import event

_log = logging.getLogger(__name__)

POLL_S = 0.25


class TrafficSplits:
    """The splits in force, by model. `on_begin` is called with each new one."""

    def __init__(self, path: Path, on_begin: Callable[[str, TrafficSplit], None]) -> None:
        self._path = path
        self._on_begin = on_begin
        self._seen: tuple[int, int, int] | None = None
        self._problem: str | None = None
        self._written: Mapping[str, TrafficSplit] = {}
        self._in_force: dict[str, TrafficSplit] = {}
        self._ended: set[str] = set()
        self._timer: asyncio.TimerHandle | None = None

    def find(self, model: str) -> TrafficSplit | None:
        """Return the split of a model; None when one version gets all its requests."""
        return self._in_force.get(model)

    def end(self, model: str) -> None:
        """End a split whose version on trial the engine does not know, until the file is written again."""
        self._ended.add(model)
        self._in_force.pop(model, None)

    def start(self) -> None:
        """Read the file now and follow it from here on."""
        self.read()
        self._timer = asyncio.get_running_loop().call_later(POLL_S, self.start)

    def close(self) -> None:
        """Stop following the file."""
        if self._timer is not None:
            self._timer.cancel()

    def read(self) -> None:
        """Read the file if it has changed, and drop splits that have ended."""
        try:
            mark = file_mark(self._path)
            if mark is None:
                self._seen = None
                self._take({})
            elif mark != self._seen:
                self._take(read_traffic(self._path).models)
                self._seen = mark
            self._problem = None
        except (OSError, ValueError) as error:
            problem = type(error).__name__
            if problem != self._problem:
                event(_log, logging.ERROR, "traffic_unreadable", reason=problem)
            self._problem = problem
        now = time.time()
        self._in_force = {
            model: split for model, split in self._written.items() if split.until > now and model not in self._ended
        }

    def _take(self, models: Mapping[str, TrafficSplit]) -> None:
        for model, split in models.items():
            if self._written.get(model) != split:
                self._on_begin(model, split)
                event(_log, logging.INFO, "trial", model=model, version=split.trial, weight=split.weight)
        self._written = dict(models)
        self._ended.clear()
