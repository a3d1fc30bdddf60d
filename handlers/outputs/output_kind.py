"""The interface of an output kind, with the defaults that most kinds share."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from handlers.json_object import JsonObject
from handlers.outputs.comparison import Comparison, Difference, distance, json_differences, largest_change

BYTES = "BYTES"
"""The protocol's datatype of text."""

Prediction = Mapping[str, Any]
"""The answer to one instance, as JSON."""


@dataclass(frozen=True, slots=True)
class OutputTensor:
    """One output tensor of the Open Inference Protocol; the first dimension counts instances, -1 is any size.

    `read` returns the elements of one prediction, flat. `labels` names the elements of a row of classes, so that a
    client can ask for the best few of them.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    read: Callable[[Prediction], list[Any]]
    labels: tuple[str, ...] = ()


class OutputKind(ABC):
    """A kind of predictions. A module of this package defines a subclass and assigns an instance to `KIND`.

    The worker calls `settings` when it loads the model card, and then `network_output` and `predictions`. The gateway
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
    view: ClassVar[Mapping[str, Any]]
    """The console's drawing of a prediction: `drawing` is `probabilities` or `action`, `values` the field it draws.

    `probabilities` draws an object of numbers by name. `chosen` is the field of the chosen name, or of several names,
    `confidence` that of the chosen name's probability, and `none` the text where nothing is chosen.
    """

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
    def network_output(self, settings: Any) -> tuple[str, tuple[int, ...]]:
        """Return the name of the network's output that predictions are made of, and its shape for one instance."""

    @abstractmethod
    def predictions(self, outputs: Mapping[str, Any], settings: Any) -> list[dict[str, Any]]:
        """Convert the network's named outputs for k instances, arrays [k, ...], to k predictions, in order."""

    def tensors(self, card: Mapping[str, Any]) -> tuple[OutputTensor, ...]:
        """Return the output tensors of a model, in the order in which they are answered; none by default."""
        del card
        return ()

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


def part_of(card: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """Return the object under a key of a card's JSON document, an empty one where there is none."""
    found = card.get(key)
    return found if isinstance(found, Mapping) else {}
