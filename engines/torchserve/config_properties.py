"""The format of TorchServe's config.properties, which is that of `java.util.Properties`."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

ENCODING = "latin-1"  # as Java reads these files
_SEPARATED = re.compile(r"((?:\\.|[^\\=:\s])*)\s*[=:]?\s*(.*)", re.DOTALL)
_ESCAPED = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)
_CONTROL = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}
_VARIABLE = re.compile(r"\$\$([^$]+)\$\$")


def read_properties(path: Path) -> dict[str, str]:
    """Return the keys and values of a file. Raises OSError."""
    return parse_properties(path.read_text(encoding=ENCODING))


def parse_properties(text: str) -> dict[str, str]:
    """Return the keys and values of a text; the last value of a key counts, as in Java."""
    pairs = (_SEPARATED.fullmatch(line) for line in _logical_lines(text))
    return {_unescaped(pair[1]): _unescaped(pair[2]) for pair in pairs if pair is not None}


def resolved(properties: Mapping[str, str], environment: Mapping[str, str]) -> dict[str, str]:
    """Return the properties with `$$NAME$$` replaced by the environment; a name that it lacks stays as written."""
    return {
        key: _VARIABLE.sub(lambda found: environment.get(found[1], found[0]), value)
        for key, value in properties.items()
    }


def _logical_lines(text: str) -> Iterator[str]:
    """Yield the lines without comments, each with the lines that continue it."""
    begun = ""
    for line in text.splitlines():
        stripped = line.lstrip()
        if not begun and (not stripped or stripped[0] in "#!"):
            continue
        begun += stripped
        if (len(begun) - len(begun.rstrip("\\"))) % 2:
            begun = begun[:-1]
            continue
        yield begun.rstrip()
        begun = ""
    if begun:
        yield begun


def _unescaped(text: str) -> str:
    def character(found: re.Match[str]) -> str:
        escaped = found[1]
        return chr(int(escaped[1:], 16)) if len(escaped) == 5 else _CONTROL.get(escaped, escaped)

    return _ESCAPED.sub(character, text)
