"""The journal of a rollout, written before each step, so that the next run can finish or undo a killed one."""

import json
import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from deployments.serving import DeployedVersion
from errors import DiskError, RolloutError, StoreError
from files import file_lock, read_text, remove_durably, write_atomic
from settings import Settings

log = logging.getLogger(__name__)


class Step(StrEnum):
    """The steps of a rollout in their order. `TAKE_BACK` replaces the remaining steps when one fails.

    `SHADOW` and `CANARY` are optional, and a rollout has at most one of them.
    """

    PUBLISH = "publish"
    REGISTER = "register"
    COMPARE = "compare"
    WORKERS = "workers"
    GOLDEN = "golden"
    WARM = "warm"
    SHADOW = "shadow"
    CANARY = "canary"
    SWITCH = "switch"
    WATCH = "watch"
    RECORD = "record"
    DRAIN = "drain"
    REMOVE = "remove"
    TAKE_BACK = "take back"


TRIALS = frozenset({Step.SHADOW, Step.CANARY})
PROVEN = frozenset({Step.SWITCH, Step.WATCH, Step.RECORD, Step.DRAIN, Step.REMOVE})
"""The steps that begin only after the new version has passed every check."""


@dataclass(frozen=True)
class JournalEntry:
    """A rollout under way on one host: the new version, the old one, and the step that has begun.

    `before` lists the predecessors that are recorded when `new` serves; a rollback shortens the list. `published` is
    True when the rollout itself puts the archive into the store.
    """

    model: str
    step: Step
    new: DeployedVersion
    old: str | None
    before: tuple[DeployedVersion, ...]
    published: bool

    def at(self, step: Step) -> "JournalEntry":
        """Return the same rollout at another step."""
        return replace(self, step=step)

    def replacing(self, old: str | None) -> "JournalEntry":
        """Return the same rollout on a host that serves `old`."""
        return replace(self, old=old)

    @property
    def name(self) -> str:
        """Model and new version, for messages."""
        return f"{self.model} {self.new.version}"


class Journal:
    """`rollouts/MODEL.json` in the state folder. It exists only while a rollout is under way.

    Each of several engine hosts has its own journal, `rollouts/NODE/MODEL.json`.
    """

    def __init__(self, folder: Path, model: str) -> None:
        self._path = folder / f"{model}.json"

    @classmethod
    def of(cls, settings: Settings, model: str, node: str = "") -> "Journal":
        """Return the journal of one model; `node` names one of several engine hosts."""
        return cls(_folder(settings) / node, model)

    def read(self) -> JournalEntry | None:
        """Return the rollout that did not end, if any. Raises StoreError for a damaged file."""
        try:
            text = read_text(self._path)
            return None if text is None else _entry(json.loads(text))
        except (ValueError, TypeError, KeyError):
            raise StoreError(
                f"{self._path} is damaged; delete it: the next rollout removes what is left over"
            ) from None

    def write(self, entry: JournalEntry) -> None:
        """Replace the journal, atomically and durably. Raises StoreError when the file cannot be written."""
        write_atomic(self._path, json.dumps(asdict(entry), indent=2))

    def close(self) -> None:
        """Remove the journal of a rollout that has ended."""
        remove_durably(self._path)


class RolloutUnderWay(RolloutError):
    """Another rollout of the model runs, and was not to be waited for."""


def rollout_lock(
    model: str, settings: Settings, *, create: bool = True, wait: bool = True
) -> AbstractContextManager[None]:
    """Hold the lock of a model, so that only one rollout of it runs. Raises StoreError when it cannot be created.

    Without `create` it need not be created: restoring a model works on a full disk. Without `wait` it raises
    RolloutUnderWay while another process holds it.
    """

    def busy() -> None:
        if not wait:
            raise RolloutUnderWay(f"another rollout of {model} is under way")
        log.warning("another rollout of %s is under way; waiting for it", model)

    return file_lock(_folder(settings) / f"{model}.lock", on_wait=busy, create=create)


@contextmanager
def optional_write(consequence: str, *, when: bool = True) -> Iterator[None]:
    """Log a DiskError of the block with its consequence, and go on; raise it unless `when`."""
    try:
        yield
    except DiskError as error:
        if not when:
            raise
        log.warning("%s: %s", consequence, error)


def _folder(settings: Settings) -> Path:
    return Path(settings.paths.state) / "rollouts"


def _entry(content: dict[str, Any]) -> JournalEntry:
    return JournalEntry(
        model=content["model"],
        step=Step(content["step"]),
        new=DeployedVersion(**content["new"]),
        old=content["old"],
        before=tuple(DeployedVersion(**served) for served in content["before"]),
        published=content["published"],
    )
