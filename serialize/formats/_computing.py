"""How the formats that torch runs are asked to compute: precision and memory order."""

import copy

from torch import nn

from handlers.runtimes._torch import converted
from serialize.source import Source


def computing(source: Source) -> nn.Module:
    """A copy of the network in the precision and memory order that its worker is to have."""
    return converted(copy.deepcopy(source.network), source.computing.precision, source.computing.channels_last)
