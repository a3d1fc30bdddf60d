"""One, two and three engines in turn, each at its own address: the costs of one, and predictions checked with all."""

import contextlib
import logging
import os
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import prometheus
from bench import driver
from bench.capacity import forecast, processors
from bench.capacity.costs import Cost, Costs, Prediction
from bench.capacity.processors import EDGE, FRONTEND, GATEWAY, WORKER, Parts, Unavailable, share, used
from bench.capacity.workloads import MODELS, SMALL, STATE, WORKLOADS, Workload, exchanged_bytes
from bench.driver import turned
from bench.engine_nodes import NodeStack, node_stack
from bench.local_stack import run
from bench.samples import Sample
from errors import MarinaError
from loadtest.resources import HostInfo

_log = logging.getLogger("bench.capacity")

# One worker of one thread: a host has as many of them as cores, and none slows another.
REGISTERED = ("served_model.request_params.threads=1", "served_model.request_params.initial_workers=1")
# The gateway refuses nothing because it is late: the engines are made slow on purpose.
PATIENT = ("gateway.admission.max_wait_ms=60000", "gateway.deadline_ms=60000")
TRICKLE = 20  # requests a second that keep a gateway watching its engines
RETURN_S = 120.0


@dataclass(frozen=True)
class Options:
    """Number and length of the measurements; `cores_each` is the share of one engine."""

    rounds: int
    seconds: float
    engines: tuple[int, ...]
    cores_each: float


class Round(NamedTuple):
    """Requests a second, and the cores that each engine used meanwhile."""

    rate: float
    cores: float


@dataclass(frozen=True)
class StackFigures:
    """The figures of one number of engines; `costs` and `edge_s` are of one engine alone."""

    rates: Mapping[str, tuple[Round, ...]]
    upload_s: float
    looking: float
    series: int
    costs: Mapping[str, Cost]
    engine_series: int
    gateway_mb: float
    frontend_mb: float
    edge_s: float
    rest: float


def measure(options: Options, heading: str) -> Costs:
    """Measure everything, in stacks in a temporary folder. Raises MarinaError, also for a wrong answer."""
    found: dict[int, StackFigures] = {}
    with tempfile.TemporaryDirectory(prefix="marina-bench-") as name, _quotas(options) as (cores_each, quota):
        archives = _archives(Path(name))
        size = (archives / "digits.mar").stat().st_size / 1e6
        for count in sorted({1, *options.engines}):
            with node_stack(Path(name) / f"of{count}", archives, count, PATIENT) as stack:
                found[count] = _OneStack(stack, options).measure(cores_each)
    one, cores = found[1], HostInfo.this().cores
    return Costs(
        heading=heading,
        quota=quota,
        cores=cores,
        workloads=one.costs,
        checks=tuple(_predictions(found, cores_each or float(cores), cores)),
        looking=forecast.line({count: each.looking for count, each in found.items()}),
        rollout=forecast.line({count: each.upload_s for count, each in found.items()}),
        gateway_series=forecast.line({count: float(each.series) for count, each in found.items()}),
        engine_series=float(one.engine_series),
        engine_rest=one.rest,
        gateway_mb=one.gateway_mb,
        frontend_mb=one.frontend_mb,
        archive_mb=size,
        edge_s=one.edge_s,
    )


@contextlib.contextmanager
def _quotas(options: Options) -> Iterator[tuple[float | None, str]]:
    """Yield the cores of each engine, None where this machine sets no quota, and a sentence about it."""
    try:
        with share(options.cores_each):
            """A quota can be set."""
    except Unavailable as reason:
        yield None, f"engines share all cores, as {reason}"
        return
    yield options.cores_each, f"each engine is held to {options.cores_each:g} cores by the kernel"


def _predictions(found: Mapping[int, StackFigures], cores_each: float, cores: int) -> Iterator[Prediction]:
    for name, cost in found[1].costs.items():
        for count, each in found.items():
            allowed = forecast.bounds(cost, count, cores_each, cores, found[1].rest)
            bound, rate = forecast.predicted(allowed)
            rounds = each.rates[name]
            used_each = statistics.median(one.cores for one in rounds)
            yield Prediction(name, count, cores_each, bound, rate, tuple(one.rate for one in rounds), used_each)


def _archives(folder: Path) -> Path:
    """Return the folder with both demo models packed; train them first where needed."""
    archives = folder / "archives"
    archives.mkdir()
    env = {**os.environ, "MARINA_ARCHIVES": str(archives), "MARINA_TUNED": "false"}
    run(("-m", "demo", "train"), env)
    for name in MODELS:
        run(("-m", "serialize", f"served_model={name}", *REGISTERED), env)
    return archives


