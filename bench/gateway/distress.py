"""What the gateway keeps up under more than it can do, and when a worker is killed."""

import os
import signal
import statistics
import time
from dataclasses import replace

import engines
from bench import drive, targets
from bench.client import Result
from bench.figures import Row, median_ratio, missing_row, percentile, spread
from bench.gateway.under_test import JPEG, Bench, checked
from bench.server import Failed
from bench.targets import Sample
from bench.turns import turned

DEADLINE_MS = 1000
REFUSAL_MS = 100
FEW = 16
STORMS = {100: 0.95, 400: 0.9, 1500: 0.9}
"""Clients that ignore Retry-After: the share of what FEW clients get that should be left."""
STORM_S = 12.0  # the slowest model's queue alone lasts for six
STAMP = 4  # the last bytes of a picture's request lie behind its end
CROWD, CROWD_DEADLINE_MS = 1500, 2000


def overload(bench: Bench, shown: list[Sample]) -> list[Row]:
    """Pictures at five times what the gateway can do, open loop, each with a deadline; Retry-After is kept to."""
    through = targets.gateway(bench.settings, "digits")
    closed = replace(through.job(through.requests(shown, JPEG), shown, 64, bench.seconds), stamp=STAMP)
    before = checked(drive.run(closed), "429")
    late = through.with_headers(f"X-Deadline-Ms: {DEADLINE_MS}")
    offered = 5 * before.good / before.seconds
    job = late.job(late.requests(shown, JPEG), shown, 0, bench.overload_seconds)
    result = drive.run(replace(job, rate=offered, heeds=True, stamp=STAMP))
    after = checked(drive.run(closed), "429")
    capacity = statistics.mean(each.good / each.seconds for each in (before, after))
    in_time = sum(latency <= DEADLINE_MS for latency in result.latencies.get("200", [])) - result.wrong
    ratio = in_time / bench.overload_seconds / capacity
    measured = (
        f"{in_time / bench.overload_seconds:.1f} in time of {offered:.0f} offered a second, capacity {capacity:.1f}"
    )
    others = {status: count for status, count in result.statuses.items() if status not in ("200", "429")}
    what = f"offered 5 x capacity: in time ÷ capacity; else {others}"
    return [Row(what, measured, f"{ratio:.3f}", "≥ 0.90", ratio >= 0.9), _quick_refusals("the same", result)]


def storm(bench: Bench, model: str, shown: list[Sample]) -> list[Row]:
    """Closed loops of many clients that ask again at once when they are refused, beside 16 who are never refused.

    What counts are right answers while all of them ask; each size takes its turn.
    """
    through = targets.gateway(bench.settings, model)
    requests = through.requests(shown, JPEG)
    seconds = max(bench.seconds, STORM_S)
    found: dict[int, list[float]] = {clients: [] for clients in (FEW, *STORMS)}
    refused: dict[int, int] = dict.fromkeys(STORMS, 0)
    for number in range(bench.rounds):
        for clients in turned(list(found), number):
            result = drive.run(replace(through.job(requests, shown, clients, seconds), stamp=STAMP))
            if result.wrong:
                raise Failed(f"{result.wrong} wrong answers to {clients} clients")
            found[clients].append(result.timely / seconds)
            if clients in STORMS:
                refused[clients] += result.statuses.get("429", 0)
            bench.log(f"round {number + 1}, {model}, {clients} clients: {found[clients][-1]:.4g}/s {result.statuses}")
    rows = []
    for clients, wanted in STORMS.items():
        ratio = median_ratio(found[clients], found[FEW])
        measured = (
            f"{spread(found[clients])} ÷ {spread(found[FEW])} pictures/s; "
            f"{refused[clients] / bench.rounds / seconds:.0f} refusals/s"
        )
        what = f"{model}: {clients} clients that ignore Retry-After ÷ {FEW} clients, {seconds:g} s each"
        rows.append(Row(what, measured, f"{ratio:.3f}", f"≥ {wanted:.2f}", ratio >= wanted))
    return rows


def crowd(bench: Bench, shown: list[Sample]) -> list[Row]:
    """1,500 clients with a deadline of two seconds: such as ignore Retry-After, and such as keep to it."""
    through = targets.gateway(bench.settings, "digits")
    few = through.job(through.requests(shown, JPEG), shown, FEW, max(bench.seconds, STORM_S))
    hasty = through.with_headers(f"X-Deadline-Ms: {CROWD_DEADLINE_MS}")
    many = replace(few, requests=hasty.requests(shown, JPEG), clients=CROWD)
    sides = {"few": few, "ignore": many, "heed": replace(many, heeds=True)}
    found: dict[str, list[float]] = {name: [] for name in sides}
    refusals = Result()
    for number in range(bench.rounds):
        for name in turned(list(sides), number):
            result = drive.run(replace(sides[name], stamp=STAMP))
            found[name].append(result.timely / few.seconds)
            if name == "heed":
                refusals.latencies.setdefault("429", []).extend(result.latencies.get("429", []))
            bench.log(f"round {number + 1}, {CROWD} clients, {name}: {found[name][-1]:.4g}/s {result.statuses}")
    rows = []
    for name, words in (("ignore", "ignore"), ("heed", "keep to")):
        ratio = median_ratio(found[name], found["few"])
        measured = f"{spread(found[name])} ÷ {spread(found['few'])} pictures/s"
        what = f"{CROWD} clients, deadline {CROWD_DEADLINE_MS} ms, that {words} Retry-After ÷ {FEW} clients"
        rows.append(Row(what, measured, f"{ratio:.3f}", "≥ 0.90", ratio >= 0.9))
    return [*rows, _quick_refusals("those that keep to it", refusals)]


def _quick_refusals(what: str, result: Result) -> Row:
    refused = result.latencies.get("429", [])
    if not refused:
        return missing_row(f"{what}: refusals within {REFUSAL_MS} ms", "nobody was refused", "≥ 99 %")
    quick = sum(latency <= REFUSAL_MS for latency in refused) / len(refused)
    measured = f"{len(refused)} refusals, p50 {percentile(refused, 50):.0f} ms, p99 {percentile(refused, 99):.0f} ms"
    return Row(f"{what}: refusals within {REFUSAL_MS} ms", measured, f"{quick:.2%}", "≥ 99 %", quick >= 0.99)


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
    with engines.connect(bench.settings) as host:
        found = host.default(model)
    if found is None or not found.pids:
        raise Failed(f"{model} has no worker")
    return min(found.pids)
