"""The commands of the two programs of a cluster, for the local stack and for containers; imports nothing of Ray."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from settings.schema import RayServeSettings


def head_command(engine: RayServeSettings, folder: Path) -> tuple[str, ...]:
    """Return the command of a head in the foreground; it ends every process of its cluster when it ends.

    `folder` holds Ray's sessions.
    """
    offered = () if engine.cpus is None else (f"--cpus={engine.cpus:g}",)
    board = () if engine.dashboard_port is None else (f"--dashboard-port={engine.dashboard_port}",)
    return (
        *(sys.executable, "-m", "engines.ray.head", f"--host={engine.host}", f"--port={engine.ray_port}"),
        *(f"--folder={os.fspath(folder)}", f"--object-store-bytes={engine.object_store_bytes}"),
        *offered,
        *board,
    )


def manager_command(overrides: Sequence[str]) -> tuple[str, ...]:
    """Return the command of the manager."""
    return (sys.executable, "-m", "engines.ray", *overrides)
