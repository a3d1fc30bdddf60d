"""How often a key may ask, counted exactly and by all processes of the gateway together.

A ring keeps the moment of each of the last `amount` requests that were let through. The next one overwrites the oldest,
once that lies longer ago than the window: no window, wherever it begins, holds more than `amount`. Beyond 65,536 a
place of the ring stands for several requests, and a window may hold that many fewer.
"""

import fcntl
import mmap
import os
import struct
import time
from collections.abc import Callable
from pathlib import Path

from errors import ConfigError

PLACES = 65536
SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}

# How many were let through since the start; the ring of moments follows, in seconds of the machine's monotonic clock.
_LET_THROUGH = struct.Struct("<Q")
_MOMENT = struct.Struct("<d")


class RateLimit:
    """One key's rate, written as `100/second` or `100 per second`.

    The processes that are given the same `folder` and `name` count together; without a folder this one counts alone.
    Raises ConfigError when the folder cannot hold the ring.
    """

    def __init__(
        self, text: str, name: str, folder: Path | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        amount, _, unit = text.replace("per", "/").replace(" ", "").partition("/")
        self._words = f"{amount} per {unit}"
        self._window_s = SECONDS[unit]
        self._each = -(-int(amount) // PLACES)
        self._places = int(amount) // self._each
        self._clock = clock
        size = _LET_THROUGH.size + self._places * _MOMENT.size
        self._file = None if folder is None else _file(folder / f"{name}-{amount}-{unit}.rate", size)
        self._ring = mmap.mmap(-1 if self._file is None else self._file, size)

    def __str__(self) -> str:
        return self._words

    def wait_s(self) -> float:
        """Count one request and return 0.0; where it is one too many, return the seconds until there is room."""
        if self._file is None:
            return self._hit()
        # A lock of the process, which ends with it; what it protects is some stores into memory.
        fcntl.lockf(self._file, fcntl.LOCK_EX)
        try:
            return self._hit()
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN)

    def _hit(self) -> float:
        now = self._clock()
        (before,) = _LET_THROUGH.unpack_from(self._ring)
        at = _LET_THROUGH.size + before // self._each % self._places * _MOMENT.size
        if before >= self._each * self._places and before % self._each == 0:
            (oldest,) = _MOMENT.unpack_from(self._ring, at)
            if now - oldest < self._window_s:
                return float(oldest + self._window_s - now)
        # In this order a process that is killed in between has let one through that is counted with an older moment.
        _LET_THROUGH.pack_into(self._ring, 0, before + 1)
        _MOMENT.pack_into(self._ring, at, now)
        return 0.0


def _file(path: Path, size: int) -> int:
    """Open the file of a ring, of which all bytes are reserved: a full disk would end whoever writes to it later."""
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        os.posix_fallocate(file, 0, size)
    except OSError as error:
        os.close(file)
        raise ConfigError(
            f"{path} cannot be made, in which the gateway's processes count the requests of a key: {error.strerror}; "
            "make room there, or set TMPDIR to another folder"
        ) from None
    return file
