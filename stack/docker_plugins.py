"""Docker's plugins that the make targets use: Compose 2 and buildx. `python3 -m stack.docker_plugins` checks them.

`python3 -m stack.setup compose` gets a missing one from the packages of a newer Debian than version 12, whose
docker-compose is version 1. Needs nothing but Python itself.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import commands
from errors import StackError
from files import write_atomic
from stack import debian

USAGE = f"usage: python3 -m stack.docker_plugins\n\n{__doc__}"

OLDEST = (2, 20)
"""The version of Compose that brought `required: false` of a dependency."""

RELEASE = "trixie"
PACKAGES = {"compose": "docker-compose", "buildx": "docker-buildx"}
CURE = "run: python3 -m stack.setup compose"


def check() -> None:
    """Raise StackError, in one line with its remedy, unless Compose and buildx are there."""
    _check_docker()
    problems = [problem for problem in (_compose_problem(), _buildx_problem()) if problem]
    if problems:
        raise StackError(problems[0])


def install() -> str:
    """Install what is missing as plugins of this user, and return what is there, in one line."""
    _check_docker()
    problems = {"compose": _compose_problem(), "buildx": _buildx_problem()}
    missing = [PACKAGES[name] for name, problem in problems.items() if problem]
    if missing:
        plugins = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker") / "cli-plugins"
        plugins.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory() as folder:
            debian.fetch(missing, RELEASE, Path(folder))
            for file in sorted(Path(folder).rglob("cli-plugins/docker-*")):
                write_atomic(plugins / file.name, file.read_bytes(), 0o755)
        check()
    return f"Compose {_output('docker', 'compose', 'version', '--short')}"


def _check_docker() -> None:
    if shutil.which("docker") is None:
        raise StackError("docker is not installed")


def _compose_problem() -> str | None:
    found = _output("docker", "compose", "version", "--short")
    if version := re.match(r"v?(\d+)\.(\d+)", found or ""):
        if tuple(map(int, version.groups())) >= OLDEST:
            return None
        return f"Compose is version {found}, and Marina needs {_oldest()} or newer; {CURE}"
    first = re.search(r"1\.\d[\d.]*", _output("docker-compose", "version", "--short") or "")
    if first:
        return f"docker-compose is version {first[0]}, and Marina needs `docker compose` {_oldest()} or newer; {CURE}"
    return f"`docker compose` is not installed; {CURE}"


def _buildx_problem() -> str | None:
    return None if _output("docker", "buildx", "version") else f"`docker buildx` is not installed; {CURE}"


def _oldest() -> str:
    return ".".join(map(str, OLDEST))


def _output(*command: str) -> str | None:
    """Return the output of a command that may be missing; None when it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def main(arguments: Sequence[str]) -> int:
    """Check the plugins and return the exit status."""
    if arguments:
        sys.stderr.write(USAGE)
        return 2
    check()
    return 0


if __name__ == "__main__":
    sys.exit(commands.run(main, USAGE))
