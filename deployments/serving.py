"""`serving.json`: the version that serves each model, and those before it that a rollback can return to."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from errors import StoreError
from files import read_text, replacing
from settings import Settings
from settings.schema import RegistrationSettings


@dataclass(frozen=True)
class DeployedVersion:
    """A version that has served: the name of its archive in the store, and the settings it was registered with."""

    version: str
    archive: str
    batch_size: int
    max_batch_delay: int
    initial_workers: int
    threads: int | None = None
    coalesce: int | None = None
    response_timeout: int | None = None

    @property
    def params(self) -> RegistrationSettings:
        """The settings that the version was registered with."""
        return RegistrationSettings(
            batch_size=self.batch_size,
            max_batch_delay=self.max_batch_delay,
            initial_workers=self.initial_workers,
            threads=self.threads,
            coalesce=self.coalesce,
            response_timeout=self.response_timeout,
        )


@dataclass(frozen=True)
class VersionHistory:
    """The version that serves a model, and its predecessors with the latest first."""

    serving: DeployedVersion
    before: tuple[DeployedVersion, ...] = ()

    @property
    def versions(self) -> tuple[DeployedVersion, ...]:
        """The serving version and its predecessors."""
        return (self.serving, *self.before)

    def rolled_back(self) -> "VersionHistory":
        """Return the history after a rollback: the version that is left moves to the end of the predecessors."""
        target, *older = self.before
        return VersionHistory(target, (*older, self.serving))


def serving_file(settings: Settings) -> Path:
    """Return the path of `serving.json` in the state folder."""
    return Path(settings.paths.state) / "serving.json"


def read_serving(path: Path) -> dict[str, str]:
    """Return the version that serves each model. Raises OSError, and ValueError for a damaged file."""
    try:
        return {str(model): str(entry["serving"]["version"]) for model, entry in json.loads(path.read_bytes()).items()}
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError("not a record of what serves") from error


class ServingRecord:
    """`serving.json` of one stack. Every change replaces the whole file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @classmethod
    def of(cls, settings: Settings) -> "ServingRecord":
        """Return the record in the state folder of these settings."""
        return cls(serving_file(settings))

    def all(self) -> dict[str, VersionHistory]:
        """Return the history of every model; empty before the first rollout. Raises StoreError for a damaged file."""
        try:
            text = read_text(self._path)
            content: dict[str, Any] = {} if text is None else json.loads(text)
            return {model: _history(entry) for model, entry in content.items()}
        except (ValueError, TypeError, KeyError, AttributeError):
            raise StoreError(f"{self._path} is damaged; delete it and run `make upload_model` for each model") from None

    def get(self, model: str) -> VersionHistory | None:
        """Return the history of one model, None when it was never rolled out."""
        return self.all().get(model)

    def put(self, model: str, history: VersionHistory) -> None:
        """Replace the history of one model. Raises StoreError when the file cannot be written.

        The same history again needs no write.
        """
        if self.get(model) == history:
            return
        with replacing(self._path) as replace:
            replace(_text({**self.all(), model: history}))

    def forget(self, model: str) -> None:
        """Remove the history of a model, which may be unknown. Raises StoreError when the file cannot be written."""
        with replacing(self._path) as replace:
            replace(_text({name: entry for name, entry in self.all().items() if name != model}))


def _text(entries: Mapping[str, VersionHistory]) -> str:
    return json.dumps({model: asdict(entry) for model, entry in entries.items()}, indent=2)


def _history(entry: dict[str, Any]) -> VersionHistory:
    before = tuple(DeployedVersion(**version) for version in entry["before"])
    return VersionHistory(DeployedVersion(**entry["serving"]), before)
