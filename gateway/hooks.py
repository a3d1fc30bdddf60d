"""The types of business logic, which `business.py` at the top of the project is written in, and of predictors.

A predictor answers predictions. The client of the engine is one; each stage in front of it wraps another.
"""

import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, Self

import orjson

from errors import Internal
from gateway.model_card import Kind
from handlers.outputs import HandlerResponse

HeaderList = tuple[tuple[bytes, bytes], ...]
"""Names in lower case and values."""

QueueKey = tuple[str, str | None]
"""A model, and the version if it is on trial."""


@dataclass(frozen=True, slots=True)
class PredictionRequest:
    """One request to a model. `dataclasses.replace` makes a changed copy, which may name another model.

    Attributes:
        model: name of the model.
        version: the requested version, None for the default one.
        kind: what the model reads, None for an archive that does not say.
        content_type: image/*, application/octet-stream or application/json.
        body: the picture's bytes, or the JSON as the client wrote it.
        request_id: the id that is in the client's response and in each log line.
        deadline: end of the client's wait, in seconds of the event loop's clock.
        sticky: value of the header that keeps a client on one version of a canary, if one is configured and sent.
        trial: True when `version` is on trial and the client did not request it.
        headers: the client's further headers, for an adopted archive; empty for all others.
        explain: True when the client asks for explanations in place of predictions.

    """

    model: str
    version: str | None
    kind: Kind | None
    content_type: str
    body: bytes = field(repr=False)
    request_id: str
    deadline: float = math.inf
    sticky: str | None = None
    trial: bool = False
    headers: HeaderList = ()
    explain: bool = False

    @property
    def queue_key(self) -> QueueKey:
        """The key under which the request is counted; a version on trial is counted separately."""
        return (self.model, self.version if self.trial else None)

    def json(self) -> Any:
        """Return the body of a JSON request, parsed: a state, or {"instances": [...]}."""
        return orjson.loads(self.body)


@dataclass(frozen=True, slots=True)
class Prediction:
    """A model's response: {"model", "version", "predictions": [...]} as `content`, and the request that it answers."""

    request: PredictionRequest
    content: Mapping[str, Any]

    @property
    def predictions(self) -> list[dict[str, Any]]:
        """One entry per picture or state, in the order of the request."""
        predictions: list[dict[str, Any]] = self.content["predictions"]
        return predictions

    def with_predictions(self, predictions: list[dict[str, Any]]) -> Self:
        """Return the same response with other predictions."""
        return replace(self, content={**self.content, "predictions": predictions})


@dataclass(frozen=True, slots=True)
class Reply:
    """A response from business logic: JSON content and status. The client gets it unchanged."""

    content: Any
    status: int = 200


Before = Callable[[PredictionRequest], Awaitable[PredictionRequest | Reply]]
After = Callable[[Prediction], Awaitable[Prediction | Reply]]


@dataclass(frozen=True, slots=True)
class Business:
    """Business logic by model name; "*" is used for every model without its own entry.

    To refuse a request, raise an error of `errors.RequestError`. Any other exception is answered with 500.
    The gateway forwards the responses of a model without `after` unparsed.
    """

    before: Mapping[str, Before] = field(default_factory=dict)
    after: Mapping[str, After] = field(default_factory=dict)

    def before_for(self, model: str) -> Before | None:
        """Return the hook that runs before a prediction of this model."""
        return self.before.get(model) or self.before.get("*")

    def after_for(self, model: str) -> After | None:
        """Return the hook that runs after a prediction of this model."""
        return self.after.get(model) or self.after.get("*")


@dataclass(frozen=True, slots=True)
class EngineResponse:
    """A model's response as the handler wrote it: JSON bytes, their type, and the version that made them.

    That of an adopted archive's handler has any body and status, and its own `headers`, its content type among them.
    """

    body: bytes = field(repr=False)
    content_type: str
    version: str | None
    status: int = 200
    headers: HeaderList | None = None

    @property
    def whole(self) -> HandlerResponse:
        """The response with status and headers, for a comparison."""
        headers = self.headers or ()
        texts = {name.decode("latin-1"): value.decode("latin-1") for name, value in headers}
        return HandlerResponse(self.status, texts, self.body)

    def content(self, items: str = "predictions") -> dict[str, Any]:
        """Return the parsed content, an object with a list under `items`.

        Raises Internal when the model's handler does not answer as Marina's do.
        """
        try:
            content = orjson.loads(self.body)
        except orjson.JSONDecodeError as error:
            raise Internal("the model's answer is not JSON") from error
        if not isinstance(content, dict) or not isinstance(content.get(items), list):
            raise Internal(f'the model\'s answer has no list "{items}"')
        return content


class Predictor(Protocol):
    """A client of the engine, or a stage in front of one.

    A stage that forwards a request unchanged returns the next stage's awaitable, which saves a call on the stack.
    """

    def predict(self, request: PredictionRequest) -> Awaitable[EngineResponse]:
        """Answer one prediction. Raises the RequestError that the client gets."""
        ...
