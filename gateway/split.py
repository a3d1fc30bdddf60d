"""Cuts an answer with many predictions into answers with one each, byte for byte as the handler wrote them."""

import json
import re

_PREDICTIONS = re.compile(r'"predictions"\s*:\s*\[\s*')
_BETWEEN = re.compile(r"\s*,\s*")
_END = re.compile(r"\s*\]")
_decoder = json.JSONDecoder()


def split(body: bytes, count: int) -> list[bytes] | None:
    """The answer's `count` predictions, each between the head and the tail of the whole; None when it has not so many.

    Only ASCII is cut, as the kit's handlers write it: there a character is a byte.
    """
    if not body.isascii():
        return None
    text = body.decode("ascii")
    start = _PREDICTIONS.search(text)
    if start is None:
        return None
    try:
        pieces, end = _pieces(text, start.end(), count)
    except ValueError:
        return None
    if pieces is None:
        return None
    head, tail = body[: start.end()], body[end:]
    return [head + piece.encode("ascii") + tail for piece in pieces]


def _pieces(text: str, position: int, count: int) -> tuple[list[str] | None, int]:
    pieces: list[str] = []
    while True:
        _, end = _decoder.raw_decode(text, position)
        pieces.append(text[position:end])
        between = _BETWEEN.match(text, end)
        if between is None:
            break
        position = between.end()
    return (pieces if len(pieces) == count and _END.match(text, end) else None), end
