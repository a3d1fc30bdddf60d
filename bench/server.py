"""One server under test as processes of this machine: started, waited for, weighed, and ended with all it started.

Every process of a server carries a mark in its environment, so that also what has left its parent's session, as some
servers' helpers do, is counted and ended. Nothing is ended by its name.
"""

import contextlib
import os
import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from errors import MarinaError

MARK = "MARINA_BENCH_RUN"
START_S = 120.0
STOP_S = 10.0


class Failed(MarinaError):
    """A server does not start, does not answer, or answers wrongly; the text goes into its row."""


class Wrong(Failed):
    """It answers, but wrongly: there is nothing to wait for."""


@dataclass(frozen=True)
class Server:
    """A running server: the mark of its processes, and what it has said."""

    mark: str
    root: psutil.Process
    log: Path

    def processes(self) -> list[psutil.Process]:
        """All that belong to it, and not their helpers in the kernel."""
        found = {self.root.pid: self.root}
        with contextlib.suppress(psutil.Error):
            found |= {child.pid: child for child in self.root.children(recursive=True)}
        found |= {process.pid: process for process in _marked(self.mark)}
        return [process for process in found.values() if process.is_running()]

    def memory_mb(self) -> float:
        """Memory of all its processes, shared pages counted once among those that share them (PSS)."""
        total = 0
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                total += process.memory_full_info().pss
        return total / 1e6

    def wait(self, ready: Callable[[], bool], seconds: float = START_S) -> float:
        """Poll until `ready`; seconds since the server's start. Raises Failed with the end of its log."""
        began = self.root.create_time()
        deadline = time.monotonic() + seconds
        while not ready():
            if time.monotonic() > deadline:
                raise Failed(f"no right answer within {seconds:.0f} s: {self.last_words()}")
            if not self.root.is_running() or self.root.status() == psutil.STATUS_ZOMBIE:
                raise Failed(f"it ended: {self.last_words()}")
            time.sleep(0.05)
        return time.time() - began

    def last_words(self) -> str:
        """The last line of its log that says something."""
        lines = [line.strip() for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        return lines[-1][:200] if lines else "it said nothing"


@contextmanager
def serving(command: Sequence[str], env: Mapping[str, str], folder: Path) -> Iterator[Server]:
    """Start a server with its output in `folder`, and end every process of it afterwards, whatever happened."""
    folder.mkdir(parents=True, exist_ok=True)
    mark, log = uuid.uuid4().hex, folder / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, **env, MARK: mark},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    server = Server(mark, psutil.Process(process.pid), log)
    try:
        yield server
    finally:
        _end(server)
        process.wait()


def _end(server: Server) -> None:
    for kill in (signal.SIGTERM, signal.SIGKILL):
        # What has just been started by one that ends is seen by the next look.
        deadline = time.monotonic() + STOP_S
        while (left := _living(server)) and time.monotonic() < deadline:
            for process in left:
                with contextlib.suppress(psutil.Error):
                    process.send_signal(kill)
            psutil.wait_procs(left, timeout=2)


def _living(server: Server) -> list[psutil.Process]:
    living = []
    for process in server.processes():
        with contextlib.suppress(psutil.Error):
            if process.status() != psutil.STATUS_ZOMBIE:
                living.append(process)
    return living


def _marked(mark: str) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get(MARK) == mark:
                yield process
