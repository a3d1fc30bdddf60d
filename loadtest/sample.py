"""One request's body, ready to send."""

import json
from dataclasses import dataclass


@dataclass(frozen=True)
class Sample:
    """A request body, its media type, how many predictions answer it, and the model that is asked for them."""

    name: str
    content_type: str
    body: bytes
    items: int = 1
    model: str = ""  # empty: the run's only model

    @classmethod
    def of_json(cls, name: str, value: object, model: str = "") -> "Sample":
        """A JSON body that asks for one prediction."""
        return cls(name, "application/json", json.dumps(value, separators=(",", ":")).encode(), model=model)
