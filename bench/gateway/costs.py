"""What the gateway costs beside TorchServe asked without it: rates, latency, and what it needs at rest."""

import statistics
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace

import psutil

from bench import drive, targets
from bench.client import Job
from bench.figures import Row, median_ratio, spread
from bench.gateway.under_test import JPEG, JSON, Bench, checked
from bench.ground import Ground, second_gateway
from bench.server import Failed
from bench.targets import Sample
from settings.load import ROOT
from stack.local_services import listeners


def at_rest(bench: Bench) -> Row:
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
        checked(drive.run(replace(job, seconds=1)))
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
            checked(drive.run(replace(job, seconds=1)))
        found = bench.take_turns({name: _small_rate_of(job) for name, job in jobs.items()})
    ratio = median_ratio(found["together"], found["alone"])
    measured = f"{spread(found['together'])} ÷ {spread(found['alone'])} states/s"
    return Row("single states, coalescing on ÷ off, 256 clients", measured, f"{ratio:.2f}", "> 1", ratio > 1)


def _memory(bench: Bench) -> float:
    """Resident memory of the process that listens on the gateway's port, in MB."""
    port = bench.settings.gateway.port
    pid = listeners().get(port)
    if pid is None:
        raise Failed("the gateway does not listen")
    return float(psutil.Process(pid).memory_info().rss / 1e6)


def _rate_of(job: Job) -> Callable[[], float]:
    def rate() -> float:
        result = checked(drive.run(job), "429")
        return result.good / result.seconds

    return rate


def _small_rate_of(job: Job) -> Callable[[], float]:
    return lambda: drive.per_second(job)


def _median_latency_of(job: Job) -> Callable[[], float]:
    return lambda: statistics.median(checked(drive.run(job)).latencies["200"])
