"""The tables of measured costs, checked predictions, limits and plans."""

import statistics
from collections.abc import Sequence

from bench.capacity.costs import Cost, Costs, Prediction
from bench.capacity.forecast import Assumptions, Plan, error, limits
from bench.tables import table


def costs_table(costs: Costs) -> str:
    """Return the cost of a request in each part, and the costs beside requests."""
    times = ("gateway, µs", "TorchServe's Java, µs", "worker, µs", "client, µs")
    sizes = ("in, KB", "out, KB", "gateway ↔ engine, KB", "worker's memory, MB")
    head = ("request", *times, *sizes, "one engine alone, per s", "p50 at half of that, ms")
    rows = [_cost_row(cost) for cost in costs.workloads.values()]
    return "\n\n".join((costs.heading, table(head, rows), _beside(costs)))


def _cost_row(cost: Cost) -> list[str]:
    times = (cost.gateway_s, cost.frontend_s, cost.worker_s, cost.client_s)
    sizes = (cost.request_bytes, cost.answer_bytes, cost.inside_bytes)
    return [
        f"{cost.title}, `{cost.model}`",
        *(f"{1e6 * seconds:,.0f}" for seconds in times),
        *(f"{size / 1000:.2f}" for size in sizes),
        f"{cost.worker_mb:.0f}",
        f"{cost.rate:,.0f}",
        f"{cost.calm_ms:.1f}",
    ]


def _beside(costs: Costs) -> str:
    rows = [
        ["the same state at the policy edge", f"{1e6 * costs.edge_s:.1f} µs"],
        ["a gateway process, memory", f"{costs.gateway_mb:.0f} MB"],
        ["TorchServe's Java, memory", f"{costs.frontend_mb:.0f} MB"],
        ["an engine at rest", f"{1e3 * costs.engine_rest:.1f} ms of processor a second"],
        ["a gateway that watches one engine more", f"{1e3 * costs.looking.each:.2f} ms of processor a second"],
        ["a rollout, without the engines", f"{costs.rollout.base:.1f} s"],
        ["a rollout, each engine more", f"{costs.rollout.each:.1f} s"],
        ["Prometheus series of a gateway", f"{costs.gateway_series.base:.0f}"],
        ["Prometheus series of a gateway, each engine more", f"{costs.gateway_series.each:.0f}"],
        ["Prometheus series of an engine", f"{costs.engine_series:.0f}"],
        ["archive of `digits`", f"{costs.archive_mb:.1f} MB"],
    ]
    return table(("beside requests", ""), rows)


def check_table(costs: Costs) -> str:
    """Return predictions beside measurements."""
    head = (
        "request",
        "engines",
        "bound by",
        "predicted, per s",
        "measured, per s",
        "error",
        "each engine used, cores",
    )
    rows = [_check_row(check, costs) for check in costs.checks]
    worst = max((abs(error(check.predicted, check.measured)) for check in costs.checks), default=0.0)
    where = f"{costs.cores} cores for everything, the client among it; {costs.quota}"
    return f"{where}. Largest error: **{worst:.0%}**.\n\n{table(head, rows)}"


def _check_row(check: Prediction, costs: Costs) -> list[str]:
    found = check.measured
    measured = f"{statistics.median(found):,.1f} ({min(found):,.1f} to {max(found):,.1f})"
    return [
        costs.workloads[check.workload].title,
        str(check.engines),
        check.bound,
        f"{check.predicted:,.1f}",
        measured,
        f"{error(check.predicted, found):+.0%}",
        f"{check.cores_used:.2f} of {check.cores_each:g}",
    ]


def limits_table(costs: Costs, name: str, assumed: Assumptions) -> str:
    """Return the limits of a deployment, the lowest first."""
    rows = [
        [limit.what, f"**{_rate(limit.rate)}**", limit.why, limit.remedy]
        for limit in limits(costs, costs.cost(name), assumed)
    ]
    return table(("part that saturates", "at requests a second", "why", "what to do"), rows)


def plan_table(plans: Sequence[tuple[Cost, Plan]], assumed: Assumptions) -> str:
    """Return plans side by side."""
    head = ["", *(f"{cost.title}, {_rate(plan.rate)}/s" for cost, plan in plans)]
    columns = [_plan_column(plan, assumed) for _, plan in plans]
    rows = [[what, *(column[what] for column in columns)] for what in columns[0]]
    return table(head, rows)


def _plan_column(plan: Plan, assumed: Assumptions) -> dict[str, str]:
    edge = "-" if plan.edge_cores is None else f"{plan.edge_cores:,.1f}"
    return {
        "engine cores": f"{plan.engine_cores:,.0f}",
        "gateway cores": f"{plan.gateway_cores:,.0f}",
        "cores at the policy edge instead": edge,
        f"engine hosts of {assumed.cores} cores": f"{plan.engines:,}",
        "workers of one thread on each": f"{plan.workers_each}",
        "memory of these on each, GB": f"{plan.memory_each_gb:.1f} of {assumed.memory_gb:g}",
        "gateway processes": f"{plan.gateways:,}",
        f"gateway hosts of {assumed.cores} cores": f"{plan.gateway_hosts:,}",
        "from clients": _bits(plan.from_clients),
        "to clients": _bits(plan.to_clients),
        "between gateways and engines": _bits(plan.inside),
        "requests in flight": f"{plan.in_flight:,.0f}",
        "cells": f"{plan.cells:,}",
        "in each: engine hosts, gateway processes": f"{plan.engines_each_cell:,}, {plan.gateways_each_cell:,}",
        "in each: pairs of gateway and engine, a connection at least": f"{plan.connections_each_cell:,}",
        "in each: series of Prometheus": f"{plan.series_each_cell:,.0f}",
        "in each: a rollout": f"{plan.rollout_each_cell_s / 60:.1f} minutes",
        "look-ups of names a second, all cells": f"{plan.look_ups:,.0f}",
    }


def assumptions(assumed: Assumptions) -> str:
    """Return the assumptions of a plan as a sentence."""
    return (
        f"Planned for {assumed.busy:.0%} of each processor and network card; hosts of {assumed.cores} cores, "
        f"{assumed.memory_gb:g} GB and {assumed.network_gbit:g} Gbit/s; {assumed.looking:.0%} of a gateway's core for "
        f"watching engines, {assumed.rollout_s / 60:.0f} minutes for a rollout, {assumed.series:,.0f} series for one "
        "Prometheus."
    )


def _rate(value: float) -> str:
    """Return two digits, as more would claim too much."""
    return "never" if value == float("inf") else f"{float(f'{value:.2g}'):,.0f}"


def _bits(bytes_s: float) -> str:
    bits = 8 * bytes_s
    for unit, size in (("Tbit/s", 1e12), ("Gbit/s", 1e9), ("Mbit/s", 1e6)):
        if bits >= size:
            return f"{bits / size:,.2f} {unit}"
    return f"{bits / 1e3:,.1f} kbit/s"
