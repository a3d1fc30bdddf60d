"""What the figures were measured on, and with."""

import importlib.metadata
import os
import platform
from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True)
class Machine:
    """Cores are those that this process may use; `load` is the load average of the last minute, before the run."""

    system: str
    cpu: str
    cores: int
    memory: int
    load: float
    python: str
    aiohttp: str

    @classmethod
    def this(cls) -> "Machine":
        """The machine of this process."""
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
