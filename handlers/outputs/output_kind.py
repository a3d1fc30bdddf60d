"""The interface of an output kind, with the defaults that most kinds share."""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar

from handlers.json_object import JsonObject
from handlers.outputs.comparison import Comparison, Difference, distance, json_differences, largest_change

BYTES = "BYTES"
"""The protocol's datatype of text."""

Prediction = Mapping[str, Any]
"""The answer to one instance, as JSON."""


@dataclass(frozen=True, slots=True)
class NetworkOutput:
    """One output of the network: its name, and its shape for one instance, in which -1 is any size."""

    name: str
    shape: tuple[int, ...]

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Return true for the shape of one instance's output."""
        return len(shape) == len(self.shape) and all(
            wanted in (-1, size) for wanted, size in zip(self.shape, shape, strict=True)
        )


@dataclass(frozen=True, slots=True)
class OutputTensor:
    """One output tensor of the Open Inference Protocol; -1 is any size.

    The first dimension counts instances, unless the model is not `batched`: it then answers one.

    `read` returns the elements of one prediction, flat. At most one further dimension is -1: rows of different length
    are filled up with `padding`. `labels` names the elements of a row of classes, so that a client can ask for the best
    few of them.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    read: Callable[[Prediction], list[Any]]
    labels: tuple[str, ...] = ()
    padding: Any = 0
    batched: bool = True

    @property
    def is_row(self) -> bool:
        """True where each instance has a row of elements."""
        return len(self.shape) == 1 + self.batched

    def joined(self, rows: Sequence[list[Any]]) -> tuple[tuple[int, ...], list[Any]]:
        """Return the shape and the elements of the tensor that holds the rows of several predictions."""
        inner = self.shape[1:]
        if -1 in inner:
            known = prod(size for size in inner if size != -1)
            longest = max(map(len, rows), default=0)
            inner = tuple(longest // known if size == -1 else size for size in inner)
            rows = [[*row, *[self.padding] * (longest - len(row))] for row in rows]
        return (len(rows), *inner), [value for row in rows for value in row]


@dataclass(frozen=True, slots=True)
class HandlerResponse:
    """A worker's response to one request; names of headers in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """The beginning of the body, for a message."""
        return self.body[:200].decode("utf-8", "replace")


class OutputKind(ABC):
    """A kind of predictions. A module of this package defines a subclass and assigns an instance to `KIND`.

    The worker calls `settings` when it loads the model card, and then `network_outputs` and `predictions`. The gateway
    and delivery use the rest, so a module imports numpy only inside these three.
    """

    name: ClassVar[str]
    """The value of `task` in a model card that names its output kind; the module has the same name."""
    acted_on: ClassVar[tuple[str, ...]]
    """The fields of a prediction that a client acts on; a prediction with one of them is of this kind."""
    scores: ClassVar[str | None] = None
    """The field that maps class names to numbers; two versions may differ in them, and the change is measured."""
    example: ClassVar[Prediction]
    """A prediction, for the OpenAPI document."""
    schema: ClassVar[Mapping[str, Any]]
    """The JSON Schema of a prediction, for the OpenAPI document and `GET /models/{model}`."""
    view: ClassVar[Mapping[str, Any]]
    """The console's drawing of a prediction: `drawing` names it, `values` is its field of the prediction.

    `probabilities` draws an object of numbers by name. `chosen` is the field of the chosen name, or of several names,
    `confidence` that of the chosen name's probability, and `none` the text where nothing is chosen. `numbers` draws an
    object of any numbers by name with the `units` in that field, `vector` a list of numbers, `boxes` detections and
    `regions` a class map over the picture, `action` a policy's action, `tensors` named arrays, `response` an
    adopted archive's answer.
    """
    alone: ClassVar[bool] = False
    """The network takes one instance at a time and answers without a dimension that counts instances.

    Detectors are so: each picture has another number of detections. Their outputs for k instances are arrays of k
    arrays.
    """
    first_label: ClassVar[bool] = False
    """The largest number of the network's output names the label, so that formats can be measured by it."""
    placed: ClassVar[bool] = False
    """Predictions are in pixels of the picture; `outputs` then holds `placement`, see `handlers.placement`."""

    def describes(self, card: Mapping[str, Any]) -> bool:
        """Return true for the JSON document of a model card whose predictions are of this kind."""
        task = card.get("task")
        return self.is_default_for(card) if task is None else task == self.name

    def is_default_for(self, card: Mapping[str, Any]) -> bool:
        """Return true for a card of this kind that names no `task`."""
        del card
        return False

    def recognizes(self, prediction: Any) -> bool:
        """Return true for a prediction of this kind."""
        return isinstance(prediction, Mapping) and any(field in prediction for field in self.acted_on)

    @abstractmethod
    def settings(self, card: JsonObject) -> Any:
        """Check the parts of the model card that this kind needs and return them; raises ValueError."""

    @abstractmethod
    def network_outputs(self, settings: Any) -> tuple[NetworkOutput, ...]:
        """Return the outputs of the network that predictions are made of, in the order in which it returns them."""

    @abstractmethod
    def predictions(self, outputs: Mapping[str, Any], settings: Any) -> list[dict[str, Any]]:
        """Convert the network's named outputs for k instances, arrays [k, ...], to k predictions, in order."""

    def tensors(self, card: Mapping[str, Any]) -> tuple[OutputTensor, ...]:
        """Return the output tensors of a model, in the order in which they are answered; none by default."""
        del card
        return ()

    def response_predictions(self, response: HandlerResponse) -> list[Any]:
        """Return the predictions of a response. Raises ValueError where there are none."""
        return listed_predictions(response)

    def differences(self, expected: Any, actual: Any, path: str) -> Iterator[Difference]:
        """Yield the differences between a golden prediction and an actual one; the caller applies the tolerance."""
        return json_differences(expected, actual, path)

    def compare(self, stable: Prediction, trial: Prediction, tolerance: float) -> Comparison:
        """Compare the predictions of two versions.

        The fields in `acted_on` must be equal, lists of fractional numbers within the tolerance. `scores` may change.
        """
        change = 0.0 if self.scores is None else largest_change(stable.get(self.scores), trial.get(self.scores))
        for field in self.acted_on:
            before, after = stable.get(field), trial.get(field)
            apart = distance(before, after)
            change = max(change, apart or 0.0)
            if before != after and (apart is None or apart > tolerance):
                return Comparison(differs=True, change=change, first=(before, after))
        return Comparison(differs=False, change=change)


def object_schema(**properties: Mapping[str, Any]) -> dict[str, Any]:
    """Return the JSON Schema of an object with these properties, all of them required."""
    return {"type": "object", "properties": properties, "required": list(properties)}


def listed_predictions(response: HandlerResponse) -> list[Any]:
    """Return the predictions that a handler of this project lists. Raises ValueError where there are none."""
    if response.status != 200:
        raise ValueError(f"got {response.status}: {response.text}")
    try:
        found = json.loads(response.body)["predictions"]
    except (ValueError, TypeError, KeyError, RecursionError):
        found = None
    if not isinstance(found, list):
        raise ValueError(f"is answered differently: {response.body[:100]!r} holds no predictions to compare")
    return found


def part_of(card: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """Return the object under a key of a card's JSON document, an empty one where there is none."""
    found = card.get(key)
    return found if isinstance(found, Mapping) else {}
