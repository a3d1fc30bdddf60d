"""The gateway beside TorchServe without it: at rest, with one client, and with many."""

import logging
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import psutil

from bench import driver, samples, targets
from bench.load_generator import Job
from bench.local_stack import LocalStack, second_gateway
from bench.samples import JPEG, JSON, Sample
from bench.server_process import MeasurementError
from bench.tables import Row, ratio_row
from bench.targets import Target
from settings import Settings
from settings.load import ROOT
from stack.local_services import listeners

_log = logging.getLogger("bench.gateway")

STATE_CLIENTS = 256


@dataclass(frozen=True)
class GatewayBench:
    """The stack under test, and the number and length of measurements."""

    stack: LocalStack
    settings: Settings
    rounds: int
    seconds: float
    overload_seconds: float

    def engine(self, model: str) -> Target:
        """Return the engine's route of a model."""
        return targets.engine(self.settings, model)

    def gateway(self, model: str) -> Target:
        """Return the gateway's route of a model."""
        return targets.gateway(self.settings, model)

    def pictures(self, model: str) -> list[Sample]:
        """Return pictures with TorchServe's answer to each alone."""
        return targets.answered_alone(self.engine(model), samples.simple_pictures(), JPEG)

    def states(self) -> list[Sample]:
        """Return states with TorchServe's answer to each alone."""
        return targets.answered_alone(self.engine("cartpole"), samples.states(), JSON)

    def take_turns(self, sides: Mapping[str, Callable[[], float]]) -> dict[str, list[float]]:
        """Measure each side once a round, each round in another order."""
        return driver.take_turns(sides, self.rounds, _log)


def rows(bench: GatewayBench, pictures: list[Sample]) -> list[Row]:
    """Return all rows of this module."""
    states = bench.states()
    return [
        at_rest(bench),
        *pictures_per_second(bench, pictures),
        latency_added(bench, pictures, states),
        states_per_second(bench, states),
        coalescing(bench, states),
    ]


def at_rest(bench: GatewayBench) -> Row:
    """Measure the import in a fresh process, and the memory of the running gateway before its first request."""
    program = (
        "import sys, time; t = time.perf_counter(); import app; print(time.perf_counter() - t, 'torch' in sys.modules)"
    )
    took, torch = [], "False"
    for _ in range(5):
        printed = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
        seconds, torch = printed.stdout.split()
        took.append(float(seconds))
    import_s, megabytes = statistics.median(took), _memory_mb(bench.settings.gateway.port)
    good = import_s < 1 and torch == "False" and megabytes < 90
    figure = f"{import_s:.2f} s; {megabytes:.0f} MB"
    return Row(
        "import of the gateway; memory at rest", f"torch imported: {torch}", figure, "< 1 s, no torch; < 90 MB", good
    )


def pictures_per_second(bench: GatewayBench, pictures: list[Sample]) -> list[Row]:
    """Measure the gateway with multipart beside TorchServe with multipart and with raw bodies."""
    direct, through = bench.engine("digits"), bench.gateway("digits")
    found_rows = []
    for clients in (16, 64):
        jobs = {
            "gateway, multipart": through.job(through.multipart(pictures), pictures, clients, bench.seconds),
            "TorchServe, multipart": direct.job(direct.multipart(pictures), pictures, clients, bench.seconds),
            "TorchServe, raw": direct.load(pictures, JPEG, clients, bench.seconds),
        }
        found = bench.take_turns({name: _rate_of(job) for name, job in jobs.items()})
        ours = found["gateway, multipart"]
        for other, wanted in (("TorchServe, multipart", 1.05), ("TorchServe, raw", 0.93)):
            what = f"gateway (multipart) ÷ {other}, {clients} clients"
            found_rows.append(ratio_row(what, ours, found[other], "pictures/s", least=wanted, digits=3))
    return found_rows


def latency_added(bench: GatewayBench, pictures: list[Sample], states: list[Sample]) -> Row:
    """Measure the medians of one client: a picture as raw body, and a state."""
    added = {}
    for name, model, sent, content_type in (
        ("picture", "digits", pictures, JPEG),
        ("state", "cartpole", states, JSON),
    ):
        sides = {
            f"{name} {side}": _median_latency_of(target.load(sent, content_type, 1, bench.seconds))
            for side, target in (("direct", bench.engine(model)), ("through", bench.gateway(model)))
        }
        found = bench.take_turns(sides)
        pairs = zip(found[f"{name} through"], found[f"{name} direct"], strict=True)
        added[name] = statistics.median(ours - theirs for ours, theirs in pairs)
    worst = max(added.values())
    measured = ", ".join(f"{name} {value:.2f} ms" for name, value in added.items())
    return Row("latency added at 1 client, p50", measured, f"{worst:.2f} ms", "≤ 2 ms", worst <= 2)


def states_per_second(bench: GatewayBench, states: list[Sample]) -> Row:
    """Measure single states of 256 clients beside TorchServe."""
    what = f"single states, gateway ÷ TorchServe, {STATE_CLIENTS} clients"
    ours, theirs = _state_rates(bench, states, bench.gateway("cartpole"), bench.engine("cartpole"))
    return ratio_row(what, ours, theirs, "states/s", least=1.5)


def coalescing(bench: GatewayBench, states: list[Sample]) -> Row:
    """Measure the same load on two gateways of one engine; the second one sends each state by itself."""
    with second_gateway(bench.stack, "gateway.coalesce.enabled=false") as port:
        together = bench.gateway("cartpole")
        ours, theirs = _state_rates(bench, states, together, replace(together, port=port))
    what = f"single states, coalescing on ÷ off, {STATE_CLIENTS} clients"
    row = ratio_row(what, ours, theirs, "states/s", least=1)
    return replace(row, wanted="> 1")


def _state_rates(bench: GatewayBench, states: list[Sample], *sides: Target) -> list[list[float]]:
    """Measure two targets in turn. One more round checks the answers, because wrk judges statuses only."""
    jobs = [target.load(states, JSON, STATE_CLIENTS, bench.seconds) for target in sides]
    for job in jobs:
        driver.checked(driver.run(replace(job, seconds=1)))
    measures = {f"states, side {number}": _small_rate_of(job) for number, job in enumerate(jobs, 1)}
    return list(bench.take_turns(measures).values())


def _memory_mb(port: int) -> float:
    """Return the resident memory of the process that listens on a port."""
    pid = listeners().get(port)
    if pid is None:
        raise MeasurementError("the gateway does not listen")
    return float(psutil.Process(pid).memory_info().rss / 1e6)


def _rate_of(job: Job) -> Callable[[], float]:
    return lambda: driver.rate(job, "429")


def _small_rate_of(job: Job) -> Callable[[], float]:
    return lambda: driver.small_rate(job)


def _median_latency_of(job: Job) -> Callable[[], float]:
    return lambda: statistics.median(driver.checked(driver.run(job)).latencies["200"])
