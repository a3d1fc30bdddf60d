"""A server under test as processes of this machine: start it, wait for it, weigh it, and end all that it started.

A mark in the environment identifies every process of a server, also those that left their parent's session, as the
helpers of some servers do. Nothing is ended by its name.
"""

import contextlib
import json
import os
import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from errors import MarinaError
from settings.load import ROOT

MARK = "MARINA_BENCH_RUN"
START_S = 120.0
STOP_S = 10.0


class MeasurementError(MarinaError):
    """A server does not start, does not answer, or answers wrongly; the table shows the text."""


class WrongAnswer(MeasurementError):
    """A server answers, but wrongly: waiting will not help."""


@dataclass(frozen=True)
class ServerProcess:
    """A running server: the mark of its processes, and its output."""

    mark: str
    root: psutil.Process
    log: Path

    def processes(self) -> list[psutil.Process]:
        """Return all of its processes that run."""
        found = {self.root.pid: self.root}
        with contextlib.suppress(psutil.Error):
            found |= {child.pid: child for child in self.root.children(recursive=True)}
        found |= {process.pid: process for process in _marked(self.mark)}
        return [process for process in found.values() if process.is_running()]

    def memory_mb(self) -> float:
        """Return the memory of all its processes; pages that they share count once (PSS)."""
        total = 0
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                total += process.memory_full_info().pss
        return total / 1e6

    def wait(self, ready: Callable[[], bool], seconds: float = START_S) -> float:
        """Poll until `ready`, and return the seconds since the start. Raises MeasurementError with the last output."""
        began = self.root.create_time()
        deadline = time.monotonic() + seconds
        while not ready():
            if time.monotonic() > deadline:
                raise MeasurementError(f"no right answer within {seconds:.0f} s: {self.last_words()}")
            if not self.root.is_running() or self.root.status() == psutil.STATUS_ZOMBIE:
                raise MeasurementError(f"it ended: {self.last_words()}")
            time.sleep(0.05)
        return time.time() - began

    def last_words(self) -> str:
        """Return the last line of its output that is not empty."""
        lines = [line.strip() for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        return lines[-1][:200] if lines else "it said nothing"


@contextmanager
def serving(command: Sequence[str], env: Mapping[str, str], folder: Path) -> Iterator[ServerProcess]:
    """Start a server that writes its output into `folder`, and end all its processes afterwards."""
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
    server = ServerProcess(mark, psutil.Process(process.pid), log)
    try:
        yield server
    finally:
        _end(server)
        process.wait()


def _end(server: ServerProcess) -> None:
    for kill in (signal.SIGTERM, signal.SIGKILL):
        # A process that is ending may have just started another one, which the next round finds.
        deadline = time.monotonic() + STOP_S
        while (left := _living(server)) and time.monotonic() < deadline:
            for process in left:
                with contextlib.suppress(psutil.Error):
                    process.send_signal(kill)
            psutil.wait_procs(left, timeout=2)


def _living(server: ServerProcess) -> list[psutil.Process]:
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


def processor_s(processes: Iterable[psutil.Process]) -> float:
    """Return the processor seconds of these processes so far, user and system; skip those that have ended."""
    total = 0.0
    for process in processes:
        with contextlib.suppress(psutil.Error):
            times = process.cpu_times()
            total += times.user + times.system
    return total


class LineProcess:
    """A Python program that answers each line of its input by a line of JSON; the first line comes unasked."""

    def __init__(self, words: Sequence[str], env: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            words,
            cwd=ROOT,
            env={**os.environ, **env},
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )

    def send(self, line: str) -> None:
        """Write one line; `receive` returns its answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()

    def receive(self) -> Any:
        """Return the next answer. Raises MeasurementError when the process has ended."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise MeasurementError(f"a process without a server ended with {self._process.wait()}")
        return json.loads(line)

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()
