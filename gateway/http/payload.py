"""The request forms: each converts a body into the payload for the engine.

The engine gets one picture as raw bytes, whatever form the client sent: TorchServe's own multipart parser costs more
than twice the processor time of a raw body.
"""

import base64
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from errors import InvalidFields, WrongMediaType
from gateway.http import json_pictures
from gateway.http.body import OCTETS, Body
from gateway.http.content import JSON, MULTIPART, Content, parse_json, read_content, read_json
from gateway.http.multipart import FormFile
from gateway.model_card import Kind, ModelCard
from handlers import encoded_image, request_limits
from handlers.errors import shortened

MANY = frozenset({"instances", "deterministic", "seed", "action_masks"})
"""The fields of a request with many observations: the list, and options beside it."""
_TARGET = "target"


@dataclass(frozen=True, slots=True)
class Payload:
    """A request to the engine: content type and bytes; `content` is the parsed JSON, where the payload is JSON.

    In the content of several files of a form, each picture is bytes.
    """

    content_type: str
    data: bytes = field(repr=False)
    content: Any = field(default=None, repr=False)


Form = Callable[[Body, Kind | None], Payload]


def any_form(body: Body, kind: Kind | None) -> Payload:
    """Read every form that a model of this kind accepts.

    A model of unknown kind gets the body, with the only file of a form unpacked, and an adopted one as the client sent
    it.
    """
    return _any(body, kind, None)


def with_targets(body: Body, kind: Kind | None) -> Payload:
    """Read the same forms, of clients that send the class to explain with every request; predictions ignore it."""
    return _any(body, kind, [])


def to_explain(body: Body, kind: Kind | None) -> Payload:
    """Read the same forms for an explanation; a field `target` names the class to explain.

    Raises InvalidFields when the instances of one request name different classes.
    """
    targets: list[Any] = []
    payload = _any(body, kind, targets)
    if not targets:
        return payload
    if any(each != targets[0] for each in targets):
        raise InvalidFields("one request explains one class: `target` must be the same in all instances")
    target = b"," + orjson.dumps({_TARGET: targets[0]})[1:]
    if payload.content_type == JSON:
        if isinstance(payload.content, dict) and payload.content:
            return Payload(JSON, payload.data.rstrip()[:-1] + target, payload.content)
        return Payload(JSON, b'{"observation":' + payload.data + target, payload.content)
    return Payload(JSON, b'{"image":"' + base64.b64encode(payload.data) + b'"' + target, {"image": payload.data})


def one_picture(body: Body, kind: Kind | None) -> Payload:
    """Read a multipart form with exactly one file, in any field."""
    return _upload(body, kind, None)


def picture_field_image(body: Body, kind: Kind | None) -> Payload:
    """Read a multipart form with exactly one file, in the field `image`."""
    return _upload(body, kind, "image")


def picture_base64(body: Body, kind: Kind | None) -> Payload:
    """Read JSON {"image": base64 or data URL}, or another form of one picture."""
    _require_kind(kind, "vision", "pictures")
    content = _json_only(read_content(body)).json
    text = json_pictures.picture(content) if isinstance(content, dict) else None
    if not isinstance(text, str):
        raise InvalidFields('the body must be {"image": base64 text}')
    return Payload(*from_base64(text))


def state(body: Body, kind: Kind | None) -> Payload:
    """Read a JSON object of named fields: one observation."""
    _require_kind(kind, "policy", "states")
    if body.media_type == JSON:
        data, content = read_json(body.data)
    else:
        found = _json_only(read_content(body))
        data, content = found.data, found.json
    # An observation may have a part named `instances`. If all other fields are options, it holds many observations.
    if not isinstance(content, dict) or ("instances" in content and content.keys() <= MANY):
        raise InvalidFields("the body must be one state: an object of named fields")
    return Payload(JSON, data, content)


FORMS: Mapping[str, Form] = {
    "picture_field_image": picture_field_image,
    "picture_base64": picture_base64,
    "one_picture": one_picture,
    "state": state,
}
"""The request forms that a short route in `config/` can name."""


def _any(body: Body, kind: Kind | None, targets: list[Any] | None) -> Payload:
    if kind == "adopted":
        return Payload(body.content_type, body.data)
    if kind is None:
        return _unknown(body)
    # The most common forms need nothing of what follows.
    if kind in _OF_JSON and body.media_type == JSON:
        return _OF_JSON[kind](*read_json(body.data))
    if kind == "vision" and body.media_type.startswith("image/"):
        return Payload(picture_type(body.media_type), body.data)
    content = read_content(body)
    if content.fields:
        _check_fields(content, targets)
    if kind in _OF_JSON:
        content = _json_only(content)
        return _OF_JSON[kind](content.data, content.json)
    return _batch(content.files) if content.files else _pictures(content, targets)


def _unknown(body: Body) -> Payload:
    """Read a body for a handler that may read anything: only one file, or JSON, is looked into."""
    if body.media_type == JSON:
        return Payload(JSON, body.data, parse_json(body.data))
    if body.media_type == MULTIPART:
        content = read_content(body)
        if content.files or content.fields or content.media_type == JSON:
            return Payload(body.content_type, body.data)
        return Payload(picture_type(content.media_type), content.data)
    return _bytes(body.media_type, body.data)


