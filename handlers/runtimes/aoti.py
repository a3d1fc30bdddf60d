"""AOTInductor: a compiled package, for the kind of device it was compiled for."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from handlers.card import Card
from handlers.runtimes._torch import TorchRuntime, prepare


@dataclass(frozen=True, eq=False)
class Compiled:
    """A compiled network: it answers as any other that torch runs, and has no gradients to explain an answer with."""

    runtime: TorchRuntime

    def __call__(self, inputs: NDArray[Any]) -> Mapping[str, NDArray[Any]]:
        """Run the network on one batch."""
        return self.runtime(inputs)


def load(path: Path, card: Card, gpu_id: int | None, threads: int) -> Compiled:
    """Load the package onto the device.

    Raises ValueError where it was compiled for another kind of device or for instructions that this CPU lacks: run
    there, it would crash the worker.
    """
    # Only this format needs the compiler's package, and its import takes seconds.
    from torch._inductor import aoti_load_package

    device = prepare(card, gpu_id, threads)
    built = dict(card.document["artifact"].get("built_for") or {})
    if built.get("device") != device.type:
        raise ValueError(f"the package was compiled for {built.get('device')}, this worker runs on {device.type}")
    has = torch.cpu.get_capabilities()
    if missing := [name for name in built.get("instructions", []) if not has.get(name)]:
        raise ValueError(f"the package was compiled for a CPU with {', '.join(missing)}, which this one lacks")
    index = gpu_id or 0 if device.type == "cuda" else -1
    package = aoti_load_package(str(path), device_index=index)
    return Compiled(TorchRuntime(package, device, (card.network_output[0],)))
