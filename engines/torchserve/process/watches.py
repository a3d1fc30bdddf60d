"""The watches of the first process while TorchServe runs: memory kills, lost addresses, keys, room for archives.

TorchServe's own log shows none of these. A worker that the kernel kills for memory is only "lost" there. When a network
is disconnected and comes back with another address, TorchServe still listens on the old one.
"""

import contextlib
import logging
import os
import re
import socket
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from engines.torchserve.process.container_metrics import MIB, ContainerMemory, container_memory
from engines.torchserve.process.local_api import KEY_FILE, LocalApi, LocalKeys
from engines.torchserve.room import SETTING, RoomReport
from errors import DiskError, EngineError
from files import explained
from logs import event

_log = logging.getLogger(__name__)

KEY_BYTES = 4096  # more than a key file has
_SOCKET = re.compile(rb"\.ts\.sock\.(\d+)")  # on a worker's command line; the number is the worker's id
LIMIT = "MARINA_TS_MEMORY in docker/.env, or the container's memory limit elsewhere"


class MemoryWatch:
    """Logs each process of this container that the kernel has killed for memory."""

    def __init__(
        self, local: LocalApi, key_file: Path, read: Callable[[], ContainerMemory | None] = container_memory
    ) -> None:
        """Count kills from now on; `read` returns the container's memory."""
        self._local = local
        self._key_file = key_file
        self._read = read
        self._workers: dict[int, str] = {}
        found = read()
        self._kills = 0 if found is None else found.kills

    def turn(self) -> None:
        """Check once; without a memory limit, do nothing."""
        memory = self._read()
        if memory is None:
            return
        before, self._workers = self._workers, workers()
        if memory.kills <= self._kills:
            return
        killed, self._kills = memory.kills - self._kills, memory.kills
        event(
            _log,
            logging.ERROR,
            "killed_for_memory",
            processes=killed,
            workers=[self._named(pid, before[pid]) for pid in sorted(before.keys() - self._workers.keys())],
            limit_mib=memory.limit // 2**20,
            setting=LIMIT,
        )

    def _named(self, pid: int, worker: str) -> str:
        try:
            model = self._local.model_of(worker, LocalKeys.read(self._key_file))
        except EngineError:
            model = None
        return f"pid {pid}" if model is None else f"pid {pid} of {model}"


def workers() -> dict[int, str]:
    """Return the id of each worker by its process id."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            named = _SOCKET.search((folder / "cmdline").read_bytes())
        except OSError:
            continue
        if named is not None:
            found[int(folder.name)] = named[1].decode()
    return found


class AddressWatch:
    """Notices that this machine has another address than the one on which TorchServe listens."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        """Resolve the names of TorchServe's addresses, as TorchServe is about to do."""
        names = {urlsplit(environment.get(f"TS_{each}_ADDRESS", "")).hostname for each in _PORTS}
        self._bound = {name: found for name in names if name and (found := address(name)) is not None}

    def moved(self) -> str | None:
        """Return the name whose address on this machine has changed, with both addresses; None when none has.

        A missing address is not reported, because its network may come back with the same one.
        """
        for name, bound in self._bound.items():
            now = None if _is_here(bound) else address(name)
            if now is not None and _is_here(now):
                return f"{name} was {bound} and is {now}"
        return None


_PORTS = ("INFERENCE", "MANAGEMENT", "METRICS")


def address(name: str) -> str | None:
    """Return the IPv4 address of a name; None when it does not resolve."""
    try:
        return socket.gethostbyname(name)
    except OSError:
        return None


def _is_here(found: str) -> bool:
    """Return True when an interface of this machine has the address."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((found, 0))
        except OSError:
            return False
    return True


class KeyWatch:
    """Has TorchServe write its key file again after somebody removed it, or a full disk left it empty.

    A renewal on a full disk replaces the token and empties the file, so that nobody can renew it again. This process
    therefore remembers the key that renewals need.
    """

    def __init__(self, local: LocalApi, key_file: Path) -> None:
        """Read the file at the first turn after TorchServe has written it."""
        self._local = local
        self._key_file = key_file
        self.last: LocalKeys | None = None  # the keys in the file when it was last whole
        self._failures = 0

    def turn(self) -> None:
        """Check once. TorchServe rewrites the file in place, so a single failure means nothing."""
        try:
            self.last = LocalKeys.read(self._key_file)
            self._failures = 0
        except EngineError as error:
            self._failures += 1
            if self.last is not None and self._failures > 1:
                self._repair(self.last, str(error))

    def _repair(self, keys: LocalKeys, reason: str) -> None:
        if self._failures == 2:
            event(_log, logging.ERROR, "key_file_lost", reason=reason)
        with contextlib.suppress(DiskError, EngineError):  # no room yet, or TorchServe is about to end
            check_key_folder(self._key_file.parent)
            written = self._local.renew("management", keys)
            event(_log, logging.INFO, "key_file_written", again=written)


class RoomWatch:
    """Writes the room for archives beside the keys, where delivery reads it, and logs when there is none."""

    def __init__(self, key_folder: Path) -> None:
        """Write the first report at the first turn."""
        self._key_folder = key_folder
        self._told: RoomReport | None = None
        self._full = False

    def turn(self) -> None:
        """Check once; write no report when the room has changed by less than a megabyte."""
        folder = tempfile.gettempdir()
        found = os.statvfs(folder)
        report = RoomReport(folder, found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize)
        full, before = report.free < MIB, self._full
        self._full = full
        if full and not before:
            event(_log, logging.ERROR, "no_room_for_archives", folder=folder, size=report.size, setting=SETTING)
        if self._told is not None and abs(report.free - self._told.free) < MIB:
            return
        # The disk of the keys may be full as well; the next turn tries again.
        with contextlib.suppress(DiskError):
            report.write(self._key_folder)
            self._told = report


def check_key_folder(folder: Path) -> None:
    """Raise DiskError when TorchServe could not write its key file to `folder`."""
    probe = folder / f".room-{KEY_FILE}"
    try:
        with explained(folder / KEY_FILE, KEY_BYTES):
            probe.write_bytes(bytes(KEY_BYTES))
    finally:
        probe.unlink(missing_ok=True)
