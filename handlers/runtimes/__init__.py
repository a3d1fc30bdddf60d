"""The runtimes of the network: the card's `artifact.runtime` names one, and its module is imported when needed.

A module `handlers.runtimes.NAME` (with `_` for `-`) defines `load(path, card, gpu_id, threads) -> Runtime`; a new
runtime needs that file alone. Torch's three runtimes share `pytorch.py`. A worker imports only the module it needs.
"""

import importlib
import os
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from handlers.card import Card
from handlers.tensor_records import SignatureRuntime, Tensors

_PYTORCH = ("eager", "torchscript", "aoti", "pt2")


class Runtime(Protocol):
    """A loaded network: inputs [N, ...] → named outputs [N, ...]."""

    def __call__(self, inputs: NDArray[Any]) -> Mapping[str, NDArray[Any]]:
        """Run the network on one batch."""


class NetworkRuntime(Runtime, Protocol):
    """A network as its artifact has it, with any number of inputs."""

    def run(self, inputs: Tensors) -> Tensors:
        """Run the network once, on inputs by name."""


@dataclass(frozen=True, eq=False)
class OneByOne:
    """A network that takes a batch of one only."""

    runtime: Runtime

    def __call__(self, inputs: NDArray[Any]) -> Mapping[str, NDArray[Any]]:
        """Run the network on each instance."""
        found = [self.runtime(inputs[index : index + 1]) for index in range(len(inputs))]
        return {name: np.concatenate([each[name] for each in found]) for name in found[0]}


def names() -> tuple[str, ...]:
    """Return the names of the runtimes, sorted."""
    modules = {module.name.replace("_", "-") for module in pkgutil.iter_modules(__path__)}
    return tuple(sorted((modules - {"pytorch"}) | set(_PYTORCH)))


def load(model_dir: Path, card: Card, gpu_id: int | None = None) -> Runtime:
    """Load the artifact that the card names, onto the given GPU where the format and the machine have one.

    Raises ValueError for an unknown runtime or a missing file.
    """
    if card.artifact.runtime not in names():
        raise ValueError(f"artifact runtime {card.artifact.runtime} is not one of {', '.join(names())}")
    path = model_dir / card.artifact.file
    if not path.is_file():
        raise ValueError(f"the archive has no {card.artifact.file}")
    name = "pytorch" if card.artifact.runtime in _PYTORCH else card.artifact.runtime.replace("-", "_")
    module = importlib.import_module(f"{__name__}.{name}")
    runtime = module.load(path, card, gpu_id, threads(card))
    if card.signature is not None:
        return SignatureRuntime(cast("NetworkRuntime", runtime).run, card.signature)
    return OneByOne(runtime) if card.artifact.single else cast("Runtime", runtime)


def threads(card: Card) -> int:
    """Return the threads of one worker: the card's, or this process's cores divided by the model's workers."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return card.threads or max(1, cores // max(1, card.request_params.initial_workers))
