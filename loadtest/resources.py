"""The machine of a run: its facts, the CPU and memory of each service, and the load of the generator itself.

The generator is one process with one event loop. If that loop is busy all the time, or late when a response arrives,
the run measures the generator and not the server. Then its figures are a lower bound, and the report says so.
"""

import asyncio
import contextlib
import importlib.metadata
import os
import platform
import threading
import time
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from engines.engine_profile import EngineProfile
from loadtest.round_stats import percentile

SAMPLE_EVERY_S = 1.0
GENERATOR = "load generator"
LAG_EVERY_S = 0.02
BUSY = 0.85
"""Share of one core above which the generator's figures are doubtful, because responses wait inside it."""
LATE_MS = 10.0
LATE_SHARE = 0.25
"""Delay of the generator, as a share of the median latency, above which the latency is the generator's own."""


@dataclass(frozen=True)
class HostInfo:
    """A machine. `cores` are those that this process may use; `load` is the load average of the last minute."""

    system: str
    cpu: str
    cores: int
    memory: int
    load: float
    python: str
    aiohttp: str

    @classmethod
    def this(cls) -> "HostInfo":
        """Return the machine of this process."""
        return cls(
            system=f"{platform.system()} {platform.release()}",
            cpu=_cpu_name(),
            cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
            memory=psutil.virtual_memory().total,
            load=os.getloadavg()[0],
            python=platform.python_version(),
            aiohttp=importlib.metadata.version("aiohttp"),
        )


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


@dataclass(frozen=True)
class Reading:
    """One service at one time: seconds since the run began, cores in use since the last reading, resident bytes."""

    at_s: float
    cores: float
    memory: int


Usage = Mapping[str, tuple[Reading, ...]]


@dataclass
class _ServiceUsage:
    """CPU seconds of each process at the last reading, and all readings."""

    cpu: dict[int, float] = field(default_factory=dict)
    at: float = 0.0
    readings: list[Reading] = field(default_factory=list)


class ResourceSampler:
    """A thread that reads CPU and memory once a second, by the pid files in the state folder.

    Without a state folder it reads the load generator alone.
    """

    def __init__(self, state: Path | None, engine: EngineProfile | None = None) -> None:
        self._state = state
        self._engine = engine
        self._services: dict[str, _ServiceUsage] = {}
        self._began = time.perf_counter()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="resources", daemon=True)
        self._thread.start()

    def stop(self) -> Usage:
        """Stop, and return the readings of each service."""
        self._stopping.set()
        self._thread.join()
        self._read()
        return {name: tuple(each.readings) for name, each in sorted(self._services.items()) if each.readings}

    def _run(self) -> None:
        self._read()
        while not self._stopping.wait(SAMPLE_EVERY_S):
            self._read()

    def _read(self) -> None:
        for name, processes in self._processes().items():
            now, service = time.perf_counter(), self._services.setdefault(name, _ServiceUsage())
            cpu, memory = {}, 0
            for process in processes:
                with contextlib.suppress(psutil.Error):
                    times = process.cpu_times()
                    cpu[process.pid] = times.user + times.system
                    memory += process.memory_info().rss
            if service.at and now > service.at:
                # A process that is new since the last reading has used all its time since then.
                used = sum(max(0.0, seconds - service.cpu.get(pid, 0.0)) for pid, seconds in cpu.items())
                service.readings.append(Reading(now - self._began, used / (now - service.at), memory))
            service.cpu, service.at = cpu, now

    def _processes(self) -> dict[str, list[psutil.Process]]:
        found = {GENERATOR: [psutil.Process()]}
        for name, process in _running_services(self._state) if self._state else ():
            with contextlib.suppress(psutil.Error):
                for each in (process, *process.children(recursive=True)):
                    found.setdefault(_label(name, each, self._engine), []).append(each)
        return found


def _running_services(state: Path) -> Iterator[tuple[str, psutil.Process]]:
    """Yield name and main process of each running service; a pid that now belongs to another process is left out."""
    for path in sorted(state.glob("*.pid")):
        with contextlib.suppress(OSError, ValueError, psutil.Error):
            pid, created = path.read_text().split()
            process = psutil.Process(int(pid))
            if abs(process.create_time() - float(created)) < 1 and process.pid != os.getpid():
                yield path.stem, process


def workers_label(engine: EngineProfile) -> str:
    """Return the label of an engine's workers in the readings."""
    return f"{engine.part} workers"


def _label(service: str, process: psutil.Process, engine: EngineProfile | None) -> str:
    """Return the label of a process; an engine is split into its workers, by their command line, and its frontend."""
    if engine is None or service != engine.part:
        return service
    with contextlib.suppress(psutil.Error):
        if any(engine.worker_program in word for word in process.cmdline()):
            return workers_label(engine)
    return f"{service} frontend"


@dataclass(frozen=True)
class GeneratorUsage:
    """The generator during one round: share of one core, and p99 delays of its event loop and its requests in ms."""

    cpu_share: float
    loop_lag_ms: float
    send_lag_ms: float

    def doubt(self, median_ms: float | None) -> str | None:
        """Return why the figures of the round may be the generator's own; None when there is no reason."""
        if self.cpu_share > BUSY:
            return f"the generator used {self.cpu_share:.0%} of its core"
        late = max(self.loop_lag_ms, self.send_lag_ms)
        if late > LATE_MS and median_ms is not None and late > LATE_SHARE * median_ms:
            return f"the generator was up to {late:.0f} ms late (p99)"
        return None


class GeneratorMonitor:
    """A measurement of this process and its event loop, from its creation until `stop`."""

    def __init__(self) -> None:
        self._lags_ms = array("d")
        self._task = asyncio.create_task(self._measure_lag())
        self._wall, self._cpu = time.perf_counter(), time.thread_time()

    def stop(self, send_lags_ms: Sequence[float]) -> GeneratorUsage:
        """Return the usage since the start; `send_lags_ms` are the delays of the requests."""
        self._task.cancel()
        wall, cpu = time.perf_counter() - self._wall, time.thread_time() - self._cpu
        return GeneratorUsage(cpu / wall if wall > 0 else 0.0, _p99(self._lags_ms), _p99(send_lags_ms))

    async def _measure_lag(self) -> None:
        while True:
            before = time.perf_counter()
            await asyncio.sleep(LAG_EVERY_S)
            self._lags_ms.append(max(0.0, (time.perf_counter() - before - LAG_EVERY_S) * 1000))


def _p99(values: Sequence[float]) -> float:
    return percentile(sorted(values), 99) if values else 0.0
