"""What each part of the stack has used so far, read from /proc: processor seconds, memory, bytes on the network."""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.nodes import Nodes
from stack import processes

GATEWAY, FRONTEND, WORKER, EDGE = "gateway", "frontend", "worker", "edge"


@dataclass(frozen=True)
class Parts:
    """The processes of each part; looked up once, because finding them reads the environment of every process."""

    processes: Mapping[str, Sequence[psutil.Process]]

    @classmethod
    def of(cls, stack: Nodes) -> "Parts":
        """Gateway and edge, and of all engines the Java frontends and the Python workers."""
        found: dict[str, list[psutil.Process]] = {FRONTEND: [], WORKER: []}
        for name in (GATEWAY, EDGE):
            found[name] = processes.find(name, stack.folders)
        for engine in stack.engines:
            for process in engine.processes():
                with contextlib.suppress(psutil.Error):
                    works = any("model_service_worker" in word for word in process.cmdline())
                    found[WORKER if works else FRONTEND].append(process)
        return cls(found)

    def seconds(self) -> dict[str, float]:
        """Processor seconds, user and system, since each began."""
        return {part: sum(map(_seconds, each)) for part, each in self.processes.items()}

    def memory_mb(self, part: str) -> float:
        """Mean memory of its processes, shared pages counted by those who share them (PSS)."""
        each = self.processes[part]
        return sum(process.memory_full_info().pss for process in each) / 1e6 / max(1, len(each))


def used(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """What was used between two looks."""
    return {part: after[part] - before[part] for part in after}


def loopback_bytes() -> int:
    """Bytes that have gone over the loopback interface, headers included."""
    for line in Path("/proc/net/dev").read_text().splitlines():
        name, _, numbers = line.partition(":")
        if name.strip() == "lo":
            return int(numbers.split()[0])
    return 0


def _seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
