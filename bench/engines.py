"""`python -m bench.engines [--starts 3] [--ray WORD] [--write FILE] [overrides]`: Ray Serve ÷ TorchServe.

Two stacks of the same archives, settings and clients stand side by side, one on each engine, and take turns; the median
of the rounds' ratios counts. Every answer is checked against what TorchServe's stack said before. Processor time is
that of all processes of a stack, the load generator's not among them: noise disturbs it less than it does a rate.
"""

import argparse
import contextlib
import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import psutil

import commands
from bench import answers, document, drive, machine, options, targets
from bench.client import Job
from bench.figures import Row, markdown, median_ratio, ratio_row, spread
from bench.ground import Ground, ground
from bench.targets import Target
from bench.turns import take_turns, turned
from bench.worker_start import kit_scaler
from settings import Settings

log = logging.getLogger("bench.engines")

SECTION = "engines"
ENGINES = ("ray", "torchserve")
WORKERS, CLIENTS = 2, 16
SAME = "served_model.request_params"
MODELS: Mapping[str, Sequence[str]] = {
    "digits": (f"{SAME}.initial_workers={WORKERS}", f"{SAME}.batch_size=8"),
    "cartpole": (f"{SAME}.initial_workers={WORKERS}",),
}
# Whoever waits here waits for the engine: nothing is refused, and no answer comes from a cache.
OPEN = ("gateway.deadline_ms=60000", "gateway.admission.max_wait_ms=60000")
LOADS = {"pictures": ("digits", "image/jpeg", "pictures/s"), "states": ("cartpole", "application/json", "states/s")}


@dataclass
class Found:
    """What the rounds found: by load and engine, answers a second and processor seconds of each; and starts, in s."""

    rates: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    spent: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    starts: dict[str, list[float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Side:
    """One engine's stack."""

    engine: str
    stack: Ground
    settings: Settings

    def target(self, model: str) -> Target:
        """The gateway, as clients see it."""
        return targets.gateway(self.settings, model)

    def processor_s(self) -> float:
        """Processor time of all its processes so far."""
        total = 0.0
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get("MARINA_STACK") == self.stack.env["MARINA_STATE"]:
                    times = process.cpu_times()
                    total += times.user + times.system
        return total


def main(arguments: Sequence[str]) -> int:
    """Print the table; 1 when a figure is missed."""
    given = _parse(arguments)
    document.check(given.write, SECTION)
    with contextlib.ExitStack() as opened:
        own = {"ray": given.ray, "torchserve": []}
        sides = [opened.enter_context(_side(engine, (*given.overrides, *own[engine]))) for engine in ENGINES]
        found = _measured(sides, given)
    measured = (
        f"{given.rounds} rounds of {given.seconds:g} s in turn, {given.starts} worker starts, medians and (least to "
        f"most); {CLIENTS} clients, {WORKERS} workers of each model, JPEGs of 1200 x 727, single states"
    )
    rows = _rows(found)
    heading = machine.heading(["python", "-m", "bench.engines", *arguments], measured)
    text = f"{heading}\n\n{markdown(rows)}\n\n{_reported(found)}"
    print(text)
    document.write(given.write, SECTION, text)
    return 1 if any(row.reached is False for row in rows) else 0


@contextlib.contextmanager
def _side(engine: str, overrides: Sequence[str]) -> Iterator[Side]:
    with ground(MODELS, (*OPEN, *overrides), {"MARINA_ENGINE": engine}) as stack:
        log.info("the stack with engine=%s is up", engine)
        yield Side(engine, stack, stack.settings())


def _measured(sides: Sequence[Side], given: argparse.Namespace) -> Found:
    found = Found()
    jobs = {(load_, side.engine): job for load_ in LOADS for side, job in _jobs(load_, sides, given.seconds)}
    for number in range(given.rounds):
        for load_ in LOADS:
            for side in turned(sides, number):
                rate, spent = _round(side, jobs[load_, side.engine])
                found.rates.setdefault((load_, side.engine), []).append(rate)
                found.spent.setdefault((load_, side.engine), []).append(spent)
                log.info("round %d, %s, %s: %.4g/s, %.3g ms each", number + 1, load_, side.engine, rate, spent * 1e3)
    starts = {side.engine: kit_scaler(side.settings, "cartpole", WORKERS).start_one for side in sides}
    found.starts.update(take_turns(starts, given.starts, log))
    return found


def _round(side: Side, job: Job) -> tuple[float, float]:
    before = side.processor_s()
    result = drive.checked(drive.run(job))
    return result.good / result.seconds, (side.processor_s() - before) / result.good


def _jobs(load_: str, sides: Sequence[Side], seconds: float) -> Iterator[tuple[Side, Job]]:
    """The same requests and the same right answers for each side, which is warm after this."""
    model, media_type, _ = LOADS[load_]
    samples = targets.pictures() if load_ == "pictures" else targets.states()[:512]
    right = next(side for side in sides if side.engine == "torchserve")
    known = answers.as_told(right.target(model), samples, media_type)
    for side in sides:
        target = side.target(model)
        job = target.job(target.requests(known, media_type), known, CLIENTS, seconds)
        drive.checked(drive.run(replace(job, seconds=2)))
        yield side, job


def _rows(found: Found) -> list[Row]:
    rows = []
    for load_, (_, _, unit) in LOADS.items():
        ray, torchserve = (found.rates[load_, engine] for engine in ENGINES)
        what = f"{load_} through the gateway: engine=ray ÷ engine=torchserve"
        rows.append(ratio_row(what, ray, torchserve, unit, 1.0))
    return rows


def _reported(found: Found) -> str:
    """What no figure was wanted for."""
    lines = []
    for load_ in LOADS:
        ray, torchserve = ([each * 1e3 for each in found.spent[load_, engine]] for engine in ENGINES)
        each = f"{spread(ray)} ÷ {spread(torchserve)} ms"
        lines.append(f"- processor time of the whole stack, {load_}: {each} = **{median_ratio(ray, torchserve):.2f}**")
    ray, torchserve = (found.starts[engine] for engine in ENGINES)
    starts = f"{spread(ray)} ÷ {spread(torchserve)} s = **{median_ratio(ray, torchserve):.2f}**"
    lines.append(f"- start of a model's first worker, its archive already fetched: {starts}")
    return "Reported, engine=ray ÷ engine=torchserve:\n\n" + "\n".join(lines)


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = options.parser("bench.engines", SECTION, rounds=5, seconds=6.0)
    parser.add_argument("--starts", type=options.count, default=3, help="worker starts of each engine")
    parser.add_argument("--ray", action="append", default=[], metavar="OVERRIDE", help="of the stack with engine=ray")
    parser.add_argument("overrides", nargs="*", help="of both stacks")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(commands.run(main, None, unwind=options.UNWOUND))
