"""The handler of models with named inputs and outputs, and the entry of their archives.

TorchServe takes the one class defined here.
"""

from dataclasses import replace
from typing import Any

from handlers import request_body, request_limits, tensor_requests
from handlers.batch import NEVER, Deadline, Instances
from handlers.model_handler import ModelHandler
from handlers.signature import Signature


class TensorHandler(ModelHandler):
    """Answers named tensors, or rows of named columns, with the network's outputs."""

    signature: Signature

    def configure(self) -> None:
        """Store the card's signature, and whether its text must be UTF-8."""
        if self.card.signature is None:
            raise ValueError("model.json: kind is not tensors, but the handler is TensorHandler")
        # An ONNX graph reads text only.
        self.signature = replace(self.card.signature, utf8=self.card.artifact.runtime == "onnx")

    def read(self, body: Any, media_type: str, until: Deadline = NEVER) -> Instances:
        """Read the instances of one request as records; raises RequestError."""
        payload = request_body.json_of(body, media_type)
        request_limits.check(self.card.limits, payload)
        return tensor_requests.read(payload, self.signature)
