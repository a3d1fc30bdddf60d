"""`python -m stack.edge_container FOLDER [overrides]`: compiles the policy in FOLDER and serves it in a container.

    policy.h ──▶ marina-edge-module ──▶ module.so ──▶ marina-edge

A second call for the same folder compiles the new policy and reloads the running container.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import commands
import settings
from errors import StackError
from stack import docker_run, programs

USAGE = """\
usage: python -m stack.edge_container FOLDER [hydra overrides]

  compile FOLDER/policy.h, which `python -m edge export` wrote, and serve it; reload the container that serves FOLDER
"""
# docker/compose.yaml takes the same two variables.
IMAGE = os.environ.get("EDGE_IMAGE", "marina-edge")
COMPILER = os.environ.get("EDGE_MODULE_IMAGE", "marina-edge-module")
BUILD = "build_edge"
SERVES = "marina.edge.folder"  # a label: two projects on one machine have an edge each
PLACE, PORT = "/srv/edge", 5005
# nginx that root starts gives its folders and workers to nobody.
CAPABILITIES_OF_ROOT = ("--cap-add=CHOWN", "--cap-add=SETGID", "--cap-add=SETUID")


def compile_command(folder: Path) -> tuple[str, ...]:
    """Return the `docker run` that compiles the policy in a folder."""
    options = ("--network=none", "--tmpfs=/tmp", docker_run.mounted(folder, PLACE))
    return docker_run.command(COMPILER, BUILD, *options)


def serve_command(folder: Path, host: str, port: int) -> tuple[str, ...]:
    """Return the `docker run` that serves the compiled policy in a folder."""
    options = [f"--publish={host}:{port}:{PORT}", docker_run.owned("/run/marina"), f"--label={SERVES}={folder}"]
    options += CAPABILITIES_OF_ROOT if os.getuid() == 0 else ()
    return docker_run.command(IMAGE, BUILD, *options, docker_run.mounted(folder, PLACE, read_only=True))


def main(arguments: Sequence[str]) -> int:
    """Compile, then reload the running container or become a new one; return the exit status of what failed."""
    if not arguments:
        sys.stderr.write(USAGE)
        return 2
    folder, overrides = Path(arguments[0]).resolve(), list(arguments[1:])
    edge = settings.load(overrides).edge
    if not (folder / "policy.h").is_file():
        raise StackError(f"{folder / 'policy.h'} is missing; `python -m edge export {arguments[0]}` writes it")
    compiled = subprocess.run(compile_command(folder), check=False)
    if compiled.returncode != 0:
        return compiled.returncode
    running = programs.output("docker", "ps", "--quiet", f"--filter=label={SERVES}={folder}").split()
    if running:
        programs.output("docker", "kill", "--signal=HUP", *running)
        sys.stdout.write(f"the edge in container {running[0]} serves the new policy\n")
        return 0
    sys.stdout.write(f"edge on {edge.url}/ (Ctrl-C ends it)\n")
    return docker_run.become(serve_command(folder, edge.host, edge.port))


if __name__ == "__main__":
    sys.exit(commands.run(main, USAGE))
