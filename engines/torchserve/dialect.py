"""What a prediction looks like on TorchServe's wire, as the gateway's hot path asks for it."""

from engines.torchserve import api, responses
from errors import RequestError


class TorchServeDialect:
    """Paths, refused keys and refusals of the Inference API."""

    def prediction_path(self, model: str, version: str | None) -> str:
        """The path that predicts."""
        return api.prediction_path(model, version)

    def key_refused(self, status: int, body: bytes) -> bool:
        """Whether the token was not accepted."""
        return responses.is_key_refused(status, body)

    def refusal(self, status: int, body: bytes, model: str) -> RequestError:
        """The error that a client is told for an answer that is not 200."""
        return responses.error_from_response(status, body, model)
