"""What should serve: written after each rollout, read when the engine starts empty and when one goes back."""

import contextlib
import fcntl
import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

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
            content: dict[str, Any] = json.loads(self._path.read_text())
            return {name: _history(entry) for name, entry in content.items()}
        except FileNotFoundError:
            return {}
        except (ValueError, TypeError, KeyError, AttributeError):
            raise StoreError(f"{self._path} is damaged; delete it and run `make upload_model` for each model") from None

    def get(self, model: str) -> History | None:
        """One model's history."""
        return self.all().get(model)

    def put(self, model: str, history: History) -> None:
        """Replace one model's history, atomically."""
        with self._alone():
            self._write({**self.all(), model: history})

    def forget(self, model: str) -> None:
        """Remove one model's history, atomically; unknown is fine."""
        with self._alone():
            self._write({name: entry for name, entry in self.all().items() if name != model})

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Rollouts of different models go on at the same time, and each changes its own entry of the one file."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)

    def _write(self, entries: dict[str, History]) -> None:
        content = {name: asdict(entry) for name, entry in entries.items()}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=self._path.parent, prefix=".serving.", delete=False) as file:
            json.dump(content, file, indent=2)
            file.flush()
            os.fsync(file.fileno())
        Path(file.name).replace(self._path)


def _history(entry: dict[str, Any]) -> History:
    return History(Served(**entry["serving"]), tuple(Served(**version) for version in entry["before"]))
