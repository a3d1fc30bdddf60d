"""Every look at a setting, on the disk before the next begins: a search that was killed goes on from here.

`tune/MODEL.jsonl` in the stack's state folder: a line that says what is searched, then a line for each look, then, when
the search came to its end, a last one.
"""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

from errors import LoadError
from loadtest.tune.goal import Measured, pooled
from loadtest.tune.space import Setting


@dataclass(frozen=True)
class Look:
    """One look: the setting, what was measured, and the seconds it took, its rollout included."""

    setting: Setting
    measured: Measured
    seconds: float


class Journal:
    """The looks of one search; `resumed` tells whether they began before this process did."""

    def __init__(self, file: TextIO, before: Setting, looks: list[Look]) -> None:
        self._file = file
        self.before = before
        self.looks = looks
        self.resumed = bool(looks)

    @property
    def spent_s(self) -> float:
        """Seconds that all looks have taken."""
        return sum(look.seconds for look in self.looks)

    def trials(self) -> dict[Setting, Measured]:
        """What is known of each setting, in the order in which they were first tried."""
        grouped: dict[Setting, list[Measured]] = {}
        for look in self.looks:
            grouped.setdefault(look.setting, []).append(look.measured)
        return {setting: pooled(each) for setting, each in grouped.items()}

    def add(self, look: Look) -> None:
        """Keep a look, for good."""
        self.looks.append(look)
        self._write({"look": asdict(look)})

    def end(self) -> None:
        """Nothing is left to resume."""
        self._write({"end": True})

    def _write(self, line: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())


@contextlib.contextmanager
def open_journal(state: Path, model: str, searched: Mapping[str, Any], before: Setting) -> Iterator[Journal]:
    """The unfinished journal of this very search, or a new one in place of any other.

    `searched` is what must be the same for looks to be comparable; `before` is what served when the search began.
    Raises LoadError while another search of the model runs on this stack.
    """
    folder = state / "tune"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{model}.jsonl").open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LoadError(f"another search tunes {model} on this stack") from None
        file.seek(0)
        known = _read(file.read(), searched)
        if known is None:
            journal = Journal(file, before, [])
            file.truncate(0)
            journal._write({"searched": searched, "before": asdict(before)})
        else:
            journal, whole = Journal(file, *known[:2]), known[2]
            # A line that a kill cut short would spoil the one after it.
            file.truncate(whole)
        yield journal


def _read(text: str, searched: Mapping[str, Any]) -> tuple[Setting, list[Look], int] | None:
    """What served before, the looks, and how many bytes are whole lines; None for another search or a finished one."""
    whole = text[: text.rfind("\n") + 1]
    try:
        lines = [json.loads(line) for line in whole.splitlines()]
        if not lines or lines[0]["searched"] != json.loads(json.dumps(searched)) or "end" in lines[-1]:
            return None
        return Setting(**lines[0]["before"]), [_look(line["look"]) for line in lines[1:]], len(whole.encode())
    except (ValueError, TypeError, KeyError):
        return None


def _look(entry: Mapping[str, Any]) -> Look:
    found = entry["measured"]
    lists = {key: tuple(found[key]) for key in ("rates", "latencies_ms")}
    return Look(Setting(**entry["setting"]), Measured(**{**found, **lists}), entry["seconds"])
