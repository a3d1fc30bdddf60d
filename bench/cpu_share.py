"""A fixed share of the processors for a group of processes, kept by the kernel (cgroup quota, version 1 or 2).

So hosts that share one machine are as fast as hosts of that size, as long as the shares together are less than the
machine: what one uses, the others do not miss.
"""

import contextlib
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

PERIOD_US = 20_000  # short, so that a host of half a core works every 20 ms, not every 100
ROOT = Path("/sys/fs/cgroup")


class Unavailable(Exception):
    """No quota can be set on this machine; the text says why."""


@dataclass(frozen=True)
class Share:
    """A group; what is put into it, and what that starts, has the share together."""

    folder: Path

    def hold(self, processes: Iterable[psutil.Process]) -> None:
        """Put processes into it; one that has just ended is left out."""
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                (self.folder / "cgroup.procs").write_text(str(process.pid))


@contextlib.contextmanager
def share(cores: float) -> Iterator[Share]:
    """A group of processes that gets `cores` processors, e.g. 0.4. Raises Unavailable."""
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
    """The folder of this process's own group, in the hierarchy that has processor quotas."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if "cpu" in controllers.split(","):
            return ROOT / "cpu" / path.lstrip("/")
        if not controllers and (ROOT / "cgroup.controllers").exists():
            folder = ROOT / path.lstrip("/")
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
