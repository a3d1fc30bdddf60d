"""The forms in which clients of several servers send pictures and observations, each read into one payload."""

import base64
import json
import random
import tracemalloc
from typing import Any

import pytest
from python_multipart.multipart import parse_options_header

from errors import RequestError
from gateway.examples import PICTURE
from gateway.http.body import Body
from gateway.http.content import JSON, MULTIPART, URL_ENCODED
from gateway.http.payload import FORMS, Payload, any_form, check_limits, to_explain
from gateway.model_card import Kind

RAW = (b"\xfb\xff\xbf" * 33)[:98]  # its base64 has both special characters and padding
TEXT = base64.b64encode(RAW).decode()
WEB = base64.urlsafe_b64encode(RAW).decode()
MARK = b"\xef\xbb\xbf"
CARD = {"kind": "vision", "limits": {"max_pixels": 100, "max_instances": 3}}


def body(content_type: str, data: bytes) -> Body:
    media_type, options = parse_options_header(content_type)
    return Body(media_type.decode(), options, data, content_type)


def read(content_type: str, data: bytes, kind: Kind = "vision") -> Payload:
    return any_form(body(content_type, data), kind)


def part(head: str, data: bytes, media_type: str = "") -> bytes:
    typed = f"\r\nContent-Type: {media_type}" if media_type else ""
    return f"--B\r\nContent-Disposition: form-data; {head}{typed}\r\n\r\n".encode() + data + b"\r\n"


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--B--\r\n"


def as_json(content: Any) -> bytes:
    return json.dumps(content).encode()


FORM = f"{MULTIPART}; boundary=B"
ONE = {
    "b64": (JSON, as_json({"b64": TEXT})),
    "image": (JSON, as_json({"image": TEXT})),
    "image b64": (JSON, as_json({"image": {"b64": TEXT}})),
    "data": (JSON, as_json({"data": TEXT})),
    "data b64": (JSON, as_json({"data": {"b64": TEXT}})),
    "any name of b64": (JSON, as_json({"image_bytes": {"b64": TEXT}})),
    "alphabet of URLs": (JSON, as_json({"b64": WEB})),
    "without padding": (JSON, as_json({"b64": WEB.rstrip("=")})),
    "lines": (JSON, as_json({"image": base64.encodebytes(RAW).decode()})),
    "mark": (JSON, MARK + as_json({"image": TEXT})),
    "mark in the text": (JSON, as_json({"image": "\ufeff" + TEXT})),
    "JSON of another name": ("application/vnd.api+json", as_json({"image": TEXT})),
    "JSON without a type": ("application/octet-stream", b" \n" + as_json({"image": TEXT})),
    "curl -d of JSON": (URL_ENCODED, as_json({"image": TEXT})),
    "curl --data-binary": (URL_ENCODED, RAW),
    "binary octets": ("binary/octet-stream", RAW),
    "filename*": (FORM, form(part("name=a; filename*=UTF-8''a.png", RAW))),
    "no file name": (FORM, form(part("name=a", RAW))),
    "no file name but a type": (FORM, form(part("name=a", RAW, "image/png"))),
    "text in a form": (FORM, form(part('name=a; filename="a.txt"', RAW, "text/plain"))),
    "JSON in a form": (FORM, form(part('name=a; filename="a.json"', as_json({"b64": WEB}), JSON))),
}


@pytest.mark.parametrize(("content_type", "data"), ONE.values(), ids=ONE.keys())
def test_one_picture_in_any_form_becomes_its_raw_bytes(content_type: str, data: bytes) -> None:
    assert read(content_type, data).data == RAW


@pytest.mark.parametrize(
    "instance", [TEXT, {"image": TEXT}, {"b64": WEB.rstrip("=")}, {"image": {"b64": WEB}}, {"data": {"b64": TEXT}}]
)
def test_instances_become_those_that_every_handler_reads(instance: Any) -> None:
    found = read(JSON, as_json({"instances": [instance, {"image": [[0, 255]]}]}))
    assert json.loads(found.data) == {"instances": [{"image": TEXT}, {"image": [[0, 255]]}]} == found.content


def test_instances_that_every_handler_reads_go_on_byte_for_byte() -> None:
    data = b' {"instances" : [{"image": "' + TEXT.encode() + b'"}]}'
    assert read(JSON, data).data is data


def test_several_files_of_a_form_become_a_batch_within_the_limits() -> None:
    parts = [part('name="data"; filename="a"', RAW), part('name="data"', RAW + b"2"), part("name=b", RAW, "image/png")]
    found = read(FORM, form(*parts))
    sent = [base64.b64decode(each["image"]) for each in json.loads(found.data)["instances"]]
    assert sent == [RAW, RAW + b"2", RAW]
    check_limits(found, CARD)
    with pytest.raises(RequestError, match="4 instances"):
        check_limits(read(FORM, form(*parts, parts[0])), CARD)
    with pytest.raises(RequestError, match="128 pixels"):
        check_limits(read(FORM, form(*[part("name=a", PICTURE)] * 2)), CARD)


