"""Checked access to a JSON object of the archive; each error names the file and the key."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class JsonObject:
    """An object of a JSON document, and its path in it; every method raises ValueError for a wrong value."""

    values: Mapping[str, Any]
    path: str

    @classmethod
    def of_file(cls, path: Path) -> "JsonObject":
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

    def error(self, key: str, problem: str) -> ValueError:
        """Return the error that names a key and the problem with it."""
        return ValueError(f"{self.path}: {key} {problem}")

    def has(self, key: str) -> bool:
        """Return true where the key holds a value other than null."""
        return self.values.get(key) is not None

    def get(self, key: str) -> Any:
        """Return the value of a required key, null included."""
        if key not in self.values:
            raise self.error(key, "is missing")
        return self.values[key]

    def object(self, key: str) -> "JsonObject":
        """Return the object under a key."""
        value = self.get(key)
        if not isinstance(value, dict):
            raise self.error(key, f"must be an object, not {_kind(value)}")
        return JsonObject(value, f"{self.path}: {key}")

    def objects(self, key: str) -> tuple["JsonObject", ...]:
        """Return the list of objects under a key, which must not be empty."""
        value = self.get(key)
        if not isinstance(value, list) or not value or any(not isinstance(item, dict) for item in value):
            raise self.error(key, "must be a list of objects")
        return tuple(JsonObject(item, f"{self.path}: {key}[{index}]") for index, item in enumerate(value))

    def text(self, key: str) -> str:
        """Return the text under a key, which must not be empty."""
        value = self.get(key)
        if not isinstance(value, str) or not value:
            raise self.error(key, f"must be text, not {_kind(value)}")
        return value

    def choice(self, key: str, choices: tuple[str, ...]) -> str:
        """Return the text under a key, which must be one of the choices."""
        value = self.text(key)
        if value not in choices:
            raise self.error(key, f"must be one of {', '.join(choices)}, not {value}")
        return value

    def number(self, key: str, low: float, high: float) -> float:
        """Return the number under a key, which must lie between `low` and `high`."""
        value = self.get(key)
        if not isinstance(value, int | float) or isinstance(value, bool) or not low <= value <= high:
            raise self.error(key, f"must be a number from {low:g} to {high:g}")
        return float(value)

    def integer(self, key: str, minimum: int) -> int:
        """Return the whole number under a key."""
        value = self.get(key)
        if not isinstance(value, int) or isinstance(value, bool) or value < minimum:
            raise self.error(key, f"must be a whole number of at least {minimum}")
        return value

    def boolean(self, key: str) -> bool:
        """Return the boolean under a key, false where the key is missing."""
        value = self.values.get(key, False)
        if not isinstance(value, bool):
            raise self.error(key, f"must be true or false, not {_kind(value)}")
        return value

    def integers(self, key: str, minimum: int, length: int | None = None) -> tuple[int, ...]:
        """Return the list of whole numbers under a key, of the given length or of any length but zero."""
        value = self.get(key)
        fits = isinstance(value, list) and (len(value) == length if length else len(value) > 0)
        if not fits or any(not isinstance(item, int) or isinstance(item, bool) or item < minimum for item in value):
            raise self.error(key, f"must be a list of {length or 'some'} whole numbers of at least {minimum}")
        return tuple(value)

    def texts(self, key: str) -> tuple[str, ...]:
        """Return the list of different texts under a key."""
        value = self.get(key)
        if not isinstance(value, list) or not value or any(not isinstance(item, str) for item in value):
            raise self.error(key, "must be a list of texts")
        if len(set(value)) != len(value):
            raise self.error(key, "contains a duplicate")
        return tuple(value)


def _kind(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")
