"""What the processes of this engine write: one JSON object a line, and none for a request that went well."""

import io
import logging
import os
import re
import sys
from pathlib import Path

import logs
from handlers.json_log import JsonFormatter, model_context

COLOUR = re.compile(r"\x1b\[[0-9;]*m")
FILE = "MARINA_LOG_FILE"
"""Names the log of the part of the stack whose process this is; Ray hands it on to all that it starts."""


def structure_program() -> None:
    """Have a program write JSON to its standard error, and of Ray's and uvicorn's words the warnings only."""
    logs.configure(stream=sys.__stderr__, quiet=("ray", "ray.serve", "uvicorn", "uvicorn.error"))


def take_output() -> None:
    """Have what Ray prints from now on written as JSON as well; it prints in colours, of workers that died."""
    logging.raiseExceptions = False  # of a handler: they would be printed, and so come back
    sys.stdout, sys.stderr = _Lines(logging.INFO), _Lines(logging.WARNING)


class _Lines(io.TextIOBase):
    """A stream whose lines are logged."""

    def __init__(self, level: int) -> None:
        self._level = level
        self._rest = ""

    def write(self, text: str) -> int:
        """Log the lines that end here."""
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            if plain := COLOUR.sub("", line).strip():
                logging.getLogger("output").log(self._level, "%s", plain)
        return len(text)


def structure_replica(model: str | None = None, version: str | None = None) -> None:
    """Have a replica's warnings go into the stack's log, and on other machines into Ray's own of the process.

    A Front's are about no one model.
    """
    file = os.environ.get(FILE)
    there = file is not None and Path(file).parent.is_dir()
    handler = logging.FileHandler(file) if file is not None and there else logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter(model_context(model, version)))
    logging.getLogger().addHandler(handler)
    logging.captureWarnings(True)
    # Serve leaves tasks of its own behind whenever a replica goes; ours answer what they raise.
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
