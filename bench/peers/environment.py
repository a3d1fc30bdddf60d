"""The environment of a peer: a venv of its own, made when it is first asked for, from its pinned requirements."""

import fcntl
import hashlib
import json
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import settings
from bench.peers.peer import HERE, Peer
from bench.server import Failed
from settings.load import ROOT

DISK = HERE / "disk.py"


@cache
def python(peer: Peer) -> str:
    """The interpreter that has the peer's packages; raises Failed when they do not install."""
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
            raise Failed(f"does not install: {errors[-1] if errors else done.stderr.strip()[-200:]}")
    # Written last: an interrupted install is done again.
    stamp.write_text(wanted)


def _fingerprint(peer: Peer) -> str:
    digest = hashlib.sha256(sys.version.encode())
    for path in (HERE / "pipeline.txt", peer.requirements):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def packages(peer: Peer) -> tuple[str, ...]:
    """Names of the packages that the peer asks for directly."""
    return _names(peer.requirements) if peer.requirements.is_file() else peer.packages


def _names(path: Path) -> tuple[str, ...]:
    found: list[str] = []
    for line in path.read_text().splitlines():
        if line.startswith("-r "):
            found += _names(path.parent / line.removeprefix("-r ").strip())
        elif match := re.match(r"[\w.-]+", line):
            found.append(match[0])
    return tuple(found)


def kit_packages() -> tuple[str, ...]:
    """What Marina itself runs on."""
    return _names(ROOT / "requirements-engine.txt")


def disk_mb(interpreter: str, names: tuple[str, ...]) -> float:
    """Size on disk of these packages and of all that they need, in the environment of the interpreter."""
    done = subprocess.run([interpreter, str(DISK), *names], capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout)) / 1e6


def lines(peer: Peer) -> int:
    """Lines that a user of the peer writes: neither empty, nor comment, nor docstring of one line."""
    here = HERE / peer.folder
    files = [here / name for name in peer.user] or [path for path in here.glob("*.py") if path.name != "peer.py"]
    return sum(_counts(line) for path in files for line in path.read_text().splitlines())


def _counts(line: str) -> bool:
    words = line.strip()
    return bool(words) and not words.startswith(("#", "//", '"""'))
