"""The types that business logic is written in; `business.py` at the top of the project is where it is written."""

import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, Self

import orjson

from gateway.model_card import Kind

Load = tuple[str, str | None]
"""A model, and the version when it is one under trial."""


@dataclass(frozen=True, slots=True)
class PredictionRequest:
    """One request on its way to a model. `dataclasses.replace` makes a changed one, for another model included.

    Attributes:
        model: name of the model.
        version: the version asked for, None for the default one.
        kind: what the model reads, None for an archive that does not say.
        content_type: image/*, application/octet-stream or application/json.
        body: the picture's bytes, or the JSON as the client wrote it.
        request_id: the id that is in the client's answer and in each log line.
        deadline: seconds of the event loop's clock after which nobody waits for the answer.
        sticky: value of the header that keeps a client on one side of a canary, where one is named and sent.
        trial: whether `version` is one under trial that the client did not ask for.

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

    @property
    def load(self) -> "Load":
        """Whose load it is: a version under trial must not take places, turns or trust from the one that serves."""
        return (self.model, self.version if self.trial else None)

    def json(self) -> Any:
        """The body of a JSON request, parsed: a state, or {"instances": [...]}."""
        return orjson.loads(self.body)


@dataclass(frozen=True, slots=True)
class Prediction:
    """A model's answer: {"model", "version", "predictions": [...]} as `content`, and the request it answers."""

    request: PredictionRequest
    content: Mapping[str, Any]

    @property
    def predictions(self) -> list[dict[str, Any]]:
        """One entry per picture or state, in the order of the request."""
        predictions: list[dict[str, Any]] = self.content["predictions"]
        return predictions

    def with_predictions(self, predictions: list[dict[str, Any]]) -> Self:
        """The same answer with other predictions."""
        return replace(self, content={**self.content, "predictions": predictions})


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer made by business logic itself: JSON content and status. The client gets it as it is."""

    content: Any
    status: int = 200


Before = Callable[[PredictionRequest], Awaitable[PredictionRequest | Reply]]
After = Callable[[Prediction], Awaitable[Prediction | Reply]]


@dataclass(frozen=True, slots=True)
class Business:
    """Business logic by model name; "*" stands for every model that has none of its own.

    To refuse a request, raise an error of `errors.RequestError`. Any other exception is answered with 500.
    A model without `after` has its answers passed on unread.
    """

    before: Mapping[str, Before] = field(default_factory=dict)
    after: Mapping[str, After] = field(default_factory=dict)

    def before_for(self, model: str) -> Before | None:
        """What runs before a prediction of this model."""
        return self.before.get(model) or self.before.get("*")

    def after_for(self, model: str) -> After | None:
        """What runs after a prediction of this model."""
        return self.after.get(model) or self.after.get("*")


@dataclass(frozen=True, slots=True)
class EngineResponse:
    """A model's answer as the handler wrote it: JSON bytes, their type, and the version that made them."""

    body: bytes = field(repr=False)
    content_type: str
    version: str | None


class Predictor(Protocol):
    """Whatever answers predictions: the upstream itself, or something that stands in front of it."""

    async def predict(self, request: PredictionRequest) -> EngineResponse:
        """One prediction. Raises the RequestError that a client is to be told."""
        ...
