"""Trains the digits classifier from scratch, on images of the worker's own pre-processing."""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from tqdm import trange

from demo.digits import Digits, load_split, rgb
from errors import BuildError
from files import replace_durably, staging_folder
from handlers import card, image_preprocess, networks
from handlers.networks import ImageClassifier
from serialize.labels import resolve_labels
from serialize.network_spec import network_spec
from settings.schema import VisionModel

logger = logging.getLogger(__name__)

EPOCHS = 20
BATCH = 64
LEARNING_RATE = 4e-3  # the peak of a one-cycle schedule
WEIGHT_DECAY = 1e-2
SHIFT = 3  # pixels, of 64, so that digits are not always centred
NORM_MOMENTUM = 0.1  # MobileNetV3's 0.01 is for a hundred times as many steps
SEED = 0
TARGET = 0.98


@dataclass(frozen=True, eq=False)
class Pixels:
    """Network inputs, uint8 [N, H, W, 3], and their labels, int64 [N]."""

    pixels: torch.Tensor
    labels: torch.Tensor


def train_digits(model: VisionModel, target: Path, epochs: int = EPOCHS) -> float:
    """Write the trained network's state dict to `target`, atomically, and return its accuracy on the unseen digits.

    Raises BuildError, and writes nothing, when that is below 98 %.
    """
    seen, unseen = (prepare(digits, model) for digits in load_split())
    torch.manual_seed(SEED)
    network = networks.build_network(network_spec(model, len(resolve_labels(model.labels))))
    assert isinstance(network, ImageClassifier)
    _fit(network, seen, epochs)
    right = accuracy(network, unseen)
    logger.info("digits: %.1f %% of %d unseen digits right", 100 * right, len(unseen.labels))
    if right < TARGET:
        raise BuildError(f"digits: only {right:.1%} of the unseen digits are right, {TARGET:.0%} are expected")
    with staging_folder(target.parent, target.name) as work:
        with (work / target.name).open("wb") as file:
            torch.save(network.network.state_dict(), file)
        replace_durably(work / target.name, target)
    return right


def prepare(digits: Digits, model: VisionModel) -> Pixels:
    """Return digits as the worker would pass them to the network."""
    given = model.preprocessing
    settings = card.Preprocessing(given.target, given.interpolation, given.crop)
    pixels = np.stack([image_preprocess.apply(rgb(image), settings) for image in digits.images])
    return Pixels(torch.from_numpy(pixels), torch.from_numpy(digits.labels.astype(np.int64)))


def accuracy(network: nn.Module, digits: Pixels) -> float:
    """Return the share of digits whose largest logit is that of their label."""
    network.eval()
    with torch.inference_mode():
        answers = torch.cat([network(pixels).argmax(1) for pixels in torch.split(digits.pixels, BATCH)])
    return float((answers == digits.labels).float().mean())


def _fit(network: ImageClassifier, digits: Pixels, epochs: int) -> None:
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = NORM_MOMENTUM
    network.train()
    steps = len(digits.labels) // BATCH
    optimizer = torch.optim.AdamW(network.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps * epochs)
    loss_function = nn.CrossEntropyLoss(label_smoothing=0.05)
    for _ in (progress := trange(epochs, desc="digits", unit="epoch")):
        for chosen in torch.split(torch.randperm(len(digits.labels))[: steps * BATCH], BATCH):
            loss = loss_function(network(_shifted(digits.pixels[chosen])), digits.labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        progress.set_postfix(loss=f"{loss.item():.3f}")


def _shifted(pixels: torch.Tensor) -> torch.Tensor:
    """Shift the batch by some pixels; the black edges wrap around."""
    down, right = torch.randint(-SHIFT, SHIFT + 1, (2,)).tolist()
    return pixels.roll((down, right), dims=(1, 2))
