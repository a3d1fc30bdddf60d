"""`python -m bench.gateway [--rounds N] [--seconds S] [--overload-seconds S] [--write FILE]`: what the gateway costs.

One run on one machine, each figure beside what it is compared with: the two take turns, in as many rounds as asked
for, and the median of the rounds' ratios counts. Every answer is checked against what TorchServe says when it is asked
alone. Prints one table as Markdown, and with `--write docs/performance.md` puts it there as well.
"""

import argparse
import json
import logging
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import requests

import engines
from bench import document, drive, machine, targets
from bench.client import Job, Result
from bench.figures import Row, markdown, median_ratio, percentile, spread
from bench.ground import Ground, ground, running, second_gateway
from bench.targets import Sample
from settings import Settings
from settings.load import ROOT
from stack.ports import listeners

_log = logging.getLogger(__name__)

MODELS = {"digits": ["served_model.request_params.initial_workers=2"], "cartpole": []}
JPEG, JSON = "image/jpeg", "application/json"
DEADLINE_MS = 1000
REFUSAL_MS = 100
SECTION = "gateway"


@dataclass(frozen=True)
class Bench:
    """The stack under test and how long to look at it."""

    settings: Settings
    rounds: int
    seconds: float
    overload_seconds: float

    def take_turns(self, sides: dict[str, Callable[[], float]]) -> dict[str, list[float]]:
        """Each side once a round, each round in another order."""
        found: dict[str, list[float]] = {name: [] for name in sides}
        for number in range(self.rounds):
            names = list(sides)
            for name in names[number % len(names) :] + names[: number % len(names)]:
                found[name].append(sides[name]())
                _log.info("round %d %s: %.4g", number + 1, name, found[name][-1])
        return found


def main(arguments: Sequence[str]) -> int:
    """Prints the table; 1 when a figure is not reached."""
    parser = argparse.ArgumentParser(prog="bench.gateway")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--overload-seconds", type=float, default=30.0)
    parser.add_argument("--running", action="store_true", help="use the running stack; digits needs two workers")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the table into this document's section")
    parser.add_argument("overrides", nargs="*", help="of the gateway's settings, e.g. gateway.processes=2")
    given = parser.parse_args(arguments)
    document.check(given.write, SECTION)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    with running() if given.running else ground(MODELS, given.overrides) as stack:
        bench = Bench(stack.settings(), given.rounds, given.seconds, given.overload_seconds)
        rows = [at_rest(bench, stack)]
        shown, asked = pictures(bench), states(bench)
        rows += pictures_per_second(bench, shown)
        rows.append(latency_added(bench, shown, asked))
        rows.append(states_per_second(bench, asked))
        rows.append(coalescing(bench, stack, asked))
        rows += overload(bench, shown)
        rows.append(killed_worker(bench, shown))
    measured = f"{bench.rounds} rounds of {bench.seconds:g} s in turns, median (least to most) and median of the ratios"
    heading = machine.heading(["python", "-m", "bench.gateway", *arguments], measured)
    text = f"{heading}\n\n{markdown(rows)}\n"
    sys.stdout.write(text)
    document.write(given.write, SECTION, text)
    return 0 if all(row.reached for row in rows) else 1


def pictures(bench: Bench) -> list[Sample]:
    """The pictures with what TorchServe says to each when it is asked alone."""
    return _with_answers(bench, "digits", targets.pictures(), JPEG, "label")


def states(bench: Bench) -> list[Sample]:
    """The same for the states."""
    return _with_answers(bench, "cartpole", targets.states(), JSON, "action")


def _with_answers(bench: Bench, model: str, samples: list[Sample], content_type: str, key: str) -> list[Sample]:
    with engines.of(bench.settings).open() as host:
        address = host.address(model)
    headers = {"Authorization": address.authorization, "Content-Type": content_type}
    found = []
    with requests.Session() as session:
        for sample in samples:
            answer = session.post(address.url, data=sample.body, headers=headers, timeout=30).json()
            word = json.dumps({key: answer["predictions"][0][key]}, separators=(",", ":"))[1:-1]
            found.append(replace(sample, expected=word))
    return found


def pictures_per_second(bench: Bench, shown: list[Sample]) -> list[Row]:
    """Through the gateway as multipart, beside TorchServe with multipart and with raw bodies."""
    direct, through = targets.engine(bench.settings, "digits"), targets.gateway(bench.settings, "digits")
    rows = []
    for clients in (16, 64):
        jobs = {
            "gateway, multipart": through.job(through.multipart(shown), shown, clients, bench.seconds),
            "TorchServe, multipart": direct.job(direct.multipart(shown), shown, clients, bench.seconds),
            "TorchServe, raw": direct.job(direct.requests(shown, JPEG), shown, clients, bench.seconds),
        }
        found = bench.take_turns({name: _rate_of(job) for name, job in jobs.items()})
        ours = found["gateway, multipart"]
        for other, wanted in (("TorchServe, multipart", 1.05), ("TorchServe, raw", 0.93)):
            ratio = median_ratio(ours, found[other])
            measured = f"{spread(ours)} ÷ {spread(found[other])} pictures/s"
            what = f"gateway (multipart) ÷ {other}, {clients} clients"
            rows.append(Row(what, measured, f"{ratio:.3f}", f"≥ {wanted}", ratio >= wanted))
    return rows


