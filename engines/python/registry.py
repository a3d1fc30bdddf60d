"""The registered versions with their settings, and the version of each model that answers by default.

A registry is passed between processes as plain JSON values. Serve's controller keeps it in the Frontend's
`user_config`, beyond the controller's own restarts.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any
from urllib.parse import quote

FRONTEND = "marina"
"""Name of the Frontend's application; the names of the other applications begin with it."""
SEPARATOR = "@"


@dataclass(frozen=True)
class Registration:
    """Everything that a worker is made from. `sha256` is the checksum of the archive that was checked at registration.

    `max_batch_delay` is in ms. `handler` overrides the manifest's; None leaves it.
    """

    model: str
    version: str
    url: str
    sha256: str
    batch_size: int
    max_batch_delay: int
    response_timeout_s: int
    handler: str | None = None

    @property
    def application(self) -> str:
        """A name that no other version and no foreign application has: of a Serve application, and of a folder.

        Quoted names contain neither the separator nor a character with a meaning in paths or in Ray's own names.
        """
        return SEPARATOR.join((FRONTEND, quote(self.model, safe=""), quote(self.version, safe="")))


def is_ours(application: str) -> bool:
    """Return whether an application of a cluster runs one of our versions; others may share the cluster."""
    return application.startswith(FRONTEND + SEPARATOR)


@dataclass(frozen=True)
class RegisteredVersion:
    """A registered version and its number of workers, which follows the load where the two numbers differ."""

    registration: Registration
    min_workers: int = 0
    max_workers: int = 0

    @property
    def key(self) -> tuple[str, str]:
        """The model and the version."""
        return self.registration.model, self.registration.version


@dataclass(frozen=True)
class ModelRegistry:
    """All registered versions in the order of their registration, and the default version of each model."""

    entries: tuple[RegisteredVersion, ...] = ()
    defaults: Mapping[str, str] = field(default_factory=dict)

    def models(self) -> list[str]:
        """Return the names of all registered models, sorted."""
        return sorted(self.defaults)

    def versions(self, model: str) -> tuple[RegisteredVersion, ...]:
        """Return all versions of a model; none when it is not registered."""
        return tuple(entry for entry in self.entries if entry.registration.model == model)

    def find(self, model: str, version: str | None) -> RegisteredVersion | None:
        """Return a version of a model, the default one for None."""
        wanted = version or self.defaults.get(model)
        return next((entry for entry in self.versions(model) if entry.registration.version == wanted), None)

    def put(self, entry: RegisteredVersion) -> "ModelRegistry":
        """Return the registry with this entry new or changed. The first version of a model becomes its default."""
        if any(each.key == entry.key for each in self.entries):
            entries = tuple(entry if each.key == entry.key else each for each in self.entries)
        else:
            entries = (*self.entries, entry)
        model, version = entry.key
        return ModelRegistry(entries, {model: version, **self.defaults})

    def without(self, entry: RegisteredVersion) -> "ModelRegistry":
        """Return the registry without this version; a model without versions is gone."""
        model = entry.registration.model
        entries = tuple(each for each in self.entries if each.registration != entry.registration)
        left = {name: version for name, version in self.defaults.items() if name != model}
        if any(each.registration.model == model for each in entries):
            left[model] = self.defaults[model]
        return ModelRegistry(entries, left)

    def with_default(self, model: str, version: str) -> "ModelRegistry":
        """Return the registry with another default version of a model."""
        return replace(self, defaults={**self.defaults, model: version})

    def as_json(self) -> dict[str, Any]:
        """Return the registry as JSON values."""
        return {"entries": [asdict(entry) for entry in self.entries], "defaults": dict(self.defaults)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "ModelRegistry":
        """Return the registry that `as_json` has written."""
        entries = tuple(
            RegisteredVersion(Registration(**each["registration"]), each["min_workers"], each["max_workers"])
            for each in values["entries"]
        )
        return cls(entries, dict(values["defaults"]))


@dataclass(frozen=True)
class RunningWorkers:
    """The workers of a version that take requests; `complete` when no more of them are to start."""

    workers: int
    complete: bool


NO_WORKERS = RunningWorkers(0, complete=False)


def with_ready_defaults(
    declared: ModelRegistry, before: Mapping[str, str], running: Mapping[str, RunningWorkers]
) -> ModelRegistry:
    """Return a declared registry whose default versions can answer now.

    Serve applies a whole declaration at once, so a Frontend learns of a version minutes before its workers have loaded
    the model. `before` holds each model's default until now, `running` the workers by application. A new default
    counts once its workers are complete. Until then the previous default answers, or else any version that has
    workers. Without any workers, the declared default remains, and its requests wait.
    """
    registry = declared
    for model, wanted in declared.defaults.items():
        registry = registry.with_default(model, _ready_default(declared, model, wanted, before.get(model), running))
    return registry


def _ready_default(
    declared: ModelRegistry, model: str, wanted: str, before: str | None, running: Mapping[str, RunningWorkers]
) -> str:
    found = {
        entry.registration.version: running.get(entry.registration.application, NO_WORKERS)
        for entry in declared.versions(model)
    }
    if wanted == before or found.get(wanted, NO_WORKERS).complete:
        return wanted
    others = [version for version in (before, *found) if version is not None]
    return next((version for version in others if found.get(version, NO_WORKERS).workers), wanted)
