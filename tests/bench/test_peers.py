"""One peer, really started and asked; it needs an environment of its own, so the packages' index must answer."""

import subprocess
import sys
from pathlib import Path

import pytest

from settings.load import ROOT


@pytest.mark.slow
def test_peers_command_measures_a_peer_and_writes_the_section(tmp_path: Path) -> None:
    document = tmp_path / "performance.md"
    document.write_text("<!-- bench:peers -->\n<!-- /bench:peers -->\n")
    words = ("--rounds", "1", "--seconds", "1", "--only", "fastapi_policy", "--subjects", "states")
    command = [sys.executable, "-m", "bench.peers", *words, "--levels", "exact", "--write", str(document)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    written = document.read_text()
    assert "| FastAPI + PyTorch |" in written
    assert "not measured" not in written
    assert "| **Marina** |" in written