class _OneStack:
    """The measurements of one stack: both models rolled out, every kind of request sent."""

    def __init__(self, stack: NodeStack, options: Options) -> None:
        self._stack = stack
        self._options = options
        for name in MODELS:
            stack.run("upload_model.py", f"served_model={name}", *REGISTERED)
        self._wait_for_traffic()
        self._sent = {name: workload.samples(stack) for name, workload in WORKLOADS.items()}
        for name, workload in WORKLOADS.items():
            driver.checked(driver.run(workload.job(stack, self._sent[name], max(1.0, options.seconds / 4))))
        self._parts = Parts.of(stack)
        self._idle = self._idle_use()

    def measure(self, cores_each: float | None) -> StackFigures:
        """Return all figures; `cores_each` is the share that each engine is held to."""
        stack, alone = self._stack, len(self._stack.engines) == 1
        costs = {name: self._cost(name, workload) for name, workload in WORKLOADS.items()} if alone else {}
        edge_s = self._edge() if alone else 0.0
        looking = self._looking()
        rates = self._rates(cores_each)
        began = time.monotonic()
        delay = "served_model.request_params.max_batch_delay=6"
        stack.run("upload_model.py", "served_model=digits", *REGISTERED, delay)
        upload_s = time.monotonic() - began
        first = stack.engines[0]
        return StackFigures(
            rates,
            upload_s,
            looking,
            _series(f"{stack.gateway}/metrics"),
            costs,
            _series(f"http://{first.host}:{first.env['MARINA_METRICS_PORT']}/metrics"),
            self._parts.memory_mb(GATEWAY),
            # Java and its launcher are one frontend: their sum, not their mean.
            self._parts.memory_mb(FRONTEND) * len(self._parts.processes[FRONTEND]),
            edge_s,
            (self._idle[FRONTEND] + self._idle[WORKER]) / len(stack.engines),
        )

    def _wait_for_traffic(self) -> None:
        deadline = time.monotonic() + RETURN_S
        while away := [engine.name for engine in self._stack.engines if not self._stack.in_traffic(engine.name)]:
            if time.monotonic() > deadline:
                raise MarinaError(f"no requests reach engine {', '.join(away)} after {RETURN_S:g} s")
            time.sleep(0.2)

    def _idle_use(self) -> dict[str, float]:
        """Return the processor seconds a second without requests: checks, timers."""
        before, began = self._parts.seconds(), time.monotonic()
        time.sleep(max(2.0, self._options.seconds / 2))
        took = time.monotonic() - began
        return {part: value / took for part, value in used(before, self._parts.seconds()).items()}

    def _cost(self, name: str, workload: Workload) -> Cost:
        """Measure one engine with the whole machine; each figure is the median of the rounds."""
        job = workload.job(self._stack, self._sent[name], self._options.seconds)
        rounds: list[dict[str, float]] = []
        for _ in range(self._options.rounds):
            before, carried, began = self._parts.seconds(), processors.loopback_bytes(), time.monotonic()
            result = driver.checked(driver.run(job))
            took, carried = time.monotonic() - began, processors.loopback_bytes() - carried
            spent = used(before, self._parts.seconds())
            each = {part: max(0.0, spent[part] - self._idle[part] * took) / result.good for part in spent}
            other = {"client": result.cpu_s, "bytes": carried}
            rounds.append({**each, **{key: value / result.good for key, value in other.items()}, "rate": result.rate})
            _log.info("%s, one engine: %.1f/s, %s", name, result.rate, _microseconds(each))
        median = {key: statistics.median(each[key] for each in rounds) for key in rounds[0]}
        request, answer = exchanged_bytes(workload.target(self._stack), self._sent[name][0], workload.content_type)
        calm = driver.checked(driver.run(replace(job, rate=median["rate"] / 2)))
        return Cost(
            title=workload.title,
            model=workload.model,
            request_bytes=request,
            answer_bytes=answer,
            inside_bytes=max(0.0, median["bytes"] - request - answer),
            gateway_s=median[GATEWAY],
            frontend_s=median[FRONTEND],
            worker_s=median[WORKER],
            client_s=median["client"],
            worker_mb=self._parts.memory_mb(WORKER),
            calm_ms=calm.latency(50),
            rate=median["rate"],
        )

    def _looking(self) -> float:
        """Return a gateway's processor seconds a second under a trickle of requests: it watches every engine."""
        job = WORKLOADS[SMALL].job(self._stack, self._sent[SMALL], 2 * self._options.seconds)
        before, began = self._parts.seconds(), time.monotonic()
        driver.checked(driver.run(replace(job, rate=TRICKLE)))
        return used(before, self._parts.seconds())[GATEWAY] / (time.monotonic() - began)

    def _rates(self, cores_each: float | None) -> dict[str, tuple[Round, ...]]:
        """Measure each workload once a round, with every engine held to its share."""
        rounds: dict[str, list[Round]] = {name: [] for name in WORKLOADS}
        count = len(self._stack.engines)
        with contextlib.ExitStack() as held:
            for engine in self._stack.engines if cores_each is not None else ():
                held.enter_context(share(cores_each or 0.0)).hold(engine.processes())
            for number in range(self._options.rounds):
                for name in turned(list(WORKLOADS), number):
                    rounds[name].append(self._round(WORKLOADS[name], self._sent[name]))
                    _log.info("%s, %d engines: %.1f/s, %.2f cores each", name, count, *rounds[name][-1])
        return {name: tuple(each) for name, each in rounds.items()}

    def _round(self, workload: Workload, sent: list[Sample]) -> Round:
        count = len(self._stack.engines)
        job = workload.job(self._stack, sent, self._options.seconds, workload.clients * count)
        before = self._parts.seconds()
        result = driver.checked(driver.run(job))
        spent = used(before, self._parts.seconds())
        return Round(result.rate, (spent[FRONTEND] + spent[WORKER]) / result.seconds / count)

    def _edge(self) -> float:
        """Return the processor seconds of the policy edge for one state."""
        workload = WORKLOADS[STATE]
        self._stack.run("-m", "edge", f"served_model={workload.model}", "edge.parity_states=2000")
        parts = Parts.of(self._stack)
        target = replace(workload.target(self._stack), port=int(self._stack.env["MARINA_EDGE_PORT"]))
        job = target.load(self._sent[STATE], workload.content_type, workload.clients, self._options.seconds)
        before = parts.seconds()
        result = driver.checked(driver.run(job))
        return used(before, parts.seconds())[EDGE] / result.good


def _series(url: str) -> int:
    found = prometheus.read(url)
    return len(found.counters) + len(found.gauges)


def _microseconds(each: Mapping[str, float]) -> str:
    return ", ".join(f"{part} {1e6 * seconds:.0f} µs" for part, seconds in each.items() if part != EDGE)
