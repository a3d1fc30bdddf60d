"""Waiting for what another process or thread will do."""

import time
from collections.abc import Callable

WAIT_S = 120.0  # far more than anything takes that is well, on a machine that is busy


def wait_for(ready: Callable[[], bool], seconds: float = WAIT_S) -> None:
    """Polls until the condition holds; fails the test when it does not in time."""
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline, f"not within {seconds:g} s"
        time.sleep(0.02)
