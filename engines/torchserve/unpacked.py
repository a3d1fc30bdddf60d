"""Where TorchServe has unpacked an archive, which is where its workers run from.

Each registration unpacks into a folder of its own below TEMP/models. A worker gets that folder as its working directory
and first on its path; the archive itself is not opened again. The folder's name is random and the Management API does
not tell it, so it is found as the one that was not there before. The interval between must hold one registration only.
"""

import fcntl
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from engines.described import Copy

log = logging.getLogger(__name__)


def unreadable(place: str | None, setting: str) -> str | None:
    """Return why the folder cannot be read from here, and what to do; None when it can."""
    remedy = f"make the folder in which it unpacks archives readable here, and name it as {setting}"
    if place is None:
        return f"{setting} is not set: {remedy}"
    if not os.access(place, os.R_OK | os.X_OK) or not Path(place).is_dir():
        return f"{place} cannot be read here: {remedy}"
    return None


@contextmanager
def one_registration(place: Path) -> Iterator[Callable[[], Copy]]:
    """Keep others from registering meanwhile; yields a function that finds the folder of this registration."""
    descriptor = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.info("another registration is under way; waiting for it")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        before = _folders(place)
        yield lambda: _found(place, _folders(place) - before)
    finally:
        os.close(descriptor)


def _folders(place: Path) -> frozenset[str]:
    return frozenset(entry.name for entry in os.scandir(place) if entry.is_dir(follow_symlinks=False))


def _found(place: Path, new: frozenset[str]) -> Copy:
    if len(new) == 1:
        return Copy(folder=place / next(iter(new)))
    if not new:
        return Copy(hidden=f"nothing was unpacked in {place}; it is where another engine unpacks")
    return Copy(hidden=f"{len(new)} archives were unpacked in {place} at once; try again when nobody else registers")
