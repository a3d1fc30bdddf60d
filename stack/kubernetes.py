"""Prints the manifests of a cluster: `python -m stack.kubernetes OVERLAY`.

kustomize builds them from docker/kubernetes. `KUSTOMIZE` names the program, `kubectl kustomize` by default.
"""

import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import commands
from errors import StackError
from settings.load import ROOT

USAGE = """\
usage: python -m stack.kubernetes OVERLAY

  print the manifests of docker/kubernetes/overlays/OVERLAY
"""

PROGRAM = "kubectl kustomize"
# The kustomizations read configuration files outside their folders, which kustomize refuses without this option.
ABOVE = "--load-restrictor"
NEEDED = "needs kubectl 1.21 or kustomize 4, or newer; KUSTOMIZE='/path/to/kubectl kustomize' names another one"
SECRETS = ("gateway/default.yaml", "delivery_key", "s3.json")


def render(root: Path, overlay: str, program: str = PROGRAM) -> str:
    """Return the manifests of an overlay of the project in `root`. Raises StackError with the reason."""
    overlays = root / "docker" / "kubernetes" / "overlays"
    if not (overlays / overlay / "kustomization.yaml").is_file():
        known = ", ".join(sorted(path.name for path in overlays.iterdir()))
        raise StackError(f"{overlays} has no overlay {overlay!r}; there are {known}")
    missing = [name for name in SECRETS if not (root / "docker" / "secrets" / name).is_file()]
    if missing:
        raise StackError(f"{root / 'docker' / 'secrets' / missing[0]} is missing; `make compose_secrets` creates it")
    command = shlex.split(program)
    if ABOVE not in _run(*command, "--help"):
        raise StackError(f"`{program}` does not know {ABOVE}: it {NEEDED}")
    return _run(*command, ABOVE, "LoadRestrictionsNone", os.fspath(overlays / overlay))


def _run(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise StackError(f"{command[0]}: {error.strerror}; this command {NEEDED}") from None
    if done.returncode != 0:
        raise StackError(f"{shlex.join(command)}: {' '.join(done.stderr.split())}")
    return done.stdout


def main(arguments: Sequence[str]) -> int:
    """Print the manifests and return the exit status."""
    if len(arguments) != 1:
        sys.stderr.write(USAGE)
        return 2
    sys.stdout.write(render(ROOT, arguments[0], os.environ.get("KUSTOMIZE", PROGRAM)))
    return 0


if __name__ == "__main__":
    sys.exit(commands.run(main, USAGE))