REFUSED: dict[str, tuple[int, str, str, bytes, Kind]] = {
    "field beside": (422, "other fields: user", FORM, form(part("name=a", RAW), part("name=user", b"me")), "vision"),
    "form of text": (415, "name the content's type", URL_ENCODED, b"a=1&b=2", "vision"),
    "unknown field": (422, "unknown field: picture", JSON, as_json({"picture": TEXT}), "vision"),
    "key beside": (422, "unknown field: user", JSON, as_json({"image": TEXT, "user": 1}), "vision"),
    "two names": (422, "a picture is base64 text", JSON, as_json({"image": TEXT, "b64": TEXT}), "vision"),
    "beside instances": (422, "the model reads pictures", JSON, as_json({"instances": [TEXT], "a": 1}), "vision"),
    "instance": (422, r"instances\[1\]: a picture is", JSON, as_json({"instances": [TEXT, 7]}), "vision"),
    "no list": (422, "must be a list", JSON, as_json({"instances": {"b64": TEXT}}), "vision"),
    "deep": (422, "a picture is", JSON, b'{"image":' * 50 + b"1" + b"}" * 50, "vision"),
    "too deep": (400, "not valid JSON", JSON, b'{"image":' * 5000 + b"1" + b"}" * 5000, "vision"),
    "cut base64": (400, "base64 is broken", JSON, as_json({"b64": "AAAAA"}), "vision"),
    "empty": (400, "is empty", JSON, as_json({"b64": ""}), "vision"),
    "a NUL": (400, "base64 is broken", JSON, as_json({"b64": "AAA\0AAAA"}), "vision"),
    "empty file": (400, "is empty", FORM, form(part('name=a; filename="a"', b"")), "vision"),
    "no file": (422, "it holds 0", FORM, form(part("name=a", b"text")), "vision"),
    "no boundary": (400, "names no boundary", MULTIPART, form(part("name=a", RAW)), "vision"),
    "wrong boundary": (400, "cannot be parsed", f"{MULTIPART}; boundary=C", form(part("name=a", RAW)), "vision"),
    "no end": (400, "ends before", FORM, part("name=a", RAW), "vision"),
    "many parts": (400, "more than 256 parts", FORM, form(*[part("name=a", b"1")] * 257), "vision"),
    "target": (422, "unknown field: target", JSON, as_json({"image": TEXT, "target": 1}), "vision"),
    "pictures for a policy": (415, "send application/json", FORM, form(*[part("name=a", RAW)] * 2), "policy"),
}  # fmt: skip


@pytest.mark.parametrize(("status", "words", "content_type", "data", "kind"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_read_is_refused_with_its_reason(
    status: int, words: str, content_type: str, data: bytes, kind: Kind
) -> None:
    with pytest.raises(RequestError, match=words) as caught:
        read(content_type, data, kind)
    assert caught.value.status == status


@pytest.mark.parametrize("content_type", [JSON, URL_ENCODED, "application/octet-stream"])
def test_observation_is_read_under_the_types_that_clients_write_by_default(content_type: str) -> None:
    found = read(content_type, MARK + b"[1, 2]", "policy")
    assert (found.content_type, found.data, found.content) == (JSON, b"[1, 2]", [1, 2])
    assert FORMS["state"](body(content_type, b'{"a": 1}'), "policy").content == {"a": 1}
    file = part('name=a; filename="s.json"', b'{"a": 1}')
    assert read(FORM, form(file), "policy").data == b'{"a": 1}'


def test_target_of_an_explanation_is_passed_on_beside_the_instances() -> None:
    found = to_explain(body(JSON, as_json({"instances": [[1, 2]], "target": 1})), "policy")
    assert json.loads(found.data) == {"instances": [[1, 2]], "target": 1}
    found = to_explain(body(FORM, form(part("name=a", RAW), part("name=target", b"cat"))), "vision")
    assert json.loads(found.data) == {"image": TEXT, "target": "cat"}
    assert to_explain(body("image/png", RAW), "vision").data == RAW


def test_thousands_of_damaged_bodies_are_read_or_refused() -> None:
    draw = random.Random(8)
    kinds: tuple[Kind, ...] = ("vision", "policy")
    given = [*ONE.values(), (JSON, as_json({"instances": [{"b64": WEB}, TEXT], "target": 1}))]
    outcomes = set()
    for number in range(4000):
        content_type, data = given[number % len(given)]
        damaged = bytearray(data)
        for _ in range(draw.randrange(1, 5)):
            position = draw.randrange(len(damaged))
            damaged[position : position + draw.randrange(3)] = draw.choice(
                [b"\0", b'"', b"{", b"[[", b"--B", b"\xff", b"="]
            )
        for reader in (any_form, to_explain, *FORMS.values()):
            try:
                reader(body(content_type, bytes(damaged)), kinds[number % 2])
                outcomes.add(200)
            except RequestError as error:
                outcomes.add(error.status)
    assert outcomes == {200, 400, 415, 422}


def test_memory_for_a_large_form_is_bounded_by_its_size() -> None:
    data = form(*[part(f"name=a{number}", b"\xff" * 32_000) for number in range(250)])
    given = body(FORM, data)
    tracemalloc.start()
    try:
        read(given.content_type, data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 * len(data)
