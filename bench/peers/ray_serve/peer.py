"""Ray Serve: replicas on a Ray cluster of this one machine."""

import shutil
import tempfile
from pathlib import Path

from bench.peers.peer import Peer, Site, Start, script

# Ray's sockets must have short paths, shorter than a temporary folder in a temporary folder has.
FOLDER = "mbray"


def _folder(site: Site) -> Path:
    return Path(tempfile.gettempdir()) / f"{FOLDER}{site.port}"


def _start(site: Site) -> Start:
    quiet = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_SERVE_LOG_TO_STDERR": "0", "RAY_DISABLE_MEMORY_MONITOR": "1"}
    return Start(script(site, "ray_serve").command, {**quiet, "RAY_FOLDER": str(_folder(site))})


def _stop(site: Site) -> None:
    shutil.rmtree(_folder(site), ignore_errors=True)


PEERS = (Peer("Ray Serve", "ray_serve", "pictures", "/", _start, wanted=1.0, stop=_stop),)
