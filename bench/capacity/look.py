"""The load on one stack, and all that is read from it."""

import contextlib
import logging
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import prometheus
from bench import drive
from bench.capacity import parts
from bench.capacity.costs import Cost
from bench.capacity.parts import Parts
from bench.capacity.workloads import MODELS, SMALL, STATE, WORKLOADS, Workload, exchanged
from bench.cpu_share import share
from bench.figures import percentile
from bench.nodes import Nodes
from bench.targets import Sample
from bench.turns import turned
from errors import MarinaError

_log = logging.getLogger(__name__)

# A worker of one thread: a host has as many of them as cores, and none is in another's way.
REGISTERED = ("served_model.request_params.threads=1", "served_model.request_params.initial_workers=1")
TRICKLE = 20  # requests a second that keep a gateway looking at its engines
RETURN_S = 120.0


@dataclass(frozen=True)
class Options:
    """How often and how long; `cores_each` is what an engine gets."""

    rounds: int
    seconds: float
    engines: tuple[int, ...]
    cores_each: float


class Round(NamedTuple):
    """Requests a second, and how many cores each engine used meanwhile."""

    rate: float
    cores: float


@dataclass(frozen=True)
class Look:
    """What one number of engines gave; `costs` of one engine alone."""

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


def look(stack: Nodes, options: Options, cores_each: float | None) -> Look:
    """Both models rolled out, every kind of request sent; `cores_each` is the share that an engine is held to."""
    for name in MODELS:
        stack.run("upload_model.py", f"served_model={name}", *REGISTERED)
    _wait_for(stack)
    sent = {name: workload.samples(stack) for name, workload in WORKLOADS.items()}
    for name, workload in WORKLOADS.items():
        drive.checked(drive.run(workload.job(stack, sent[name], max(1.0, options.seconds / 4))))
    found, alone = Parts.of(stack), len(stack.engines) == 1
    idle = _idle(found, options.seconds)
    costs = {name: _cost(stack, name, sent[name], found, options, idle) for name in WORKLOADS} if alone else {}
    edge_s = _edge(stack, sent[STATE], options) if alone else 0.0
    looking = _looking(stack, sent[SMALL], found, options)
    rates = _rates(stack, sent, found, options, cores_each)
    began = time.monotonic()
    delay = "served_model.request_params.max_batch_delay=6"
    stack.run("upload_model.py", "served_model=digits", *REGISTERED, delay)
    upload_s = time.monotonic() - began
    return Look(
        rates,
        upload_s,
        looking,
        _series("http://{}:{}/metrics".format(*stack.gateway)),
        costs,
        _series(f"http://{stack.engines[0].host}:{stack.engines[0].env['MARINA_METRICS_PORT']}/metrics"),
        found.memory_mb(parts.GATEWAY),
        _frontend_mb(found),
        edge_s,
        (idle[parts.FRONTEND] + idle[parts.WORKER]) / len(stack.engines),
    )


def _cost(
    stack: Nodes, name: str, samples: list[Sample], found: Parts, options: Options, idle: Mapping[str, float]
) -> Cost:
    """With the whole machine for one engine; medians of the rounds."""
    workload = WORKLOADS[name]
    job = workload.job(stack, samples, options.seconds)
    rounds: list[dict[str, float]] = []
    for _ in range(options.rounds):
        before, carried, began = found.seconds(), parts.loopback_bytes(), time.monotonic()
        result = drive.checked(drive.run(job))
        took, carried = time.monotonic() - began, parts.loopback_bytes() - carried
        spent = parts.used(before, found.seconds())
        each = {part: max(0.0, spent[part] - idle[part] * took) / result.good for part in spent}
        rounds.append(
            each | {"client": result.cpu_s / result.good, "bytes": carried / result.good,
                    "rate": result.good / result.seconds}
        )  # fmt: skip
        _log.info("%s, one engine: %.1f/s, %s", name, rounds[-1]["rate"], _microseconds(each))
    median = {key: statistics.median(each[key] for each in rounds) for key in rounds[0]}
    request, answer = exchanged(workload.target(stack), samples[0], workload.content_type)
    calm = drive.checked(drive.run(replace(job, rate=median["rate"] / 2)))
    return Cost(
        title=workload.title,
        model=workload.model,
        request_bytes=request,
        answer_bytes=answer,
        inside_bytes=max(0.0, median["bytes"] - request - answer),
        gateway_s=median[parts.GATEWAY],
        frontend_s=median[parts.FRONTEND],
        worker_s=median[parts.WORKER],
        client_s=median["client"],
        worker_mb=found.memory_mb(parts.WORKER),
        calm_ms=percentile(calm.latencies["200"], 50),
        rate=median["rate"],
    )


