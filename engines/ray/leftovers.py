"""`python leftovers.py`: stands in for a raylet's dashboard agent, and ends what the raylet leaves when it is killed.

A raylet does not go on without that agent, and looks at nothing but whether it runs. Those that it starts end by
themselves when it is gone, but some only after a minute of looking for it.
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
"""Processes by number, and when each was started: a number may pass to another one."""


def main(raylet: int) -> int:
    """Wait for the raylet's end; returns 1 where it is not the parent, whose end could be seen."""
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
    # The program's name, in parentheses, may have spaces; this is the 22nd field of all.
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]


if __name__ == "__main__":
    sys.exit(main(int(os.environ["RAY_RAYLET_PID"])))
