"""The files of a report: JSON with everything that the page shows and a comparison needs, and the page.

Each file has a name of its own, and is written whole or not at all.
"""

import contextlib
import errno
import json
import os
import tempfile
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from errors import ConfigError, LoadError, StoreError
from files import explained, remove_durably, write_once
from loadtest.advice import advise
from loadtest.pages.report_pages import run_page
from loadtest.report import LoadReport
from loadtest.round_stats import Percentiles
from loadtest.rounds import RoundResult, histogram, over_time, percentile_curve
from settings.schema import StressSettings

SCHEMA_VERSION = 2
ROOM = 512 * 1024  # bytes that must be free before a run; a usual report takes less


def report_document(report: LoadReport) -> dict[str, Any]:
    """Return the report as JSON values, in seconds, milliseconds, bytes and predictions a second."""
    plan, advice, latencies = report.plan, advise(report), report.latencies_ms
    stress, is_open = plan.stress, plan.stress.rate is not None
    return {
        "schema_version": SCHEMA_VERSION,
        "started": report.started.isoformat(timespec="seconds"),
        "loop": "open" if is_open else "closed",
        "name": plan.name,
        "unit": plan.unit,
        "targets": [asdict(target) for target in plan.targets],
        "load": {  # must be the same in two runs that are compared
            "clients": None if is_open else stress.clients,
            "rate": stress.rate,
            "arrivals": stress.arrivals if is_open else None,
            "round": str(plan.length),
            "rounds": stress.rounds,
            "warmup": stress.warmup,
            "inputs": plan.source,
            "mix": dict(stress.mix),
            "environment": stress.environment,
        },
        "interrupted": report.interrupted,
        "failed": report.failed,
        "doubts": list(report.doubts),
        "requests": report.requests,
        "rate": asdict(report.rate) if report.rate else None,
        "latency_ms": asdict(report.latency_ms) if report.latency_ms else None,
        "tail": [[round(percent, 5), round(latency, 3)] for percent, latency in percentile_curve(latencies)],
        "histogram": [[round(low, 3), round(high, 3), count] for low, high, count in histogram(latencies)],
        "errors": report.errors,
        "warmup": _round_document(report.warmup) if report.warmup else None,
        "rounds": [_round_document(one) for one in report.rounds],
        "series": asdict(over_time(report.rounds)),
        "unread": list(report.unread),
        "servers": [asdict(side) for side in report.servers],
        "usage": {name: [asdict(one) for one in readings] for name, readings in report.usage.items()},
        "episodes": list(report.episodes),
        "machine": asdict(report.machine) if report.machine else None,
        "configuration": dict(report.configuration),
        "next": asdict(advice) if advice else None,
    }


def _round_document(one: RoundResult) -> dict[str, Any]:
    return {
        "seconds": one.seconds,
        "items": one.items,
        "rate": one.rate,
        "complete": one.complete,
        "errors": dict(one.errors),
        "latency_ms": _percentiles(one.latencies_ms),
        "models": {
            part.model: {"items": part.items, "failed": part.failed, "latency_ms": _percentiles(part.latencies_ms)}
            for part in one.parts
        },
        "generator": asdict(one.generator) if one.generator else None,
    }


def _percentiles(latencies_ms: tuple[float, ...]) -> dict[str, float] | None:
    return asdict(Percentiles.of(latencies_ms)) if latencies_ms else None


@dataclass(frozen=True)
class ReportFiles:
    """The destination of a report: one named file, or a folder of dated files."""

    file: Path | None
    folder: Path | None

    @classmethod
    def of(cls, stress: StressSettings, root: Path) -> "ReportFiles | None":
        """Return the destination that the settings name, None for no report.

        Raises ConfigError before the run when the report could not be written after it.
        """
        if stress.report is not None:
            file = Path(stress.report)
            for path in (file, file.with_suffix(".html")):
                if path.exists():
                    raise ConfigError(f"stress.report: {path} is there already; a report never replaces another")
            return cls(_writable("stress.report", file.parent) / file.name, None)
        if stress.reports is not None:
            return cls(None, _writable("stress.reports", root / stress.reports))
        return None

    def write(self, content: dict[str, Any], started: datetime) -> tuple[Path, Path]:
        """Write the JSON and the page, and return both paths. Raises LoadError, and then neither file exists."""
        if self.file is not None:
            return _write(content, self.file)
        assert self.folder is not None
        stem = f"{content['name']}-{started:%Y%m%d-%H%M%S}"
        number = 1
        while True:
            try:
                return _write(content, self.folder / f"{stem}{f'-{number}' if number > 1 else ''}.json")
            except FileExistsError:
                number += 1


def read_report(path: Path) -> dict[str, Any]:
    """Read the JSON of a report. Raises LoadError in one line for any other file."""
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise LoadError(f"{path}: {error.strerror}") from None
    except ValueError:
        raise LoadError(f"{path} is no report: not JSON, or cut short") from None
    if not isinstance(content, dict) or "rounds" not in content or "schema_version" not in content:
        raise LoadError(f"{path} is no report of run_stress")
    if content["schema_version"] != SCHEMA_VERSION:
        raise LoadError(f"{path} was written by another version of the kit; measure again")
    return content


def write_new(path: Path, text: str) -> None:
    """Write a new file, whole or not at all. Raises FileExistsError or StoreError."""
    if not write_once(path, text, 0o644):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))


def _write(content: dict[str, Any], path: Path) -> tuple[Path, Path]:
    page = path.with_suffix(".html")
    written: list[Path] = []
    try:
        for target, text in ((path, json.dumps(content, indent=1) + "\n"), (page, run_page(content))):
            write_new(target, text)
            written.append(target)
    except (StoreError, FileExistsError) as error:
        for target in written:
            with contextlib.suppress(StoreError):
                remove_durably(target)
        if isinstance(error, FileExistsError):
            raise
        raise LoadError(f"the report is not written: {error}") from None
    return path, page


def _writable(setting: str, folder: Path) -> Path:
    try:
        with explained(folder / "report", ROOM):
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder) as file:
                os.posix_fallocate(file.fileno(), 0, ROOM)
                return folder
    except StoreError as error:
        raise ConfigError(f"{setting}: {error}") from None
