"""A JSON object of the archive, read key by key: every complaint names the file and the key."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Section:
    """One object of a JSON document and where it stands; all methods raise ValueError."""

    values: Mapping[str, Any]
    place: str

    @classmethod
    def of_file(cls, path: Path) -> "Section":
        """Read a JSON file whose outermost value is an object."""
        try:
            values = json.loads(path.read_bytes())
        except FileNotFoundError:
            raise ValueError(f"the archive has no {path.name}") from None
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path.name} is truncated or not JSON: {error}") from None
        if not isinstance(values, dict):
            raise ValueError(f"{path.name} must hold a JSON object, not {_kind(values)}")
        return cls(values, path.name)

    def fault(self, key: str, words: str) -> ValueError:
        """Make the error that says what is wrong with a key."""
        return ValueError(f"{self.place}: {key} {words}")

    def get(self, key: str) -> Any:
        """Return the value of a key that must be there, null included."""
        if key not in self.values:
            raise self.fault(key, "is missing")
        return self.values[key]

    def section(self, key: str) -> "Section":
        """Return the object under a key."""
        value = self.get(key)
        if not isinstance(value, dict):
            raise self.fault(key, f"must be an object, not {_kind(value)}")
        return Section(value, f"{self.place}: {key}")

    def sections(self, key: str) -> tuple["Section", ...]:
        """Return the list of objects under a key, which must not be empty."""
        value = self.get(key)
        if not isinstance(value, list) or not value or any(not isinstance(item, dict) for item in value):
            raise self.fault(key, "must be a list of objects")
        return tuple(Section(item, f"{self.place}: {key}[{index}]") for index, item in enumerate(value))

    def text(self, key: str) -> str:
        """Return the text under a key, which must not be empty."""
        value = self.get(key)
        if not isinstance(value, str) or not value:
            raise self.fault(key, f"must be text, not {_kind(value)}")
        return value

    def choice(self, key: str, choices: tuple[str, ...]) -> str:
        """Return the text under a key, which must be one of the choices."""
        value = self.text(key)
        if value not in choices:
            raise self.fault(key, f"must be one of {', '.join(choices)}, not {value}")
        return value

    def number(self, key: str, low: float, high: float) -> float:
        """Return the number under a key, which must lie between `low` and `high`."""
        value = self.get(key)
        if not isinstance(value, int | float) or isinstance(value, bool) or not low <= value <= high:
            raise self.fault(key, f"must be a number from {low:g} to {high:g}")
        return float(value)

    def integer(self, key: str, minimum: int) -> int:
        """Return the whole number under a key."""
        value = self.get(key)
        if not isinstance(value, int) or isinstance(value, bool) or value < minimum:
            raise self.fault(key, f"must be a whole number of at least {minimum}")
        return value

    def boolean(self, key: str) -> bool:
        """Return the truth value under a key, false where the key is missing."""
        value = self.values.get(key, False)
        if not isinstance(value, bool):
            raise self.fault(key, f"must be true or false, not {_kind(value)}")
        return value

    def integers(self, key: str, minimum: int, length: int | None = None) -> tuple[int, ...]:
        """Return the list of whole numbers under a key: of the given length, or of any but zero."""
        value = self.get(key)
        fits = isinstance(value, list) and (len(value) == length if length else len(value) > 0)
        if not fits or any(not isinstance(item, int) or isinstance(item, bool) or item < minimum for item in value):
            raise self.fault(key, f"must be a list of {length or 'some'} whole numbers of at least {minimum}")
        return tuple(value)

    def texts(self, key: str) -> tuple[str, ...]:
        """Return the list of different texts under a key."""
        value = self.get(key)
        if not isinstance(value, list) or not value or any(not isinstance(item, str) for item in value):
            raise self.fault(key, "must be a list of texts")
        if len(set(value)) != len(value):
            raise self.fault(key, "names one thing twice")
        return tuple(value)


def _kind(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")
