"""What answers predictions, and the order of what stands in front of the engine.

    traffic → cache → flights → admission → coalesce → queue → breaker → retry → upstream

Each of them is an Engine around another Engine, one file each; `chain` puts them together.
"""

from dataclasses import dataclass, field
from typing import Protocol

from gateway.hooks import PredictionRequest


@dataclass(frozen=True, slots=True)
class EngineAnswer:
    """A model's answer as the handler wrote it: JSON bytes, their type, and the version that made them."""

    body: bytes = field(repr=False)
    content_type: str
    version: str | None


class Engine(Protocol):
    """Whatever answers predictions: the upstream itself, or something that stands in front of it."""

    async def predict(self, request: PredictionRequest) -> EngineAnswer:
        """One prediction. Raises the RequestError that a client is to be told."""
        ...
