"""Settings of a small load, and reports with given rates."""

import random
from datetime import UTC, datetime
from typing import Any

from loadtest.plan import LoadPlan
from loadtest.report import LoadReport
from loadtest.resources import GeneratorUsage, HostInfo, Reading
from loadtest.rounds import ModelShare, RoundResult
from loadtest.server_metrics import Batches, ServerSide, Stages
from loadtest.target import Batching, LoadTarget
from settings import load
from settings.schema import StressSettings

STARTED = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)
SMALL = {
    "clients": 4,
    "requests": 20,
    "rounds": 3,
    "warmup": 5,
    "timeout_s": 10.0,
    "inputs": None,
    "picture_size": (16, 16),
    "seed": 0,
    "report": None,
    "reports": None,
}


def stress_settings(**changed: Any) -> StressSettings:
    """A load of 3 rounds of 20 requests from 4 clients, without a report."""
    return StressSettings(**(load().stress.model_dump() | SMALL | changed))


def report(
    rates: list[float], *, seed: int = 0, errors: int = 0, interrupted: bool = False, model: str = "digits"
) -> LoadReport:
    """Rounds of 200 requests with these rates; the last has `errors` errors, or is broken off."""
    draw = random.Random(seed)
    target = LoadTarget("http://127.0.0.1:5003", model, "1.0", "vision", "trained", None, Batching(4, 5, 1))
    stress = stress_settings(clients=8, requests=200, rounds=max(1, len(rates)), warmup=20)
    plan = LoadPlan(stress, (target,), (), "32 made pictures of 268x182")
    rounds = []
    for number, rate in enumerate(rates):
        seconds = 200 / rate
        latencies = tuple(draw.lognormvariate(3, 0.4) for _ in range(200))
        ended = tuple(sorted(draw.uniform(0, seconds) for _ in range(200)))
        last = number == len(rates) - 1
        kinds = (("503 no_worker", errors),) if last and errors else ()
        rounds.append(
            RoundResult(
                seconds,
                200,
                latencies,
                kinds,
                not (last and interrupted),
                began=sum(200 / each for each in rates[:number]),
                ended_s=ended,
                failed_s=(seconds / 2,) * (errors if last else 0),
                parts=(ModelShare(model, 200, latencies, errors if last else 0),),
                generator=GeneratorUsage(0.2, 1.0, 0.0),
            )
        )
    side = ServerSide(
        model,
        "TorchServe",
        Stages(20.0, 0.5, 18.0, 6.0, 9.0, 4.0, 3.0, 0.3),
        Batches(3.2, 0.8, None),
        {"shed": 0, "retries": 0, "joined": 2},
    )
    usage = {part: tuple(Reading(n, 0.3, 2**28) for n in range(1, 5)) for part in ("gateway", "load generator")}
    machine = HostInfo("Linux 6", "Made-up CPU", 2, 2**33, 0.1, "3.11", "3.14")
    return LoadReport(
        plan, STARTED, None, tuple(rounds), interrupted, (side,), usage, machine, {"gateway": {"processes": 1}}
    )
