"""A request on its way from the Front to a worker, and the parameters that TorchServe makes of it for a handler."""

import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import parse_qsl

from engines.ray.counts import Sample
from engines.ray.refusals import Refusal

Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Asked:
    """One request: its id, its headers with names in lower case, its query and its body."""

    request_id: str
    headers: Headers
    query: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Told:
    """The answer to one request."""

    status: int
    headers: Headers
    body: bytes

    @classmethod
    def refused(cls, refusal: Refusal) -> Self:
        """A refusal as the answer to one request."""
        return cls(refusal.status, (("content-type", "application/json"),), refusal.body())


@dataclass(frozen=True, slots=True)
class Answered:
    """A batch's answers, what its handler measured, and how long the worker had it, in seconds."""

    told: list[Told]
    samples: list[Sample]
    seconds: float


class Named(dict[str, Any]):
    """Headers by name, in whatever letters a handler writes it: HTTP's are the same in all of them."""

    def __getitem__(self, name: str) -> Any:
        """The value of a header."""
        return super().__getitem__(name.lower())

    def __contains__(self, name: object) -> bool:
        """Whether there is such a header."""
        return isinstance(name, str) and super().__contains__(name.lower())

    def get(self, name: str, default: Any = None) -> Any:
        """The value of a header, `default` where there is none."""
        return super().get(name.lower(), default)


def row_and_headers(asked: Asked) -> tuple[dict[str, Any], Named]:
    """What a handler gets of one request: its row of `data`, and its headers, the parameters' types among them."""
    row: dict[str, Any] = {}
    headers = Named()
    for name, media_type, value in _parameters(asked):
        row[name] = value
        headers[name] = {"content-type": media_type}
    headers.update(asked.headers)
    return row, headers


def _parameters(asked: Asked) -> Iterator[tuple[str, str, Any]]:
    for name, value in parse_qsl(asked.query, keep_blank_values=True):
        yield name, "", value.encode()
    declared = next((value for name, value in asked.headers if name == "content-type"), "")
    media_type = declared.partition(";")[0].strip()
    kind = media_type.lower()
    if kind == "multipart/form-data":
        yield from _fields(asked.body, declared)
    elif kind == "application/x-www-form-urlencoded":
        for name, value in parse_qsl(asked.body.decode("utf-8", "replace"), keep_blank_values=True):
            yield name, "", value.encode()
    else:
        yield "body", media_type, _decoded(media_type, asked.body)


def _decoded(media_type: str, body: bytes) -> Any:
    """TorchServe parses JSON and decodes text; what it fails to read it hands on as bytes."""
    try:
        if media_type == "application/json":
            return json.loads(body.decode())
        return body.decode() if media_type.startswith("text") else bytearray(body)
    except (ValueError, RecursionError):
        return bytearray(body)


def _fields(body: bytes, declared: str) -> Iterator[tuple[str, str, Any]]:
    # Imported here: most workers never see a form.
    from python_multipart.multipart import parse_form

    found: list[tuple[str, str, Any]] = []

    def on_field(field: Any) -> None:
        found.append((_text(field.field_name), "text/plain", _decoded("text/plain", field.value or b"")))

    def on_file(file: Any) -> None:
        file.file_object.seek(0)
        media_type = _text(getattr(file, "content_type", None) or "application/octet-stream")
        found.append((_text(file.field_name), media_type, _decoded(media_type, file.file_object.read())))

    headers: Mapping[str, bytes] = {"Content-Type": declared.encode(), "Content-Length": str(len(body)).encode()}
    parse_form(dict(headers), io.BytesIO(body), on_field, on_file)
    yield from found


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
