"""Finds the folder into which TorchServe has unpacked an archive, and from which its workers run.

Each registration unpacks into its own folder below TEMP/models. That folder is a worker's working directory and
comes first on its path; no worker opens the archive itself again. The folder's name is random and the Management API
does not give it, so it is the only new folder. No other registration may run meanwhile.
"""

import fcntl
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from engines.engine_profile import ArchiveCopy

log = logging.getLogger(__name__)


def unreadable(folder: str | None, setting: str) -> str | None:
    """Return why the folder cannot be read from here, and what to do; None when it can."""
    remedy = f"make the folder in which it unpacks archives readable here, and name it as {setting}"
    if folder is None:
        return f"{setting} is not set: {remedy}"
    if not os.access(folder, os.R_OK | os.X_OK) or not Path(folder).is_dir():
        return f"{folder} cannot be read here: {remedy}"
    return None


@contextmanager
def one_registration(parent: Path) -> Iterator[Callable[[], ArchiveCopy]]:
    """Block other registrations, and yield a function that returns the folder of this one."""
    descriptor = os.open(parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.info("another registration is under way; waiting for it")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        before = _folders(parent)
        yield lambda: _found(parent, _folders(parent) - before)
    finally:
        os.close(descriptor)


def _folders(parent: Path) -> frozenset[str]:
    return frozenset(entry.name for entry in os.scandir(parent) if entry.is_dir(follow_symlinks=False))


def _found(parent: Path, new: frozenset[str]) -> ArchiveCopy:
    if len(new) == 1:
        return ArchiveCopy(folder=parent / next(iter(new)))
    if not new:
        return ArchiveCopy(hidden=f"nothing was unpacked in {parent}; it is where another engine unpacks")
    return ArchiveCopy(
        hidden=f"{len(new)} archives were unpacked in {parent} at once; try again when no other registration runs"
    )
