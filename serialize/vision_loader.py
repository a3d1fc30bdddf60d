"""A picture classifier: checkpoint or random weights → LoadedModel."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from handlers import networks
from serialize.labels import resolve
from serialize.loaded_model import ComputeOptions, LoadedModel
from serialize.state_dict import load_state_dicts
from serialize.state_dicts import fill
from settings.schema import VisionModel

SEED = 0
GRID = 2.0**-20  # far above the noise of float64, far below what an activation means


def read_vision(model: VisionModel, checkpoint: Path | None) -> LoadedModel:
    """The network with the weights of `checkpoint`, or seeded random ones for None.

    Raises BuildError when the checkpoint cannot be read safely or does not fit the network.
    """
    labels = resolve(model.labels)
    spec = network_spec(model, len(labels))
    network = networks.build(spec) if checkpoint else _random(spec)
    key = None
    if checkpoint is not None:
        assert isinstance(network, networks.PictureClassifier)
        found = load_state_dicts(checkpoint, checkpoint, model.checkpoint_key)
        key = fill(network.network, found, str(checkpoint))
    size = model.preprocessing.crop or model.preprocessing.resize
    assert isinstance(size, tuple)  # the schema asks for a crop where resize is one number
    return LoadedModel(
        network=network.eval(),
        spec=spec,
        card=_card(model, labels),
        example=torch.zeros((2, *size, 3), dtype=torch.uint8),
        input_name="pixels",
        output_name="logits",
        # The pixels arrive with the channels last; the weights in the same order save torch the reordering.
        compute=ComputeOptions(model.precision, model.channels_last in (True, "auto")),
        in_graph=model.preprocessing if model.preprocess_in_graph else None,
        checkpoint_key=key or None,
    )


def network_spec(model: VisionModel, classes: int) -> dict[str, Any]:
    """The description of the network for handlers.networks."""
    mean, std = list(model.preprocessing.mean), list(model.preprocessing.std)
    return {"type": "torchvision", "name": model.network, "classes": classes, "mean": mean, "std": std}


def _card(model: VisionModel, labels: list[str]) -> dict[str, Any]:
    return {
        "labels": labels,
        "preprocessing": model.preprocessing.model_dump(mode="json"),
        "decode": "exact",
        "output": model.output.model_dump(mode="json"),
    }


def _random(spec: dict[str, Any]) -> nn.Module:
    """Seeded weights, with batch norms that have seen pictures.

    Without that a deep network's logits vanish, all classes come out equal and no comparison means anything. The
    statistics are taken in float64 and the means rounded to a grid: behind a linear layer a mean is zero but for the
    order in which a machine adds, and float32, whose rounding is relative, would keep that noise.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        network = networks.build(spec).double()
        pictures = torch.randint(0, 256, (8, 64, 64, 3), dtype=torch.uint8)
        norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
        for norm in norms:
            norm.train()
            norm.momentum = None  # the mean over what was seen, not a moving one
        with torch.no_grad():
            network(pictures)
        for norm in norms:
            assert norm.running_mean is not None
            # Adding zero turns -0.0, another pattern of bits, into 0.0.
            norm.running_mean.copy_((norm.running_mean / GRID).round() * GRID + 0.0)
    return network.float().eval()
