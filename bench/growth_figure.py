"""The series of bench.growth as one table each, and together as one SVG that needs no program to draw it."""

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 420, 260  # of one plot, in pixels
LEFT, BOTTOM, TOP, RIGHT = 56, 44, 34, 14
COLUMNS = 2
STYLE = (
    "text{font:12px sans-serif;fill:#444} .t{font-weight:bold} .r{stroke:#1a6faf;fill:none;stroke-width:2}"
    " .d{fill:#1a6faf} .g{stroke:#ddd} rect{fill:#fff}"
)


@dataclass(frozen=True)
class Point:
    """One measurement: answers a second and latencies in ms at `x`, or why there is none."""

    x: float
    rate: float = 0.0
    p50: float = 0.0
    p99: float = 0.0
    failed: str = ""


@dataclass(frozen=True)
class Series:
    """One question: what grows, in which unit, and what was found."""

    title: str
    unit: str
    points: Sequence[Point]

    @property
    def drawn(self) -> list[Point]:
        """The points that have figures."""
        return [point for point in self.points if not point.failed]


def table(series: Series) -> str:
    """The series as Markdown."""
    lines = [f"| {series.unit} | pictures/s | p50 ms | p99 ms |", "| --- | --- | --- | --- |"]
    for point in series.points:
        if point.failed:
            lines.append(f"| {point.x:.0f} | {' '.join(point.failed.replace('|', '/').split())} | | |")
        else:
            lines.append(f"| {point.x:.0f} | {point.rate:.1f} | {point.p50:.1f} | {point.p99:.1f} |")
    return "\n".join(lines)


def svg(all_series: Sequence[Series]) -> str:
    """All series, pictures a second over what grows, on a logarithmic axis."""
    drawn = [series for series in all_series if series.drawn]
    rows = max(1, math.ceil(len(drawn) / COLUMNS))
    width, height = COLUMNS * WIDTH, rows * HEIGHT
    plots = "".join(
        f'<g transform="translate({number % COLUMNS * WIDTH},{number // COLUMNS * HEIGHT})">{_plot(series)}</g>'
        for number, series in enumerate(drawn)
    )
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">'
    return f'{head}<style>{STYLE}</style><rect width="{width}" height="{height}"/>{plots}</svg>\n'


def _plot(series: Series) -> str:
    points = series.drawn
    low, high = math.log(min(p.x for p in points)), math.log(max(p.x for p in points))
    most = _round_up(max(point.rate for point in points))
    across, down = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def place(point: Point) -> tuple[float, float]:
        share = (math.log(point.x) - low) / ((high - low) or 1.0)
        return round(LEFT + share * across, 1), round(TOP + down - point.rate / most * down, 1)

    parts = [f'<text class="t" x="{LEFT}" y="18">{html.escape(series.title)}</text>']
    for step in range(5):
        y = TOP + down - step / 4 * down
        parts.append(f'<line class="g" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4}" text-anchor="end">{most * step / 4:g}</text>')
    places = [place(point) for point in points]
    parts.append(f'<polyline class="r" points="{" ".join(f"{x},{y}" for x, y in places)}"/>')
    for (x, y), point in zip(places, points, strict=True):
        told = f"{point.x:.0f} {series.unit}: {point.rate:.1f}/s, p99 {point.p99:.0f} ms"
        parts.append(f'<circle class="d" cx="{x}" cy="{y}" r="3"><title>{html.escape(told)}</title></circle>')
        parts.append(f'<text x="{x}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{point.x:.0f}</text>')
    told = f"pictures/s over {series.unit}"
    parts.append(f'<text x="{LEFT + across / 2}" y="{HEIGHT - 8}" text-anchor="middle">{html.escape(told)}</text>')
    return "".join(parts)


def _round_up(value: float) -> float:
    """The next of 1, 2, 4, 8 times a power of ten; above 0."""
    power = 10.0 ** math.floor(math.log10(value)) if value > 0 else 1.0
    return next(step * power for step in (1, 2, 4, 8, 10) if step * power >= value)
