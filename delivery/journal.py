"""What a rollout is doing, written before each step, so that the next run can finish or undo a killed one."""

import json
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from deployments.serving import DeployedVersion
from errors import StoreError
from files import read_text, remove_durably, write_atomic
from settings import Settings


class Step(StrEnum):
    """The steps of a rollout, in order; `TAKE_BACK` replaces what is left when one fails.

    `SHADOW` and `CANARY` are taken only when they are asked for, and one of them at most.
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


PROVEN = frozenset({Step.SWITCH, Step.WATCH, Step.RECORD, Step.DRAIN, Step.REMOVE})


@dataclass(frozen=True)
class Entry:
    """One rollout under way: what is to serve, what served, and the step that has begun.

    `before` lists the history that is recorded when `new` has proven itself: a rollback shortens it.
    """

    model: str
    step: Step
    new: DeployedVersion
    old: str | None
    before: tuple[DeployedVersion, ...]
    published: bool

    def at(self, step: Step) -> "Entry":
        """The same rollout at another step."""
        return replace(self, step=step)


class Journal:
    """`rollouts/MODEL.json` in the stack's state folder; there is one only while a rollout is under way."""

    def __init__(self, folder: Path, model: str) -> None:
        self._path = folder / f"{model}.json"

    @classmethod
    def of(cls, settings: Settings, model: str, node: str = "") -> "Journal":
        """The journal of one model; with `node`, on that one of several engine hosts (`rollouts/NODE/MODEL.json`)."""
        return cls(Path(settings.paths.state) / "rollouts" / node, model)

    def read(self) -> Entry | None:
        """The rollout that did not end, if any. Raises StoreError for an unreadable file."""
        try:
            text = read_text(self._path)
            return None if text is None else _entry(json.loads(text))
        except (ValueError, TypeError, KeyError):
            raise StoreError(
                f"{self._path} is damaged; delete it: the next rollout removes what is left over"
            ) from None

    def write(self, entry: Entry) -> None:
        """Replace the journal, atomically and durably. Raises StoreError when that cannot be done."""
        write_atomic(self._path, json.dumps(asdict(entry), indent=2))

    def close(self) -> None:
        """The rollout has ended, well or undone."""
        remove_durably(self._path)


def _entry(content: dict[str, Any]) -> Entry:
    return Entry(
        model=content["model"],
        step=Step(content["step"]),
        new=DeployedVersion(**content["new"]),
        old=content["old"],
        before=tuple(DeployedVersion(**served) for served in content["before"]),
        published=content["published"],
    )
