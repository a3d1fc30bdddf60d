"""What the engine serves, as the gateway knows it: versions of models, and all of them at one moment."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engines.engine_profile import ModelVersion
from gateway import model_card as cards
from gateway.model_card import Kind, ModelCard


@dataclass(frozen=True, slots=True)
class ServedVersion:
    """One version of a model. `pending` and `capacity` are requests; `max_batch_delay` is ms.

    `archive` is the path or URL that the engine loaded, for comparison only: clients never see it.
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
    card: ModelCard
    archive: str = ""

    @property
    def kind(self) -> Kind | None:
        """The kind of the model; None while no worker has reported a card."""
        return cards.kind_of(self.card)

    def public(self) -> dict[str, Any]:
        """Return the part that clients may see: no address, no path and no process of the engine."""
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
        """Return a version by its name, the default one for None."""
        if version is None:
            return self.default
        return next((each for each in self.versions if each.version == version), None)

    def public(self) -> dict[str, Any]:
        """Return the part that clients may see."""
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
        """Return a version of a model, None when it is not served.

        An adopted model is also found by the name that its archive had, unless two models had it.
        """
        model = self.models.get(name) or self._adopted_as(name)
        return None if model is None else model.version(version)

    def _adopted_as(self, name: str) -> ServedModel | None:
        found = [model for model in self.models.values() if cards.first_name(model.default.card) == name]
        return found[0] if len(found) == 1 else None


def described(found: ModelVersion, *, default: bool, card: ModelCard) -> ServedVersion:
    """Return the engine's description of one version in the gateway's form."""
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
