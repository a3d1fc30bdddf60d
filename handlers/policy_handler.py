"""The handler of reinforcement-learning policies: the entry of their archives.

TorchServe takes the one class defined here.
"""

from typing import Any

from numpy.typing import NDArray

from handlers import observations, rows
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
        rows.require(media_type, ("text/",), "JSON")
        if isinstance(body, bytes | bytearray | str) and not (isinstance(body, str) and rows.is_json(media_type)):
            body = rows.parse_json(body)
        return observations.read(body, self.policy.observation)
