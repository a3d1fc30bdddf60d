"""Rates from the costs of a request: the rate of some engines, a plan for a rate, and the limits on the way there.

costs ──▶ bounds, predicted                  the rate of measured stacks, to check the costs
costs + assumptions ──▶ limits               the rate at which each part of a deployment saturates
costs + assumptions + a rate ──▶ plan        processors, memory, network and machines, in cells below every limit
"""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from bench.capacity.costs import Cost, Costs, Line

ENGINES, GATEWAY, MACHINE = "engines", "gateway", "this machine"
DNS_S = 10.0  # a gateway looks the address of an engine up again after this time
POLICY = "cartpole"


def bounds(cost: Cost, engines: int, cores_each: float, machine_cores: float, rest: float = 0.0) -> dict[str, float]:
    """Return the requests a second that each part alone would allow.

    `cores_each` is the share of one engine, `rest` what it uses of that without requests. A gateway process runs on one
    core. `machine_cores` is what all of them and the client share here; there is no such bound on separate machines.
    """
    together = cost.gateway_s + cost.engine_s + cost.client_s
    return {
        ENGINES: engines * max(0.0, cores_each - rest) / cost.engine_s,
        GATEWAY: 1.0 / cost.gateway_s,
        MACHINE: max(0.0, machine_cores - engines * rest) / together,
    }


def predicted(allowed: Mapping[str, float]) -> tuple[str, float]:
    """Return the part that bounds the rate, and the rate."""
    bound = min(allowed, key=lambda part: allowed[part])
    return bound, allowed[bound]


def error(prediction: float, measured: Sequence[float]) -> float:
    """Return the distance of a prediction from the median, as a share of the median."""
    found = statistics.median(measured)
    return (prediction - found) / found


def line(points: Mapping[int, float]) -> Line:
    """Return the line through (engines, value) by least squares; flat for one point, never falling nor below zero."""
    if len(points) < 2:
        return Line(next(iter(points.values())), 0.0)
    slope, base = statistics.linear_regression(list(points), list(points.values()))
    if slope <= 0:
        return Line(statistics.mean(points.values()), 0.0)
    if base < 0:
        return Line(0.0, statistics.linear_regression(list(points), list(points.values()), proportional=True).slope)
    return Line(base, slope)


@dataclass(frozen=True)
class Assumptions:
    """The hosts of a plan and the load that they may carry; choices, not measurements, and options of the command.

    Attributes:
        busy: share of a processor or network card that is planned for; the rest is for peaks and for a lost host.
        cores, memory_gb, network_gbit: of one host.
        looking: share of a gateway's processor that watching the engines may take.
        rollout_s: longest time of a rollout.
        series: number of series in one Prometheus.

    """

    busy: float = 0.6
    cores: int = 16
    memory_gb: float = 64.0
    network_gbit: float = 25.0
    looking: float = 0.05
    rollout_s: float = 3600.0
    series: float = 5e6

    @property
    def bytes_s(self) -> float:
        """Bytes a second that are planned for on one network card, in one direction."""
        return self.network_gbit * 1e9 / 8 * self.busy

    def per_engine(self, cost: Cost) -> float:
        """Return the requests a second of one engine host: its processors or its network, whichever is less."""
        return min(self.busy * self.cores / cost.engine_s, self.bytes_s / max(1.0, cost.inside_bytes))

    def per_gateway(self, cost: Cost) -> float:
        """Return the requests a second of one gateway process."""
        return self.busy / cost.gateway_s

    def watched(self, costs: Costs) -> float:
        """Return the number of engines that one gateway may watch."""
        return self.looking / costs.looking.each if costs.looking.each else math.inf

    def rolled_out(self, costs: Costs) -> float:
        """Return the number of engines that one rollout may reach."""
        return (self.rollout_s - costs.rollout.base) / costs.rollout.each if costs.rollout.each else math.inf


@dataclass(frozen=True)
class Limit:
    """A part that saturates at `rate` requests a second."""

    what: str
    rate: float
    why: str
    remedy: str


