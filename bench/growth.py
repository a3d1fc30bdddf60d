"""`python -m bench.growth [--seconds 4] [--only NAME,...] [--write docs/performance.md] [overrides]`: how cost grows.

Clients from 1 to 256, pictures from 50 KB to 5 MB, 1 to 20 models, batches of 1 to 64: each series on a stack of its
own, through the gateway, with all answers checked. Prints Markdown tables and, with --write, puts one figure beside the
document, in figures/growth.svg.
"""

import html
import logging
import math
import random
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bench import assets as made
from bench import document, driver, options, samples, targets
from bench.assets import Assets
from bench.load_generator import Job
from bench.local_stack import LocalStack, local_stack
from bench.samples import JPEG, Sample
from bench.server_process import MeasurementError
from bench.tables import cell, table
from bench.targets import Target

_log = logging.getLogger("bench.growth")

SECTION = "growth"
FIGURE = "figures/growth.svg"
CLIENTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
BYTES = (50_000, 100_000, 200_000, 500_000, 1_000_000, 2_000_000, 5_000_000)
MODELS = (1, 2, 5, 10, 20)
BATCHES = (1, 2, 4, 8, 16, 32, 64)
USUAL_CLIENTS = 16
WIDTH, HEIGHT = 420, 260  # of one plot, in pixels
LEFT, BOTTOM, TOP, RIGHT = 56, 44, 34, 14
COLUMNS = 2
STYLE = (
    "text{font:12px sans-serif;fill:#444} .t{font-weight:bold} .r{stroke:#1a6faf;fill:none;stroke-width:2}"
    " .d{fill:#1a6faf} .g{stroke:#ddd} rect{fill:#fff}"
)


@dataclass(frozen=True)
class Point:
    """One measurement: answers a second and latencies in ms at `x`, or the reason why there is none."""

    x: float
    rate: float = 0.0
    p50: float = 0.0
    p99: float = 0.0
    failed: str = ""


@dataclass(frozen=True)
class Series:
    """The measurements of one quantity that grows, with its unit."""

    title: str
    unit: str
    points: Sequence[Point]

    @property
    def drawn(self) -> list[Point]:
        """The points that have figures."""
        return [point for point in self.points if not point.failed]


@dataclass(frozen=True)
class Growth:
    """A stack, its model, and the length of each measurement."""

    stack: LocalStack
    assets: Assets
    seconds: float

    def target(self, model: str) -> Target:
        """Return the gateway's route of a model."""
        return targets.gateway(self.stack.settings(), model)

    def samples(self, model: str) -> list[Sample]:
        """Return the usual pictures with this model's checked answers."""
        return targets.check_pictures(self.target(model), self.assets.variants(), JPEG, self.assets.reference["exact"])

    def deploy(self, model: str, *overrides: str) -> None:
        """Pack the picture model under a name, and roll it out."""
        given = (*self.assets.model_overrides("exact"), f"served_model.model_name={model}", *overrides)
        self.stack.run("-m", "serialize", *given)
        self.stack.run("upload_model.py", *given)

    def point(self, model: str, x: float, sent: Sequence[Sample], clients: int) -> Point:
        """Measure one model."""
        return self.measure(x, self.target(model).load(sent, JPEG, clients, self.seconds))

    def measure(self, x: float, job: Job) -> Point:
        """Measure one load; a failure is a point as well."""
        # Each request gets its number behind the picture, because the gateway merges equal ones in flight.
        stamped = replace(job, stamp=4)
        try:
            driver.checked(driver.run(replace(stamped, seconds=max(0.5, self.seconds / 4))))
            result = driver.checked(driver.run(stamped))
        except MeasurementError as error:
            return Point(x, failed=str(error))
        _log.info("%g: %.1f/s", x, result.rate)
        return Point(x, result.rate, result.latency(50), result.latency(99))


def clients(growth: Growth) -> list[Point]:
    """Measure more and more clients of one model."""
    growth.deploy(made.MODEL)
    sent = growth.samples(made.MODEL)
    return [growth.point(made.MODEL, count, sent, count) for count in CLIENTS]


def sizes(growth: Growth) -> list[Point]:
    """Measure larger pictures; right is the worker's answer to each alone."""
    growth.deploy(made.MODEL)
    draw, points = random.Random(0), []  # noqa: S311 - pictures for a load, nothing secret
    for size in BYTES:
        picture = samples.of_bytes(size, draw)
        sent = samples.numbered([picture], 4)
        label = targets.label(growth.target(made.MODEL).ask(sent[0], JPEG))
        right = [replace(sample, expected=label) for sample in sent]
        points.append(growth.point(made.MODEL, len(picture) / 1000, right, USUAL_CLIENTS))
    return points


def models(growth: Growth) -> list[Point]:
    """Measure more models of one worker each, all of which get requests in turn from the usual number of clients."""
    points, names = [], list[str]()
    for count in MODELS:
        for number in range(len(names), count):
            names.append(f"{made.MODEL}_{number}")
            growth.deploy(names[-1], "served_model.request_params.initial_workers=1")
        points.append(_all_models(growth, names))
    return points


