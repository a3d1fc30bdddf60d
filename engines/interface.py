"""The engine as the gateway asks it without blocking."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from engines.engine_profile import Interface, ModelVersion
from errors import RequestError


class Dialect(Protocol):
    """What a prediction looks like on the wire; asked at each request, so all of it only computes."""

    def prediction_path(self, model: str, version: str | None) -> str:
        """The path that predicts; names are quoted, so that none of them can end a request line."""
        ...

    def key_refused(self, status: int, body: bytes) -> bool:
        """Whether the engine did not accept the token: it expired, or the engine was started anew."""
        ...

    def refusal(self, status: int, body: bytes, model: str) -> RequestError:
        """The error that a client is told for an answer that is not 200."""
        ...


class Keys(Protocol):
    """The tokens that an engine accepts, as they change."""

    async def token(self, interface: Interface) -> str | None:
        """The bearer token of an interface; None when there is none (yet)."""
        ...

    async def replaced(self, interface: Interface, refused: str | None) -> bool:
        """Whether another token than the one the engine refused is at hand now; fetches one when needed."""
        ...

    async def close(self) -> None:
        """Ends what runs beside the requests."""
        ...


class Reader(Protocol):
    """Describes what a host serves. Every method but `answers` raises EngineError when it does not tell."""

    async def answers(self) -> bool:
        """Whether it is there; asked again and again, so it costs the host next to nothing."""
        ...

    async def model_names(self) -> list[str]:
        """Names of all registered models."""
        ...

    async def versions(self, name: str) -> list[ModelVersion]:
        """All versions of a model; empty when it is gone."""
        ...

    async def default_version(self, name: str) -> str | None:
        """The version that answers when none is named."""
        ...

    async def card(self, name: str, version: str) -> Mapping[str, Any] | None:
        """The model card, asked of a worker; empty for an archive without one, None when no worker answered."""
        ...


@dataclass(frozen=True, slots=True)
class Front:
    """One host, as the gateway works with it."""

    dialect: Dialect
    keys: Keys
    reader: Reader