def limits(costs: Costs, cost: Cost, assumed: Assumptions) -> list[Limit]:
    """Return the limits, the lowest first."""
    engine, gateway = assumed.per_engine(cost), assumed.per_gateway(cost)
    watched, rolled = assumed.watched(costs), assumed.rolled_out(costs)
    fetched = assumed.bytes_s * 60 / (costs.archive_mb * 1e6)
    front = assumed.bytes_s / max(cost.request_bytes, cost.answer_bytes, cost.inside_bytes)
    found = [
        Limit(
            "one gateway process",
            gateway,
            f"{_microseconds(cost.gateway_s)} of one core for each request",
            "more processes (`gateway.processes`), then more gateways behind one address",
        ),
        Limit(
            "one engine host",
            engine,
            f"{_microseconds(cost.engine_s)} for each request, {assumed.cores} cores",
            "more hosts in `engine.nodes`; a smaller input, int8, a GPU where the network is large",
        ),
        Limit(
            "network card of one host in front",
            front,
            f"{cost.request_bytes / 1000:.1f} KB come in for each request, {assumed.network_gbit:g} Gbit/s",
            "several gateway hosts behind DNS or anycast, no single proxy; smaller pictures",
        ),
        Limit(
            "gateways watching engines",
            engine * watched,
            f"{_microseconds(costs.looking.each)} a second for each engine: {watched:.0f} engines are "
            f"{assumed.looking:.0%} of a gateway's core",
            "cells: each group of gateways has its own engines, and requests are spread over the cells",
        ),
        Limit(
            "rollout",
            engine * rolled,
            f"{costs.rollout.each:.1f} s for each host, one after the other: {rolled:.0f} hosts take "
            f"{assumed.rollout_s / 60:.0f} minutes",
            "one delivery for each cell, cells in waves; the first wave is the canary",
        ),
        Limit(
            "one Prometheus",
            rising(lambda rate: series(costs, cost, assumed, rate), assumed.series),
            f"each gateway process has {costs.gateway_series.each:.0f} series for each of its engines",
            "one Prometheus for each cell, and one above for sums",
        ),
        Limit(
            "the store, when every host fetches in one minute",
            engine * fetched,
            f"{costs.archive_mb:.1f} MB for each host from one server's card",
            "a bucket, or a file browser in each cell",
        ),
    ]
    return sorted(found, key=lambda limit: limit.rate)


def series(costs: Costs, cost: Cost, assumed: Assumptions, rate: float) -> float:
    """Return the series of all gateways and engines, if every gateway knows every engine."""
    engines = rate / assumed.per_engine(cost)
    return rate / assumed.per_gateway(cost) * costs.gateway_series.at(engines) + engines * costs.engine_series


def rising(value: Callable[[float], float], wanted: float) -> float:
    """Return the rate at which a rising function reaches `wanted`, by halving; within a thousandth."""
    low, high = 1.0, 1.0
    while value(high) < wanted:
        low, high = high, high * 2
    while high / low > 1.001:
        middle = (low * high) ** 0.5
        low, high = (middle, high) if value(middle) < wanted else (low, middle)
    return high


def _microseconds(seconds: float) -> str:
    return f"{seconds * 1e6:,.0f} µs" if seconds < 0.01 else f"{seconds * 1e3:,.1f} ms"


@dataclass(frozen=True)
class Plan:
    """The needs of a load; bytes a second where no unit is named.

    A cell is a group of gateways with its own engines: as many as its gateways may watch and a rollout reaches in time.
    `edge_cores` is the alternative at the policy edge; None for models that are no policy.
    """

    rate: float
    engine_cores: float
    gateway_cores: float
    engines: int
    workers_each: int
    memory_each_gb: float
    gateways: int
    gateway_hosts: int
    cells: int
    engines_each_cell: int
    gateways_each_cell: int
    from_clients: float
    to_clients: float
    inside: float
    in_flight: float
    connections_each_cell: int
    look_ups: float
    series_each_cell: float
    rollout_each_cell_s: float
    edge_cores: float | None


def plan(costs: Costs, cost: Cost, assumed: Assumptions, rate: float) -> Plan:
    """Return the plan for `rate` requests a second of this kind."""
    engines = max(1, math.ceil(rate / assumed.per_engine(cost)))
    gateways = max(1, math.ceil(rate / assumed.per_gateway(cost)))
    through = rate * (cost.request_bytes + cost.inside_bytes)
    gateway_hosts = max(1, math.ceil(gateways / assumed.cores), math.ceil(through / 2 / assumed.bytes_s))
    most = min(assumed.watched(costs), assumed.rolled_out(costs))
    cells = math.ceil(engines / max(1, math.floor(most))) if most < math.inf else 1
    each, fronts = math.ceil(engines / cells), math.ceil(gateways / cells)
    workers = max(1, round(assumed.cores * cost.worker_s / cost.engine_s))
    return Plan(
        rate=rate,
        engine_cores=rate * cost.engine_s / assumed.busy,
        gateway_cores=rate * cost.gateway_s / assumed.busy,
        engines=engines,
        workers_each=workers,
        memory_each_gb=(costs.frontend_mb + workers * cost.worker_mb) / 1000,
        gateways=gateways,
        gateway_hosts=gateway_hosts,
        cells=cells,
        engines_each_cell=each,
        gateways_each_cell=fronts,
        from_clients=rate * cost.request_bytes,
        to_clients=rate * cost.answer_bytes,
        inside=rate * cost.inside_bytes,
        in_flight=rate * cost.calm_ms / 1000,
        connections_each_cell=each * fronts,
        look_ups=cells * each * fronts / DNS_S,
        series_each_cell=fronts * costs.gateway_series.at(each) + each * costs.engine_series,
        rollout_each_cell_s=costs.rollout.at(each),
        edge_cores=rate * costs.edge_s / assumed.busy if cost.model == POLICY else None,
    )
