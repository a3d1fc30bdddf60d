"""The Docker engine of this machine, and the stacks on it by Compose's labels: two folders must not use one name.

Compose knows a stack by its project name alone: `up` in a second clone would replace the containers of the first.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path

from errors import StackError
from stack import programs

LABEL = "com.docker.compose.project"
OFFSET = 10  # between the published ports of two stacks in the advice below
PORTS = {"MARINA_GATEWAY_PORT": 5003, "MARINA_GATEWAY_GRPC_PORT": 5004, "MARINA_EDGE_PORT": 5005}
PORTS |= {"MARINA_GRAFANA_PORT": 3000}


@dataclass(frozen=True)
class Project:
    """A stack of which there are containers, running or stopped."""

    name: str
    folder: str
    """The folder of its compose.yaml."""


def check(folder: Path) -> None:
    """Raise StackError when another folder uses the stack's name, or the stack in `folder` runs under another name."""
    name = project_name(folder)
    here = os.path.realpath(folder)
    for found in projects():
        is_here = os.path.realpath(found.folder) == here
        if found.name == name and not is_here:
            words = " ".join(f"{key}={port + OFFSET}" for key, port in PORTS.items())
            raise StackError(
                f"the stack {name} is that of {found.folder}; stop it there with `make compose_down`, or start this "
                f"one beside it: COMPOSE_PROJECT_NAME={name}2 {words} make compose_up"
            )
        if is_here and found.name != name:
            raise StackError(
                f"the stack of {folder} has the name {found.name}, and two cannot share its data; set "
                f"COMPOSE_PROJECT_NAME={found.name}, or stop it: COMPOSE_PROJECT_NAME={found.name} make compose_down"
            )


def project_name(folder: Path) -> str:
    """Return the name that Compose gives to the stack in `folder`, by environment, .env and compose.yaml."""
    command = ["docker", "compose", "--file", str(folder / "compose.yaml"), "config", "--format", "json"]
    return str(json.loads(programs.output(*command))["name"])


def projects() -> list[Project]:
    """Return every stack that has containers on this machine."""
    columns = f'{{{{.Label "{LABEL}"}}}}\t{{{{.Label "{LABEL}.working_dir"}}}}'
    listed = programs.output("docker", "ps", "--all", "--filter", f"label={LABEL}", "--format", columns)
    lines = sorted(set(listed.splitlines()))
    return [Project(name, folder) for name, _, folder in (line.partition("\t") for line in lines)]


def engine_version() -> int:
    """Return the first number of the engine's version."""
    version = programs.output("docker", "version", "--format", "{{.Server.Version}}")
    number = version.partition(".")[0]
    if not number.isdigit():
        raise StackError(f"docker version: {version.strip()!r} is no version of an engine")
    return int(number)
