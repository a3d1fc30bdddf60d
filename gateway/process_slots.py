"""The folder that all processes of one gateway share for their common counts.

Every process holds a numbered slot of the folder for as long as it lives, by a lock that ends with it. A process that
takes over a slot continues its predecessor's files, so that no count is lost and no file is left over.
"""

import fcntl
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from tempfile import gettempdir

from prometheus_client import values
from prometheus_client.multiprocess import mark_process_dead

from errors import ConfigError

# The environment variable with the folder of prometheus_client's files.
SHARED = "PROMETHEUS_MULTIPROC_DIR"


@dataclass(frozen=True, slots=True)
class ProcessSlot:
    """One process's slot in the folder, among the other processes of its gateway."""

    server: int
    """Id of the process that starts them all."""
    folder: Path
    slot: int
    alone: bool
    """True when this process took the first slot."""
    _lock: int

    def bury(self) -> None:
        """Remove the gauges of processes that died from the sums."""
        with suppress(FileNotFoundError), _locked(self.folder.parent):
            for slot in _slots(self.folder) - {self.slot}:
                if _is_free(self.folder, slot):
                    _forget_gauges(self.folder, slot)

    def leave(self) -> None:
        """Release this process's slot."""
        with suppress(FileNotFoundError), _locked(self.folder.parent):
            os.close(self._lock)
            _forget_gauges(self.folder, self.slot)


def join(server: int, root: Path | None = None) -> ProcessSlot:
    """Take a slot among the processes that the process with this id has started.

    From here on this process's metrics are kept in the folder. Raises ConfigError when there can be no folder.
    """
    root = root or _root()
    try:
        _make(root)
        with _locked(root):
            _remove_left(root)
            folder = root / _name(server)
            folder.mkdir(mode=0o700, exist_ok=True)
            alone = _is_deserted(folder)
            slot, lock = next(_free_slots(folder))
            _forget_gauges(folder, slot)
    except OSError as error:
        raise ConfigError(
            f"the gateway's processes count together in {root}, which cannot be used: {error.strerror}; "
            "set TMPDIR to a folder that can be written"
        ) from None
    os.environ[SHARED] = str(folder)
    values.ValueClass = values.MultiProcessValue(lambda: slot)  # type: ignore[no-untyped-call]  # it has no hints
    return ProcessSlot(server, folder, slot, alone, lock)


def clean_up(server: int) -> None:
    """Remove the folder of a server that has ended."""
    folder = _root() / _name(server)
    with suppress(FileNotFoundError), _locked(folder.parent):
        if _is_deserted(folder):
            shutil.rmtree(folder, ignore_errors=True)


def _root() -> Path:
    return Path(gettempdir()) / f"marina-gateways-{os.getuid()}"


def _make(root: Path) -> None:
    """Make the folder of all gateways of this user. Raises OSError for one that another user owns or may write."""
    with suppress(FileExistsError):
        root.mkdir(mode=0o700)
    found = root.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise OSError(0, "it is not a folder that only this user can write")


@contextmanager
def _locked(root: Path) -> Iterator[None]:
    """Hold the lock under which slots are taken, read and released, for some file operations."""
    lock = os.open(root / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _free_slots(folder: Path) -> Iterator[tuple[int, int]]:
    for slot in count():
        lock = os.open(folder / f"{slot}.slot", os.O_RDWR | os.O_CREAT, 0o600)
        if _try(lock):
            yield slot, lock
        os.close(lock)


def _try(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _slots(folder: Path) -> set[int]:
    return {int(file.stem) for file in folder.glob("*.slot")}


def _is_free(folder: Path, slot: int) -> bool:
    lock = os.open(folder / f"{slot}.slot", os.O_RDWR)
    try:
        return _try(lock)
    finally:
        os.close(lock)


def _is_deserted(folder: Path) -> bool:
    return all(_is_free(folder, slot) for slot in _slots(folder))


def _forget_gauges(folder: Path, slot: int) -> None:
    mark_process_dead(slot, str(folder))  # type: ignore[no-untyped-call]  # as above


def _remove_left(root: Path) -> None:
    """Remove the folders of killed gateways: nobody holds a slot, and the server that started them is gone."""
    for folder in root.iterdir():
        if folder.is_dir():
            server = folder.name.partition("-")[0]
            if _is_deserted(folder) and (not server.isdigit() or _name(int(server)) != folder.name):
                shutil.rmtree(folder, ignore_errors=True)


def _name(server: int) -> str:
    """Return the name of a server's folder: process ids are used again, but not with the same start time."""
    try:
        # The program's name, in parentheses, may have spaces; this is the 22nd field of all.
        started = Path(f"/proc/{server}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        started = "ended"
    return f"{server}-{started}"