def _idle(found: Parts, seconds: float) -> dict[str, float]:
    """Processor seconds a second while nothing is asked: checks, looks, timers."""
    before, began = found.seconds(), time.monotonic()
    time.sleep(max(2.0, seconds / 2))
    took = time.monotonic() - began
    return {part: value / took for part, value in parts.used(before, found.seconds()).items()}


def _looking(stack: Nodes, samples: list[Sample], found: Parts, options: Options) -> float:
    """A gateway's processor seconds a second under a trickle of requests: more engines are more to look at."""
    job = replace(WORKLOADS[SMALL].job(stack, samples, 2 * options.seconds), rate=TRICKLE)
    before, began = found.seconds(), time.monotonic()
    drive.checked(drive.run(job))
    return parts.used(before, found.seconds())[parts.GATEWAY] / (time.monotonic() - began)


def _rates(
    stack: Nodes, sent: Mapping[str, list[Sample]], found: Parts, options: Options, cores_each: float | None
) -> dict[str, tuple[Round, ...]]:
    """Every engine held to its share, each workload once a round."""
    rounds: dict[str, list[Round]] = {name: [] for name in WORKLOADS}
    with contextlib.ExitStack() as held:
        for engine in stack.engines if cores_each is not None else ():
            held.enter_context(share(cores_each or 0.0)).hold(engine.processes())
        for number in range(options.rounds):
            for name in turned(list(WORKLOADS), number):
                rounds[name].append(_round(stack, WORKLOADS[name], sent[name], found, options.seconds))
                _log.info("%s, %d engines: %.1f/s, %.2f cores each", name, len(stack.engines), *rounds[name][-1])
    return {name: tuple(each) for name, each in rounds.items()}


def _round(stack: Nodes, workload: Workload, samples: list[Sample], found: Parts, seconds: float) -> Round:
    count = len(stack.engines)
    job = workload.job(stack, samples, seconds, workload.clients * count)
    before = found.seconds()
    result = drive.checked(drive.run(job))
    spent = parts.used(before, found.seconds())
    return Round(result.good / result.seconds, (spent[parts.FRONTEND] + spent[parts.WORKER]) / result.seconds / count)


def _edge(stack: Nodes, samples: list[Sample], options: Options) -> float:
    """Processor seconds of the policy edge for one state."""
    stack.run("-m", "edge", f"served_model={WORKLOADS[STATE].model}", "edge.parity_states=2000")
    found = Parts.of(stack)
    target = replace(WORKLOADS[STATE].target(stack), port=int(stack.env["MARINA_EDGE_PORT"]))
    requested = target.requests(samples, WORKLOADS[STATE].content_type)
    job = target.job(requested, samples, WORKLOADS[STATE].clients, options.seconds)
    before = found.seconds()
    result = drive.checked(drive.run(job))
    return parts.used(before, found.seconds())[parts.EDGE] / result.good


def _wait_for(stack: Nodes) -> None:
    """Until every engine gets requests."""
    deadline = time.monotonic() + RETURN_S
    while away := _without_requests(stack):
        if time.monotonic() > deadline:
            raise MarinaError(f"no requests reach engine {', '.join(away)} after {RETURN_S:g} s")
        time.sleep(0.2)


def _without_requests(stack: Nodes) -> list[str]:
    found = prometheus.read("http://{}:{}/metrics".format(*stack.gateway)).gauges
    names = [engine.name for engine in stack.engines]
    return [name for name in names if not prometheus.total(found, "marina_gateway_node_in_traffic", node=name)]


def _series(url: str) -> int:
    found = prometheus.read(url)
    return len(found.counters) + len(found.gauges)


def _frontend_mb(found: Parts) -> float:
    """Java and its launcher are one frontend: their sum, not their mean."""
    return found.memory_mb(parts.FRONTEND) * len(found.processes[parts.FRONTEND])


def _microseconds(each: Mapping[str, float]) -> str:
    return ", ".join(f"{part} {1e6 * seconds:.0f} µs" for part, seconds in each.items() if part != parts.EDGE)
