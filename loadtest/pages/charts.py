"""Charts as shapes of inline SVG, drawn by the macro `chart`.

Axes have round numbers and each series has its own colour. A mouse shows the figures of each shape, and the label of a
chart gives them to screen readers.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT, BAR_HEIGHT = 560, 250, 48
LEFT, RIGHT, TOP, BOTTOM = 58, 16, 14, 40
BASE = HEIGHT - BOTTOM
COLOURS = ("a", "b", "c", "d", "e", "f")  # variables of style.css
DASHES = "4 3"

Point = tuple[float, float | None]


@dataclass(frozen=True)
class Shape:
    """One SVG element; `title` is its tooltip."""

    tag: str
    attributes: Mapping[str, str | int]
    title: str = ""
    text: str = ""


@dataclass(frozen=True)
class LegendEntry:
    """The name of one series beside its colour."""

    name: str
    colour: str
    dashed: bool = False


@dataclass(frozen=True)
class Chart:
    """A drawing, its description and its legend."""

    label: str
    shapes: Sequence[Shape]
    legend: Sequence[LegendEntry] = ()
    width: int = WIDTH
    height: int = HEIGHT


@dataclass(frozen=True)
class ChartLine:
    """One series; a value of None is a gap. `area` fills the area below the line."""

    name: str
    points: Sequence[Point]
    colour: str = "a"
    dashed: bool = False
    area: bool = False


@dataclass(frozen=True)
class ChartAxis:
    """The name of an axis, and its ticks (position, text) if they are not round numbers."""

    name: str
    ticks: Sequence[tuple[float, str]] | None = None


@dataclass(frozen=True)
class ScatterDot:
    """One named point of a scatter chart."""

    x: float
    y: float
    name: str
    front: bool = False
    best: bool = False


def line_chart(title: str, lines: Sequence[ChartLine], across: ChartAxis, up: ChartAxis) -> Chart | None:
    """Draw one or more series; None when there is no point."""
    points = [(x, y) for line in lines for x, y in line.points if y is not None]
    if not points:
        return None
    x_low, x_high = min(x for x, _ in points), max(x for x, _ in points)
    scale = _Scale(x_low, max(x_high, x_low + 1e-9), _ceiling(max(y for _, y in points)))
    shapes = [*_grid(scale, across, up), *(shape for line in lines for shape in _series(line, scale))]
    shapes += _tooltips(lines, scale, across, up)
    label = f"{title}. " + "; ".join(f"{line.name}: {_range(line)}" for line in lines)
    legend = [LegendEntry(line.name, line.colour, line.dashed) for line in lines] if len(lines) > 1 else ()
    return Chart(label, shapes, legend)


def bar_chart(
    title: str, bins: Sequence[tuple[float, float, int]], unit: str, marks: Sequence[tuple[float, str]]
) -> Chart | None:
    """Draw a histogram of (from, to, count) with named lines at `marks`; None when there is no bin."""
    if not bins:
        return None
    scale = _Scale(bins[0][0], bins[-1][1], _ceiling(max(count for _, _, count in bins)))
    shapes = list(_grid(scale, ChartAxis(unit), ChartAxis("requests")))
    for low, high, count in bins:
        x, y = scale.x(low), scale.y(count)
        width, title_text = max(1.0, scale.x(high) - x - 1), f"{low:.1f} to {high:.1f} {unit}: {count}"
        shapes.append(_rect(x, y, width, BASE - y, fill="var(--a)", opacity=".8", title=title_text))
    for number, (value, name) in enumerate(mark for mark in marks if bins[0][0] <= mark[0] <= bins[-1][1]):
        x = scale.x(value)
        at_edge = x > WIDTH - RIGHT - 60
        offset, anchor = (-5, "end") if at_edge else (5, "start")
        shapes.append(_line(x, TOP, x, BASE, stroke="var(--b)", stroke_dasharray=DASHES))
        shapes.append(_text(name, x + offset, TOP + 10 + 15 * number, anchor, class_="strong"))
    label = f"{title}. " + ", ".join(f"{name} {value:.1f} {unit}" for value, name in marks)
    return Chart(label, shapes)


def stacked_bar(title: str, pieces: Sequence[tuple[str, float]], unit: str) -> Chart | None:
    """Draw the parts of a whole as one bar; None when the whole is zero."""
    whole = sum(value for _, value in pieces)
    if whole <= 0:
        return None
    shapes, legend, x = [], [], 0.0
    for number, (name, value) in enumerate(pieces):
        colour, width = COLOURS[number % len(COLOURS)], WIDTH * value / whole
        figure = f"{value:.2f} {unit}"
        shapes.append(_rect(x, 4, max(0.0, width - 2), 40, rx=4, fill=f"var(--{colour})", title=f"{name}: {figure}"))
        legend.append(LegendEntry(f"{name} {figure} ({value / whole:.0%})", colour))
        x += width
    label = f"{title}. " + ", ".join(f"{name} {value:.2f} {unit}" for name, value in pieces)
    return Chart(label, shapes, legend, height=BAR_HEIGHT)


def scatter(title: str, dots: Sequence[ScatterDot], across: ChartAxis, up: ChartAxis, goal: float) -> Chart | None:
    """Draw named dots, a line through the front, and the area left of the goal; None when there is no dot."""
    if not dots:
        return None
    scale = _Scale(0.0, _ceiling(max(max(dot.x for dot in dots), goal)), _ceiling(max(dot.y for dot in dots)))
    x = scale.x(goal)
    front = sorted((dot.x, dot.y) for dot in dots if dot.front)
    shapes = [
        *_grid(scale, across, up),
        _rect(LEFT, TOP, x - LEFT, BASE - TOP, fill="var(--wash)"),
        _line(x, TOP, x, BASE, stroke="var(--a)", stroke_dasharray=DASHES),
        _text("goal", x - 5, BASE - 8, "end", class_="strong"),
        _shape("polyline", points=scale.path(front), fill="none", stroke="var(--b)", stroke_width=2),
    ]
    for dot in dots:
        colour = "c" if dot.best else "b" if dot.front else "f"
        look = {"fill": f"var(--{colour})", "opacity": "1" if dot.front else "0.55"}
        shapes.append(_shape("circle", dot.name, cx=scale.x(dot.x), cy=scale.y(dot.y), r=7 if dot.best else 5, **look))
    best = [(scale.x(dot.x) + 11, scale.y(dot.y) + 4) for dot in dots if dot.best]
    shapes += [_text("best", x, y, None, class_="strong") for x, y in best]
    return Chart(f"{title}. " + "; ".join(dot.name for dot in dots if dot.front), shapes)


def _shape(tag: str, title: str = "", text: str = "", **attributes: str | float | None) -> Shape:
    """Return an element; `stroke_width` becomes `stroke-width`, and an attribute of None is left out."""
    named = {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items() if value is not None}
    return Shape(tag, {k: f"{v:.1f}" if isinstance(v, float) else v for k, v in named.items()}, title, text)


def _line(x1: float, y1: float, x2: float, y2: float, **attributes: str) -> Shape:
    return _shape("line", x1=x1, y1=y1, x2=x2, y2=y2, **attributes)


def _rect(x: float, y: float, width: float, height: float, title: str = "", **attributes: str | int) -> Shape:
    return _shape("rect", title, "", x=x, y=y, width=width, height=height, **attributes)


def _text(text: str, x: float, y: float, anchor: str | None, **attributes: str) -> Shape:
    return _shape("text", text=text, x=x, y=y, text_anchor=anchor, **attributes)


@dataclass(frozen=True)
class _Scale:
    """Positions in the drawing for values; the vertical axis begins at 0, because bars and areas stand on it."""

    x_low: float
    x_high: float
    y_high: float

    def x(self, value: float) -> float:
        return LEFT + (value - self.x_low) / (self.x_high - self.x_low) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        return BASE - min(value, self.y_high) / self.y_high * (BASE - TOP)

    def path(self, points: Sequence[tuple[float, float]]) -> str:
        return " ".join(f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in points)


def _grid(scale: _Scale, across: ChartAxis, up: ChartAxis) -> Iterator[Shape]:
    right = WIDTH - RIGHT
    for value in _round_numbers(0, scale.y_high, 5):
        y = scale.y(value)
        yield _line(LEFT, y, right, y, class_="grid")
        yield _text(_short(value), LEFT - 8, y + 4, "end")
    ticks = across.ticks or [(value, _short(value)) for value in _round_numbers(scale.x_low, scale.x_high, 7)]
    for value, text in ticks:
        x = scale.x(value)
        yield _line(x, BASE, x, BASE + 5, class_="axis")
        yield _text(text, x, BASE + 18, "middle")
    yield _line(LEFT, BASE, right, BASE, class_="axis")
    yield _text(across.name, (LEFT + right) / 2, HEIGHT - 4, "middle")
    middle = (TOP + BASE) / 2
    yield _text(up.name, 12, middle, "middle", transform=f"rotate(-90 12 {middle})")


def _series(line: ChartLine, scale: _Scale) -> Iterator[Shape]:
    colour = f"var(--{line.colour})"
    dash = "5 4" if line.dashed else None
    for run in _stretches(line.points):
        if len(run) == 1:
            yield _shape("circle", cx=scale.x(run[0][0]), cy=scale.y(run[0][1]), r=3, fill=colour)
            continue
        if line.area:
            area = scale.path([*run, (run[-1][0], 0.0), (run[0][0], 0.0)])
            yield _shape("polygon", points=area, fill=colour, opacity=".12")
        look = {"fill": "none", "stroke": colour, "stroke_linejoin": "round"}
        yield _shape("polyline", points=scale.path(run), stroke_width=2, stroke_dasharray=dash, **look)


def _stretches(points: Sequence[Point]) -> list[list[tuple[float, float]]]:
    """Return the points between gaps."""
    runs: list[list[tuple[float, float]]] = [[]]
    for x, y in points:
        if y is None:
            runs.append([])
        else:
            runs[-1].append((x, y))
    return [run for run in runs if run]


def _tooltips(lines: Sequence[ChartLine], scale: _Scale, across: ChartAxis, up: ChartAxis) -> Iterator[Shape]:
    """Yield strips whose tooltips show the figures; only where all lines have the same horizontal positions."""
    positions = [x for x, _ in lines[0].points]
    if len(positions) < 2 or any([x for x, _ in line.points] != positions for line in lines):
        return
    width = (WIDTH - LEFT - RIGHT) / len(positions)
    for number, x in enumerate(positions):
        values = [(line.name, line.points[number][1]) for line in lines]
        figures = ", ".join(f"{name} {value:.4g}" for name, value in values if value is not None)
        title = f"{across.name} {x:.4g}: {figures} {up.name}"
        yield _rect(scale.x(x) - width / 2, TOP, width, BASE - TOP, title, class_="hit")


def _range(line: ChartLine) -> str:
    values = [y for _, y in line.points if y is not None]
    return f"{min(values):.4g} to {max(values):.4g}" if values else "nothing"


def _ceiling(value: float) -> float:
    """Return the next round number, so that the highest point does not touch the frame."""
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
