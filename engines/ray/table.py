"""What is registered: versions with their settings, and which of them answers when none is named.

It travels as plain JSON values in the Front's `user_config`, where Serve's controller keeps it beyond its own restarts.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any
from urllib.parse import quote

FRONT = "marina"
"""Name of the Front's application, and what the names of the others here begin with."""
BETWEEN = "@"


@dataclass(frozen=True)
class Registration:
    """What a worker is made from. `sha256` is that of the archive as it was checked when it was registered.

    `max_batch_delay` is ms; `handler` overrides the manifest's, None leaves it.
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
        """Name of the Serve application that runs it, unlike that of any other version and of others' applications.

        Quoted, no name has the sign between them, nor one that a path or Ray's own names would stumble over.
        """
        return BETWEEN.join((FRONT, quote(self.model, safe=""), quote(self.version, safe="")))


def is_ours(application: str) -> bool:
    """Whether an application of a cluster runs a version here; others may share the cluster."""
    return application.startswith(FRONT + BETWEEN)


@dataclass(frozen=True)
class Entry:
    """A registered version and the workers that were asked for; they follow the load where the two differ."""

    registration: Registration
    min_workers: int = 0
    max_workers: int = 0


@dataclass(frozen=True)
class Table:
    """All registered versions in the order of their registration, and the default version of each model."""

    entries: tuple[Entry, ...] = ()
    defaults: Mapping[str, str] = field(default_factory=dict)

    def models(self) -> list[str]:
        """Names of all registered models, sorted."""
        return sorted(self.defaults)

    def versions(self, model: str) -> tuple[Entry, ...]:
        """All versions of a model; empty when it is not registered."""
        return tuple(entry for entry in self.entries if entry.registration.model == model)

    def find(self, model: str, version: str | None) -> Entry | None:
        """A version of a model, the default one for None."""
        wanted = version or self.defaults.get(model)
        return next((entry for entry in self.versions(model) if entry.registration.version == wanted), None)

    def put(self, entry: Entry) -> "Table":
        """The table with this entry new or changed; the first version of a model becomes its default."""
        key = (entry.registration.model, entry.registration.version)
        known = [(each.registration.model, each.registration.version) for each in self.entries]
        if key in known:
            entries = tuple(entry if each == key else old for each, old in zip(known, self.entries, strict=True))
        else:
            entries = (*self.entries, entry)
        return Table(entries, {key[0]: key[1], **self.defaults})

    def without(self, entry: Entry) -> "Table":
        """The table without this version; a model without versions is gone."""
        model = entry.registration.model
        entries = tuple(each for each in self.entries if each.registration != entry.registration)
        left = {name: version for name, version in self.defaults.items() if name != model}
        if any(each.registration.model == model for each in entries):
            left[model] = self.defaults[model]
        return Table(entries, left)

    def with_default(self, model: str, version: str) -> "Table":
        """The table in which this version answers when none is named."""
        return replace(self, defaults={**self.defaults, model: version})

    def plain(self) -> dict[str, Any]:
        """As JSON values."""
        return {"entries": [asdict(entry) for entry in self.entries], "defaults": dict(self.defaults)}

    @classmethod
    def of_plain(cls, values: Mapping[str, Any]) -> "Table":
        """What `plain` has made."""
        entries = tuple(
            Entry(Registration(**each["registration"]), each["min_workers"], each["max_workers"])
            for each in values["entries"]
        )
        return cls(entries, dict(values["defaults"]))
