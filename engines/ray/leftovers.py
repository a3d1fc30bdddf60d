"""`python leftovers.py`: replaces a raylet's dashboard agent, and ends the children of a killed raylet.

A raylet does not run without that agent, but checks only that the process is alive. Its children end by themselves
without it, some of them only after a minute of searching for it.
"""

import contextlib
import os
import signal
import sys
import time
from pathlib import Path

LOOK_S = 0.5
PATIENCE_S = 30.0

Started = dict[int, str]
"""Process ids and start times: another process may get the same id."""


def main(raylet: int) -> int:
    """Wait for the raylet's end; return 1 where it is not the parent, because only a parent's end is visible."""
    deadline = time.monotonic() + PATIENCE_S
    while os.getppid() != raylet:
        if time.monotonic() > deadline:
            return 1
        time.sleep(LOOK_S)
    left = _children(raylet)
    while os.getppid() == raylet:
        left = _children(raylet) or left
        time.sleep(LOOK_S)
    for pid, started in left.items():
        with contextlib.suppress(OSError):
            if pid != os.getpid() and _started(pid) == started:
                os.kill(pid, signal.SIGKILL)
    return 0


def _children(parent: int) -> Started:
    found: Started = {}
    for file in Path(f"/proc/{parent}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found |= {int(pid): _started(int(pid)) for pid in file.read_text().split()}
    return found


def _started(pid: int) -> str:
    # The program's name, in parentheses, may contain spaces. The start time is the 22nd field of all.
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]


if __name__ == "__main__":
    sys.exit(main(int(os.environ["RAY_RAYLET_PID"])))
