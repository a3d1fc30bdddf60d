"""Golden answers: the archive brings inputs and the framework's outputs, and a new version must give them again."""

import base64
from collections.abc import Mapping
from typing import Any

from engines.engine_profile import PredictionInput
from engines.torchserve.client import EngineClient
from errors import RolloutError
from handlers.golden import misses


def check(engine: EngineClient, model: str, version: str, golden: Mapping[str, Any]) -> int:
    """Ask `version` every golden input through HTTP; returns how many agreed.

    Raises RolloutError naming the first answer that leaves the tolerance.
    """
    samples = golden["samples"]
    for number, sample in enumerate(samples, start=1):
        answer = engine.predict(
            model, version, PredictionInput(base64.b64decode(sample["body"]), sample["content_type"])
        )
        if answer.status != 200:
            raise RolloutError(f"golden input {number} got {answer.status}: {answer.text[:200]}")
        if (found := misses(sample["predictions"], answer.body, golden["tolerance"])) is not None:
            raise RolloutError(f"golden input {number} is answered differently: {found}")
    return len(samples)
