"""Unpacked archives of one node: each once, however many workers use it, and gone when none does any more."""

import contextlib
import fcntl
import os
import shutil
import stat
import tempfile
from pathlib import Path

from archive.trust import unpack_verified
from engines.ray.fetch import Source
from engines.ray.refusals import InvalidArchive
from engines.ray.table import BETWEEN, Registration
from files import staging_folder

IN_USE = ".in-use"


class Unpacked:
    """The folder of one archive, which stays as long as this object holds it."""

    def __init__(self, registration: Registration, source: Source) -> None:
        """Fetch and unpack what is not there yet.

        Raises InvalidArchive when the store has other bytes now than those that were registered, and when somebody
        else owns the folder of unpacked archives.
        """
        place = _own(Path(tempfile.gettempdir()) / "archives")
        self.folder = place / f"{registration.application}{BETWEEN}{registration.sha256[:16]}"
        with staging_folder(place, "unpacking") as work:
            _sweep(place, registration.application)
            if not self.folder.is_dir():
                self._make(registration, source, work)
            self._lock = _held(self.folder)

    def close(self) -> None:
        """Let go of it; whoever unpacks another archive next sweeps it away."""
        os.close(self._lock)

    def _make(self, registration: Registration, source: Source, work: Path) -> None:
        file, draft = work / "archive.mar", work / "unpacked"
        source.fetch(registration.url, file, registration.sha256)
        draft.mkdir()
        unpack_verified(file, draft, source.limit)
        (draft / IN_USE).touch()
        draft.rename(self.folder)


def _own(place: Path) -> Path:
    """The folder, made when it is not there; what somebody else could have put there is never run."""
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = place.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise InvalidArchive(f"others may write to {place}, where archives are unpacked; set TMPDIR to another folder")
    return place


def _held(folder: Path) -> int:
    descriptor = os.open(folder / IN_USE, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    return descriptor


def _sweep(place: Path, kept: str) -> None:
    """Remove what no worker holds; the lock of a worker that was killed is gone with it."""
    for mark in place.glob(f"*/{IN_USE}"):
        if mark.parent.name.startswith(kept + BETWEEN):
            continue
        with contextlib.suppress(OSError), mark.open() as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(mark.parent, ignore_errors=True)
