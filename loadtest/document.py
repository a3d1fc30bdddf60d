"""A run as JSON, for programs and for later comparison."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from errors import ConfigError
from loadtest.advice import advise
from loadtest.measure import Round
from loadtest.report import Report

SCHEMA_VERSION = 1


def document(report: Report) -> dict[str, Any]:
    """The report: seconds, milliseconds and predictions a second; every latency is kept, rounded to 1 µs."""
    plan, advice = report.plan, advise(report)
    return {
        "schema_version": SCHEMA_VERSION,
        "started": report.started.isoformat(timespec="seconds"),
        "loop": "closed",
        "target": {**dataclasses.asdict(plan.target), "unit": plan.target.unit},
        "load": {
            "clients": plan.clients,
            "requests": plan.requests,
            "rounds": plan.rounds,
            "warmup": plan.warmup,
            "inputs": plan.source,
        },
        "interrupted": report.interrupted,
        "failed": report.failed,
        "rate": dataclasses.asdict(report.rate) if report.rate else None,
        "latency_ms": dataclasses.asdict(report.latency_ms) if report.latency_ms else None,
        "errors": report.errors,
        "warmup": _round(report.warmup) if report.warmup else None,
        "rounds": [_round(one) for one in report.rounds],
        "next": dataclasses.asdict(advice) if advice else None,
    }


def check_writable(path: Path) -> None:
    """Raise ConfigError now rather than lose a run's figures at its end."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.open("a").close()
    except OSError as error:
        raise ConfigError(f"stress.report: {path}: {error.strerror}") from None


def write(report: Report, path: Path) -> None:
    """Write the report, replacing an older one."""
    path.write_text(json.dumps(document(report), indent=1) + "\n")


def _round(one: Round) -> dict[str, Any]:
    return {
        "seconds": one.seconds,
        "items": one.items,
        "rate": one.rate,
        "complete": one.complete,
        "errors": dict(one.errors),
        "latencies_ms": [round(latency, 3) for latency in one.latencies_ms],
    }
