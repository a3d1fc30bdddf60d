"""What a figure is worth nothing without: when, on which machine, with which versions, by which command."""

import importlib.metadata
import os
import platform
import shlex
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

PACKAGES = ("torch", "torchvision", "onnxruntime", "torchserve", "simplejpeg", "pillow", "fastapi", "uvicorn")


def heading(command: Sequence[str], measured: str) -> str:
    """One paragraph of Markdown above a table; `measured` says how long and how often was looked."""
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES if _installed(name))
    return (
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC · {processor()}, {cores()} cores, {memory_gb():.0f} GB · "
        f"{platform.system()} {platform.release()}, Python {platform.python_version()} · {versions}\n\n"
        f"`{shlex.join(command)}`: {measured}"
    )


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def processor() -> str:
    """The processor's name as Linux tells it."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def memory_gb() -> float:
    """Memory of the machine."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9


def _installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
