"""What is left of a policy once everything that only training needs is gone."""

from dataclasses import dataclass
from itertools import pairwise

import torch

from errors import BuildError
from serialize.sb3.spaces import Box, Space

Layer = tuple[torch.Tensor, torch.Tensor]  # weight [outputs, inputs], bias [outputs]


@dataclass(frozen=True)
class Actor:
    """The layers from observation to action, each but the last followed by `activation`, and the spaces at both ends.

    `limit` bounds the output before squashing; `squash` maps it through tanh onto a bounded Box.
    `scale` divides the observation.
    """

    observation: Space
    action: Space
    layers: tuple[Layer, ...]
    activation: str
    limit: float | None = None
    squash: bool = False
    scale: float = 1.0

    @property
    def widths(self) -> list[int]:
        """Sizes of the layers, input first, output last."""
        return [self.layers[0][0].shape[1], *(bias.shape[0] for _, bias in self.layers)]

    def check(self) -> None:
        """Raises BuildError when layers and spaces do not fit each other."""
        for (_, bias), (weight, _) in pairwise(self.layers):
            if bias.shape[0] != weight.shape[1]:
                raise BuildError(f"a layer takes {weight.shape[1]} values, the one before it gives {bias.shape[0]}")
        taken, given = self.widths[0], self.widths[-1]
        if taken != self.observation.features:
            raise BuildError(f"the network takes {taken} values, its observation has {self.observation.features}")
        if given != self.action.outputs:
            raise BuildError(f"the network gives {given} values, its action space needs {self.action.outputs}")
        if self.squash and not (isinstance(self.action, Box) and self.action.bounded):
            raise BuildError("squash_output needs a Box action space with finite bounds")
