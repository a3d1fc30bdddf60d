"""Runs a program of this machine for its output. Needs nothing but Python itself."""

import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path

from errors import StackError


def output(*command: str, folder: Path | None = None, env: Mapping[str, str] | None = None) -> str:
    """Return what a program prints; it runs in `folder`.

    Raises StackError in one line: the program is not installed, or the last line of its errors.
    """
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder, env=env)
    except FileNotFoundError:
        raise StackError(f"{command[0]} is not installed") from None
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise StackError(f"{command[0]}: {said[-1]}" if said else f"`{shlex.join(command)}` failed: {done.returncode}")
    return done.stdout
