"""The JSON documents of an archive, read strictly: one meaning, and nothing that a reader could stumble over later."""

import json
import math
import re
from collections import Counter
from typing import Any

from errors import ArchiveError

DEEPEST = 32  # objects and lists inside each other; pictures as nested lists take five
_SIGNS = re.compile(r'\\.|["\[\]{}]', re.DOTALL)


def text_of(content: bytes, name: str) -> str:
    """Return the text of a document. Raises ArchiveError when it is not UTF-8."""
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        raise ArchiveError(f"{name} is not UTF-8 text") from None


def object_of(content: bytes, name: str) -> dict[str, Any]:
    """Return the JSON object that is the whole of a document.

    Raises ArchiveError for any other, and for keys that stand twice, NaN, infinite numbers, those of thousands of
    digits, and depths that no document of an archive has.
    """
    text = text_of(content, name)
    try:
        _check_depth(text)
        document = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_number, parse_float=_finite)
        if "\\u" in text:  # half a character, which nothing can print
            json.dumps(document, ensure_ascii=False).encode()
    except ValueError as error:
        # Python's own words name a limit of its own for whole numbers.
        words = "it has a number of too many digits" if "digits" in str(error) else str(error)
        raise ArchiveError(f"{name} is not JSON: {words}") from None
    if not isinstance(document, dict):
        raise ArchiveError(f"{name} is not a JSON object")
    return document


def _check_depth(text: str) -> None:
    depth, within_text = 0, False
    for sign in _SIGNS.finditer(text):
        if sign[0] == '"':
            within_text = not within_text
        elif not within_text:
            depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(sign[0], 0)
        if depth > DEEPEST:
            raise ValueError(f"more than {DEEPEST} objects and lists lie inside each other")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        [(twice, _)] = Counter(key for key, _ in pairs).most_common(1)
        raise ValueError(f"the key {twice[:80]!r} stands twice")
    return found


def _no_number(word: str) -> Any:
    raise ValueError(f"{word} is no number")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"{digits[:80]} is beyond all numbers")
    return number
