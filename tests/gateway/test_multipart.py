"""The short way to a form's only file finds what the parser finds, or leaves it to the parser."""

import logging
import random

import pytest

from errors import RequestError
from gateway.http import multipart
from gateway.http.body import Body

GOOD = (
    b'--B\r\nContent-Disposition: form-data; name="a"; filename="b"\r\nContent-Type: image/png\r\n\r\n'
    b"DATA\x00--B\r\nmore\r\n--B--\r\n"
)
TOKENS = (b"--B", b"\r\n", b"\r\n--B", b"--", b"--B--", b": ", b"\r\n\r\n", b"\n", b"\r", b" ", b"\x00", b"X: y\r\n")


def read(data: bytes) -> tuple[str, str, bytes] | str:
    try:
        file = multipart.read_form(Body("multipart/form-data", {b"boundary": b"B"}, data)).only_file()
    except RequestError as error:
        return str(error)
    return file.field_name, file.media_type, file.data


def damaged(draw: random.Random) -> bytes:
    data = bytearray(GOOD)
    for _ in range(draw.randrange(1, 4)):
        place = draw.randrange(len(data))
        data[place : place + draw.randrange(2)] = draw.choice(TOKENS)
    return bytes(data)


def test_the_only_file_of_a_form_is_cut_out_whole() -> None:
    assert read(GOOD) == ("a", "image/png", b"DATA\x00--B\r\nmore")


def test_thousands_of_damaged_forms_are_read_alike_on_both_ways(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "python_multipart")  # it has a word for each
    draw = random.Random(4)
    forms = [GOOD, *(damaged(draw) for _ in range(5_000))]
    shortly = [read(form) for form in forms]
    taken = sum(multipart._alone(form, b"B") is not None for form in forms)
    monkeypatch.setattr(multipart, "_alone", lambda data, boundary: None)
    assert shortly == [read(form) for form in forms]
    assert 500 < taken < len(forms)
