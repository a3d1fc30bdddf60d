"""What a prediction looks like on TorchServe's wire, as the gateway's hot path asks for it."""

from engines.torchserve import paths, verdicts
from errors import RequestError


class TorchServeDialect:
    """Paths, refused keys and refusals of the Inference API."""

    def prediction_path(self, model: str, version: str | None) -> str:
        """The path that predicts."""
        return paths.prediction(model, version)

    def key_refused(self, status: int, body: bytes) -> bool:
        """Whether the token was not accepted."""
        return verdicts.key_refused(status, body)

    def refusal(self, status: int, body: bytes, model: str) -> RequestError:
        """The error that a client is told for an answer that is not 200."""
        return verdicts.refusal(status, body, model)
