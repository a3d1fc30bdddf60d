"""Runs one image of the project in the foreground with the limits that docker/compose.yaml gives every container."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from errors import StackError
from stack import programs


def owned(folder: str) -> str:
    """Return the option of a folder in memory that belongs to this process' user."""
    return f"--tmpfs={folder}:uid={os.getuid()},gid={os.getgid()}"


def mounted(source: Path, target: str, *, read_only: bool = False) -> str:
    """Return the option of a mounted folder."""
    return f"--volume={source.resolve()}:{target}{':ro' if read_only else ''}"


def command(image: str, build: str, *options: str, env: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """Return `docker run` of an image as this process' user, read-only and without capabilities; it removes itself.

    Raises StackError without Docker or the image; `build` is the make target that builds it.
    """
    check_image(image, build)
    variables = [f"--env={name}={value}" for name, value in (env or {}).items()]
    return (
        *("docker", "run", "--rm", "--init", f"--user={os.getuid()}:{os.getgid()}", "--read-only"),
        *("--cap-drop=ALL", "--security-opt=no-new-privileges", *options, *variables, image),
    )


def become(words: tuple[str, ...]) -> NoReturn:
    """Replace this process by a command, which then gets its signals."""
    sys.stdout.flush()
    os.execvp(words[0], words)  # noqa: S606  # there is no shell


def check_image(image: str, build: str) -> None:
    """Raise StackError without Docker or the image; `build` is the make target that builds it."""
    if not programs.output("docker", "image", "ls", "--quiet", image).strip():
        raise StackError(f"no image {image}; `make {build}` builds it")
