"""A new version under trial: it gets a share of the traffic (canary), or copies of it (shadow), and is judged by both.

Whatever ends the trial, the report stays in `trials/MODEL-VERSION.json` of the state folder.
"""

import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from delivery.counted import Counted
from delivery.journal import Entry, Step
from delivery.verdict import Evidence, Row, judge, table
from deployments.traffic import FOLLOWED_S, TrafficFile, TrafficSplit
from engines.torchserve.client import EngineClient
from errors import MarinaError, RolloutError, StoreError
from files import write_atomic
from prometheus import GatewayFigures
from settings import Settings

log = logging.getLogger(__name__)

POLL_S = 0.5
# Longer than the trial, so that a slow last look does not find it over; should nobody be left, it ends then.
GRACE_S = 60


def step_of(settings: Settings) -> Step | None:
    """The kind of trial that the settings ask for."""
    if settings.canary.weight > 0:
        return Step.CANARY
    return Step.SHADOW if settings.shadow.share > 0 else None


def minutes_of(settings: Settings) -> float:
    """How long the trial lasts."""
    return settings.canary.minutes if settings.canary.weight > 0 else settings.shadow.minutes


def in_words(settings: Settings, old: str, new: str) -> list[str]:
    """What the trial would do."""
    canary, shadow, words = settings.canary, settings.shadow, []
    if canary.weight > 0:
        by = f", the same clients by {canary.sticky_header}" if canary.sticky_header else ""
        words.append(f"have {new} answer {canary.weight:.3g} of the requests for {canary.minutes:g} min{by}")
    if shadow.share > 0:
        how_long = "meanwhile" if canary.weight > 0 else f"for {shadow.minutes:g} min"
        words.append(f"send {new} copies of {shadow.share:.3g} of the requests {how_long}, and compare the answers")
    if words and shadow.only:
        return [*words, f"report, remove {new} again and leave {old} as it is"]
    return words


def try_out(engine: EngineClient, splits: TrafficFile, settings: Settings, entry: Entry) -> None:
    """Run the trial to its end. Raises RolloutError as soon as the new version has clearly failed it.

    Raises FiguresError when the gateway's figures cannot be read: at the start, or for longer than a restart takes.

    The split is left to the caller to take away: promotion switches first, so that no request changes sides twice.
    """
    assert entry.old is not None
    seconds = minutes_of(settings) * 60
    counted = Counted(GatewayFigures(settings.gateway), entry.model)
    counted.look()
    splits.put(entry.model, _split(settings, entry.old, entry.new.version, time.time() + seconds + GRACE_S))
    trial = _Trial(engine, settings, entry, entry.old, counted)
    with trial.reported():
        deadline = time.monotonic() + seconds + FOLLOWED_S
        while time.monotonic() < deadline:
            time.sleep(min(POLL_S, seconds))
            trial.look()
        trial.conclude()


@dataclass
class _Trial:
    """A trial under way; its last judgement is what is reported."""

    engine: EngineClient
    settings: Settings
    entry: Entry
    old: str
    counted: Counted
    rows: tuple[Row, ...] = ()

    def look(self) -> None:
        """Raises RolloutError when the version is clearly worse, FiguresError when nobody can tell any longer."""
        self._check_workers()
        if self.counted.look():
            self._judge(final=False)

    def conclude(self) -> None:
        """Judge by figures from after the trial's time. Raises as `look` does: what cannot be read promotes nothing."""
        self._check_workers()
        while not self.counted.look():
            time.sleep(POLL_S)
        self._judge(final=True)

    def _judge(self, *, final: bool) -> None:
        self.rows = tuple(judge(self._evidence(), self.settings.canary, self.settings.shadow, final=final))
        wrong = next((row.wrong for row in self.rows if row.wrong), None)
        if wrong is not None and (final or not self.settings.shadow.only):
            raise RolloutError(wrong)

    @contextmanager
    def reported(self) -> Iterator[None]:
        """Shows the evidence and writes the report, however the trial ends."""
        began, reason = datetime.now(UTC), "interrupted"
        try:
            yield
            reason = ""
        except MarinaError as error:
            reason = str(error)
            raise
        finally:
            for line in table(list(self.rows), self._evidence()):
                log.info("  %s", line)
            self._write(began, reason)

    def _evidence(self) -> Evidence:
        return Evidence.of(self.counted, self.old, self.entry.new.version, live=self.settings.canary.weight > 0)

    def _check_workers(self) -> None:
        new = self.entry.new
        found = self.engine.find(self.entry.model, new.version)
        if found is None or found.ready_workers < new.initial_workers:
            ready = found.ready_workers if found else 0
            raise RolloutError(f"{ready} of its {new.initial_workers} workers are left")

    def _write(self, began: datetime, reason: str) -> None:
        report = {
            "model": self.entry.model,
            "old": self.old,
            "new": self.entry.new.version,
            "began": began.isoformat(timespec="seconds"),
            "ended": datetime.now(UTC).isoformat(timespec="seconds"),
            "failed_because": reason or None,
            "canary": self.settings.canary.model_dump(),
            "shadow": self.settings.shadow.model_dump(),
            "tests": [asdict(row) for row in self.rows],
            "evidence": _plain(self._evidence()),
        }
        target = report_file(self.settings, self.entry.model, self.entry.new.version)
        try:
            write_atomic(target, json.dumps(report, indent=2))
        except StoreError as error:
            # How the trial ended counts, and was printed.
            log.warning("no report of the trial is kept: %s", error)
        else:
            log.info("  report: %s", target)


def report_file(settings: Settings, model: str, version: str) -> Path:
    """Where the report of the last trial of a version lies."""
    return Path(settings.paths.state) / "trials" / f"{model}-{version}.json"


def _plain(evidence: Evidence) -> dict[str, object]:
    """As JSON can say it: an infinite bound as null's neighbour, text."""
    content = asdict(evidence)
    for side in ("old", "new"):
        content[side]["seconds"] = {str(bound): number for bound, number in content[side]["seconds"].items()}
    return content


def _split(settings: Settings, old: str, new: str, until: float) -> TrafficSplit:
    canary, shadow = settings.canary, settings.shadow
    return TrafficSplit(
        stable=old,
        trial=new,
        weight=canary.weight,
        sticky_header=canary.sticky_header,
        copies=shadow.share,
        max_copies=shadow.max_copies,
        copy_timeout_s=shadow.timeout_s,
        tolerance=shadow.tolerance,
        until=until,
    )
