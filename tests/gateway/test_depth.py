"""The number of nested calls between protocol and engine, as the benchmark's command counts it."""

import subprocess
import sys

from settings.load import ROOT


def test_depth_of_picture_and_state_is_within_its_bound() -> None:
    command = [sys.executable, "-m", "bench.gateway", "--only", "depth"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("| reached |") == 4
