"""A run as JSON: everything that the page shows and that a comparison needs."""

import dataclasses
from typing import Any

from loadtest.advice import advise
from loadtest.measure import Round
from loadtest.report import Report
from loadtest.series import over_time, shares, tail
from loadtest.summary import Percentiles

SCHEMA_VERSION = 2


def document(report: Report) -> dict[str, Any]:
    """The report in seconds, milliseconds, bytes and predictions a second."""
    plan, advice = report.plan, advise(report)
    latencies = [latency for one in report.rounds for latency in one.latencies_ms]
    return {
        "schema_version": SCHEMA_VERSION,
        "started": report.started.isoformat(timespec="seconds"),
        "loop": "closed" if plan.rate is None else "open",
        "name": plan.name,
        "unit": plan.unit,
        "targets": [dataclasses.asdict(target) for target in plan.targets],
        "load": load(report),
        "interrupted": report.interrupted,
        "failed": report.failed,
        "doubts": list(report.doubts),
        "requests": report.requests,
        "rate": dataclasses.asdict(report.rate) if report.rate else None,
        "latency_ms": dataclasses.asdict(report.latency_ms) if report.latency_ms else None,
        "tail": [[round(percent, 5), round(latency, 3)] for percent, latency in tail(latencies)],
        "histogram": [[round(low, 3), round(high, 3), count] for low, high, count in shares(latencies)],
        "errors": report.errors,
        "warmup": _round(report.warmup) if report.warmup else None,
        "rounds": [_round(one) for one in report.rounds],
        "series": dataclasses.asdict(over_time(report.rounds)),
        "unread": list(report.unread),
        "servers": [dataclasses.asdict(side) for side in report.servers],
        "usage": {name: [dataclasses.asdict(one) for one in readings] for name, readings in report.usage.items()},
        "episodes": list(report.episodes),
        "machine": dataclasses.asdict(report.machine) if report.machine else None,
        "configuration": dict(report.configuration),
        "next": dataclasses.asdict(advice) if advice else None,
    }


def load(report: Report) -> dict[str, Any]:
    """What must be the same in two runs that are compared."""
    plan = report.plan
    return {
        "clients": plan.clients if plan.rate is None else None,
        "rate": plan.rate,
        "arrivals": plan.arrivals if plan.rate is not None else None,
        "round": str(plan.extent),
        "rounds": plan.rounds,
        "warmup": plan.warmup,
        "inputs": plan.source,
        "mix": dict(plan.shares),
        "environment": plan.environment,
    }


def _round(one: Round) -> dict[str, Any]:
    latencies = one.latencies_ms
    return {
        "seconds": one.seconds,
        "items": one.items,
        "rate": one.rate,
        "complete": one.complete,
        "errors": dict(one.errors),
        "latency_ms": dataclasses.asdict(Percentiles.of(latencies)) if latencies else None,
        "models": {
            part.model: {
                "items": part.items,
                "failed": part.failed,
                "latency_ms": dataclasses.asdict(Percentiles.of(part.latencies_ms)) if part.latencies_ms else None,
            }
            for part in one.parts
        },
        "generator": dataclasses.asdict(one.generator) if one.generator else None,
    }
