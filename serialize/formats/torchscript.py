"""`torchscript`: the network traced and frozen in a new Python process.

    LoadedModel ──▶ job file ──new process: trace, freeze──▶ model.pt

TorchScript numbers its types in the order in which a process creates them. Only a new process writes the same bytes
each time.
"""

import json
import os
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from archive.writer import plain_entry
from errors import BuildError, last_words
from handlers import networks
from handlers.runtimes.pytorch import converted
from serialize.checkpoints import ROOT
from serialize.graph_file import read_graph, scripted
from serialize.loaded_model import LoadedModel

PROGRAM = "import sys; from serialize.formats import torchscript; torchscript.trace(*sys.argv[1:])"


@dataclass(frozen=True)
class TorchScript:
    """A graph of torch.jit.trace and torch.jit.freeze."""

    name: str = "torchscript"
    file: str = "model.pt"
    runtime: str = "torchscript"

    def export(self, loaded: LoadedModel, target: Path) -> dict[str, Any]:
        """Write the traced and frozen graph."""
        job = target.with_suffix(".job")
        description: dict[str, Any] = {"spec": loaded.spec, "shape": list(loaded.example.shape)}
        description |= {"dtype": str(loaded.example.dtype), "compute": loaded.compute.card()}
        description["files"] = {name: str(path.absolute()) for name, path in loaded.files.items()}
        with job.open("wb") as file:
            torch.save({"description": json.dumps(description), "state": dict(loaded.network.state_dict())}, file)
        # One thread: tracing runs the network, and the machine's cores must not influence the result.
        environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-c", PROGRAM, str(job), str(target)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        job.unlink()
        if done.returncode != 0:
            raise BuildError(f"the TorchScript export failed: {last_words(done.stderr, done.returncode)}")
        return loaded.compute.card()


def trace(job: str, target: str) -> None:
    """Build the network that the file `job` describes and write it to `target`; runs in the new process."""
    stored = torch.load(job, weights_only=True, mmap=True)
    description = json.loads(stored["description"])
    network = _network(description["spec"], [Path(path) for path in description["files"].values()])
    network.load_state_dict(stored["state"])
    network = converted(network, **description["compute"])
    example = torch.zeros(description["shape"], dtype=getattr(torch, description["dtype"].removeprefix("torch.")))
    saved = Path(target).with_name("archive.pt")  # torch names the folder inside after the file
    traced: Callable[..., Any] = torch.jit.trace  # torch does not annotate it
    with warnings.catch_warnings(), torch.no_grad():
        # torch recommends torch.export instead; this format is for users who run TorchScript today.
        warnings.simplefilter("ignore", DeprecationWarning)
        frozen = scripted(network) or torch.jit.freeze(traced(network, example, check_trace=False))
        torch.jit.save(frozen, saved)
    _write_without_origins(saved, Path(target))
    saved.unlink()


def _network(spec: dict[str, Any], files: list[Path]) -> nn.Module:
    """Return the network of a specification, or of the graph file that it names."""
    if spec["type"] == "graph":
        return networks.image_network(read_graph(files[0], spec["graph"]), spec).eval()
    return networks.build_network(spec, files[0].parent if files else Path())


def _write_without_origins(saved: Path, target: Path) -> None:
    """Drop the source positions, which hold paths of this machine, and the id that is computed from them."""
    with zipfile.ZipFile(saved) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as new:
        for name in old.namelist():
            if not name.endswith((".debug_pkl", "/.data/serialization_id")):
                new.writestr(plain_entry(name), old.read(name))


FORMAT = TorchScript()
