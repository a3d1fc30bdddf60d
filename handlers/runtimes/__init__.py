"""What runs the network: one module a runtime, found by the name that the card's `artifact` gives it.

A module `handlers.runtimes.NAME` (with `_` for `-`) holds `load(path, card, gpu_id, threads) -> Runtime`; putting that
file there is all a new one needs. It is named as its format, unless formats share it, as `onnx` and `onnx-int8` do. A
module is imported only when an archive asks for it, so a worker does not pay for the others.
"""

import importlib
import os
import pkgutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, cast

from numpy.typing import NDArray

from handlers.card import Card


class Runtime(Protocol):
    """A loaded network: inputs [N, ...] in, named outputs out, the first dimension of each N."""

    def __call__(self, inputs: NDArray[Any]) -> Mapping[str, NDArray[Any]]:
        """Run the network on one batch."""


def names() -> tuple[str, ...]:
    """Names of the runtimes that this worker has, sorted."""
    found = (module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))
    return tuple(sorted(name.replace("_", "-") for name in found))


def load(model_dir: Path, card: Card, gpu_id: int | None = None) -> Runtime:
    """Load the artifact that the card names, onto the given GPU where the format and the machine have one.

    Raises ValueError for an unknown runtime or a missing file.
    """
    if card.artifact.runtime not in names():
        raise ValueError(f"artifact runtime {card.artifact.runtime} is not one of {', '.join(names())}")
    path = model_dir / card.artifact.file
    if not path.is_file():
        raise ValueError(f"the archive has no {card.artifact.file}")
    module = importlib.import_module(f"{__name__}.{card.artifact.runtime.replace('-', '_')}")
    return cast("Runtime", module.load(path, card, gpu_id, threads(card)))


def threads(card: Card) -> int:
    """Threads for one worker: the card's, else this process's cores divided by the model's workers."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return card.threads or max(1, cores // max(1, card.request_params.initial_workers))
