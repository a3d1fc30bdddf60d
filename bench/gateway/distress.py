"""What the gateway keeps up under more than it can do, and when a worker is killed."""

import os
import signal
import statistics
import time
from dataclasses import replace

import engines
from bench import drive, targets
from bench.figures import Row, percentile
from bench.gateway.under_test import JPEG, Bench, checked
from bench.server import Failed
from bench.targets import Sample

DEADLINE_MS = 1000
REFUSAL_MS = 100


def overload(bench: Bench, shown: list[Sample]) -> list[Row]:
    """Pictures at five times what the gateway can do, open loop, each with a deadline."""
    through = targets.gateway(bench.settings, "digits")
    closed = through.job(through.requests(shown, JPEG), shown, 64, bench.seconds)
    before = checked(drive.run(closed), "429")
    late = through.with_headers(f"X-Deadline-Ms: {DEADLINE_MS}")
    offered = 5 * before.good / before.seconds
    job = late.job(late.requests(shown, JPEG), shown, 0, bench.overload_seconds)
    result = drive.run(replace(job, rate=offered))
    after = checked(drive.run(closed), "429")
    capacity = statistics.mean(each.good / each.seconds for each in (before, after))
    answered, refused = result.latencies.get("200", []), result.latencies.get("429", [])
    in_time = sum(latency <= DEADLINE_MS for latency in answered) - result.wrong
    ratio = in_time / bench.overload_seconds / capacity
    quick = sum(latency <= REFUSAL_MS for latency in refused) / max(1, len(refused))
    p99 = percentile(refused, 99) if refused else float("nan")
    measured = (
        f"{in_time / bench.overload_seconds:.1f} in time of {offered:.0f} offered a second, capacity {capacity:.1f}"
    )
    others = {status: count for status, count in result.statuses.items() if status not in ("200", "429")}
    return [
        Row(
            f"offered 5 x capacity: in time ÷ capacity; else {others}", measured, f"{ratio:.3f}", "≥ 0.90", ratio >= 0.9
        ),
        Row(
            "the same: refusals within 100 ms",
            f"{len(refused)} refusals, p99 {p99:.0f} ms",
            f"{quick:.2%}",
            "≥ 99 %",
            quick >= 0.99,
        ),
    ]


def killed_worker(bench: Bench, shown: list[Sample]) -> Row:
    """16 clients, and one of the two workers is killed in between."""
    through = targets.gateway(bench.settings, "digits")
    job = through.job(through.requests(shown, JPEG), shown, 16, max(6.0, bench.seconds))
    process = drive.start(job)
    time.sleep(job.seconds / 3)
    os.kill(_worker_pid(bench, "digits"), signal.SIGKILL)
    result = drive.finish(process)
    measured = f"{result.good} right answers, statuses {result.statuses}"
    return Row(
        "kill -9 of one of two workers: requests that fail", measured, str(result.failed), "0", not result.failed
    )


def _worker_pid(bench: Bench, model: str) -> int:
    with engines.of(bench.settings).open() as host:
        found = host.default(model)
    if found is None or not found.pids:
        raise Failed(f"{model} has no worker")
    return min(found.pids)