def _all_models(growth: Growth, names: Sequence[str]) -> Point:
    """Measure one load of requests to all models: the route is a part of a request."""
    requests, sent = [], []
    for number, name in enumerate(names):
        own = growth.samples(name)[number % 8 :: 8]
        requests += growth.target(name).requests(own, JPEG)
        sent += own
    target = growth.target(names[0])
    return growth.measure(len(names), target.job(requests, sent, USUAL_CLIENTS, growth.seconds))


def batches(growth: Growth) -> list[Point]:
    """Measure larger batches, each a rollout of the same archive, with enough clients to fill two of them."""
    points = []
    for size in BATCHES:
        growth.deploy(made.MODEL, f"served_model.request_params.batch_size={size}")
        count = max(USUAL_CLIENTS, 2 * size)
        points.append(growth.point(made.MODEL, size, growth.samples(made.MODEL), count))
    return points


SERIES: dict[str, tuple[str, str, Callable[[Growth], list[Point]]]] = {
    "clients": ("Clients", "clients", clients),
    "sizes": (f"Picture size, {USUAL_CLIENTS} clients", "KB", sizes),
    "models": (f"Models of one worker each, {USUAL_CLIENTS} clients", "models", models),
    "batches": ("Largest batch, two batches of clients, 16 at least", "batch_size", batches),
}


def main(arguments: Sequence[str]) -> int:
    """Print the tables; write section and figure if a document is given."""
    parser = options.parser("bench.growth", SECTION, seconds=4.0, overrides="of the model's settings")
    parser.add_argument("--only", type=options.some_of(SERIES), default=list(SERIES), help=",".join(SERIES))
    given = parser.parse_args(arguments)
    found = []
    with tempfile.TemporaryDirectory(prefix="marina-bench-") as folder:
        assets = made.build_assets(Path(folder), given.overrides, ("exact",))
        for name in given.only:
            title, unit, measure = SERIES[name]
            with local_stack({}, ()) as stack:
                found.append(Series(title, unit, measure(Growth(stack, assets, given.seconds))))
    measured = f"{given.seconds:g} s each, through the gateway, {made.WORKERS} workers unless said otherwise"
    parts = [document.heading("bench.growth", arguments, measured)]
    parts += [f"### {series.title}\n\n{series_table(series)}" for series in found]
    if given.write is not None:
        figure = given.write.parent / FIGURE
        figure.parent.mkdir(exist_ok=True)
        figure.write_text(svg(found))
        parts.append(f"![How cost grows]({FIGURE})")
    document.publish(given.write, SECTION, "\n\n".join(parts))
    return 0


def series_table(series: Series) -> str:
    """Return the series as Markdown."""
    return table((series.unit, "pictures/s", "p50 ms", "p99 ms"), map(_cells, series.points))


def _cells(point: Point) -> tuple[str, ...]:
    if point.failed:
        return (f"{point.x:.0f}", cell(point.failed), "", "")
    return (f"{point.x:.0f}", f"{point.rate:.1f}", f"{point.p50:.1f}", f"{point.p99:.1f}")


def svg(all_series: Sequence[Series]) -> str:
    """Return one SVG of all series: pictures a second over the quantity that grows, on a logarithmic axis."""
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

    def position(point: Point) -> tuple[float, float]:
        share = (math.log(point.x) - low) / ((high - low) or 1.0)
        return round(LEFT + share * across, 1), round(TOP + down - point.rate / most * down, 1)

    parts = [f'<text class="t" x="{LEFT}" y="18">{html.escape(series.title)}</text>']
    for step in range(5):
        y = TOP + down - step / 4 * down
        parts.append(f'<line class="g" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4}" text-anchor="end">{most * step / 4:g}</text>')
    positions = [position(point) for point in points]
    parts.append(f'<polyline class="r" points="{" ".join(f"{x},{y}" for x, y in positions)}"/>')
    for (x, y), point in zip(positions, points, strict=True):
        hint = f"{point.x:.0f} {series.unit}: {point.rate:.1f}/s, p99 {point.p99:.0f} ms"
        parts.append(f'<circle class="d" cx="{x}" cy="{y}" r="3"><title>{html.escape(hint)}</title></circle>')
        parts.append(f'<text x="{x}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{point.x:.0f}</text>')
    axis = html.escape(f"pictures/s over {series.unit}")
    parts.append(f'<text x="{LEFT + across / 2}" y="{HEIGHT - 8}" text-anchor="middle">{axis}</text>')
    return "".join(parts)


def _round_up(value: float) -> float:
    """Return the next of 1, 2, 4, 8 times a power of ten; always above 0."""
    power = 10.0 ** math.floor(math.log10(value)) if value > 0 else 1.0
    return next(step * power for step in (1, 2, 4, 8, 10) if step * power >= value)


if __name__ == "__main__":
    options.program(main)
