"""The request forms: each converts a body into the payload for the engine.

The engine gets pictures as raw bytes, whatever form the client sent: TorchServe's own multipart parser costs more than
twice the processor time of a raw body.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from errors import InvalidFields, UnreadableInput, WrongMediaType
from gateway.http.body import OCTETS, Body
from gateway.http.multipart import one_file
from gateway.model_card import Kind, ModelCard
from handlers import encoded_image, request_limits

JSON = "application/json"
MULTIPART = "multipart/form-data"
MANY = frozenset({"instances", "deterministic", "seed", "action_masks"})
"""The fields of a request with many observations: the list, and options beside it."""


@dataclass(frozen=True, slots=True)
class Payload:
    """A request to the engine: content type and bytes; `content` is the parsed JSON, where the payload is JSON."""

    content_type: str
    data: bytes = field(repr=False)
    content: Any = field(default=None, repr=False)


Form = Callable[[Body, Kind | None], Payload]


def any_form(body: Body, kind: Kind | None) -> Payload:
    """Read every form that a model of this kind accepts; a model of unknown kind gets the body, with files unpacked."""
    if kind == "policy":
        return _policy(body)
    if body.media_type == OCTETS or body.media_type.startswith("image/"):
        return Payload(picture_type(body.media_type), body.data)
    if body.media_type == MULTIPART:
        return one_picture(body, kind)
    if _is_json(body):
        content = _parsed(body)
        return _vision_json(content, body) if kind == "vision" else Payload(JSON, body.data, content)
    raise WrongMediaType("send a picture as image/*, application/octet-stream, multipart/form-data or application/json")


def one_picture(body: Body, kind: Kind | None) -> Payload:
    """Read a multipart form with exactly one file, in any field."""
    return _upload(body, kind, None)


def picture_field_image(body: Body, kind: Kind | None) -> Payload:
    """Read a multipart form with exactly one file, in the field `image`."""
    return _upload(body, kind, "image")


def picture_base64(body: Body, kind: Kind | None) -> Payload:
    """Read JSON {"image": base64 or data URL}."""
    _refuse_kind(kind, "policy", "pictures")
    content = _json_only(body)
    if not isinstance(content, dict) or set(content) != {"image"} or not isinstance(content["image"], str):
        raise InvalidFields('the body must be {"image": base64 text}')
    return Payload(*from_base64(content["image"]))


def state(body: Body, kind: Kind | None) -> Payload:
    """Read a JSON object of named fields: one observation."""
    _refuse_kind(kind, "vision", "states")
    content = _json_only(body)
    # An observation may have a part named `instances`. If all other fields are options, it holds many observations.
    if not isinstance(content, dict) or ("instances" in content and content.keys() <= MANY):
        raise InvalidFields("the body must be one state: an object of named fields")
    return Payload(JSON, body.data, content)


FORMS: Mapping[str, Form] = {
    "picture_field_image": picture_field_image,
    "picture_base64": picture_base64,
    "one_picture": one_picture,
    "state": state,
}
"""The request forms that a short route in `config/` can name."""


def _upload(body: Body, kind: Kind | None, field_name: str | None) -> Payload:
    _refuse_kind(kind, "policy", "pictures")
    if body.media_type != MULTIPART:
        raise WrongMediaType("send the picture as multipart/form-data")
    file = one_file(body, field_name)
    return Payload(picture_type(file.media_type), file.data)


def _policy(body: Body) -> Payload:
    content = _json_only(body)
    if not isinstance(content, dict | list):
        raise InvalidFields("a state is an object of named fields or an array")
    return Payload(JSON, body.data, content)


def _vision_json(content: Any, body: Body) -> Payload:
    if not isinstance(content, dict) or set(content) not in ({"image"}, {"instances"}):
        raise InvalidFields('the model reads pictures: {"image": ...} or {"instances": [...]}')
    image = content.get("image")
    if isinstance(image, str):
        return Payload(*from_base64(image))
    if not isinstance(image if "image" in content else content["instances"], list):
        raise InvalidFields("`image` must be base64 text or nested lists of numbers, `instances` a list")
    return Payload(JSON, body.data, content)


def _json_only(body: Body) -> Any:
    if not _is_json(body):
        raise WrongMediaType("send application/json")
    return _parsed(body)


def _is_json(body: Body) -> bool:
    return body.media_type == JSON


def _parsed(body: Body) -> Any:
    try:
        return orjson.loads(body.data)
    except orjson.JSONDecodeError as error:
        # The parser's message quotes nothing of the body, and its position helps the client.
        raise UnreadableInput(f"the body is not valid JSON: {error.msg} (at {error.pos})") from error


def _refuse_kind(kind: Kind | None, refused: Kind, reads: str) -> None:
    if kind == refused:
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
    if payload.content_type == JSON and found.kind is None:
        return
    request_limits.check(found, payload.content if payload.content_type == JSON else payload.data)
