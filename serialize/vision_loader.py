"""Loads an image classifier: checkpoint or random weights → LoadedModel."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from errors import BuildError
from handlers import networks
from handlers.torchvision_ops import ensure_torchvision_ops
from serialize.loaded_model import ComputeOptions, LoadedModel
from serialize.state_dict import fill, load_state_dicts
from settings.schema import VisionModel

TORCHVISION = "torchvision/"
SEED = 0
GRID = 2.0**-20  # far above the noise of float64, far below any meaningful activation


def read_vision(model: VisionModel, checkpoint: Path | None) -> LoadedModel:
    """Load the network with the weights of `checkpoint`, or create one with seeded random weights for None.

    Raises BuildError if the checkpoint cannot be read safely or does not fit the network.
    """
    labels = resolve_labels(model.labels)
    spec = network_spec(model, len(labels))
    network = networks.build_network(spec) if checkpoint else _random(spec)
    key = None
    if checkpoint is not None:
        assert isinstance(network, networks.ImageClassifier)
        found = load_state_dicts(checkpoint, checkpoint, model.checkpoint_key)
        key = fill(network.network, found, str(checkpoint))
    size = model.preprocessing.crop or model.preprocessing.resize
    assert isinstance(size, tuple)  # the schema requires a crop if resize is one number
    return LoadedModel(
        network=network.eval(),
        spec=spec,
        card=_card(model, labels),
        example=torch.zeros((2, *size, 3), dtype=torch.uint8),
        input_name="pixels",
        output_name="logits",
        # The pixels have their channels last; weights in the same order save torch the reordering.
        compute=ComputeOptions(model.precision, model.channels_last in (True, "auto")),
        in_graph=model.preprocessing if model.preprocess_in_graph else None,
        checkpoint_key=key or None,
    )


def network_spec(model: VisionModel, classes: int) -> dict[str, Any]:
    """Return the network's specification for handlers.networks."""
    mean, std = list(model.preprocessing.mean), list(model.preprocessing.std)
    return {"type": "torchvision", "name": model.network, "classes": classes, "mean": mean, "std": std}


def resolve_labels(labels: list[str] | str) -> list[str]:
    """Return the labels, or those that torchvision keeps for published weights: `torchvision/ENUM.ENTRY`.

    Downloads nothing. Raises BuildError for an unknown source.
    """
    if isinstance(labels, list):
        return labels
    if not labels.startswith(TORCHVISION):
        raise BuildError(f"served_model.labels: {labels!r} is neither a list nor torchvision/WEIGHTS.ENTRY")
    ensure_torchvision_ops()
    from torchvision.models import get_weight

    try:
        categories = get_weight(labels.removeprefix(TORCHVISION)).meta["categories"]
    except (ValueError, KeyError) as error:
        raise BuildError(f"served_model.labels: {labels}: {error}") from None
    return unambiguous([str(category) for category in categories])


def unambiguous(names: list[str]) -> list[str]:
    """Append its number to each repeated name (ImageNet has two cranes), because answers are keyed by name."""
    return [name if names.count(name) == 1 else f"{name} ({number})" for number, name in enumerate(names)]


def _card(model: VisionModel, labels: list[str]) -> dict[str, Any]:
    return {
        "labels": labels,
        "preprocessing": model.preprocessing.model_dump(mode="json"),
        "decode": "exact",
        "output": model.output.model_dump(mode="json"),
    }


def _random(spec: dict[str, Any]) -> nn.Module:
    """Create seeded weights, with batch norms that have processed images.

    Without their statistics a deep network's logits vanish, all classes come out equal and no comparison means
    anything. The statistics are computed in float64, and the means are rounded to a grid: behind a linear layer a mean
    is zero but for the order of a machine's additions, and float32, whose rounding is relative, would keep that noise.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        network = networks.build_network(spec).double()
        pixels = torch.randint(0, 256, (8, 64, 64, 3), dtype=torch.uint8)
        norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
        for norm in norms:
            norm.train()
            norm.momentum = None  # the mean over all batches, not a moving mean
        with torch.no_grad():
            network(pixels)
        for norm in norms:
            assert norm.running_mean is not None
            # Adding zero turns -0.0, which has other bits, into 0.0.
            norm.running_mean.copy_((norm.running_mean / GRID).round() * GRID + 0.0)
    return network.float().eval()
