"""At which rate each part of a plan gives in, and what to do about it; everything else is taken to grow with it."""

from collections.abc import Callable
from dataclasses import dataclass

from bench.capacity.costs import Cost, Costs


@dataclass(frozen=True)
class Ground:
    """What a plan is made for; these are choices, not measurements, and options of the command.

    Attributes:
        busy: share of a processor or network card that is planned for; the rest is for peaks and for a lost host.
        cores, memory_gb, network_gbit: of one host.
        looking: share of a gateway's processor that may go into looking at engines.
        rollout_s: longest that a rollout may take.
        series: series that one Prometheus holds.

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
        """Requests a second of one engine host: its processors or its network, whichever is less."""
        return min(self.busy * self.cores / cost.engine_s, self.bytes_s / max(1.0, cost.inside_bytes))

    def per_gateway(self, cost: Cost) -> float:
        """Requests a second of one gateway process."""
        return self.busy / cost.gateway_s


@dataclass(frozen=True)
class Limit:
    """One part that gives in at `rate` requests a second."""

    what: str
    rate: float
    why: str
    remedy: str


def limits(costs: Costs, cost: Cost, ground: Ground) -> list[Limit]:
    """All of them, the first to give in first."""
    engine, gateway = ground.per_engine(cost), ground.per_gateway(cost)
    looked = ground.looking / costs.looking.each if costs.looking.each else float("inf")
    rolled = (ground.rollout_s - costs.rollout.base) / costs.rollout.each if costs.rollout.each else float("inf")
    fetched = ground.bytes_s * 60 / (costs.archive_mb * 1e6)
    front = ground.bytes_s / max(cost.request_bytes, cost.answer_bytes, cost.inside_bytes)
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
            f"{_microseconds(cost.engine_s)} for each request, {ground.cores} cores",
            "more hosts in `engine.nodes`; a smaller input, int8, a GPU where the network is large",
        ),
        Limit(
            "network card of one host in front",
            front,
            f"{cost.request_bytes / 1000:.1f} KB come in for each request, {ground.network_gbit:g} Gbit/s",
            "several gateway hosts with DNS or anycast before them, no single proxy; smaller pictures",
        ),
        Limit(
            "gateways looking at engines",
            engine * looked,
            f"{_microseconds(costs.looking.each)} a second for each engine: {looked:.0f} engines are "
            f"{ground.looking:.0%} of a gateway's core",
            "cells: a group of gateways has its own engines, and requests are spread over cells",
        ),
        Limit(
            "rollout",
            engine * rolled,
            f"{costs.rollout.each:.1f} s for each host, one after the other: {rolled:.0f} hosts take "
            f"{ground.rollout_s / 60:.0f} minutes",
            "one delivery for each cell, cells in waves; the first wave is the canary",
        ),
        Limit(
            "one Prometheus",
            _rate_of_series(costs, cost, ground),
            f"each gateway process tells {costs.gateway_series.each:.0f} series for each engine that it knows",
            "one Prometheus for each cell, sums of them in one above",
        ),
        Limit(
            "the store, when every host fetches in one minute",
            engine * fetched,
            f"{costs.archive_mb:.1f} MB for each host from one server's card",
            "a bucket, or a file browser in each cell",
        ),
    ]
    return sorted(found, key=lambda limit: limit.rate)


def series(costs: Costs, cost: Cost, ground: Ground, rate: float) -> float:
    """Of all gateways and engines, where every gateway knows every engine."""
    engines = rate / ground.per_engine(cost)
    return rate / ground.per_gateway(cost) * costs.gateway_series.at(engines) + engines * costs.engine_series


def _rate_of_series(costs: Costs, cost: Cost, ground: Ground) -> float:
    return rising(lambda rate: series(costs, cost, ground, rate), ground.series)


def rising(value: Callable[[float], float], wanted: float) -> float:
    """Where a rising function of the rate reaches `wanted`, by halving; within a thousandth."""
    low, high = 1.0, 1.0
    while value(high) < wanted:
        low, high = high, high * 2
    while high / low > 1.001:
        middle = (low * high) ** 0.5
        low, high = (middle, high) if value(middle) < wanted else (low, middle)
    return high


def _microseconds(seconds: float) -> str:
    return f"{seconds * 1e6:,.0f} µs" if seconds < 0.01 else f"{seconds * 1e3:,.1f} ms"
