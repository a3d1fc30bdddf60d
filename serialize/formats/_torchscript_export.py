"""Run by `torchscript`: JOB (description and weights) → TARGET (traced, frozen, without traces of this machine)."""

import io
import json
import sys
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from archive.write import plain_entry
from handlers import networks
from handlers.runtimes._torch import converted


def main(job: Path, target: Path) -> None:
    """Builds the network that the job describes and writes it as TorchScript."""
    loaded = torch.load(job, weights_only=True)
    description = json.loads(loaded["description"])
    network = networks.build(description["spec"])
    network.load_state_dict(loaded["state"])
    network = converted(network, **description["computing"])
    example = torch.zeros(description["shape"], dtype=getattr(torch, description["dtype"].removeprefix("torch.")))
    graph = io.BytesIO()
    trace: Callable[..., Any] = torch.jit.trace  # torch gives it no types
    with warnings.catch_warnings(), torch.no_grad():
        # torch says that torch.export is to follow TorchScript; this format is for those who run TorchScript now.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(torch.jit.freeze(trace(network, example, check_trace=False)), graph)
    target.write_bytes(_without_origins(graph))


def _without_origins(graph: io.BytesIO) -> bytes:
    """The same file without the source positions, which hold paths of this machine, and the id made from them."""
    clean = io.BytesIO()
    with zipfile.ZipFile(graph) as old, zipfile.ZipFile(clean, "w", zipfile.ZIP_STORED) as new:
        for name in old.namelist():
            if not name.endswith((".debug_pkl", "/.data/serialization_id")):
                new.writestr(plain_entry(name), old.read(name))
    return clean.getvalue()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
