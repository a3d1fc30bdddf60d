"""Reports as pages: each is one self-contained file without network, script or build step.

document of a run ──▶ report_pages ──▶ run.html ──────────┐
two documents ──────▶ report_pages ──▶ comparison.html ───┼──▶ base.html, macros.html, style.css
result of a search ─▶ tune.result ───▶ search.html ───────┘         └── charts (inline SVG)

The templates escape every value.
"""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

Document = Mapping[str, Any]
"""A report as `loadtest.report_files.report_document` returns it."""


def render(template: str, **values: object) -> str:
    """Return the page of one template."""
    return _environment().get_template(template).render(values)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"ms": ms, "mib": mib, "fixed": fixed, "percent": percent}
    return environment


def ms(value: float | None) -> str:
    """Return milliseconds with about three significant digits."""
    if value is None:
        return "-"
    return f"{value:.0f} ms" if value >= 100 else f"{value:.1f} ms" if value >= 1 else f"{value:.2f} ms"


def mib(value: float) -> str:
    """Return bytes as MiB."""
    return f"{value / 2**20:.0f} MiB"


def fixed(value: float | None, digits: int = 1) -> str:
    """Return a number with a fixed number of decimals."""
    return "-" if value is None else f"{value:.{digits}f}"


def percent(value: float | None, digits: int = 0) -> str:
    """Return a share as a percentage."""
    return "-" if value is None else f"{value:.{digits}%}"


def described(run: Document) -> str:
    """Return the load of a run, its target and its start in one line."""
    load, target = run["load"], run["targets"][0]
    if run["loop"] == "open":
        kind = f"open loop, {load['rate']:g} requests/s ({load['arrivals']})"
    else:
        kind = f"closed loop, {load['clients']} clients"
    return f"{kind}, {load['rounds']} rounds of {load['round']}, {load['inputs']} · {target['url']} · {run['started']}"
