"""`served_model.output`: each task has its settings, and one that is missing is refused with its name."""

import pytest

from errors import ConfigError
from settings import load
from settings.schema import VisionModel

NO_LABELS = ("served_model.labels=null", "~served_model.output.activation")
ACCEPTED = {
    "binary": ("served_model.labels=[no,yes]", "served_model.output.activation=sigmoid",
               "+served_model.output.threshold=0.5"),
    "regress": (*NO_LABELS, "+served_model.output.names=[age]", "+served_model.output.units=[years]"),
    "embed": (*NO_LABELS, "+served_model.output.size=64", "+served_model.output.normalize=true"),
    "detect": ("served_model.labels=[cat,dog]", "~served_model.output.activation", "+served_model.output.threshold=0.5",
               "+served_model.output.nms=none"),
    "segment": ("served_model.labels=[sky,road]", "+served_model.output.mask=png"),
}  # fmt: skip
REFUSED = {
    "binary": (ACCEPTED["binary"][:-1], "task binary needs output.threshold: probability from which"),
    "binary-softmax": ((*ACCEPTED["binary"], "served_model.output.activation=softmax"), "sigmoid or none, not softmax"),
    "regress": ((*NO_LABELS, "+served_model.output.names=[age]"), "task regress needs output.units: a unit for each"),
    "embed": ((*ACCEPTED["embed"], "+served_model.output.names=[a]"), "task embed has no output.names; it has size"),
    "embed-labels": ((*ACCEPTED["embed"], "served_model.labels=[a]"), "task embed has no labels; remove them"),
    "detect": (ACCEPTED["detect"][:-1], "task detect needs output.nms: IoU above which"),
    "detect-nms": ((*ACCEPTED["detect"], "served_model.output.nms=2"), "served_model.output.nms"),
    "segment": (ACCEPTED["segment"][:-1], "task segment needs output.mask: form of the class map"),
    "segment-logit": ((*ACCEPTED["segment"], "served_model.output.activation=sigmoid"), "needs output.threshold with"),
    "classify": (("served_model.labels=null",), "task classify needs labels"),
}


@pytest.mark.parametrize("task", ACCEPTED)
def test_task_has_its_own_settings_in_the_card(task: str) -> None:
    model = load(["served_model=digits", f"+served_model.task={task}", *ACCEPTED[task]]).served_model
    assert isinstance(model, VisionModel)
    card = {f"+served_model.output.{name}" for name in model.output.card(task)}
    assert {each.partition("=")[0] for each in ACCEPTED[task] if each.startswith("+")} <= card
    assert "+served_model.output.thresholds" not in card


@pytest.mark.parametrize("case", REFUSED)
def test_missing_or_foreign_setting_is_refused_by_name(case: str) -> None:
    overrides, text = REFUSED[case]
    with pytest.raises(ConfigError, match=text):
        load(["served_model=digits", f"+served_model.task={case.partition('-')[0]}", *overrides])


def test_activation_is_stated_where_no_task_is() -> None:
    for override in ("~served_model.output.activation", "served_model.output.activation=none"):
        with pytest.raises(ConfigError, match="must be softmax or sigmoid where task is not stated"):
            load(["served_model=digits", override])
