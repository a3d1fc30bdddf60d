"""Golden answers: the archive brings inputs and the framework's outputs, and a new version must give them again."""

import base64
from collections.abc import Mapping
from typing import Any

from delivery.management import Management
from errors import RolloutError
from handlers.golden import outside


def check(engine: Management, model: str, version: str, golden: Mapping[str, Any]) -> int:
    """Ask `version` every golden input through HTTP; returns how many agreed.

    Raises RolloutError naming the first answer that leaves the tolerance.
    """
    samples = golden["samples"]
    for number, sample in enumerate(samples, start=1):
        answer = engine.predict(model, version, base64.b64decode(sample["body"]), sample["content_type"])
        if answer.status_code != 200:
            raise RolloutError(f"golden input {number} got {answer.status_code}: {answer.text.strip()[:200]}")
        found = outside(sample["predictions"], answer.json()["predictions"], golden["tolerance"])
        if found is not None:
            raise RolloutError(f"golden input {number} is answered differently: {found}")
    return len(samples)
