"""One request's body, ready to send."""

import json
from dataclasses import dataclass


@dataclass(frozen=True)
class Sample:
    """A request body, its media type, and how many predictions answer it."""

    name: str
    content_type: str
    body: bytes
    items: int = 1

    @classmethod
    def of_json(cls, name: str, value: object) -> "Sample":
        """A JSON body that asks for one prediction."""
        return cls(name, "application/json", json.dumps(value, separators=(",", ":")).encode())
