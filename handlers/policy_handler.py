"""The handler of reinforcement-learning policies, and the entry of their archives.

TorchServe takes the one class defined here.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from handlers import action_selection, explain, observations, request_body, request_limits
from handlers.batch import NEVER, Deadline, Instances, Outputs
from handlers.card import Observation
from handlers.errors import NotSupported
from handlers.model_handler import ModelHandler
from handlers.outputs.action import ActionSettings
from handlers.outputs.class_probabilities import DECIMALS
from handlers.spaces import Box, Discrete


class PolicyHandler(ModelHandler):
    """Answers observations with actions."""

    observation: Observation
    actions: ActionSettings | None  # None for a policy whose output kind is another

    def configure(self) -> None:
        """Store the card's observation and action."""
        if self.card.observation is None:
            raise ValueError("model.json: kind is not policy, but the handler is PolicyHandler")
        self.observation = self.card.observation
        settings = self.card.output_settings
        self.actions = settings if isinstance(settings, ActionSettings) else None

    def read(self, body: Any, media_type: str, until: Deadline = NEVER) -> Instances:
        """Read the observations of one request, [k, *shape], and its options; raises RequestError."""
        payload = request_body.json_of(body, media_type)
        request_limits.check(self.card.limits, payload)
        inputs = observations.read(payload, self.observation)
        return Instances(inputs, self._options(payload, len(inputs)))

    def _options(self, payload: Any, count: int) -> Outputs:
        """Return the noise to sample actions with and the masks of allowed ones, where the request sets them."""
        # Nearly all requests are arrays, or objects without an option.
        if not isinstance(payload, dict) or action_selection.OPTIONS.isdisjoint(payload):
            return {}
        if observations.envelope(payload, self.observation) is None:
            return {}
        if self.actions is None:
            raise NotSupported("this policy does not answer with actions")
        return action_selection.read_options(payload, count, self.actions.space, self.actions.distribution)

    def explanations(self, inputs: NDArray[Any], outputs: NDArray[Any], target: Any) -> list[dict[str, Any]]:
        """Attribute an action's logit or value to the numbers of an observation; raises RequestError."""
        space, seen = None if self.actions is None else self.actions.space, self.observation
        if not isinstance(space, Discrete) or not isinstance(seen.space, Box):
            raise NotSupported("only discrete actions, for observations of one array, have explanations")
        names = tuple(str(space.start + index) for index in range(space.n))
        chosen = [explain.target(_text(target), names, int(answered)) for answered in outputs.argmax(axis=1)]
        shares = explain.attributions(self.model, inputs, np.zeros(inputs.shape[1:], np.float32), np.array(chosen))
        rounded = [np.round(share, DECIMALS).tolist() for share in shares]
        return [
            {
                "action": space.start + index,
                "attributions": dict(zip(seen.fields, share, strict=True)) if seen.fields else share,
            }
            for index, share in zip(chosen, rounded, strict=True)
        ]


def _text(target: Any) -> Any:
    # An action's number is its name here, also where the numbers do not begin at 0.
    return target if target is None or isinstance(target, bytes) else str(target)
