"""What should serve: written after each rollout, read when the engine starts empty and when one goes back."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from archive.workplace import read_text, replacing
from errors import StoreError
from settings import Settings
from settings.schema import RequestParams


@dataclass(frozen=True)
class Served:
    """A version that took traffic: its archive's name in the store and how it was registered."""

    version: str
    archive: str
    batch_size: int
    max_batch_delay: int
    initial_workers: int
    threads: int | None = None
    coalesce: int | None = None

    @property
    def params(self) -> RequestParams:
        """The registration settings."""
        return RequestParams(
            batch_size=self.batch_size,
            max_batch_delay=self.max_batch_delay,
            initial_workers=self.initial_workers,
            threads=self.threads,
            coalesce=self.coalesce,
        )


@dataclass(frozen=True)
class History:
    """The version that serves a model and those before it, the last first."""

    serving: Served
    before: tuple[Served, ...] = ()

    @property
    def versions(self) -> tuple[Served, ...]:
        """All of them."""
        return (self.serving, *self.before)

    def back(self) -> "History":
        """The history after going back: the version that is left becomes the last one to go back to."""
        target, *older = self.before
        return History(target, (*older, self.serving))


class Record:
    """`serving.json` of one stack, replaced as a whole at every change."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @classmethod
    def of(cls, settings: Settings) -> "Record":
        """The record in the stack's state folder."""
        return cls(Path(settings.paths.state) / "serving.json")

    def all(self) -> dict[str, History]:
        """Every model's history; empty when nothing was rolled out yet. Raises StoreError for an unreadable file."""
        try:
            text = read_text(self._path)
            content: dict[str, Any] = {} if text is None else json.loads(text)
            return {name: _history(entry) for name, entry in content.items()}
        except (ValueError, TypeError, KeyError, AttributeError):
            raise StoreError(f"{self._path} is damaged; delete it and run `make upload_model` for each model") from None

    def get(self, model: str) -> History | None:
        """One model's history."""
        return self.all().get(model)

    def put(self, model: str, history: History) -> None:
        """Replace one model's history, atomically. Raises StoreError when that cannot be done."""
        with replacing(self._path) as replace:
            replace(_text({**self.all(), model: history}))

    def forget(self, model: str) -> None:
        """Remove one model's history, atomically; unknown is fine."""
        with replacing(self._path) as replace:
            replace(_text({name: entry for name, entry in self.all().items() if name != model}))


def _text(entries: Mapping[str, History]) -> str:
    return json.dumps({name: asdict(entry) for name, entry in entries.items()}, indent=2)


def _history(entry: dict[str, Any]) -> History:
    return History(Served(**entry["serving"]), tuple(Served(**version) for version in entry["before"]))
