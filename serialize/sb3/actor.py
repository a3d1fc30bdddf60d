"""What is left of a policy once everything that only training needs is gone."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from errors import BuildError
from serialize.sb3.extractors import Encoder
from serialize.sb3.layers import Layer
from serialize.sb3.spaces import ActionSpace, Box, MultiBinary, MultiDiscrete, Space


@dataclass(frozen=True)
class Actor:
    """The layers from observation to action, each but the last followed by `activation`, and the spaces at both ends.

    `encoder` stands before the layers. `distribution` is what the model card says of how actions are drawn; of a
    gaussian, `log_std` holds the logarithms of the spreads, or is None where the last layer gives them behind the
    means. `limit` bounds the output before squashing; `squash` maps it through tanh onto a bounded Box. `epsilon` is
    that of the layers' renormalisations, None where they have none.
    """

    observation: Space
    action: ActionSpace
    encoder: Encoder
    layers: tuple[Layer, ...]
    activation: str
    distribution: dict[str, Any]
    log_std: tuple[float, ...] | None = None
    limit: float | None = None
    squash: bool = False
    epsilon: float | None = None

    @property
    def widths(self) -> list[int]:
        """Sizes of the layers, input first, output last."""
        return [self.layers[0].inputs, *(layer.outputs for layer in self.layers)]

    @property
    def gaussian(self) -> bool:
        """Whether the network gives means and spreads instead of actions."""
        return bool(self.distribution["type"] == "gaussian")

    def check(self) -> None:
        """Raise BuildError when layers and spaces do not fit each other."""
        self._check_layers()
        taken, given = self.widths[0], self.widths[-1]
        if taken != self.encoder.features:
            raise BuildError(f"the network takes {taken} values, its observation has {self.encoder.features}")
        needed = self.action.outputs * (2 if self.gaussian and self.log_std is None else 1)
        if given != needed:
            hint = ""
            if isinstance(self.action, MultiBinary) and given == 2 * needed:
                hint = f"; state {MultiDiscrete((2,) * needed)} for MaskablePPO, whose switches are choices of two"
            raise BuildError(f"the network gives {given} values, its action space {self.action} needs {needed}{hint}")
        if self.gaussian and self.log_std is not None and len(self.log_std) != self.action.outputs:
            raise BuildError(f"log_std has {len(self.log_std)} values, its action space needs {self.action.outputs}")
        if self.squash and not (isinstance(self.action, Box) and self.action.bounded):
            raise BuildError("squash_output needs a Box action space with finite bounds")

    def _check_layers(self) -> None:
        for one, following in pairwise(self.layers):
            if one.outputs != following.inputs:
                raise BuildError(f"a layer takes {following.inputs} values, the one before it gives {one.outputs}")
        for layer in self.layers:
            if (layer.renorm is None) != (self.epsilon is None):
                raise BuildError("a batch renormalisation stands before some of its layers, and not before the others")
            if layer.renorm is not None and len(layer.renorm.mean) != layer.inputs:
                raise BuildError(f"a layer takes {layer.inputs} values, its renormalisation {len(layer.renorm.mean)}")
