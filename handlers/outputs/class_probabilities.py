"""The base of the output kinds that give classes with probabilities: `classify`, `multilabel` and `binary`.

Probabilities are computed in 64 bits and rounded to 6 decimals, which is about the precision of 32-bit logits.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from handlers.errors import Internal
from handlers.json_object import JsonObject
from handlers.outputs.output_kind import BYTES, NetworkOutput, OutputKind, OutputTensor, Prediction, part_of

if TYPE_CHECKING:  # the gateway reads this module and has no numpy
    from numpy.typing import NDArray

DECIMALS = 6
_ROUNDING = 1e-3  # a sum of rounded 16-bit numbers may lie beyond 1
SHARE = {"type": "number", "minimum": 0, "maximum": 1}
SHARES = {"type": "object", "additionalProperties": SHARE}
"""JSON Schemas of a probability, and of probabilities by label."""


@dataclass(frozen=True)
class ClassSettings:
    """The class names in the order of the logits, a threshold for each, and how many classes an answer lists.

    `activated` is true where the network's outputs are probabilities already.
    """

    labels: tuple[str, ...]
    thresholds: tuple[float, ...]
    top_k: int | None
    activated: bool = False


class ClassKind(OutputKind):
    """Classes with probabilities, the likeliest first: all of them, or the `top_k`."""

    scores = "probabilities"
    first_label = True
    activation: ClassVar[str]
    """The function that makes probabilities of logits, as `output.activation` states it."""

    def activate(self, logits: "NDArray[Any]") -> "NDArray[Any]":
        """Return the probabilities of logits [..., classes] in float64."""
        raise NotImplementedError

    def probabilities(self, values: "NDArray[Any]", settings: ClassSettings) -> "NDArray[Any]":
        """Return the probabilities of the network's output [..., classes] in float64.

        Raises Internal where the output should hold probabilities and does not.
        """
        import numpy as np

        if not settings.activated:
            return self.activate(values)
        if values.min() < -_ROUNDING or values.max() > 1 + _ROUNDING:
            raise Internal(f"the network does not answer with probabilities; output.activation is {self.activation}")
        return np.clip(values.astype(np.float64), 0.0, 1.0)

    def settings(self, card: JsonObject) -> ClassSettings:
        """Read `labels` and `output`; raises ValueError."""
        labels, section = card.texts("labels"), card.object("output")
        activation = section.choice("activation", (self.activation, "none"))
        given = section.values.get("thresholds", 0.5)
        each = given if isinstance(given, list) else [given] * len(labels)
        numbers = [float(item) for item in each if isinstance(item, int | float) and 0 <= item <= 1]
        if len(each) != len(labels) or len(numbers) != len(labels):
            raise section.error("thresholds", f"must be one number, or {len(labels)}, between 0 and 1")
        top_k = section.integer("top_k", 1) if section.values.get("top_k") is not None else None
        return ClassSettings(labels, tuple(numbers), top_k, activated=activation == "none")

    def network_outputs(self, settings: ClassSettings) -> tuple[NetworkOutput, ...]:
        """Return `logits`, one for each label."""
        return (NetworkOutput("logits", (len(settings.labels),)),)

    def listed(self, probabilities: "NDArray[Any]", settings: ClassSettings) -> list[dict[str, float]]:
        """Return the probabilities [k, classes] of each instance by label, falling; equal ones in the labels' order."""
        import numpy as np

        # A stable sort of the negated values keeps the order of the labels among equal ones.
        order = np.argsort(-probabilities, axis=1, kind="stable")[:, : settings.top_k]
        values = np.round(np.take_along_axis(probabilities, order, axis=1), DECIMALS).tolist()
        return [
            {settings.labels[index]: value for index, value in zip(row, numbers, strict=True)}
            for row, numbers in zip(order.tolist(), values, strict=True)
        ]


def sigmoid(logits: "NDArray[Any]") -> "NDArray[Any]":
    """Return the sigmoid in float64; written with tanh, which does not overflow."""
    import numpy as np

    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * logits.astype(np.float64))))


def probability_tensors(card: Mapping[str, Any]) -> tuple[OutputTensor, ...]:
    """Return the tensors of the listed classes: all in the order of the labels, or the top k and their names."""
    labels, top_k = tuple(card.get("labels") or ()), part_of(card, "output").get("top_k")
    return _best(min(top_k, len(labels)), labels) if top_k else (_every(labels),)


def filled(values: Sequence[Any], count: int, nothing: Any) -> list[Any]:
    """Return `count` values, the missing ones replaced by `nothing`."""
    return [*values, *[nothing] * (count - len(values))][:count]


def _every(labels: tuple[str, ...]) -> OutputTensor:
    """The probabilities of all classes, 0 for a class that business logic removed."""

    def read(prediction: Prediction) -> list[Any]:
        return [prediction["probabilities"].get(name, 0.0) for name in labels]

    return OutputTensor("probabilities", "FP32", (-1, len(labels)), read, labels)


def _best(count: int, labels: tuple[str, ...]) -> tuple[OutputTensor, ...]:
    def values(prediction: Prediction) -> list[Any]:
        return filled(list(prediction["probabilities"].values()), count, 0.0)

    def names(prediction: Prediction) -> list[Any]:
        return filled(list(prediction["probabilities"]), count, "")

    shape = (-1, count)
    return OutputTensor("probabilities", "FP32", shape, values), OutputTensor("labels", BYTES, shape, names)
