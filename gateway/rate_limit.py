"""The rate limit of an API key, counted exactly and by all processes of the gateway together.

A ring keeps the time of each of the last `amount` accepted requests. The next one overwrites the oldest, once that is
older than the window: no window, wherever it begins, holds more than `amount`. Beyond 65,536, an entry of the ring
stands for several requests, and a window may hold that many fewer.
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

# The number of accepted requests; the ring of times follows, in seconds of the machine's monotonic clock.
_ACCEPTED = struct.Struct("<Q")
_TIME = struct.Struct("<d")


class RateLimit:
    """One key's rate, written as `100/second` or `100 per second`.

    Processes with the same `folder` and `name` count together; without a folder this one counts alone. Raises
    ConfigError when the folder cannot hold the ring.
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
        size = _ACCEPTED.size + self._places * _TIME.size
        self._file = None if folder is None else _file(folder / f"{name}-{amount}-{unit}.rate", size)
        self._ring = mmap.mmap(-1 if self._file is None else self._file, size)

    def __str__(self) -> str:
        return self._words

    def wait_s(self) -> float:
        """Count one request and return 0.0; over the rate, return the seconds until the next one may come."""
        if self._file is None:
            return self._hit()
        # The lock ends with the process; it protects a few writes to memory.
        fcntl.lockf(self._file, fcntl.LOCK_EX)
        try:
            return self._hit()
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN)

    def _hit(self) -> float:
        now = self._clock()
        (before,) = _ACCEPTED.unpack_from(self._ring)
        at = _ACCEPTED.size + before // self._each % self._places * _TIME.size
        if before >= self._each * self._places and before % self._each == 0:
            (oldest,) = _TIME.unpack_from(self._ring, at)
            if now - oldest < self._window_s:
                return float(oldest + self._window_s - now)
        # In this order, the request of a process that is killed in between still counts, but with an older time.
        _ACCEPTED.pack_into(self._ring, 0, before + 1)
        _TIME.pack_into(self._ring, at, now)
        return 0.0


def _file(path: Path, size: int) -> int:
    """Open the file of a ring and reserve all its bytes: on a full disk, a later write would kill the process."""
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        os.posix_fallocate(file, 0, size)
    except OSError as error:
        os.close(file)
        raise ConfigError(
            f"the gateway's processes count the requests of a key in {path}, which cannot be made: {error.strerror}; "
            "make room there, or set TMPDIR to another folder"
        ) from None
    return file
