"""Rows of a benchmark's table, and the table as Markdown."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One figure: what, how it was found, the figure itself, what it should be, and whether it is."""

    what: str
    measured: str
    figure: str
    wanted: str
    reached: bool


def markdown(rows: Sequence[Row]) -> str:
    """The table."""
    head = ("| what | measured | figure | wanted | reached |", "| --- | --- | --- | --- | --- |")
    lines = (
        f"| {row.what} | {row.measured} | **{row.figure}** | {row.wanted} | {'yes' if row.reached else 'no'} |"
        for row in rows
    )
    return "\n".join((*head, *lines))


def median_ratio(above: Sequence[float], below: Sequence[float]) -> float:
    """Median of the ratios of each round: what disturbs one round disturbs both of its sides."""
    return statistics.median(a / b for a, b in zip(above, below, strict=True))


def spread(values: Sequence[float]) -> str:
    """Median, least and most."""
    return f"{statistics.median(values):.4g} ({min(values):.4g} to {max(values):.4g})"


def percentile(values: Sequence[float], percent: float) -> float:
    """Nearest rank; of at least one value."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(len(ranked) * percent / 100))]
