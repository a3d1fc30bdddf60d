"""What the engine serves, as frozen objects: models, their versions, and how each version stands."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engines.described import Version
from gateway import card as cards
from gateway.card import Card, Kind


@dataclass(frozen=True, slots=True)
class ServedVersion:
    """One version of a model. `pending` and `capacity` are requests; `max_batch_delay` is ms.

    `archive` is where the engine got it from, for comparison only: clients never see it.
    """

    model: str
    version: str
    default: bool
    workers_ready: int
    workers: int
    min_workers: int
    max_workers: int
    batch_size: int
    max_batch_delay: int
    pending: int
    capacity: int
    card: Card
    archive: str = ""

    @property
    def kind(self) -> Kind | None:
        """What the model reads; None while no worker has shown a card."""
        return cards.kind_of(self.card)

    def public(self) -> dict[str, Any]:
        """What clients may see: no address, no path and no process of the engine."""
        return {
            "version": self.version,
            "default": self.default,
            "workers": {
                "ready": self.workers_ready,
                "total": self.workers,
                "min": self.min_workers,
                "max": self.max_workers,
            },
            "queue": {"pending": self.pending, "free": self.capacity},
            "batch": {
                "batch_size": self.batch_size,
                "max_batch_delay": self.max_batch_delay,
                **cards.registration(self.card),
            },
            **{key: value for key, value in cards.public(self.card).items() if key != "model_name"},
        }


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model and all its versions."""

    name: str
    versions: tuple[ServedVersion, ...]

    @property
    def default(self) -> ServedVersion:
        """The version that answers when none is named."""
        for version in self.versions:
            if version.default:
                return version
        return self.versions[0]

    def version(self, version: str | None) -> ServedVersion | None:
        """A version by its name, the default one for None."""
        if version is None:
            return self.default
        return next((each for each in self.versions if each.version == version), None)

    def public(self) -> dict[str, Any]:
        """What clients may see."""
        return {
            "name": self.name,
            "default_version": self.default.version,
            "versions": [version.public() for version in self.versions],
        }


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All models at one moment (`taken`, seconds of the event loop's clock)."""

    models: Mapping[str, ServedModel]
    taken: float

    def find(self, name: str, version: str | None) -> ServedVersion | None:
        """A version of a model, None when it is not served."""
        model = self.models.get(name)
        return None if model is None else model.version(version)


def described(found: Version, *, default: bool, card: Card) -> ServedVersion:
    """The engine's description of one version, as the gateway keeps it."""
    return ServedVersion(
        model=found.model,
        version=found.version,
        default=default,
        workers_ready=found.ready_workers,
        workers=len(found.workers),
        min_workers=found.min_workers,
        max_workers=found.max_workers,
        batch_size=found.batch_size,
        max_batch_delay=found.max_batch_delay,
        pending=found.pending_requests,
        capacity=found.free,
        card=card,
        archive=found.url,
    )
