"""Processors, memory, network and machines for a rate, in cells that no limit of `limits` is reached in."""

import math
from dataclasses import dataclass

from bench.capacity.costs import Cost, Costs
from bench.capacity.limits import Ground

DNS_S = 10.0  # a gateway asks for the address of an engine again after so long
POLICY = "cartpole"


@dataclass(frozen=True)
class Plan:
    """What a load needs; bytes a second where no unit is named.

    A cell is a group of gateways with engines of its own: as many as its gateways may look at, and as a delivery can
    roll out to in time. `edge_cores` would do it at the policy edge; None for what is no policy.
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


def plan(costs: Costs, cost: Cost, ground: Ground, rate: float) -> Plan:
    """For `rate` requests a second of this kind."""
    engines = max(1, math.ceil(rate / ground.per_engine(cost)))
    gateways = max(1, math.ceil(rate / ground.per_gateway(cost)))
    through = rate * (cost.request_bytes + cost.inside_bytes)
    gateway_hosts = max(1, math.ceil(gateways / ground.cores), math.ceil(through / 2 / ground.bytes_s))
    cells = math.ceil(engines / _engines_of_a_cell(costs, ground))
    each, fronts = math.ceil(engines / cells), math.ceil(gateways / cells)
    workers = max(1, round(ground.cores * cost.worker_s / cost.engine_s))
    return Plan(
        rate=rate,
        engine_cores=rate * cost.engine_s / ground.busy,
        gateway_cores=rate * cost.gateway_s / ground.busy,
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
        edge_cores=rate * costs.edge_s / ground.busy if cost.model == POLICY else None,
    )


def _engines_of_a_cell(costs: Costs, ground: Ground) -> int:
    most = [math.inf]
    if costs.looking.each:
        most.append(ground.looking / costs.looking.each)
    if costs.rollout.each:
        most.append((ground.rollout_s - costs.rollout.base) / costs.rollout.each)
    return max(1, math.floor(min(most))) if min(most) < math.inf else 1_000_000
