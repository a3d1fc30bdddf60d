"""Memory and disk of this container, as TorchServe's system metrics.

    TorchServe ──every metric_time_interval──▶ this file, as a program ──lines──▶ TorchServe's metrics port

TorchServe's own collector reads the host's memory and the disk of the root folder, and cannot see the container's limit
and its volumes. This program prints those figures with the level `Container`, and then runs TorchServe's collector.
"""

import os
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
FOLDERS = "MARINA_TS_FOLDERS"  # the folders to measure, separated by colons
MIB = 2**20


@dataclass(frozen=True, slots=True)
class ContainerMemory:
    """The memory of one control group in bytes, and how many of its processes the kernel has killed for memory."""

    used: int  # without file caches, which the kernel drops first
    limit: int
    kills: int


def container_memory(root: Path = CGROUPS) -> ContainerMemory | None:
    """Return this container's memory; None without a limit.

    Version 1 and version 2 of control groups have their files in different places; a container sees its own group.
    """
    try:
        if (root / "memory.max").exists():
            return _read(root, "memory.current", "memory.max", "inactive_file", "memory.events")
        group = root / "memory"
        return _read(
            group, "memory.usage_in_bytes", "memory.limit_in_bytes", "total_inactive_file", "memory.oom_control"
        )
    except (OSError, ValueError, LookupError):
        return None


def _read(group: Path, usage: str, limit: str, cached: str, kills: str) -> ContainerMemory | None:
    allowed = (group / limit).read_text().strip()
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if allowed == "max" or int(allowed) >= machine:  # version 1 has a very large number for "no limit"
        return None
    used = int((group / usage).read_text()) - _table(group / "memory.stat")[cached]
    return ContainerMemory(max(0, used), int(allowed), _table(group / kills).get("oom_kill", 0))


def _table(path: Path) -> dict[str, int]:
    return {name: int(value) for name, value in (line.split() for line in path.read_text().splitlines())}


def lines(folders: list[str], memory: ContainerMemory | None) -> Iterator[str]:
    """Yield one line in TorchServe's format for each figure."""
    if memory is not None:
        yield _line("MemoryUsed.Megabytes", memory.used / MIB)
        yield _line("MemoryAvailable.Megabytes", (memory.limit - memory.used) / MIB)
        yield _line("MemoryUtilization.Percent", 100 * memory.used / memory.limit)
        yield _line("OutOfMemoryKills.Count", memory.kills)
    for folder in folders:
        try:
            found = os.statvfs(folder)
        except OSError:
            continue
        volume = {"Volume": folder}
        yield _line("VolumeAvailable.Megabytes", found.f_bavail * found.f_frsize / MIB, volume)
        if found.f_blocks:
            yield _line("VolumeUtilization.Percent", 100 - 100 * found.f_bavail / found.f_blocks, volume)


def _line(name: str, value: float, more: Mapping[str, str] | None = None) -> str:
    dimensions = ",".join(f"{key}:{each}" for key, each in {**(more or {}), "Level": "Container"}.items())
    return f"{name}:{value:.1f}|#{dimensions}|#hostname:{socket.gethostname()},{int(time.time())}"


def main() -> None:
    """Print the figures of this container, those of TorchServe's collector, and the memory of each worker."""
    # Imported here: the first process reads the memory as well, without TorchServe's package.
    import logging

    from ts.metrics import process_memory_metric, system_metrics

    logging.basicConfig(stream=sys.stdout, format="%(message)s", level=logging.INFO)
    for line in lines(os.environ.get(FOLDERS, "").split(":"), container_memory()):
        logging.info(line)
    # TorchServe's collector ends the figures with an empty line. It asks only whether there is a GPU.
    system_metrics.collect_all(system_metrics, int(any(Path("/dev").glob("nvidia[0-9]*"))))
    process_memory_metric.check_process_mem_usage(sys.stdin)


if __name__ == "__main__":
    main()
