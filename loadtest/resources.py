"""CPU and memory of each part of a local stack while a load runs, read from the pids in its state folder."""

import contextlib
import os
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from engines.engine_profile import EngineProfile

EVERY_S = 1.0
GENERATOR = "load generator"


@dataclass(frozen=True)
class Reading:
    """One part at one moment: seconds since the run began, cores in use since the reading before, resident bytes."""

    at_s: float
    cores: float
    memory: int


Usage = Mapping[str, tuple[Reading, ...]]


@dataclass
class _Part:
    """CPU seconds of each process at the last look; a process that ended keeps what it had used."""

    cpu: dict[int, float] = field(default_factory=dict)
    at: float = 0.0
    readings: list[Reading] = field(default_factory=list)


class Sampler:
    """Looks once a second, in a thread of its own. Without a state folder it sees the load generator alone."""

    def __init__(self, state: Path | None, engine: EngineProfile | None = None) -> None:
        self._state = state
        self._engine = engine
        self._parts: dict[str, _Part] = {}
        self._began = time.perf_counter()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="resources", daemon=True)
        self._thread.start()

    def stop(self) -> Usage:
        """End and return the readings of each part."""
        self._stopping.set()
        self._thread.join()
        self._look()
        return {name: tuple(part.readings) for name, part in sorted(self._parts.items()) if part.readings}

    def _run(self) -> None:
        self._look()
        while not self._stopping.wait(EVERY_S):
            self._look()

    def _look(self) -> None:
        for name, processes in self._processes().items():
            now, part = time.perf_counter(), self._parts.setdefault(name, _Part())
            cpu, memory = {}, 0
            for process in processes:
                with contextlib.suppress(psutil.Error):
                    times = process.cpu_times()
                    cpu[process.pid] = times.user + times.system
                    memory += process.memory_info().rss
            if part.at and now > part.at:
                # A process that is new since the last look has used all its time since then.
                used = sum(max(0.0, seconds - part.cpu.get(pid, 0.0)) for pid, seconds in cpu.items())
                part.readings.append(Reading(now - self._began, used / (now - part.at), memory))
            part.cpu, part.at = cpu, now

    def _processes(self) -> dict[str, list[psutil.Process]]:
        found = {GENERATOR: [psutil.Process()]}
        for name, process in _parts(self._state) if self._state else ():
            with contextlib.suppress(psutil.Error):
                for each in (process, *process.children(recursive=True)):
                    found.setdefault(_split(name, each, self._engine), []).append(each)
        return found


def _parts(state: Path) -> Iterator[tuple[str, psutil.Process]]:
    """Name and first process of each running part; a number that has passed to a stranger is left out."""
    for path in sorted(state.glob("*.pid")):
        with contextlib.suppress(OSError, ValueError, psutil.Error):
            pid, created = path.read_text().split()
            process = psutil.Process(int(pid))
            if abs(process.create_time() - float(created)) < 1 and process.pid != os.getpid():
                yield path.stem, process


def workers_of(engine: EngineProfile) -> str:
    """What the workers of an engine are called here."""
    return f"{engine.part} workers"


def _split(part: str, process: psutil.Process, engine: EngineProfile | None) -> str:
    """An engine is its workers, known by their command line, and what stands in front of them."""
    if engine is None or part != engine.part:
        return part
    with contextlib.suppress(psutil.Error):
        if any(engine.worker_program in word for word in process.cmdline()):
            return workers_of(engine)
    return f"{part} frontend"
