"""`multilabel`: any number of labels apply at once, each with its own sigmoid and threshold."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from handlers.outputs.class_probabilities import SHARES, ClassKind, ClassSettings, filled, probability_tensors, sigmoid
from handlers.outputs.output_kind import OutputTensor, Prediction, object_schema, part_of

if TYPE_CHECKING:
    from numpy.typing import NDArray


class MultiLabel(ClassKind):
    """The labels whose probability reaches their threshold."""

    name = "multilabel"
    activation = "sigmoid"
    acted_on = ("labels",)
    example: ClassVar[Prediction] = {"labels": ["drama"], "probabilities": {"drama": 0.81, "comedy": 0.22}}
    schema: ClassVar[Mapping[str, Any]] = object_schema(
        labels={"type": "array", "items": {"type": "string"}}, probabilities=SHARES
    )
    view: ClassVar[Mapping[str, Any]] = {
        "drawing": "probabilities",
        "values": "probabilities",
        "chosen": "labels",
        "none": "None of the labels reaches its threshold",
    }

    def is_default_for(self, card: Mapping[str, Any]) -> bool:
        """Return true for the card of an image model with a sigmoid."""
        return card.get("kind") == "vision" and part_of(card, "output").get("activation") == "sigmoid"

    def activate(self, logits: "NDArray[Any]") -> "NDArray[Any]":
        """Return independent probabilities."""
        return sigmoid(logits)

    def predictions(self, outputs: Mapping[str, Any], settings: ClassSettings) -> list[dict[str, Any]]:
        """Return every label that reaches its threshold, in the labels' order, and the probabilities, falling."""
        import numpy as np

        probabilities = self.probabilities(outputs["logits"], settings)
        holds = (probabilities >= np.array(settings.thresholds)).tolist()
        return [
            {
                "labels": [label for label, held in zip(settings.labels, row, strict=True) if held],
                "probabilities": listed,
            }
            for row, listed in zip(holds, self.listed(probabilities, settings), strict=True)
        ]

    def tensors(self, card: Mapping[str, Any]) -> tuple[OutputTensor, ...]:
        """Return `probabilities`, `labels` where the card has a `top_k`, and `holds`, class by class beside them."""
        listed = probability_tensors(card)
        return *listed, _holds(listed[0])


def _holds(probabilities: OutputTensor) -> OutputTensor:
    count = probabilities.shape[1]

    def read(prediction: Prediction) -> list[Any]:
        names = probabilities.labels or list(prediction["probabilities"])
        return filled([name in prediction["labels"] for name in names], count, False)

    return OutputTensor("holds", "BOOL", (-1, count), read)


KIND = MultiLabel()