def _upload(body: Body, kind: Kind | None, field_name: str | None) -> Payload:
    _require_kind(kind, "vision", "pictures")
    if body.media_type != MULTIPART:
        raise WrongMediaType("send the picture as multipart/form-data")
    content = read_content(body)
    if content.files:
        raise InvalidFields(f"the form must hold exactly one file, it holds {len(content.files)}")
    if field_name is not None and content.file_field != field_name:
        raise InvalidFields(f"the picture must be in the form field `{field_name}`")
    _check_fields(content, None)
    return _pictures(content, None)


def _check_fields(content: Content, targets: list[Any] | None) -> None:
    """Refuse fields of a form that the model does not read: a client must not believe that they were."""
    unread = set(content.fields)
    if targets is not None and _TARGET in unread:
        targets.append(content.fields[_TARGET])
        unread.remove(_TARGET)
    if unread:
        raise InvalidFields(f"the model reads files only; remove the form's other fields: {shortened(unread)}")


def _states(data: bytes, content: Any) -> Payload:
    if not isinstance(content, dict | list):
        raise InvalidFields("a state is an object of named fields or an array")
    return Payload(JSON, data, content)


def _tensors(data: bytes, content: Any) -> Payload:
    if not isinstance(content, dict):
        raise InvalidFields('the body is {"inputs": tensors by name}, {"instances": [...]}, or one instance')
    return Payload(JSON, data, content)


_OF_JSON: Mapping[Kind, Callable[[bytes, Any], Payload]] = {"policy": _states, "tensors": _tensors}
"""The kinds whose requests are JSON."""


def _batch(files: tuple[FormFile, ...]) -> Payload:
    """Return several files as instances, in the order of the form."""
    pieces = [b'{"instances":[']
    for file in files:
        pieces += (b'{"image":"', base64.b64encode(file.data), b'"},')
    pieces[-1] = b'"}]}'
    return Payload(JSON, b"".join(pieces), {"instances": [{"image": file.data} for file in files]})


def _bytes(media_type: str, data: bytes) -> Payload:
    if media_type == OCTETS or media_type.startswith("image/"):
        return Payload(picture_type(media_type), data)
    raise WrongMediaType("send a picture as image/*, application/octet-stream, multipart/form-data or application/json")


def _pictures(content: Content, targets: list[Any] | None) -> Payload:
    if content.media_type != JSON:
        return _bytes(content.media_type, content.data)
    sent = content.json
    if isinstance(sent, dict) and targets is not None and _TARGET in sent and "instances" in sent:
        targets.append(sent[_TARGET])
        sent = {name: value for name, value in sent.items() if name != _TARGET}
    if not isinstance(sent, dict) or ("instances" in sent and len(sent) > 1):
        raise InvalidFields('the model reads pictures: {"image": ...} or {"instances": [...]}')
    if "instances" in sent:
        pictures, is_unchanged = json_pictures.instances(sent, targets)
        known = {"instances": pictures}
        is_unchanged = is_unchanged and sent is content.json
        return Payload(JSON, content.data if is_unchanged else orjson.dumps(known), known)
    found = json_pictures.picture(sent, targets)
    if isinstance(found, str):
        return Payload(*from_base64(found))
    known = {"image": found}
    return Payload(JSON, content.data if sent == known else orjson.dumps(known), known)


def _json_only(content: Content) -> Content:
    if content.media_type != JSON:
        raise WrongMediaType("send application/json")
    return content


def _require_kind(kind: Kind | None, required: Kind, reads: str) -> None:
    """Refuse what models of another kind do not read; those of unknown kind and adopted ones may read anything."""
    if kind not in (None, "adopted", required):
        raise WrongMediaType(f"this route sends {reads}, and its model does not read them")


_IMAGE_TYPE = re.compile(r"image/[a-z0-9.+-]{1,64}")


def picture_type(media_type: str) -> str:
    """Return the media type of an image that is safe to repeat in a header, else application/octet-stream."""
    return media_type if _IMAGE_TYPE.fullmatch(media_type) else OCTETS


def from_base64(text: str) -> tuple[str, bytes]:
    """Decode a picture from base64, with or without a data URL in front; return its media type and bytes.

    Raises UnreadableInput when the text is not base64 or is empty, WrongMediaType for a data URL of something else.
    """
    media_type, picture = encoded_image.decode_text(text)
    return picture_type(media_type), picture


def check_limits(payload: Payload, card: ModelCard) -> None:
    """Raise TooLarge when the request holds more instances or pixels than the model's card allows.

    Without a card, only single pictures are checked, because only the handler knows how to read its JSON. The worker
    checks the same limits again.
    """
    found = request_limits.of_card(card)
    if card.get("kind") == "adopted":
        return  # its handler has its own limits
    if payload.content_type == JSON and found.kind is None:
        return
    request_limits.check(found, payload.content if payload.content_type == JSON else payload.data)
