"""A document of an archive is JSON that all readers understand alike."""

import json

import pytest

from archive.manifest import object_of
from errors import ArchiveError


def refused(content: bytes, words: str) -> None:
    with pytest.raises(ArchiveError, match=words) as caught:
        object_of(content, "model.json")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_an_object_is_read_as_json_reads_it() -> None:
    document = {"a": [1, -2.5, 1e300, None, True, 'ß\n"[{\\'], "b": {"ü": {}}, "c": "\U0001f600"}
    for text in (json.dumps(document), json.dumps(document, ensure_ascii=False), json.dumps(document, indent=1)):
        assert object_of(text.encode(), "model.json") == document


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"{", "model.json is not JSON"),
        (b"", "is not JSON"),
        (b"[]", "is not a JSON object"),
        (b"1", "is not a JSON object"),
        (b"\xff", "is not UTF-8 text"),
        (b'{"a": NaN}', "NaN is not a number"),
        (b'{"a": [Infinity]}', "Infinity is not a number"),
        (b'{"a": -Infinity}', "-Infinity is not a number"),
        (b'{"a": 1e999}', "1e999 is beyond all numbers"),
        (b'{"a": -1e999}', "-1e999 is beyond all numbers"),
        (b'{"a": ' + b"1" * 5000 + b"}", "it has a number of too many digits"),
        (b'{"a": 1' + b"0" * 500 + b".5}", r"10+ is beyond all numbers"),
        (b'{"a": 1, "b": 2, "a": 1}', "the key 'a' is duplicated"),
        (b'{"b": {"a": 1, "\\u0061": 2}}', "the key 'a' is duplicated"),
        (b'{"' + b"a" * 999 + b'": 1, "' + b"a" * 999 + b'": 1}', "the key 'a+' is duplicated"),
        (b'{"a": "\\ud800"}', "is not JSON: .*surrogates"),
        (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "more than 32 objects and lists lie inside each other"),
        (b'{"a": ' * 100_000, "more than 32 objects"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_anything_else_is_refused_in_one_short_line(content: bytes, words: str) -> None:
    refused(content, words)


def test_depth_is_counted_outside_of_texts_up_to_32() -> None:
    deepest = b'{"a":' * 31 + b'["' + b"[" * 99 + b'\\"["]' + b"}" * 31
    assert object_of(deepest, "model.json")
    refused(b'{"a":' + deepest + b"}", "more than 32 objects")
    wide = b'{"a": [' + b",".join([b"[{}]"] * 99) + b"]}"
    assert len(object_of(wide, "model.json")["a"]) == 99
