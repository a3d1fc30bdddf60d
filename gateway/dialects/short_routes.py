"""The short routes: the configuration names their paths, and a form for requests and responses.

Their responses are those that clients of other servers already read. A route whose configuration names no model uses
the only one that is served and fits: it reads the route's requests, and its predictions have what the response needs.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import orjson

from errors import Internal
from gateway.dialects.dialect import Dialect, DialectRoute, PredictionPath, with_version
from gateway.dialects.model_choice import OnlyModel
from gateway.hooks import EngineResponse
from gateway.http.payload import FORMS
from gateway.http.responses import HttpResponse, whole_response
from gateway.model_card import Kind
from gateway.served_models import ServedVersion
from handlers import outputs
from settings.schema import Alias

ResponseForm = Callable[[Mapping[str, Any]], Any]
"""One prediction → the content of the response."""


def probabilities(prediction: Mapping[str, Any]) -> dict[str, float]:
    """Return {class: probability} for every class that the model returns."""
    found: dict[str, float] = prediction["probabilities"]
    return found


def action(prediction: Mapping[str, Any]) -> dict[str, Any]:
    """Return {"action": ...} of a policy."""
    return {"action": prediction["action"]}


def label(prediction: Mapping[str, Any]) -> dict[str, str]:
    """Return {"prediction": class} of the most probable class."""
    return {"prediction": _most_probable(prediction)[0]}


def label_confidence(prediction: Mapping[str, Any]) -> dict[str, Any]:
    """Return {"status": "success", "message", "prediction": {"label", "confidence"}} of the most probable class."""
    name, confidence = _most_probable(prediction)
    message = f"Class found for image was {name} with confidence {confidence:.3f}."
    return {"status": "success", "message": message, "prediction": {"label": name, "confidence": confidence}}


RESPONSE_FORMS: Mapping[str, ResponseForm] = {
    "probabilities": probabilities,
    "action": action,
    "label": label,
    "label_confidence": label_confidence,
}
"""The response forms that a short route in `config/` can name."""

_READS: Mapping[str, Kind] = {name: "policy" if name == "state" else "vision" for name in FORMS}
_SETTINGS: Mapping[Kind, str] = {"vision": "gateway.default_vision_model", "policy": "gateway.default_policy"}


def dialect(aliases: Sequence[Alias]) -> Dialect:
    """Return the dialect of the configured short routes."""
    paths = {alias.path: PredictionPath(alias.path, alias.model) for alias in aliases}
    return Dialect(find=paths.get, routes=tuple(map(_route, aliases)))


def fits(alias: Alias, version: ServedVersion) -> bool:
    """Return True when a version of a model can answer on this route."""
    kind = outputs.of_card(version.card)
    if kind is None or version.kind != _READS[alias.request]:
        return False
    try:
        RESPONSE_FORMS[alias.response](kind.example)
    except (KeyError, TypeError, ValueError):
        return False
    return True


def single(content: Mapping[str, Any], form: ResponseForm) -> Any:
    """Return the one prediction of a response in a short route's form.

    Raises Internal when the model's response does not have the form that the route promises.
    """
    predictions = content["predictions"]
    try:
        if len(predictions) == 1:
            return form(predictions[0])
    except (KeyError, TypeError, ValueError) as error:
        raise Internal("the model behind this route does not answer in its form; see gateway.aliases") from error
    raise Internal("the model answered one request with several predictions")


def _route(alias: Alias) -> DialectRoute:
    form = RESPONSE_FORMS[alias.response]

    def write(response: EngineResponse) -> HttpResponse:
        content = orjson.dumps(single(response.content(), form))
        return with_version(whole_response(content), response.version)

    is_state = _is_object if alias.request == "state" else None
    choose = OnlyModel(partial(fits, alias), _SETTINGS[_READS[alias.request]]) if alias.model is None else None
    return DialectRoute(alias.path, FORMS[alias.request], write, choose, is_state)


def _is_object(body: bytes) -> bool:
    return body.lstrip().startswith(b"{")


def _most_probable(prediction: Mapping[str, Any]) -> tuple[str, float]:
    if "label" in prediction:
        return prediction["label"], prediction["confidence"]
    several = prediction["probabilities"]
    name = max(several, key=several.__getitem__)
    return name, several[name]
