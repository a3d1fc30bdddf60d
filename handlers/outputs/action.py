"""`action`: the action of a reinforcement-learning policy, as the environment's `step` takes it.

Continuous actions are not rounded: each number is the shortest decimal that is its 32-bit float.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from handlers.json_object import JsonObject
from handlers.outputs.output_kind import NetworkOutput, OutputKind, OutputTensor, Prediction, object_schema, part_of

if TYPE_CHECKING:  # these need numpy, which the gateway does not have
    from handlers.spaces import ActionSpace, Distribution


@dataclass(frozen=True)
class ActionSettings:
    """The space of a policy's actions, and the distribution that they can be drawn from."""

    space: "ActionSpace"
    distribution: "Distribution"


class Action(OutputKind):
    """One action for each observation."""

    name = "action"
    acted_on = ("action",)
    example: ClassVar[Prediction] = {"action": 1}
    schema: ClassVar[Mapping[str, Any]] = object_schema(
        action={"anyOf": [{"type": "number"}, {"type": "array", "items": {}}]}
    )
    view: ClassVar[Mapping[str, Any]] = {"drawing": "action", "values": "action"}

    def is_default_for(self, card: Mapping[str, Any]) -> bool:
        """Return true for the card of a policy."""
        return card.get("kind") == "policy"

    def settings(self, card: JsonObject) -> ActionSettings:
        """Read `action`; raises ValueError."""
        from handlers import spaces

        stored = card.object("action")
        space = spaces.action_space(stored.object("space"))
        return ActionSettings(space, spaces.action_distribution(stored, space))

    def network_outputs(self, settings: ActionSettings) -> tuple[NetworkOutput, ...]:
        """Return the output of the network's head for this space."""
        from handlers import spaces

        gaussian = settings.distribution.kind == "gaussian"
        return (NetworkOutput(*spaces.network_output(settings.space, gaussian=gaussian)),)

    def predictions(self, outputs: Mapping[str, Any], settings: ActionSettings) -> list[dict[str, Any]]:
        """Return the likeliest actions, or those drawn with the `noise` among the outputs."""
        from handlers.action_selection import select_actions

        [output] = self.network_outputs(settings)
        selected = select_actions(outputs[output.name], settings.space, settings.distribution, outputs)
        return [{"action": each} for each in selected]

    def tensors(self, card: Mapping[str, Any]) -> tuple[OutputTensor, ...]:
        """Return `action` in the shape of the space: FP32 where it is continuous, else INT64."""
        space = part_of(part_of(card, "action"), "space")
        inner = {
            "box": tuple(space.get("shape") or ()),
            "multi_discrete": (len(space.get("nvec") or ()),),
            "multi_binary": (int(space.get("n") or 0),),
        }.get(str(space.get("type")), ())
        datatype = "FP32" if space.get("type") == "box" else "INT64"
        return (OutputTensor("action", datatype, (-1, *inner), lambda prediction: _flat(prediction["action"])),)


def _flat(value: Any) -> list[Any]:
    if not isinstance(value, list):
        return [value]
    return [leaf for item in value for leaf in _flat(item)]


KIND = Action()
