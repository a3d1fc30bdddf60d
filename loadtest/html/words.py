"""How figures are worded, on pages and in the terminal alike."""

import math
from collections.abc import Mapping
from typing import Any


def ms(value: float | None) -> str:
    """Milliseconds with three figures that count."""
    if value is None:
        return "-"
    return f"{value:.0f} ms" if value >= 100 else f"{value:.1f} ms" if value >= 1 else f"{value:.2f} ms"


def mib(value: float) -> str:
    """Bytes as MiB."""
    return f"{value / 2**20:.0f} MiB"


def described(run: Mapping[str, Any]) -> str:
    """What was loaded, how and when, in a line."""
    load, target = run["load"], run["targets"][0]
    if run["loop"] == "open":
        how = f"open loop, {load['rate']:g} requests/s ({load['arrivals']})"
    else:
        how = f"closed loop, {load['clients']} clients"
    return f"{how}, {load['rounds']} rounds of {load['round']}, {load['inputs']} · {target['url']} · {run['started']}"


def tail_x(percent: float) -> float:
    """Place of a percentile on an axis on which each nine is as wide as the one before."""
    return -math.log10(max(1e-9, 1 - percent / 100))


def tail_ticks(highest: float) -> list[tuple[float, str]]:
    """The nines up to the highest percentile that was measured."""
    names = ("0", "90", "99", "99.9", "99.99", "99.999", "99.9999")
    return [(float(n), name) for n, name in enumerate(names) if n <= tail_x(highest) + 1e-6]
