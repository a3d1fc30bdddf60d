"""Prepares a process of the engine: what it logs, and how it keeps memory.

Each process logs one JSON object a line, and nothing for a successful request.
"""

import contextlib
import ctypes
import gc
import io
import logging
import os
import re
import sys
from pathlib import Path

import logs
from handlers.json_log import JsonFormatter, model_context

LOG_FILE = "MARINA_LOG_FILE"
"""Environment variable with the log file of this process's part of the stack; Ray passes it on to its children."""

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # glibc's names
_KEPT_BYTES = 256 * 2**20
_LARGEST_BYTES = 32 * 2**20


def log_program() -> None:
    """Log JSON to standard error, and of Ray's and uvicorn's messages only the warnings."""
    logs.configure(stream=sys.__stderr__, quiet=("ray", "ray.serve", "uvicorn", "uvicorn.error"))


def log_output() -> None:
    """Log all printed text from now on; Ray prints coloured messages about dead workers."""
    logging.raiseExceptions = False  # logging would print a handler's error, which would be logged again
    sys.stdout, sys.stderr = _LoggedLines(logging.INFO), _LoggedLines(logging.WARNING)


class _LoggedLines(io.TextIOBase):
    """A stream whose lines are logged."""

    def __init__(self, level: int) -> None:
        self._level = level
        self._rest = ""

    def write(self, text: str) -> int:
        """Log the lines that end here."""
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            if plain := _COLOUR.sub("", line).strip():
                logging.getLogger("output").log(self._level, "%s", plain)
        return len(text)


def log_replica(model: str | None = None, version: str | None = None) -> None:
    """Log a replica's warnings to the stack's log, or on another machine to Ray's log of this process.

    A Frontend's warnings concern no single model.
    """
    file = os.environ.get(LOG_FILE)
    there = file is not None and Path(file).parent.is_dir()
    handler = logging.FileHandler(file) if file is not None and there else logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter(model_context(model, version)))
    logging.getLogger().addHandler(handler)
    logging.captureWarnings(True)
    # Serve abandons internal tasks whenever a replica ends; the engine's tasks handle their own errors.
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)


def keep_memory() -> None:
    """Have glibc keep freed memory; elsewhere this does nothing.

    Memory that a thread other than the first frees goes back to the kernel at once, and the kernel clears and maps it
    again for the next request: hundreds of pages for each picture.
    """
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.mallopt(_M_MMAP_THRESHOLD, _LARGEST_BYTES)
        library.mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)


def freeze_memory() -> None:
    """Exclude all present objects from garbage collection, because they live as long as the process."""
    gc.collect()
    gc.freeze()
