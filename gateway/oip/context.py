"""What the protocol's routes and calls work with, beside the services that all routes share."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from starlette.types import Scope

from gateway.oip.statistics import Statistics
from gateway.services import Services

if TYPE_CHECKING:
    from gateway.apikey import ApiKeys


class RepositoryControl(Protocol):
    """Whoever brings models to serve and takes them away. Its calls may take minutes and are made in a thread.

    They raise MarinaError, in words for a user.
    """

    def names(self) -> Sequence[str]:
        """The models that could be loaded."""
        ...

    def load(self, model: str) -> None:
        """Has the engine serve the model as it was last built."""
        ...

    def unload(self, model: str) -> None:
        """Has the engine serve the model no longer."""
        ...


@dataclass(frozen=True, slots=True)
class Oip:
    """The shared services, the protocol's own counters, how models are rolled out and who may ask, where set."""

    services: Services
    statistics: Statistics
    control: RepositoryControl | None
    keys: "ApiKeys | None"


def oip_of(scope: Scope) -> Oip:
    """The context of the application that answers this request."""
    context: Oip = scope["state"]["oip"]
    return context
