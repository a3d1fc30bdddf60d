"""The handler of reinforcement-learning policies: the entry of their archives.

TorchServe takes the one class defined here.
"""

from typing import Any

from numpy.typing import NDArray

from handlers import observations, rows, sampling
from handlers.batch import Outputs
from handlers.card import Policy
from handlers.model_handler import ModelHandler


class PolicyHandler(ModelHandler):
    """Answers observations with actions."""

    policy: Policy

    def configure(self) -> None:
        """Keep the card's policy part."""
        if self.card.policy is None:
            raise ValueError("model.json: kind is not policy, but the handler is PolicyHandler")
        self.policy = self.card.policy

    def read(self, body: Any, media_type: str) -> NDArray[Any]:
        """Check the observations of one request: [k, *shape]; raises HandlerError."""
        return observations.read(_parsed(body, media_type), self.policy.observation)

    def asked(self, body: Any, media_type: str, count: int) -> Outputs:
        """The noise to draw actions with and the masks of those allowed, where the request asks for them."""
        payload = _parsed(body, media_type)
        # Nearly all requests end here: no object, or one without any option.
        if not isinstance(payload, dict) or sampling.OPTIONS.isdisjoint(payload):
            return {}
        if observations.envelope(payload, self.policy.observation) is None:
            return {}
        return sampling.read(payload, count, self.policy.action, self.policy.distribution)


def _parsed(body: Any, media_type: str) -> Any:
    rows.require(media_type, ("text/",), "JSON")
    if isinstance(body, bytes | bytearray | str) and not (isinstance(body, str) and rows.is_json(media_type)):
        return rows.parse_json(body)
    return body
