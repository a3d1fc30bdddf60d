"""`torchscript`: the network traced and frozen, written by an interpreter of its own.

TorchScript numbers its types in the order a process made them, so only a fresh process gives the same bytes each time.
"""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from errors import BuildError
from serialize.checkpoints import ROOT
from serialize.source import Source


@dataclass(frozen=True)
class TorchScript:
    """torch.jit.trace and torch.jit.freeze."""

    name: str = "torchscript"
    file: str = "model.pt"
    runtime: str = "torchscript"

    def export(self, source: Source, target: Path) -> dict[str, Any]:
        """Writes the graph."""
        job = target.with_suffix(".job")
        description: dict[str, Any] = {"spec": source.spec, "shape": list(source.example.shape)}
        description |= {"dtype": str(source.example.dtype), "computing": source.computing.card()}
        with job.open("wb") as file:
            torch.save({"description": json.dumps(description), "state": dict(source.network.state_dict())}, file)
        command = [sys.executable, "-m", "serialize.formats._torchscript_export", str(job), str(target)]
        # One thread: a trace runs the network, and how it is run must not depend on the machine.
        environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        job.unlink()
        if done.returncode != 0:
            last = (done.stderr.strip().splitlines() or ["no output"])[-1]
            raise BuildError(f"the TorchScript export failed: {last}")
        return source.computing.card()


FORMAT = TorchScript()
