"""Processors, memory and network of each part of a stack: what it used, and a fixed share of the processors.

Figures come from /proc. The kernel keeps the shares (cgroup quota, version 1 or 2): hosts that share one machine are as
fast as hosts of that size, if the shares together are less than the machine.
"""

import contextlib
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.engine_nodes import NodeStack
from bench.server_process import processor_s
from stack import processes

GATEWAY, FRONTEND, WORKER, EDGE = "gateway", "frontend", "worker", "edge"
PERIOD_US = 20_000  # short, so that a host of half a core works every 20 ms, not every 100
CGROUPS = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Parts:
    """The processes of each part; found once, because the search reads the environment of every process."""

    processes: Mapping[str, Sequence[psutil.Process]]

    @classmethod
    def of(cls, stack: NodeStack) -> "Parts":
        """Find gateway and edge, and the Java frontends and Python workers of all engines."""
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
        """Return the processor seconds of each part so far, user and system."""
        return {part: processor_s(each) for part, each in self.processes.items()}

    def memory_mb(self, part: str) -> float:
        """Return the mean memory of its processes; those that share a page count it in equal parts (PSS)."""
        each = self.processes[part]
        return sum(process.memory_full_info().pss for process in each) / 1e6 / max(1, len(each))


def used(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """Return what each part used between two readings."""
    return {part: after[part] - before[part] for part in after}


def loopback_bytes() -> int:
    """Return the bytes that have gone over the loopback interface, headers included."""
    for line in Path("/proc/net/dev").read_text().splitlines():
        name, _, numbers = line.partition(":")
        if name.strip() == "lo":
            return int(numbers.split()[0])
    return 0


class Unavailable(Exception):
    """No quota can be set on this machine; the text says why."""


@dataclass(frozen=True)
class Share:
    """A group of processes that share the quota with all that they start."""

    folder: Path

    def hold(self, held: Iterable[psutil.Process]) -> None:
        """Put processes into the group; skip one that has just ended."""
        for process in held:
            with contextlib.suppress(ProcessLookupError):
                (self.folder / "cgroup.procs").write_text(str(process.pid))


@contextlib.contextmanager
def share(cores: float) -> Iterator[Share]:
    """Make a group of processes that gets `cores` processors, e.g. 0.4. Raises Unavailable."""
    try:
        parent = _parent()
        made = Share(parent / f"marina-{uuid.uuid4().hex[:12]}")
        made.folder.mkdir()
    except OSError as error:
        raise Unavailable(f"no group can be made: {error.strerror}") from None
    try:
        try:
            _limit(made.folder, round(cores * PERIOD_US))
        except OSError as error:
            raise Unavailable(f"no quota can be set: {error.strerror}") from None
        yield made
    finally:
        _remove(made.folder, parent)


def _parent() -> Path:
    """Return the folder of this process's own group, in the hierarchy that has processor quotas."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if "cpu" in controllers.split(","):
            return CGROUPS / "cpu" / path.lstrip("/")
        if not controllers and (CGROUPS / "cgroup.controllers").exists():
            folder = CGROUPS / path.lstrip("/")
            (folder / "cgroup.subtree_control").write_text("+cpu")
            return folder
    raise OSError(0, "there is no group for processors")


def _limit(folder: Path, quota_us: int) -> None:
    if (folder / "cpu.max").exists():
        (folder / "cpu.max").write_text(f"{quota_us} {PERIOD_US}")
        return
    (folder / "cpu.cfs_period_us").write_text(str(PERIOD_US))
    (folder / "cpu.cfs_quota_us").write_text(str(quota_us))


def _remove(folder: Path, parent: Path) -> None:
    for pid in (folder / "cgroup.procs").read_text().split():
        with contextlib.suppress(OSError):
            (parent / "cgroup.procs").write_text(pid)
    folder.rmdir()
