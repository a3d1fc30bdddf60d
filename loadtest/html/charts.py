"""Line charts as inline SVG: axes with round numbers, one colour a series, figures in reach of mouse and keyboard."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 560, 250
LEFT, RIGHT, TOP, BOTTOM = 58, 16, 14, 40
COLOURS = ("a", "b", "c", "d", "e", "f")

Point = tuple[float, float | None]


@dataclass(frozen=True)
class Line:
    """One series; a value of None is a gap. `colour` is a letter of the style, `area` fills what is below."""

    name: str
    points: Sequence[Point]
    colour: str = "a"
    dashed: bool = False
    area: bool = False


@dataclass(frozen=True)
class Axis:
    """An axis: what it shows, and ticks (position, words) where round numbers would not do."""

    name: str
    ticks: Sequence[tuple[float, str]] | None = None
    high: float | None = None


def line_chart(title: str, lines: Sequence[Line], across: Axis, up: Axis) -> str:
    """A figure with its legend; empty series make no figure."""
    points = [(x, y) for line in lines for x, y in line.points if y is not None]
    if not points:
        return "<p class=soft>Nothing was measured.</p>"
    x_low, x_high = min(x for x, _ in points), max(x for x, _ in points)
    scale = _Scale(x_low, max(x_high, x_low + 1e-9), up.high or _ceiling(max(y for _, y in points)))
    inside = [*_grid(scale, across, up), *(_drawn(line, scale) for line in lines)]
    words = f"{title}. " + "; ".join(f"{line.name}: {_range(line)}" for line in lines)
    return (
        f'<figure><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" tabindex="0" aria-label="{escape(words)}">'
        f"{''.join(inside)}{_hits(lines, scale, across, up)}</svg>{_legend(lines)}</figure>"
    )


def bars(title: str, bins: Sequence[tuple[float, float, int]], unit: str, marks: Sequence[tuple[float, str]]) -> str:
    """A histogram of (from, to, count) with named lines at `marks`."""
    if not bins:
        return "<p class=soft>Nothing was measured.</p>"
    top = max(count for _, _, count in bins)
    scale = _Scale(bins[0][0], bins[-1][1], _ceiling(top))
    inside = _grid(scale, Axis(unit), Axis("requests"))
    for low, high, count in bins:
        x, y = scale.x(low), scale.y(count)
        inside.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(1.0, scale.x(high) - x - 1):.1f}" '
            f'height="{scale.y(0) - y:.1f}" fill="var(--a)" opacity=".8">'
            f"<title>{low:.1f} to {high:.1f} {unit}: {count}</title></rect>"
        )
    for number, (value, name) in enumerate(mark for mark in marks if bins[0][0] <= mark[0] <= bins[-1][1]):
        x = scale.x(value)
        right = x > WIDTH - RIGHT - 60
        inside.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{scale.y(0)}" stroke="var(--b)" stroke-dasharray="4 3"/>'
            f'<text class="strong" x="{x + (-5 if right else 5):.1f}" y="{TOP + 10 + 15 * number}" '
            f'text-anchor="{"end" if right else "start"}">{escape(name)}</text>'
        )
    words = f"{title}. " + ", ".join(f"{name} {value:.1f} {unit}" for value, name in marks)
    return (
        f'<figure><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" tabindex="0" aria-label="{escape(words)}">'
        f"{''.join(inside)}</svg></figure>"
    )


def stack(title: str, pieces: Sequence[tuple[str, float]], unit: str) -> str:
    """Parts of a whole as one bar."""
    whole = sum(value for _, value in pieces)
    if whole <= 0:
        return "<p class=soft>Nobody counted it.</p>"
    inside, x = [], 0.0
    for number, (name, value) in enumerate(pieces):
        width = WIDTH * value / whole
        inside.append(
            f'<rect x="{x:.1f}" y="4" width="{max(0.0, width - 2):.1f}" height="40" rx="4" '
            f'fill="var(--{COLOURS[number % 6]})"><title>{escape(name)}: {value:.2f} {unit}</title></rect>'
        )
        x += width
    legend = "".join(
        f'<li><i style="border-color:var(--{COLOURS[number % 6]})"></i>{escape(name)} '
        f"{value:.2f} {unit} ({value / whole:.0%})</li>"
        for number, (name, value) in enumerate(pieces)
    )
    words = f"{title}. " + ", ".join(f"{name} {value:.2f} {unit}" for name, value in pieces)
    return (
        f'<figure><svg viewBox="0 0 {WIDTH} 48" role="img" tabindex="0" aria-label="{escape(words)}">'
        f'{"".join(inside)}</svg><ul class="legend">{legend}</ul></figure>'
    )


def scatter(title: str, dots: Sequence["Dot"], front: Sequence[tuple[float, float]], across: Axis, up: Axis,
            goal: float | None = None) -> str:  # fmt: skip
    """Dots with names, the line through the best of them, and a goal as a line from bottom to top."""
    if not dots:
        return "<p class=soft>Nothing was measured.</p>"
    high = max(max(dot.x for dot in dots), goal or 0.0)
    scale = _Scale(0.0, _ceiling(high), _ceiling(max(dot.y for dot in dots)))
    inside = _grid(scale, across, up)
    if goal is not None:
        inside.append(
            f'<rect x="{LEFT}" y="{TOP}" width="{scale.x(goal) - LEFT:.1f}" '
            f'height="{scale.y(0) - TOP:.1f}" fill="var(--wash)"/>'
            f'<line x1="{scale.x(goal):.1f}" x2="{scale.x(goal):.1f}" y1="{TOP}" y2="{scale.y(0)}" '
            'stroke="var(--a)" stroke-dasharray="4 3"/>'
            f'<text class="strong" x="{scale.x(goal) - 5:.1f}" y="{scale.y(0) - 8:.1f}" text-anchor="end">goal</text>'
        )
    path = " ".join(f"{scale.x(x):.1f},{scale.y(y):.1f}" for x, y in front)
    inside.append(f'<polyline points="{path}" fill="none" stroke="var(--b)" stroke-width="2"/>')
    for dot in dots:
        inside.append(
            f'<circle cx="{scale.x(dot.x):.1f}" cy="{scale.y(dot.y):.1f}" r="{7 if dot.best else 5}" '
            f'fill="var(--{"c" if dot.best else "b" if dot.front else "f"})" opacity="{1 if dot.front else 0.55}">'
            f"<title>{escape(dot.name)}</title></circle>"
        )
    best = next((dot for dot in dots if dot.best), None)
    if best is not None:
        inside.append(f'<text class="strong" x="{scale.x(best.x) + 11:.1f}" y="{scale.y(best.y) + 4:.1f}">best</text>')
    words = f"{title}. " + "; ".join(dot.name for dot in dots if dot.front)
    return (
        f'<figure><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" tabindex="0" aria-label="{escape(words)}">'
        f"{''.join(inside)}</svg></figure>"
    )


@dataclass(frozen=True)
class Dot:
    """One setting in a scatter chart."""

    x: float
    y: float
    name: str
    front: bool = False
    best: bool = False


@dataclass(frozen=True)
class _Scale:
    """From values to places in the picture; upwards it begins at nought, because bars and areas stand on it."""

    x_low: float
    x_high: float
    y_high: float

    def x(self, value: float) -> float:
        return LEFT + (value - self.x_low) / (self.x_high - self.x_low) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        return HEIGHT - BOTTOM - min(value, self.y_high) / self.y_high * (HEIGHT - TOP - BOTTOM)


def _grid(scale: _Scale, across: Axis, up: Axis) -> list[str]:
    base = HEIGHT - BOTTOM
    made = []
    for value in _round_numbers(0, scale.y_high, 5):
        y = scale.y(value)
        made.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        made.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{_short(value)}</text>')
    ticks = across.ticks or [(value, _short(value)) for value in _round_numbers(scale.x_low, scale.x_high, 7)]
    for value, words in ticks:
        x = scale.x(value)
        made.append(f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{base}" y2="{base + 5}"/>')
        made.append(f'<text x="{x:.1f}" y="{base + 18}" text-anchor="middle">{escape(words)}</text>')
    made.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{base}" y2="{base}"/>')
    made.append(
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 4}" text-anchor="middle">{escape(across.name)}</text>'
    )
    middle = (TOP + base) / 2
    made.append(
        f'<text x="12" y="{middle}" text-anchor="middle" transform="rotate(-90 12 {middle})">{escape(up.name)}</text>'
    )
    return made


def _drawn(line: Line, scale: _Scale) -> str:
    made = []
    for run in _runs(line.points):
        path = " ".join(f"{scale.x(x):.1f},{scale.y(y):.1f}" for x, y in run)
        if len(run) == 1:
            x, y = run[0]
            made.append(f'<circle cx="{scale.x(x):.1f}" cy="{scale.y(y):.1f}" r="3" fill="var(--{line.colour})"/>')
            continue
        if line.area:
            floor = f"{scale.x(run[-1][0]):.1f},{scale.y(0):.1f} {scale.x(run[0][0]):.1f},{scale.y(0):.1f}"
            made.append(f'<polygon points="{path} {floor}" fill="var(--{line.colour})" opacity=".12"/>')
        dash = ' stroke-dasharray="5 4"' if line.dashed else ""
        made.append(
            f'<polyline points="{path}" fill="none" stroke="var(--{line.colour})" stroke-width="2" '
            f'stroke-linejoin="round"{dash}/>'
        )
    return "".join(made)


def _runs(points: Sequence[Point]) -> list[list[tuple[float, float]]]:
    """The stretches between gaps."""
    runs: list[list[tuple[float, float]]] = [[]]
    for x, y in points:
        if y is None:
            runs.append([])
        else:
            runs[-1].append((x, y))
    return [run for run in runs if run]


def _hits(lines: Sequence[Line], scale: _Scale, across: Axis, up: Axis) -> str:
    """Strips that show their figures to a resting mouse; only where all lines share their points."""
    places = [x for x, _ in lines[0].points]
    if len(places) < 2 or any([x for x, _ in line.points] != places for line in lines):
        return ""
    width = (WIDTH - LEFT - RIGHT) / len(places)
    made = []
    for number, x in enumerate(places):
        values = [(line.name, line.points[number][1]) for line in lines]
        words = ", ".join(f"{name} {value:.4g}" for name, value in values if value is not None)
        made.append(
            f'<rect class="hit" x="{scale.x(x) - width / 2:.1f}" y="{TOP}" width="{width:.1f}" '
            f'height="{HEIGHT - TOP - BOTTOM}"><title>{escape(f"{across.name} {x:.4g}: {words} {up.name}")}</title>'
            "</rect>"
        )
    return "".join(made)


def _legend(lines: Sequence[Line]) -> str:
    if len(lines) < 2:
        return ""
    entries = "".join(
        f'<li><i{" class=dashed" if line.dashed else ""} style="border-color:var(--{line.colour})"></i>'
        f"{escape(line.name)}</li>"
        for line in lines
    )
    return f'<ul class="legend">{entries}</ul>'


def _range(line: Line) -> str:
    values = [y for _, y in line.points if y is not None]
    return f"{min(values):.4g} to {max(values):.4g}" if values else "nothing"


def _ceiling(value: float) -> float:
    """The next round number, so that the highest point does not touch the frame."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10, 12) if step * power >= value * 1.05)


def _round_numbers(low: float, high: float, most: int) -> list[float]:
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(step * power for step in (1, 2, 5, 10) if step * power >= rough)
    first = math.ceil(low / step - 1e-9)
    return [number * step for number in range(first, math.floor(high / step + 1e-9) + 1)]


def _short(value: float) -> str:
    if abs(value) >= 10_000:
        return f"{value / 1000:.4g}k"
    return f"{value:.4g}"
