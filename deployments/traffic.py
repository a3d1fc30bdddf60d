"""`traffic.json` and `live/MODEL.json`: the versions of a model that answer, and the share of requests of each.

delivery ──TrafficFile──▶ traffic.json ──read_traffic──▶ gateway: splits the requests while a version is on trial
         ──LiveVersions─▶ live/*.json ──read_live──────▶ gateway: leaves out an engine host that serves other versions

Every change replaces a whole file. A split holds only while a trial runs, and ends by itself at its `until` if no
process is left to remove it.
"""

import json
import logging
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from errors import DiskError
from files import explained, read_text, remove_durably, replacing, write_atomic
from logs import event
from settings.schema import Settings, SettingsGroup, Version
from settings.schema.rollout_settings import HeaderName, Share

log = logging.getLogger(__name__)

# A gateway reads the file every quarter of a second; the rest is a margin for requests that were assigned just before.
FOLLOWED_S = 1.0

AnsweringVersions = Mapping[str, frozenset[str]]
"""The versions that may answer, by model."""


class TrafficSplit(SettingsGroup):
    """The versions that share the requests of one model that name no version."""

    stable: Version = Field(description="the default version, which answers the other requests")
    trial: Version = Field(description="the version on trial")
    weight: Share = Field(description="share of the requests that the version on trial answers")
    sticky_header: HeaderName | None = Field(description="header whose value selects the version; null: at random")
    copies: Share = Field(description="share of the stable version's requests that are copied to the version on trial")
    max_copies: Annotated[int, Field(ge=1)] = Field(description="largest number of copies at once; more are dropped")
    copy_timeout_s: Annotated[float, Field(gt=0)] = Field(description="time limit of a copy")
    tolerance: Annotated[float, Field(ge=0)] = Field(description="largest difference between equal continuous actions")
    until: float = Field(description="end, in seconds since 1970")


class TrafficDocument(SettingsGroup):
    """The content of `traffic.json`."""

    schema_version: Literal[1] = 1
    models: dict[str, TrafficSplit] = Field(default_factory=dict)


def traffic_file(settings: Settings) -> Path:
    """Return the path of `traffic.json` in the state folder."""
    return Path(settings.paths.state) / "traffic.json"


def live_folder(settings: Settings) -> Path:
    """Return the folder of the lists of versions that may answer."""
    return Path(settings.paths.state) / "live"


def read_traffic(path: Path) -> TrafficDocument:
    """Read `traffic.json`. Raises OSError, and ValueError for anything but a whole file of this schema."""
    return TrafficDocument.model_validate_json(path.read_bytes(), strict=True)


def read_live(folder: Path) -> AnsweringVersions:
    """Read the versions that may answer; empty before the first rollout. A file that cannot be read is left out."""
    found = {}
    for path in sorted(folder.glob("*.json")):
        try:
            found[path.stem] = frozenset(map(str, json.loads(path.read_bytes())))
        except (OSError, TypeError, ValueError):
            event(log, logging.ERROR, "live_versions_unreadable", file=path.name)
    return found


class TrafficFile:
    """The writer of `traffic.json`. Rollouts of several models may write at once."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @classmethod
    def of(cls, settings: Settings) -> "TrafficFile":
        """Return the writer of the file in the state folder."""
        return cls(traffic_file(settings))

    def all(self) -> dict[str, TrafficSplit]:
        """Return the splits by model. A damaged file counts as empty: the next change replaces it."""
        try:
            with explained(self._path):
                return dict(read_traffic(self._path).models) if self._path.exists() else {}
        except ValueError:
            log.warning("%s is damaged; every model's traffic goes to its default version", self._path)
            return {}

    def put(self, model: str, split: TrafficSplit) -> None:
        """Split the traffic of a model."""
        self._change(model, split)

    def clear(self, model: str) -> bool:
        """Send all traffic of a model to its default version. Return False when there was no split."""
        if model not in self.all():
            return False
        try:
            return self._change(model, None)
        except DiskError:
            if set(self.all()) != {model}:
                raise
            remove_durably(self._path)  # a full disk has room for this
            return True

    def _change(self, model: str, split: TrafficSplit | None) -> bool:
        with replacing(self._path) as replace:
            models = self.all()
            before = models.pop(model, None)
            if split is not None:
                models[model] = split
            replace(TrafficDocument(models=models).model_dump_json(indent=2))
        return before is not None


class LiveVersions:
    """`live/MODEL.json`: the versions of one model that may answer."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @classmethod
    def of(cls, settings: Settings, model: str) -> "LiveVersions":
        """Return the list of one model in the state folder."""
        return cls(live_folder(settings) / f"{model}.json")

    def get(self) -> list[str]:
        """Return the versions; none without a file. A damaged file counts as empty: the next rollout replaces it."""
        try:
            found = json.loads(read_text(self._path) or "[]")
        except ValueError:
            return []
        return [str(version) for version in found] if isinstance(found, list) else []

    def put(self, versions: Collection[str]) -> None:
        """Replace the list, or remove it when `versions` is empty. The same versions again need no write."""
        if not versions:
            remove_durably(self._path)
            return
        if sorted(self.get()) == sorted(versions):
            return
        write_atomic(self._path, json.dumps(sorted(versions)))
