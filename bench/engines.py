"""`python -m bench.engines [--starts 3] [--ray OVERRIDE] [--write FILE] [overrides]`: Ray Serve ÷ TorchServe.

Two stacks of the same archives, settings and clients run side by side, one on each engine, and take turns; the median
of the rounds' ratios counts. Every answer is checked by that of TorchServe's stack. Processor time is that of all
processes of a stack, without the load generator: noise disturbs it less than it does a rate.
"""

import argparse
import contextlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import psutil

from bench import document, driver, options, samples, targets
from bench.driver import take_turns, turned
from bench.engine_nodes import kit_scaler
from bench.load_generator import Job
from bench.local_stack import LocalStack, local_stack
from bench.samples import JPEG, JSON
from bench.server_process import processor_s
from bench.tables import Row, figures, median_ratio, missed, ratio_row, spread
from bench.targets import Target
from settings import Settings

log = logging.getLogger("bench.engines")

SECTION = "engines"
ENGINES = ("ray", "torchserve")
WORKERS, CLIENTS = 2, 16
PARAMS = "served_model.request_params"
MODELS: Mapping[str, Sequence[str]] = {
    "digits": (f"{PARAMS}.initial_workers={WORKERS}", f"{PARAMS}.batch_size=8"),
    "cartpole": (f"{PARAMS}.initial_workers={WORKERS}",),
}
# The gateway refuses nothing, so that every request waits for the engine.
OPEN = ("gateway.deadline_ms=60000", "gateway.admission.max_wait_ms=60000")
LOADS = {"pictures": ("digits", JPEG, "pictures/s"), "states": ("cartpole", JSON, "states/s")}


@dataclass
class Found:
    """The figures of the rounds: answers a second and processor seconds of each, by load and engine; starts in s."""

    rates: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    spent: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    starts: dict[str, list[float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Side:
    """One engine's stack."""

    engine: str
    stack: LocalStack
    settings: Settings

    def target(self, model: str) -> Target:
        """Return the gateway's route of a model."""
        return targets.gateway(self.settings, model)

    def processor_s(self) -> float:
        """Return the processor time of all its processes so far."""
        return processor_s(filter(self._runs, psutil.process_iter()))

    def _runs(self, process: psutil.Process) -> bool:
        with contextlib.suppress(psutil.Error):
            return process.environ().get("MARINA_STACK") == self.stack.env["MARINA_STATE"]
        return False


def main(arguments: Sequence[str]) -> int:
    """Print the table; return 1 when a figure is missed."""
    given = _parse(arguments)
    with contextlib.ExitStack() as opened:
        own = {"ray": given.ray, "torchserve": []}
        sides = [opened.enter_context(_side(engine, (*given.overrides, *own[engine]))) for engine in ENGINES]
        found = _measured(sides, given)
    measured = (
        f"{given.rounds} rounds of {given.seconds:g} s in turn, {given.starts} worker starts, medians and (least to "
        f"most); {CLIENTS} clients, {WORKERS} workers of each model, JPEGs of 1200 x 727, single states"
    )
    rows = _rows(found)
    heading = document.heading("bench.engines", arguments, measured)
    document.publish(given.write, SECTION, f"{heading}\n\n{figures(rows)}\n\n{_reported(found)}")
    return 1 if missed(rows) else 0


@contextlib.contextmanager
def _side(engine: str, overrides: Sequence[str]) -> Iterator[Side]:
    with local_stack(MODELS, (*OPEN, *overrides), {"MARINA_ENGINE": engine}) as stack:
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
    result = driver.checked(driver.run(job))
    return result.rate, (side.processor_s() - before) / result.good


def _jobs(load_: str, sides: Sequence[Side], seconds: float) -> Iterator[tuple[Side, Job]]:
    """Yield each side, warmed up, with the same requests and the same right answers."""
    model, media_type, _ = LOADS[load_]
    sent = samples.simple_pictures() if load_ == "pictures" else samples.states()[:512]
    right = next(side for side in sides if side.engine == "torchserve")
    known = targets.answered_alone(right.target(model), sent, media_type)
    for side in sides:
        job = side.target(model).load(known, media_type, CLIENTS, seconds)
        driver.checked(driver.run(replace(job, seconds=2)))
        yield side, job


def _rows(found: Found) -> list[Row]:
    rows = []
    for load_, (_, _, unit) in LOADS.items():
        ray, torchserve = (found.rates[load_, engine] for engine in ENGINES)
        what = f"{load_} through the gateway: engine=ray ÷ engine=torchserve"
        rows.append(ratio_row(what, ray, torchserve, unit, least=1.0))
    return rows


def _reported(found: Found) -> str:
    """Return the figures that have no wanted value."""
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
    parser = options.parser("bench.engines", SECTION, rounds=5, seconds=6.0, overrides="of both stacks")
    parser.add_argument("--starts", type=options.count, default=3, help="worker starts of each engine")
    parser.add_argument("--ray", action="append", default=[], metavar="OVERRIDE", help="of the stack with engine=ray")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    options.program(main)
