"""Markdown tables, and the rows of those that compare a figure with the wanted one."""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One figure; `reached` is None for a figure without a wanted value or one that could not be measured."""

    what: str
    measured: str
    figure: str
    wanted: str
    reached: bool | None


VERDICT = {True: "reached", False: "missed", None: "not measured"}


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = ("|".join(f" {text} " if text else " " for text in line) for line in (head, ["---"] * len(head), *rows))
    return "\n".join(f"|{line}|" for line in lines)


def cell(text: str) -> str:
    """Return a message as the text of one cell: in one line, without column separators."""
    return " ".join(text.replace("|", "/").split())


def figures(rows: Iterable[Row]) -> str:
    """Return the table of these rows."""
    head = ("what", "measured", "figure", "wanted", "")
    return table(head, ((r.what, r.measured, f"**{r.figure}**", r.wanted, VERDICT[r.reached]) for r in rows))


def missed(rows: Iterable[Row]) -> bool:
    """Return True if a measured figure is not the wanted one."""
    return any(row.reached is False for row in rows)


def ratio_row(
    what: str,
    above: Sequence[float],
    below: Sequence[float],
    unit: str,
    *,
    least: float | None = None,
    most: float | None = None,
    digits: int = 2,
) -> Row:
    """Return the ratio of two sides that were measured in turn, wanted to be at least `least` or at most `most`."""
    ratio = median_ratio(above, below)
    measured = f"{spread(above)} ÷ {spread(below)} {unit}"
    if least is not None:
        return Row(what, measured, f"{ratio:.{digits}f}", f"≥ {least:g}", ratio >= least)
    if most is not None:
        return Row(what, measured, f"{ratio:.{digits}f}", f"≤ {most:g}", ratio <= most)
    return Row(what, measured, f"{ratio:.{digits}f}", "", None)


def missing_row(what: str, reason: str, wanted: str) -> Row:
    """Return the row of a figure that could not be measured."""
    return Row(what, reason, "-", wanted, None)


def median_ratio(above: Sequence[float], below: Sequence[float]) -> float:
    """Return the median of the rounds' ratios: a disturbance of one round affects both of its sides."""
    return statistics.median(a / b for a, b in zip(above, below, strict=True))


def spread(values: Sequence[float]) -> str:
    """Return median, minimum and maximum."""
    return f"{statistics.median(values):.4g} ({min(values):.4g} to {max(values):.4g})"


def percentile(values: Sequence[float], percent: float) -> float:
    """Return a percentile of at least one value, by nearest rank."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(len(ranked) * percent / 100))]
