"""TorchScript: a graph that carries its own code."""

from pathlib import Path

import torch

from handlers.card import Card
from handlers.runtimes._torch import TorchRuntime, prepare


def load(path: Path, card: Card, gpu_id: int | None, threads: int) -> TorchRuntime:
    """Load the graph onto the device; raises ValueError where that cannot compute in its precision."""
    device = prepare(card, gpu_id, threads)
    network: torch.nn.Module = torch.jit.load(str(path), map_location=device)  # type: ignore[no-untyped-call]
    return TorchRuntime(network.eval(), device, (card.network_output[0],))
