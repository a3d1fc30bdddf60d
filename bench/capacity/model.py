"""How many requests a second some engines give, from what one request costs; and a line through measured points."""

import statistics
from collections.abc import Mapping, Sequence

from bench.capacity.costs import Cost, Line

ENGINES, GATEWAY, MACHINE = "engines", "gateway", "this machine"


def bounds(cost: Cost, engines: int, cores_each: float, machine_cores: float, rest: float = 0.0) -> dict[str, float]:
    """Requests a second that each part would allow, were it alone.

    `cores_each` is what one engine may use, `rest` what it uses of that while nothing is asked. One gateway process
    runs on one core. `machine_cores` is what all of them and the client share here; on machines of their own, that
    bound falls away.
    """
    together = cost.gateway_s + cost.engine_s + cost.client_s
    return {
        ENGINES: engines * max(0.0, cores_each - rest) / cost.engine_s,
        GATEWAY: 1.0 / cost.gateway_s,
        MACHINE: max(0.0, machine_cores - engines * rest) / together,
    }


def predicted(allowed: Mapping[str, float]) -> tuple[str, float]:
    """What binds, and the rate."""
    bound = min(allowed, key=lambda part: allowed[part])
    return bound, allowed[bound]


def error(prediction: float, measured: Sequence[float]) -> float:
    """How far the prediction lies from the median, as a share of the median."""
    found = statistics.median(measured)
    return (prediction - found) / found


def line(points: Mapping[int, float]) -> Line:
    """Through (engines, value) by least squares; flat with but one point, never falling, never below nothing."""
    if len(points) < 2:
        return Line(next(iter(points.values())), 0.0)
    slope, base = statistics.linear_regression(list(points), list(points.values()))
    if slope <= 0:
        return Line(statistics.mean(points.values()), 0.0)
    if base < 0:
        return Line(0.0, statistics.linear_regression(list(points), list(points.values()), proportional=True).slope)
    return Line(base, slope)
