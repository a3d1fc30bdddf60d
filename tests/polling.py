"""Waiting for what another process or thread will do."""

import time
from collections.abc import Callable, Iterable
from contextlib import suppress

import psutil

WAIT_S = 120.0  # far more than anything takes that is well, on a machine that is busy


def wait_for(ready: Callable[[], bool], seconds: float = WAIT_S) -> None:
    """Polls until the condition holds; fails the test when it does not in time."""
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline, f"not within {seconds:g} s"
        time.sleep(0.02)


def ended(process: psutil.Process) -> bool:
    """Whether a process has ended; where nobody reaps it, it stays as a zombie."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def kill_all(processes: Iterable[psutil.Process]) -> None:
    """Kills processes, also those that end with another one, and waits for their end."""
    killed = list(processes)
    for process in killed:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    wait_for(lambda: all(map(ended, killed)))
