"""Seeded random weights with which a network's answers differ, so that comparing them means something.

The same weights come out on every machine: what is measured is rounded to a grid or to a power of two.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from handlers import networks
from serialize.sample_requests import image, noisy_images

SEED = 0
GRID = 2.0**-20  # far above the noise of float64, far below any meaningful activation
FEWEST, PIXELS = 2, 32768
"""The least number of pictures for the statistics of batch norms, and of pixels in all of them."""
SCORES, BOXES = "cls_score", ("bbox_pred", "bbox_reg")
"""The last layers of torchvision's detectors: the scores of a second stage, and the boxes of any."""
SPREAD = 0.25
"""How far the outputs of these deviate: large ones would turn the rounding of 32 bits into other boxes."""
BACKGROUND = 3.5
"""How far the mean score of the background lies above an object's in the second stage, so that few are found."""
LARGEST = 1e3
"""A logit above this shows that a network makes each difference between pictures larger, layer by layer."""
SHRUNK = 0.2
"""The weight that the batch norms of such a network get; it is 1 in others."""
FIRST = 10
"""The seed of the first picture: others than those of the golden answers."""


def random_network(spec: dict[str, Any], size: tuple[int, int], folder: Path = Path()) -> nn.Module:
    """Return the network of `spec` with seeded weights, ready to answer pictures of `size` (height, width).

    Initial weights are made for training: without statistics in the batch norms a deep network's logits vanish, and
    heads that begin with zeros answer every picture alike. So batch norms get the statistics of random pictures, a
    detector's layers the scale at which their outputs deviate by 1, and layers of zeros random weights. Where logits
    still grow without bound, as in the deepest networks, batch norms get a smaller weight.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        network = networks.build_network(spec, folder).double()
        _fill_zero_heads(network)
        channels = len(spec["mean"])
        if isinstance(network, networks.ImageDetector):
            _scale_layers(network, _picture(size, channels))
        else:
            _fill_batch_norms(network, size, channels)
            if _has_grown(network, size, channels):
                _shrink_batch_norms(network)
                _fill_batch_norms(network, size, channels)
    return network.float().eval()


def _fill_zero_heads(network: nn.Module) -> None:
    """Give random weights to linear layers that begin as zeros, as the heads of vision transformers do."""
    for module in network.modules():
        if isinstance(module, nn.Linear) and not module.weight.any():
            nn.init.normal_(module.weight, std=1 / math.sqrt(module.in_features))


def _fill_batch_norms(network: nn.Module, size: tuple[int, int], channels: int) -> None:
    """Compute the statistics of batch norms in float64, and round the means to a grid.

    Behind a linear layer a mean is zero but for the order of a machine's additions, and float32, whose rounding is
    relative, would keep that noise.
    """
    norms = [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    if not norms:
        return
    for norm in norms:
        norm.reset_running_stats()
        norm.train()
        norm.momentum = None  # the mean over all batches, not a moving mean
    # Pictures as they are served: norms with the statistics of noise would multiply what such have left a thousandfold.
    # Their sides are the network's own, because the deepest layers of smaller ones see little but padding.
    count = max(FEWEST, PIXELS // math.prod(size))
    with torch.no_grad():
        network(torch.from_numpy(noisy_images(count, size, channels, FIRST)))
    for norm in norms:
        assert norm.running_mean is not None
        # Adding zero turns -0.0, which has other bits, into 0.0.
        norm.running_mean.copy_((norm.running_mean / GRID).round() * GRID + 0.0)


def _has_grown(network: nn.Module, size: tuple[int, int], channels: int) -> bool:
    """Return True when a picture that the statistics have not seen is answered with huge numbers.

    In the deepest networks each block makes what is new in a picture larger, and rounding with it.
    """
    with torch.no_grad():
        return float(network.eval()(_picture(size, channels)).abs().max()) > LARGEST


def _shrink_batch_norms(network: nn.Module) -> None:
    """Let each block of a residual network add less to what it is given."""
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            nn.init.constant_(module.weight, SHRUNK)


def _picture(size: tuple[int, int], channels: int) -> torch.Tensor:
    return torch.from_numpy(image(*size, FIRST)[None, ..., np.arange(channels) % 3])


def _scale_layers(detector: nn.Module, pixels: torch.Tensor) -> None:
    """Multiply each layer's weights by the power of two at which its output deviates by about 1.

    Biases stay. A layer whose biases are all below zero answers how sure an object is, and that few are; twice the
    deviation lets some reach a score.
    """
    names = {module: name.rpartition(".")[2] for name, module in detector.named_modules()}
    done: set[nn.Module] = set()

    def scale(module: nn.Conv2d | nn.Linear, given: Any, output: torch.Tensor) -> torch.Tensor:
        del given
        deviation = float(output.std()) if output.numel() > 1 else 0.0
        if module in done or not math.isfinite(deviation) or deviation == 0:
            return output
        done.add(module)
        if names[module] == SCORES:
            return _score_few(module, output)
        factor = 2.0 ** -round(math.log2(deviation))
        if names[module] in BOXES:
            factor *= SPREAD
        if module.bias is not None and float(module.bias.max()) < 0:
            factor *= 2
        module.weight.mul_(factor)
        if module.bias is None:
            return output * factor
        bias = module.bias if isinstance(module, nn.Linear) else module.bias[:, None, None]
        return (output - bias) * factor + bias

    layers = [module for module in detector.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    hooks = [layer.register_forward_hook(scale) for layer in layers]
    with torch.no_grad():
        detector.eval()(pixels)
    for hook in hooks:
        hook.remove()


def _score_few(layer: nn.Conv2d | nn.Linear, scores: torch.Tensor) -> torch.Tensor:
    """Let the scores [proposals, classes] of a second stage differ between proposals, and few exceed a threshold.

    Otherwise every proposal is an answer or none is, and the last bit decides which of a hundred overlapping ones stay.
    """
    assert layer.bias is not None
    factors = torch.tensor([SPREAD * 2.0 ** -round(math.log2(float(deviation))) for deviation in scores.std(0)])
    shift = ((scores * factors).mean(0) / GRID).round() * GRID
    shift[0] -= BACKGROUND
    layer.weight.mul_(factors[:, None])
    layer.bias.copy_(layer.bias * factors - shift)
    return scores * factors - shift
