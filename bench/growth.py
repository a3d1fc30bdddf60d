"""`python -m bench.growth [--seconds 4] [--only NAME,...] [--write docs/performance.md] [overrides]`: what more costs.

Clients from 1 to 256, pictures from 50 KB to 5 MB, 1 to 20 models, batches of 1 to 64: each series on a running stack
of its own, through the gateway, with all answers checked. Prints Markdown tables and, with --write, puts one figure
beside the document, in figures/growth.svg.
"""

import argparse
import logging
import random
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import commands
from bench import answers, document, drive, machine, options, pictures, targets
from bench import assets as made
from bench.assets import Assets
from bench.client import Job
from bench.figures import percentile
from bench.ground import Ground, ground
from bench.growth_figure import Point, Series, svg, table
from bench.server import Failed
from bench.targets import Sample, Target

_log = logging.getLogger("bench.growth")

SECTION = "growth"
FIGURE = "figures/growth.svg"
JPEG = "image/jpeg"
CLIENTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
BYTES = (50_000, 100_000, 200_000, 500_000, 1_000_000, 2_000_000, 5_000_000)
MODELS = (1, 2, 5, 10, 20)
BATCHES = (1, 2, 4, 8, 16, 32, 64)
USUAL_CLIENTS = 16


@dataclass(frozen=True)
class Bench:
    """A stack, what is sent to it, and for how long."""

    stack: Ground
    assets: Assets
    seconds: float

    def target(self, model: str) -> Target:
        """The gateway's route of a model."""
        return targets.gateway(self.stack.settings(), model)

    def samples(self, model: str) -> list[Sample]:
        """The usual pictures with what this model answers to them."""
        sent = made.variants(self.assets.pictures)
        return answers.with_pictures(self.target(model), sent, JPEG, self.assets.reference["exact"])

    def point(self, model: str, x: float, samples: Sequence[Sample], clients: int) -> Point:
        """One measurement; a failure is a point of its own."""
        target = self.target(model)
        job = _all_different(target.job(target.requests(samples, JPEG), samples, clients, self.seconds))
        try:
            drive.checked(drive.run(replace(job, seconds=max(0.5, self.seconds / 4))))
            result = drive.checked(drive.run(job))
        except Failed as error:
            return Point(x, failed=str(error))
        latencies = result.latencies["200"]
        rate = result.good / result.seconds
        _log.info("%g: %.1f/s", x, rate)
        return Point(x, rate, percentile(latencies, 50), percentile(latencies, 99))


def _all_different(job: Job) -> Job:
    """The same, each request with its number behind the picture: the gateway answers like ones in flight once."""
    return replace(job, stamp=4)


def clients(bench: Bench) -> list[Point]:
    """More of them, the same model."""
    deploy(bench.stack, bench.assets, made.MODEL)
    samples = bench.samples(made.MODEL)
    return [bench.point(made.MODEL, count, samples, count) for count in CLIENTS]


def sizes(bench: Bench) -> list[Point]:
    """Larger pictures; what is right is what the worker says to each alone."""
    deploy(bench.stack, bench.assets, made.MODEL)
    draw, points = random.Random(0), []  # noqa: S311 - pictures for a load, nothing secret
    for size in BYTES:
        picture = pictures.of_bytes(size, draw)
        sent = [Sample(picture + number.to_bytes(4, "big")) for number in range(4)]
        label = answers.label(answers.ask(bench.target(made.MODEL), sent[0], JPEG))
        samples = [replace(sample, expected=label) for sample in sent]
        points.append(bench.point(made.MODEL, len(picture) / 1000, samples, USUAL_CLIENTS))
    return points


def models(bench: Bench) -> list[Point]:
    """More models of one worker each, asked in turn by as many clients as ever."""
    points, names = [], list[str]()
    for count in MODELS:
        for number in range(len(names), count):
            names.append(f"{made.MODEL}_{number}")
            deploy(bench.stack, bench.assets, names[-1], "served_model.request_params.initial_workers=1")
        points.append(_in_turn(bench, names))
    return points


def batches(bench: Bench) -> list[Point]:
    """Larger batches, each a rollout of the same archive; as many clients as fill two of them, 16 at least."""
    points = []
    for size in BATCHES:
        deploy(bench.stack, bench.assets, made.MODEL, f"served_model.request_params.batch_size={size}")
        count = max(USUAL_CLIENTS, 2 * size)
        points.append(bench.point(made.MODEL, size, bench.samples(made.MODEL), count))
    return points


SERIES: dict[str, tuple[str, str, Callable[[Bench], list[Point]]]] = {
    "clients": ("Clients", "clients", clients),
    "sizes": (f"Picture size, {USUAL_CLIENTS} clients", "KB", sizes),
    "models": (f"Models of one worker each, {USUAL_CLIENTS} clients", "models", models),
    "batches": ("Largest batch, two batches of clients, 16 at least", "batch_size", batches),
}


def deploy(stack: Ground, assets: Assets, model: str, *words: str) -> None:
    """Pack the picture model under a name, and roll it out."""
    given = (*assets.words("exact"), f"served_model.model_name={model}", *words)
    stack.run("-m", "serialize", *given)
    stack.run("upload_model.py", *given)


def _in_turn(bench: Bench, names: Sequence[str]) -> Point:
    """Requests to all models by turns: the route is a part of the request, so one load can ask them all."""
    requests, samples = [], []
    for number, name in enumerate(names):
        target = bench.target(name)
        own = bench.samples(name)[number % 8 :: 8]
        requests += target.requests(own, JPEG)
        samples += own
    target = bench.target(names[0])
    job = _all_different(target.job(requests, samples, USUAL_CLIENTS, bench.seconds))
    try:
        drive.checked(drive.run(replace(job, seconds=max(0.5, bench.seconds / 4))))
        result = drive.checked(drive.run(job))
    except Failed as error:
        return Point(len(names), failed=str(error))
    latencies = result.latencies["200"]
    return Point(len(names), result.good / result.seconds, percentile(latencies, 50), percentile(latencies, 99))


def main(arguments: Sequence[str]) -> int:
    """Print the tables; write section and figure when asked to."""
    given = _parse(arguments)
    document.check(given.write, SECTION)
    found = []
    with tempfile.TemporaryDirectory(prefix="marina-bench-") as folder:
        assets = made.make(Path(folder), given.overrides, ("exact",))
        for name in given.only:
            title, unit, measure = SERIES[name]
            with ground({}, ()) as stack:
                found.append(Series(title, unit, measure(Bench(stack, assets, given.seconds))))
    measured = f"{given.seconds:g} s each, through the gateway, {made.WORKERS} workers unless said otherwise"
    heading = machine.heading(["python", "-m", "bench.growth", *arguments], measured)
    text = "\n\n".join([heading, *(f"### {series.title}\n\n{table(series)}" for series in found)])
    print(text)
    if given.write is not None:
        figure = given.write.parent / FIGURE
        figure.parent.mkdir(exist_ok=True)
        figure.write_text(svg(found))
        document.write(given.write, SECTION, f"{text}\n\n![What more costs]({FIGURE})")
    return 0


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = options.parser("bench.growth", SECTION, seconds=4.0)
    parser.add_argument("--only", type=options.some_of(SERIES), default=list(SERIES), help=",".join(SERIES))
    parser.add_argument("overrides", nargs="*", help="of the model's settings")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(commands.run(main, None, unwind=options.UNWOUND))
