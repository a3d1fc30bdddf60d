"""Brings a running edge to the version that a rollout has just made serve. Imports nothing heavy."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

from errors import EdgeError
from settings import Settings
from settings.load import ROOT

log = logging.getLogger(__name__)


def follow(model: str, version: str, archive: Path, settings: Settings) -> bool:
    """Have the edge answer with `archive`, the published one of `version`; nginx reloads and loses no request.

    Call it after the engine serves the version, and at a rollback as well. Returns False, and does nothing, when no
    edge of this stack runs or it serves another model. Raises EdgeError with the reason when the edge stays behind: it
    then answers with its old version, and the engine with the new one.
    """
    folder = Path(settings.paths.state) / "edge"
    serving = _serving(folder)
    if serving is None or serving["model"] != model or not _runs(folder):
        return False
    command = [sys.executable, "-m", "edge", "follow", str(archive.absolute())]
    # A process of its own: reading weights takes torch, which a rollout does not load.
    done = subprocess.run(
        command, input=settings.model_dump_json(), capture_output=True, text=True, check=False, cwd=ROOT
    )
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["it said nothing"])[-1].removeprefix("error: ")
        raise EdgeError(f"the edge still answers with {model} {serving['version']}, not {version}: {reason}")
    log.info("the edge answers with %s %s", model, version)
    return True


def _serving(folder: Path) -> dict[str, str] | None:
    try:
        content: dict[str, str] = json.loads((folder / "serving.json").read_text())
    except (OSError, ValueError):
        return None
    return content if {"model", "version"} <= content.keys() else None


def _runs(folder: Path) -> bool:
    try:
        os.kill(int((folder / "nginx.pid").read_text()), 0)
    except (OSError, ValueError):
        return False
    return True
