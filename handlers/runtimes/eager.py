"""Eager torch: the network is built by name and its weights are read without unpickling anything."""

from pathlib import Path

import torch

from handlers.card import Card
from handlers.runtimes._torch import TorchRuntime, converted, prepare


def load(path: Path, card: Card, gpu_id: int | None, threads: int) -> TorchRuntime:
    """Build the network that the card describes and load its state dict onto the device; raises ValueError."""
    # Only this format needs the networks, and with them torchvision.
    from handlers.networks import build

    if card.artifact.network is None:
        raise ValueError("model.json: artifact: network is missing, and the eager format cannot be built without it")
    device = prepare(card, gpu_id, threads)
    network = build(dict(card.artifact.network))
    network.load_state_dict(torch.load(path, map_location=device, weights_only=True))
    network = converted(network.to(device), card.artifact.precision, card.artifact.channels_last)
    return TorchRuntime(network, device, (card.network_output[0],))
