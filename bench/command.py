"""One of the kit's programs, run to its end in a stack's environment."""

import subprocess
import sys
from collections.abc import Mapping

from settings.load import ROOT


def finished(
    arguments: tuple[str, ...], env: Mapping[str, str], timeout_s: float | None = None
) -> "subprocess.CompletedProcess[str]":
    """Its status and what it printed, errors among it."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=env,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        timeout=timeout_s,
    )
