"""The gateway with more requests than it can answer, and with a killed worker."""

import logging
import os
import signal
import statistics
import time
from dataclasses import replace

import engines
from bench import driver
from bench.driver import turned
from bench.gateway.normal_load import GatewayBench
from bench.load_generator import Result
from bench.samples import JPEG, Sample
from bench.server_process import MeasurementError
from bench.tables import Row, median_ratio, missing_row, ratio_row, spread

_log = logging.getLogger("bench.gateway")

DEADLINE_MS = 1000
REFUSAL_MS = 100
FEW = 16
STORMS = {100: 0.95, 400: 0.9, 1500: 0.9}
"""Numbers of clients that ignore Retry-After, each with the wanted share of the rate of FEW clients."""
STORM_S = 12.0  # the queue of the slowest model alone lasts for six
STAMP = 4  # the last bytes of a picture's request lie behind its end
CROWD, CROWD_DEADLINE_MS = 1500, 2000


def rows(bench: GatewayBench, pictures: list[Sample]) -> list[Row]:
    """Return the rows of overload and of a killed worker."""
    return [*overload(bench, pictures), *crowd(bench, pictures), killed_worker(bench, pictures)]


def overload(bench: GatewayBench, pictures: list[Sample]) -> list[Row]:
    """Measure five times the gateway's capacity in an open loop with deadlines; clients respect Retry-After."""
    through = bench.gateway("digits")
    closed = replace(through.load(pictures, JPEG, 64, bench.seconds), stamp=STAMP)
    before = driver.rate(closed, "429")
    offered = 5 * before
    late = through.with_headers(f"X-Deadline-Ms: {DEADLINE_MS}").load(pictures, JPEG, 0, bench.overload_seconds)
    result = driver.run(replace(late, rate=offered, heeds=True, stamp=STAMP))
    capacity = statistics.mean((before, driver.rate(closed, "429")))
    in_time = sum(latency <= DEADLINE_MS for latency in result.latencies.get("200", [])) - result.wrong
    ratio = in_time / bench.overload_seconds / capacity
    measured = (
        f"{in_time / bench.overload_seconds:.1f} in time of {offered:.0f} offered a second, capacity {capacity:.1f}"
    )
    others = {status: count for status, count in result.statuses.items() if status not in ("200", "429")}
    what = f"offered 5 x capacity: in time ÷ capacity; else {others}"
    return [Row(what, measured, f"{ratio:.3f}", "≥ 0.90", ratio >= 0.9), _quick_refusals("the same", result)]


def storm(bench: GatewayBench, model: str, pictures: list[Sample]) -> list[Row]:
    """Measure closed loops of many clients that repeat a refused request at once, beside 16 that are never refused.

    Only right answers while all clients send count; the sizes take turns.
    """
    seconds = max(bench.seconds, STORM_S)
    job = replace(bench.gateway(model).load(pictures, JPEG, FEW, seconds), stamp=STAMP)
    found: dict[int, list[float]] = {clients: [] for clients in (FEW, *STORMS)}
    refused: dict[int, int] = dict.fromkeys(found, 0)
    for number in range(bench.rounds):
        for clients in turned(list(found), number):
            result = driver.run(replace(job, clients=clients))
            if result.wrong:
                raise MeasurementError(f"{result.wrong} wrong answers to {clients} clients")
            found[clients].append(result.timely / seconds)
            refused[clients] += result.statuses.get("429", 0)
            _log_round(number, f"{model}, {clients} clients", found[clients][-1], result)
    found_rows = []
    for clients, wanted in STORMS.items():
        ratio = median_ratio(found[clients], found[FEW])
        measured = (
            f"{spread(found[clients])} ÷ {spread(found[FEW])} pictures/s; "
            f"{refused[clients] / bench.rounds / seconds:.0f} refusals/s"
        )
        what = f"{model}: {clients} clients that ignore Retry-After ÷ {FEW} clients, {seconds:g} s each"
        found_rows.append(Row(what, measured, f"{ratio:.3f}", f"≥ {wanted:.2f}", ratio >= wanted))
    return found_rows


def crowd(bench: GatewayBench, pictures: list[Sample]) -> list[Row]:
    """Measure 1,500 clients with a deadline of two seconds, which ignore Retry-After or respect it."""
    through = bench.gateway("digits")
    few = replace(through.load(pictures, JPEG, FEW, max(bench.seconds, STORM_S)), stamp=STAMP)
    hasty = through.with_headers(f"X-Deadline-Ms: {CROWD_DEADLINE_MS}")
    many = replace(few, requests=hasty.requests(pictures, JPEG), clients=CROWD)
    sides = {"few": few, "ignore": many, "respect": replace(many, heeds=True)}
    found: dict[str, list[float]] = {name: [] for name in sides}
    refusals = Result()
    for number in range(bench.rounds):
        for name in turned(list(sides), number):
            result = driver.run(sides[name])
            found[name].append(result.timely / few.seconds)
            if name == "respect":
                refusals.latencies.setdefault("429", []).extend(result.latencies.get("429", []))
            _log_round(number, f"{CROWD} clients, {name}", found[name][-1], result)
    found_rows = []
    for name in ("ignore", "respect"):
        what = f"{CROWD} clients, deadline {CROWD_DEADLINE_MS} ms, that {name} Retry-After ÷ {FEW} clients"
        found_rows.append(ratio_row(what, found[name], found["few"], "pictures/s", least=0.9, digits=3))
    return [*found_rows, _quick_refusals("those that respect it", refusals)]


def _log_round(number: int, side: str, rate: float, result: Result) -> None:
    _log.info("round %d, %s: %.4g/s %s", number + 1, side, rate, result.statuses)


def _quick_refusals(what: str, result: Result) -> Row:
    refused = result.latencies.get("429", [])
    if not refused:
        return missing_row(f"{what}: refusals within {REFUSAL_MS} ms", "nobody was refused", "≥ 99 %")
    quick = sum(latency <= REFUSAL_MS for latency in refused) / len(refused)
    measured = (
        f"{len(refused)} refusals, p50 {result.latency(50, '429'):.0f} ms, p99 {result.latency(99, '429'):.0f} ms"
    )
    return Row(f"{what}: refusals within {REFUSAL_MS} ms", measured, f"{quick:.2%}", "≥ 99 %", quick >= 0.99)


def killed_worker(bench: GatewayBench, pictures: list[Sample]) -> Row:
    """Kill one of two workers under 16 clients."""
    job = bench.gateway("digits").load(pictures, JPEG, 16, max(6.0, bench.seconds))
    process = driver.start(job)
    time.sleep(job.seconds / 3)
    os.kill(_worker_pid(bench, "digits"), signal.SIGKILL)
    result = driver.finish(process)
    measured = f"{result.good} right answers, statuses {result.statuses}"
    return Row(
        "kill -9 of one of two workers: requests that fail", measured, str(result.failed), "0", not result.failed
    )


def _worker_pid(bench: GatewayBench, model: str) -> int:
    with engines.connect(bench.settings) as host:
        found = host.default(model)
    if found is None or not found.pids:
        raise MeasurementError(f"{model} has no worker")
    return min(found.pids)
