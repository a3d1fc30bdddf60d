"""A trial of a new version beside the one that serves: a canary gets a share of the requests, a shadow gets copies.

The report of the last trial of a version stays in `trials/MODEL-VERSION.json` of the state folder.
"""

import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from delivery.analysis import CriterionResult, Evidence, judge, table
from delivery.gateway_metrics import TrialFigures
from delivery.journal import JournalEntry, Step
from delivery.watch import check_workers
from deployments.traffic import FOLLOWED_S, TrafficFile, TrafficSplit
from engines.torchserve.engine_client import EngineClient
from errors import MarinaError, RolloutError, StoreError
from files import write_atomic
from prometheus import GatewayMetrics
from settings import Settings

log = logging.getLogger(__name__)

POLL_S = 0.5
# The split outlives the trial, so that a slow last reading still finds it. If the process is killed, the split ends
# then.
GRACE_S = 60


def trial_step(settings: Settings) -> Step | None:
    """Return the kind of trial that the settings ask for."""
    if settings.canary.weight > 0:
        return Step.CANARY
    return Step.SHADOW if settings.shadow.share > 0 else None


def only_tried_out(settings: Settings) -> bool:
    """Return True if the settings ask for a trial after which the version is removed again."""
    return settings.shadow.only and trial_step(settings) is not None


def trial_plan(settings: Settings, old: str, new: str) -> list[str]:
    """Describe the trial of a dry run."""
    canary, shadow, lines = settings.canary, settings.shadow, []
    if canary.weight > 0:
        by = f", the same clients by {canary.sticky_header}" if canary.sticky_header else ""
        lines.append(f"have {new} answer {canary.weight:.3g} of the requests for {canary.minutes:g} min{by}")
    if shadow.share > 0:
        time_span = "meanwhile" if canary.weight > 0 else f"for {shadow.minutes:g} min"
        lines.append(f"send {new} copies of {shadow.share:.3g} of the requests {time_span}, and compare the answers")
    if lines and shadow.only:
        return [*lines, f"report, remove {new} again and keep {old}"]
    return lines


def run_trial(engine: EngineClient, traffic: TrafficFile, settings: Settings, entry: JournalEntry) -> None:
    """Run the trial to its end. Raises RolloutError as soon as the new version has clearly failed.

    Raises MetricsError when the gateway's figures cannot be read at the start, or for longer than a restart takes. The
    caller removes the split: a promotion switches first, so that no request changes its version twice.
    """
    assert entry.old is not None
    minutes = settings.canary.minutes if settings.canary.weight > 0 else settings.shadow.minutes
    seconds = minutes * 60
    figures = TrialFigures(GatewayMetrics(settings.gateway), entry.model)
    figures.look()
    traffic.put(entry.model, _split(settings, entry.old, entry.new.version, time.time() + seconds + GRACE_S))
    trial = _Trial(engine, settings, entry, entry.old, figures)
    with trial.reported():
        deadline = time.monotonic() + seconds + FOLLOWED_S
        while time.monotonic() < deadline:
            time.sleep(min(POLL_S, seconds))
            trial.look()
        trial.conclude()


@dataclass
class _Trial:
    """A trial under way. `criteria` is the last verdict."""

    engine: EngineClient
    settings: Settings
    entry: JournalEntry
    old: str
    figures: TrialFigures
    criteria: tuple[CriterionResult, ...] = ()

    def look(self) -> None:
        """Judge the version so far. Raises RolloutError when it is clearly worse, MetricsError without figures."""
        check_workers(self.engine, self.entry.model, self.entry.new)
        if self.figures.look():
            self._judge(final=False)

    def conclude(self) -> None:
        """Judge by figures from after the trial's time. Raises the errors of `look`."""
        check_workers(self.engine, self.entry.model, self.entry.new)
        while not self.figures.look():
            time.sleep(POLL_S)
        self._judge(final=True)

    def _judge(self, *, final: bool) -> None:
        self.criteria = tuple(judge(self._evidence(), self.settings.canary, self.settings.shadow, final=final))
        wrong = next((each.wrong for each in self.criteria if each.wrong), None)
        if wrong is not None and (final or not self.settings.shadow.only):
            raise RolloutError(wrong)

    @contextmanager
    def reported(self) -> Iterator[None]:
        """Log the evidence and write the report, however the trial ends."""
        began, reason = datetime.now(UTC), "interrupted"
        try:
            yield
            reason = ""
        except MarinaError as error:
            reason = str(error)
            raise
        finally:
            for line in table(list(self.criteria), self._evidence()):
                log.info("  %s", line)
            self._write(began, reason)

    def _evidence(self) -> Evidence:
        return Evidence.of(self.figures, self.old, self.entry.new.version, live=self.settings.canary.weight > 0)

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
            "tests": [asdict(each) for each in self.criteria],
            "evidence": _plain(self._evidence()),
        }
        target = report_file(self.settings, self.entry.model, self.entry.new.version)
        try:
            write_atomic(target, json.dumps(report, indent=2))
        except StoreError as error:
            # The trial's result matters more than the report, and it is in the log.
            log.warning("no report of the trial is kept: %s", error)
        else:
            log.info("  report: %s", target)


def report_file(settings: Settings, model: str, version: str) -> Path:
    """Return the path of the report of a version's last trial."""
    return Path(settings.paths.state) / "trials" / f"{model}-{version}.json"


def _plain(evidence: Evidence) -> dict[str, object]:
    """Return the evidence with bounds as text, because JSON has no infinite number."""
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
