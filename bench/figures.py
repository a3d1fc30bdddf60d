"""Rows of a benchmark's table, and the table as Markdown."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One figure: what, how it was found, the figure itself, what it should be, and whether it is (None: not found)."""

    what: str
    measured: str
    figure: str
    wanted: str
    reached: bool | None


VERDICT = {True: "reached", False: "missed", None: "not measured"}


def markdown(rows: Sequence[Row]) -> str:
    """The table."""
    head = ("| what | measured | figure | wanted | |", "| --- | --- | --- | --- | --- |")
    lines = (
        f"| {row.what} | {row.measured} | **{row.figure}** | {row.wanted} | {VERDICT[row.reached]} |" for row in rows
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


def ratio_row(what: str, above: Sequence[float], below: Sequence[float], unit: str, wanted: float) -> Row:
    """A ratio of two sides that took turns, which should be at least `wanted`."""
    ratio = median_ratio(above, below)
    measured = f"{spread(above)} ÷ {spread(below)} {unit}"
    return Row(what, measured, f"{ratio:.2f}", f"≥ {wanted:g}", ratio >= wanted)


def share_row(what: str, above: Sequence[float], below: Sequence[float], unit: str, wanted: float) -> Row:
    """The same for a ratio that should be at most `wanted`."""
    ratio = median_ratio(above, below)
    measured = f"{spread(above)} ÷ {spread(below)} {unit}"
    return Row(what, measured, f"{ratio:.2f}", f"≤ {wanted:g}", ratio <= wanted)


def missing_row(what: str, reason: str, wanted: str) -> Row:
    """A figure that could not be found, and why."""
    return Row(what, reason, "-", wanted, None)
