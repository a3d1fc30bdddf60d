"""`served_model.output`: what an output kind needs to know to make answers of the network's outputs.

One group has the settings of all kinds, and `TASKS` says which of them a kind needs and which it may have. Nothing is
assumed: a setting that a kind needs and that is missing is refused.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from settings.schema.fields import PositiveInt, SettingsGroup

Share = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True)
class TaskSettings:
    """The settings that an output kind needs and those that it may have; `labels` is true where it names classes."""

    needs: tuple[str, ...]
    may_have: tuple[str, ...] = ()
    activations: tuple[str, ...] = ()
    labels: bool = True


TASKS: Mapping[str, TaskSettings] = {
    "classify": TaskSettings(("activation",), ("thresholds", "top_k"), ("softmax", "none")),
    "multilabel": TaskSettings(("activation",), ("thresholds", "top_k"), ("sigmoid", "none")),
    "binary": TaskSettings(("activation", "threshold"), (), ("sigmoid", "none")),
    "regress": TaskSettings(("names", "units"), ("scale", "offset"), labels=False),
    "embed": TaskSettings(("size", "normalize"), labels=False),
    "detect": TaskSettings(("threshold", "nms"), ("top_k",)),
    "segment": TaskSettings(("activation", "mask"), ("threshold",), ("softmax", "sigmoid")),
}
"""The output kinds of this project; a kind of your own may have every setting."""


class OutputSettings(SettingsGroup):
    """The conversion of the network's output to an answer."""

    activation: Literal["softmax", "sigmoid", "none"] | None = Field(
        None, description="makes probabilities of the network's outputs; none: they are probabilities already"
    )
    thresholds: float | list[float] = Field(0.5, description="multilabel: probability from which a label applies, 0..1")
    top_k: PositiveInt | None = Field(None, description="number of classes or detections in an answer; null for all")
    threshold: Share | None = Field(
        None,
        description="binary, detect, segment: probability from which the second label, a box, or the second label at a "
        "pixel is answered",
    )
    nms: Share | Literal["none"] | None = Field(
        None,
        description="detect: IoU above which the less sure of two boxes of a label is dropped; none: not by this",
    )
    mask: Literal["png", "rle"] | None = Field(None, description="segment: form of the class map in an answer")
    names: list[str] | None = Field(None, description="regress: names of the network's numbers, in their order")
    units: list[str | None] | None = Field(None, description="regress: a unit for each name; null for none")
    scale: list[float] | None = Field(None, description="regress: factor of each number; null: 1")
    offset: list[float] | None = Field(None, description="regress: added to each number after the factor; null: 0")
    size: PositiveInt | None = Field(None, description="embed: length of the vector")
    normalize: bool | None = Field(None, description="embed: true divides the vector by its norm")

    def check(self, task: str | None, labels: bool, *, held: bool = False) -> None:
        """Raise ValueError where the settings do not fit the task; `labels` is true where the model has some.

        With `held`, missing labels may come from the checkpoint. Without a task, the activation decides between
        classify and multilabel.
        """
        if task is None and self.activation not in ("softmax", "sigmoid"):
            raise ValueError("output.activation must be softmax or sigmoid where task is not stated")
        known = TASKS.get(task or ("multilabel" if self.activation == "sigmoid" else "classify"))
        if known is None:
            return
        name = task or "classify or multilabel"
        self._check_fields(name, known)
        if task == "segment" and (self.activation == "sigmoid") != (self.threshold is not None):
            raise ValueError("task segment needs output.threshold with activation sigmoid, and has none with softmax")
        if known.labels and not (labels or held):
            raise ValueError(f"task {name} needs labels: names in the order of the network's outputs")
        if labels and not known.labels:
            raise ValueError(f"task {name} has no labels; remove them")

    def _check_fields(self, name: str, known: TaskSettings) -> None:
        for field in known.needs:
            if getattr(self, field) is None:
                raise ValueError(f"task {name} needs output.{field}: {_description(field)}")
        allowed = (*known.needs, *known.may_have)
        stated = {field for field in self.model_fields_set if getattr(self, field) is not None}
        if wrong := sorted(stated - {*allowed}):
            raise ValueError(f"task {name} has no output.{wrong[0]}; it has {', '.join(allowed)}")
        if known.activations and self.activation not in known.activations:
            choices = " or ".join(known.activations)
            raise ValueError(f"task {name} has output.activation {choices}, not {self.activation}")

    def card(self, task: str | None) -> dict[str, Any]:
        """Return the settings for the model card: those of the task, or every stated one for a kind of your own."""
        known = TASKS["classify"] if task is None else TASKS.get(task)
        if known is None:
            return self.model_dump(mode="json", exclude_unset=True)
        return self.model_dump(mode="json", include={*known.needs, *known.may_have})


def _description(field: str) -> str:
    return re.sub("^[a-z, ]+: ", "", str(OutputSettings.model_fields[field].description))
