"""Marina itself, the whole path: gateway, TorchServe, worker. What a user writes is one file of settings."""

import os
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from bench.ground import PORTS
from bench.peers.peer import Peer, Site, Start
from errors import MarinaError
from settings.load import ROOT


def environment(site: Site) -> dict[str, str]:
    """Ports and folders of its own; the gateway is at the site's port."""
    name = site.folder.name
    state, archives = site.assets.folder / f"marina-{name}", site.assets.folder / f"marina-{name}-archives"
    own = {"MARINA_STATE": str(state), "MARINA_ARCHIVES": str(archives)}
    return own | {f"MARINA_{port}_PORT": str(site.port + at) for at, port in enumerate(PORTS)}


def _pictures(site: Site) -> Start:
    return _start(site, site.assets.words(site.level))


def _states(site: Site) -> Start:
    return _start(site, site.assets.policy_words)


def _start(site: Site, words: tuple[str, ...]) -> Start:
    env = environment(site)
    if not Path(env["MARINA_STATE"]).is_dir():
        Path(env["MARINA_ARCHIVES"]).mkdir(parents=True)
        _run(env, "-m", "serialize", *words)
        _run(env, "-m", "stack", "up", *words)
        try:
            _run(env, "upload_model.py", *words)
        finally:
            _run(env, "-m", "stack", "down", *words)
    up = shlex.join([sys.executable, "-m", "stack", "up", *words])
    # The stack's parts outlive the command that starts them; the shell stands for them until it is ended.
    return Start(("sh", "-c", f"cd {shlex.quote(str(ROOT))} && {up} && exec sleep 86400"), env)


def _stop(site: Site) -> None:
    _run(environment(site), "-m", "stack", "down")


def _run(env: Mapping[str, str], *arguments: str) -> None:
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **env}, capture_output=True, text=True, check=False)
    if done.returncode:
        raise MarinaError(f"{' '.join(arguments[:2])}: {(done.stderr or done.stdout).strip()[-300:]}")


PEERS = (
    Peer(
        "**Marina**",
        "marina",
        "pictures",
        "/models/weather/predict",
        _pictures,
        stop=_stop,
        user=("../../../config/served_model/weather.yaml",),
    ),
    Peer(
        "**Marina**",
        "marina",
        "states",
        "/predict",
        _states,
        stop=_stop,
        user=("../../../config/served_model/cartpole.yaml",),
    ),
)
