"""What a raylet leaves when it is killed is ended; here a raylet is any process with children."""

import subprocess
import sys

import psutil
import pytest

from engines.ray import leftovers
from tests.polling import wait_for

RAYLET = """
import os, subprocess, sys, time
subprocess.Popen(["sleep", "300"])
env = {**os.environ, "RAY_RAYLET_PID": str(os.getpid())}
subprocess.Popen([sys.executable, "-I", "-S", sys.argv[1]], env=env)
time.sleep(300)
"""


def test_leftovers_program_ends_the_children_of_a_killed_raylet() -> None:
    parent = subprocess.Popen([sys.executable, "-c", RAYLET, leftovers.__file__])
    try:
        process = psutil.Process(parent.pid)
        wait_for(lambda: len(process.children()) == 2)
        children = process.children()
        # It sleeps between two looks at its parent, and hardly else.
        slept = {child.pid: child.num_ctx_switches().voluntary for child in children}
        wait_for(lambda: any(child.num_ctx_switches().voluntary > slept[child.pid] + 2 for child in children))
    finally:
        parent.kill()
        parent.wait()
    _, alive = psutil.wait_procs(children, timeout=60)
    assert alive == []


def test_leftovers_program_waits_for_its_parent_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(leftovers, "PATIENCE_S", 0.0)
    monkeypatch.setattr(leftovers, "LOOK_S", 0.0)
    assert leftovers.main(psutil.Process().pid) == 1
