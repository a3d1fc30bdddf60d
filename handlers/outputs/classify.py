"""`classify`: exactly one class applies; its label, its confidence, and the probabilities of all classes by softmax."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from handlers.outputs.class_probabilities import SHARE, SHARES, ClassKind, ClassSettings, probability_tensors
from handlers.outputs.output_kind import BYTES, OutputTensor, Prediction, object_schema, part_of

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Classify(ClassKind):
    """The likeliest label with its confidence."""

    name = "classify"
    activation = "softmax"
    acted_on = ("label",)
    example: ClassVar[Prediction] = {"label": "1", "confidence": 0.98, "probabilities": {"1": 0.98, "7": 0.02}}
    schema: ClassVar[Mapping[str, Any]] = object_schema(
        label={"type": "string"}, confidence=SHARE, probabilities=SHARES
    )
    view: ClassVar[Mapping[str, Any]] = {
        "drawing": "probabilities",
        "values": "probabilities",
        "chosen": "label",
        "confidence": "confidence",
    }

    def is_default_for(self, card: Mapping[str, Any]) -> bool:
        """Return true for the card of an image model without a sigmoid."""
        return card.get("kind") == "vision" and part_of(card, "output").get("activation") != "sigmoid"

    def activate(self, logits: "NDArray[Any]") -> "NDArray[Any]":
        """Return probabilities that sum to 1; the largest logit is subtracted so that no power overflows."""
        import numpy as np

        wide = logits.astype(np.float64)
        powers = np.exp(wide - wide.max(axis=-1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=-1, keepdims=True))

    def predictions(self, outputs: Mapping[str, Any], settings: ClassSettings) -> list[dict[str, Any]]:
        """Return the likeliest label, its confidence, and the probabilities, falling."""
        listed = self.listed(self.probabilities(outputs["logits"], settings), settings)
        firsts = [next(iter(each.items())) for each in listed]
        return [
            {"label": label, "confidence": confidence, "probabilities": probabilities}
            for (label, confidence), probabilities in zip(firsts, listed, strict=True)
        ]

    def tensors(self, card: Mapping[str, Any]) -> tuple[OutputTensor, ...]:
        """Return `probabilities`, `label` and `confidence`, and `labels` where the card has a `top_k`."""
        return (
            *probability_tensors(card),
            OutputTensor("label", BYTES, (-1,), lambda prediction: [prediction["label"]]),
            OutputTensor("confidence", "FP32", (-1,), lambda prediction: [prediction["confidence"]]),
        )


KIND = Classify()
