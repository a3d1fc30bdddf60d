"""What the processes of this engine write: one JSON object a line, and none for a request that went well."""

import logging
import os
import sys
from pathlib import Path

from handlers.worker_log import JsonFormatter

FILE = "MARINA_LOG_FILE"
"""Names the log of the part of the stack whose process this is; Ray hands it on to all that it starts."""


def structure_manager() -> None:
    """Have the Manager write JSON to its standard error, and of Ray's own words the warnings only."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.captureWarnings(True)
    for name in ("ray", "ray.serve"):
        rays = logging.getLogger(name)
        rays.handlers.clear()
        rays.propagate = True
        rays.setLevel(logging.WARNING)


def structure_replica(model: str | None = None, version: str | None = None) -> None:
    """Have a replica's warnings go into the stack's log, and on other machines into Ray's own of the process.

    A Front's are about no one model.
    """
    file = os.environ.get(FILE)
    there = file is not None and Path(file).parent.is_dir()
    handler = logging.FileHandler(file) if file is not None and there else logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter(model, version))
    logging.getLogger().addHandler(handler)
    logging.captureWarnings(True)
    # Serve leaves tasks of its own behind whenever a replica goes; ours answer what they raise.
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
