"""The response forms of the short routes: the answers that clients of other servers already read."""

from collections.abc import Callable, Mapping
from typing import Any

from errors import Internal

ResponseForm = Callable[[Mapping[str, Any]], Any]


def probabilities(prediction: Mapping[str, Any]) -> dict[str, float]:
    """{class: probability}, as many classes as the model gives."""
    found: dict[str, float] = prediction["probabilities"]
    return found


def action(prediction: Mapping[str, Any]) -> dict[str, Any]:
    """{"action": ...}."""
    return {"action": prediction["action"]}


def label(prediction: Mapping[str, Any]) -> dict[str, str]:
    """{"prediction": class}, the most probable one."""
    return {"prediction": _most_probable(prediction)[0]}


def label_confidence(prediction: Mapping[str, Any]) -> dict[str, Any]:
    """{"status": "success", "prediction": {"label", "confidence"}} of the most probable class."""
    name, confidence = _most_probable(prediction)
    return {"status": "success", "prediction": {"label": name, "confidence": confidence}}


RESPONSE_FORMS: Mapping[str, ResponseForm] = {
    "probabilities": probabilities,
    "action": action,
    "label": label,
    "label_confidence": label_confidence,
}
"""The response forms that an alias in `config/` can name."""


def single(content: Mapping[str, Any], form: ResponseForm) -> Any:
    """The one prediction of an answer in a short route's form.

    Raises Internal when the model that the route points at does not answer what the route promises.
    """
    predictions = content["predictions"]
    try:
        if len(predictions) == 1:
            return form(predictions[0])
    except (KeyError, TypeError, ValueError) as error:
        raise Internal("the model behind this route does not answer in its form; see gateway.aliases") from error
    raise Internal("the model answered one request with several predictions")


def _most_probable(prediction: Mapping[str, Any]) -> tuple[str, float]:
    if "label" in prediction:
        return prediction["label"], prediction["confidence"]
    several = prediction["probabilities"]
    name = max(several, key=several.__getitem__)
    return name, several[name]
