"""The packages of a peer: a virtual environment of pinned requirements, its size on disk, and the lines of its user."""

import fcntl
import hashlib
import json
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import settings
from bench.peers.launch import HERE
from bench.peers.table import Peer
from bench.server_process import MeasurementError
from settings.load import ROOT


@cache
def python(peer: Peer) -> str:
    """Return the interpreter that has the peer's packages; install them first. Raises MeasurementError."""
    if not peer.requirements.is_file():
        return sys.executable
    folder = Path(settings.load().paths.state) / "bench" / peer.folder
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _install(peer, folder)
    return str(folder / "venv" / "bin" / "python")


def _install(peer: Peer, folder: Path) -> None:
    stamp, wanted = folder / "requirements.sha256", _fingerprint(peer)
    if stamp.is_file() and stamp.read_text() == wanted:
        return
    stamp.unlink(missing_ok=True)
    venv = [sys.executable, "-m", "venv", "--clear", str(folder / "venv")]
    pip = [str(folder / "venv" / "bin" / "python"), "-m", "pip", "install", "--disable-pip-version-check", "--quiet"]
    for command in (venv, [*pip, "-r", str(peer.requirements)]):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
            raise MeasurementError(f"does not install: {errors[-1] if errors else done.stderr.strip()[-200:]}")
    # Written last, so that an interrupted installation is repeated.
    stamp.write_text(wanted)


def _fingerprint(peer: Peer) -> str:
    digest = hashlib.sha256(sys.version.encode())
    for path in (HERE / "pipeline.txt", peer.requirements):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def disk_mb(peer: Peer) -> float:
    """Return the size on disk of the packages that the peer names and of all that they require."""
    command = [python(peer), str(HERE / "disk.py"), *_packages(peer)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout)) / 1e6


def _packages(peer: Peer) -> tuple[str, ...]:
    if peer.folder == "marina":
        return _names(ROOT / "requirements-engine.txt")
    return _names(peer.requirements) if peer.requirements.is_file() else peer.packages


def _names(path: Path) -> tuple[str, ...]:
    found: list[str] = []
    for line in path.read_text().splitlines():
        if line.startswith("-r "):
            found += _names(path.parent / line.removeprefix("-r ").strip())
        elif match := re.match(r"[\w.-]+", line):
            found.append(match[0])
    return tuple(found)


def lines(peer: Peer) -> int:
    """Return the lines that a user of the peer writes, without blanks, comments and docstrings of one line."""
    return sum(_counts(line) for path in peer.user_files for line in path.read_text().splitlines())


def _counts(line: str) -> bool:
    text = line.strip()
    return bool(text) and not text.startswith(("#", "//", '"""'))