def latency_added(bench: Bench, shown: list[Sample], asked: list[Sample]) -> Row:
    """One client, medians: a picture as raw body, and a state."""
    added = {}
    for name, model, samples, content_type in (
        ("picture", "digits", shown, JPEG),
        ("state", "cartpole", asked, JSON),
    ):
        sides = {}
        for side, target in (
            ("direct", targets.engine(bench.settings, model)),
            ("through", targets.gateway(bench.settings, model)),
        ):
            job = target.job(target.requests(samples, content_type), samples, 1, bench.seconds)
            sides[f"{name} {side}"] = _median_latency_of(job)
        found = bench.take_turns(sides)
        pairs = zip(found[f"{name} through"], found[f"{name} direct"], strict=True)
        added[name] = statistics.median(ours - theirs for ours, theirs in pairs)
    worst = max(added.values())
    measured = ", ".join(f"{name} {value:.2f} ms" for name, value in added.items())
    return Row("latency added at 1 client, p50", measured, f"{worst:.2f} ms", "≤ 2 ms", worst <= 2)


def states_per_second(bench: Bench, asked: list[Sample]) -> Row:
    """Single states of 256 clients; the answers of one more round are looked at, wrk looks at statuses only."""
    direct, through = targets.engine(bench.settings, "cartpole"), targets.gateway(bench.settings, "cartpole")
    jobs = {
        "gateway": through.job(through.requests(asked, JSON), asked, 256, bench.seconds),
        "TorchServe": direct.job(direct.requests(asked, JSON), asked, 256, bench.seconds),
    }
    for job in jobs.values():
        _checked(drive.run(replace(job, seconds=1)))
    found = bench.take_turns({name: _small_rate_of(job) for name, job in jobs.items()})
    ratio = median_ratio(found["gateway"], found["TorchServe"])
    measured = f"{spread(found['gateway'])} ÷ {spread(found['TorchServe'])} states/s"
    return Row("single states, gateway ÷ TorchServe, 256 clients", measured, f"{ratio:.2f}", "≥ 1.5", ratio >= 1.5)


def coalescing(bench: Bench, stack: Ground, asked: list[Sample]) -> Row:
    """The same load on two gateways in front of the one engine, of which the second sends each state by itself."""
    together = targets.gateway(bench.settings, "cartpole")
    with second_gateway(stack, "gateway.coalesce.enabled=false") as port:
        alone = replace(together, port=port)
        jobs = {
            name: target.job(target.requests(asked, JSON), asked, 256, bench.seconds)
            for name, target in (("together", together), ("alone", alone))
        }
        for job in jobs.values():
            _checked(drive.run(replace(job, seconds=1)))
        found = bench.take_turns({name: _small_rate_of(job) for name, job in jobs.items()})
    ratio = median_ratio(found["together"], found["alone"])
    measured = f"{spread(found['together'])} ÷ {spread(found['alone'])} states/s"
    return Row("single states, coalescing on ÷ off, 256 clients", measured, f"{ratio:.2f}", "> 1", ratio > 1)


def overload(bench: Bench, shown: list[Sample]) -> list[Row]:
    """Pictures at five times what the gateway can do, open loop, each with a deadline."""
    through = targets.gateway(bench.settings, "digits")
    closed = through.job(through.requests(shown, JPEG), shown, 64, bench.seconds)
    before = _checked(drive.run(closed), "429")
    late = through.with_headers(f"X-Deadline-Ms: {DEADLINE_MS}")
    offered = 5 * before.good / before.seconds
    job = late.job(late.requests(shown, JPEG), shown, 0, bench.overload_seconds)
    result = drive.run(replace(job, rate=offered))
    after = _checked(drive.run(closed), "429")
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


def at_rest(bench: Bench, stack: Ground) -> Row:
    """Import in a fresh process, and what the running gateway holds before its first request."""
    program = (
        "import sys, time; t = time.perf_counter(); import app; print(time.perf_counter() - t, 'torch' in sys.modules)"
    )
    took, torch = [], "False"
    for _ in range(5):
        printed = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
        seconds, torch = printed.stdout.split()
        took.append(float(seconds))
    import_s, megabytes = statistics.median(took), _memory(bench)
    good = import_s < 1 and torch == "False" and megabytes < 90
    figure = f"{import_s:.2f} s; {megabytes:.0f} MB"
    return Row(
        "import of the gateway; memory at rest", f"torch imported: {torch}", figure, "< 1 s, no torch; < 90 MB", good
    )


def _memory(bench: Bench) -> float:
    """Resident memory of the process that listens on the gateway's port, in MB."""
    port = bench.settings.gateway.port
    pid = listeners().get(port)
    if pid is None:
        raise SystemExit("the gateway does not listen")
    return float(psutil.Process(pid).memory_info().rss / 1e6)


def _worker_pid(bench: Bench, model: str) -> int:
    with engines.of(bench.settings).open() as host:
        found = host.default(model)
    if found is None or not found.pids:
        raise SystemExit(f"{model} has no worker")
    return min(found.pids)


def _rate_of(job: Job) -> Callable[[], float]:
    def rate() -> float:
        result = _checked(drive.run(job), "429")
        return result.good / result.seconds

    return rate


def _small_rate_of(job: Job) -> Callable[[], float]:
    return lambda: drive.per_second(job)


def _median_latency_of(job: Job) -> Callable[[], float]:
    return lambda: statistics.median(_checked(drive.run(job)).latencies["200"])


def _checked(result: Result, *refusals: str) -> Result:
    """The result when all of it is right; `refusals` are statuses that a slow machine may bring, and count for nothing.

    A gateway on a machine busy with other things refuses what it could not answer in time.
    """
    others = sum(result.statuses.get(each, 0) for each in refusals)
    if result.failed > others:
        raise SystemExit(f"answers that are not right: statuses {result.statuses}, wrong {result.wrong}")
    return result


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
