"""AOTInductor: a compiled package, for the kind of device it was compiled for."""

from pathlib import Path

import torch

from handlers.card import Card
from handlers.runtimes._torch import TorchRuntime, prepare


def load(path: Path, card: Card, gpu_id: int | None, threads: int) -> TorchRuntime:
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
    return TorchRuntime(aoti_load_package(str(path), device_index=gpu_id or 0 if device.type == "cuda" else -1),
                        device, (card.network_output[0],))  # fmt: skip
