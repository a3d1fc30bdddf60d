"""Unpacked archives of one node: each once, however many workers use it, and gone when none does any more."""

import contextlib
import fcntl
import os
import shutil
import tempfile
from pathlib import Path

from archive import private_folder
from engines.ray.checked import unpack
from engines.ray.fetch import Source
from engines.ray.refusals import InvalidArchive
from engines.ray.table import BETWEEN, Registration

IN_USE = ".in-use"


class Unpacked:
    """The folder of one archive, which stays as long as this object holds it."""

    def __init__(self, registration: Registration, source: Source) -> None:
        """Fetch and unpack what is not there yet.

        Raises InvalidArchive when the store has other bytes now than those that were registered.
        """
        place = Path(tempfile.gettempdir()) / "archives"
        self.folder = place / f"{registration.application}{BETWEEN}{registration.sha256[:16]}"
        with private_folder(place, "unpacking") as work:
            _sweep(place, registration.application)
            if not self.folder.is_dir():
                self._make(registration, source, work)
            self._lock = _held(self.folder)

    def close(self) -> None:
        """Let go of it; whoever unpacks another archive next sweeps it away."""
        os.close(self._lock)

    def _make(self, registration: Registration, source: Source, work: Path) -> None:
        file, draft = work / "archive.mar", work / "unpacked"
        if source.fetch(registration.url, file) != registration.sha256:
            raise InvalidArchive(
                f"the store has another {registration.model} {registration.version} than was registered"
            )
        draft.mkdir()
        unpack(file, draft, source.limit)
        (draft / IN_USE).touch()
        draft.rename(self.folder)


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
