"""`binary`: one logit decides between two labels; the answer has the form of `classify`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from handlers.json_object import JsonObject
from handlers.outputs.class_probabilities import ClassSettings, sigmoid
from handlers.outputs.classify import Classify
from handlers.outputs.output_kind import NetworkOutput

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class BinarySettings(ClassSettings):
    """The two labels, and the probability from which the second one is answered."""

    threshold: float = 0.5


class Binary(Classify):
    """The second label where its probability reaches the threshold, else the first one."""

    name = "binary"
    activation = "sigmoid"
    first_label = False

    def is_default_for(self, card: Mapping[str, Any]) -> bool:
        """Return false: the task must be named."""
        return False

    def recognizes(self, prediction: Any) -> bool:
        """Return false: `classify` compares these predictions, which have its form."""
        return False

    def settings(self, card: JsonObject) -> BinarySettings:
        """Read two `labels`, and `activation` and `threshold` of `output`; raises ValueError."""
        labels, section = card.texts("labels"), card.object("output")
        if len(labels) != 2:
            raise card.error("labels", f"must be two for a binary model, not {len(labels)}")
        activated = section.choice("activation", (self.activation, "none")) == "none"
        return BinarySettings(labels, (), None, activated, section.number("threshold", 0, 1))

    def network_outputs(self, settings: ClassSettings) -> tuple[NetworkOutput, ...]:
        """Return `logits`, the one of the second label."""
        return (NetworkOutput("logits", (1,)),)

    def activate(self, logits: "NDArray[Any]") -> "NDArray[Any]":
        """Return the probability of the second label."""
        return sigmoid(logits)

    def predictions(self, outputs: Mapping[str, Any], settings: ClassSettings) -> list[dict[str, Any]]:
        """Return the label that the threshold decides, its probability, and both probabilities, falling."""
        import numpy as np

        assert isinstance(settings, BinarySettings)
        second = self.probabilities(outputs["logits"], settings)
        both = np.concatenate([1.0 - second, second], axis=1)
        chosen = (second[:, 0] >= settings.threshold).astype(int).tolist()
        return [
            {"label": settings.labels[index], "confidence": shares[settings.labels[index]], "probabilities": shares}
            for index, shares in zip(chosen, self.listed(both, settings), strict=True)
        ]


KIND = Binary()
