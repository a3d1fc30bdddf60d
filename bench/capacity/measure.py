"""One, two and three engines in turn, each at its own address: the costs of one, and predictions checked with all."""

import contextlib
import os
import statistics
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from bench import machine
from bench.capacity import model
from bench.capacity.costs import Check, Costs
from bench.capacity.look import REGISTERED, Look, Options, look
from bench.capacity.workloads import MODELS
from bench.cpu_share import Unavailable, share
from bench.nodes import nodes, run

# Nothing is refused for want of speed: the engines are made slow on purpose.
GATEWAY = ("gateway.admission.max_wait_ms=60000", "gateway.deadline_ms=60000")


def measure(options: Options, heading: str) -> Costs:
    """Everything, in stacks of its own in a temporary folder. Raises MarinaError, or Failed for a wrong answer."""
    looks: dict[int, Look] = {}
    with tempfile.TemporaryDirectory(prefix="marina-bench-") as name, _quotas(options) as (cores_each, quota):
        archives = _archives(Path(name))
        size = (archives / "digits.mar").stat().st_size / 1e6
        for count in sorted({1, *options.engines}):
            with nodes(Path(name) / f"of{count}", archives, count, GATEWAY) as stack:
                looks[count] = look(stack, options, cores_each)
    one = looks[1]
    return Costs(
        heading=heading,
        quota=quota,
        cores=machine.cores(),
        workloads=one.costs,
        checks=tuple(_checks(looks, cores_each or float(machine.cores()))),
        looking=model.line({count: seen.looking for count, seen in looks.items()}),
        rollout=model.line({count: seen.upload_s for count, seen in looks.items()}),
        gateway_series=model.line({count: float(seen.series) for count, seen in looks.items()}),
        engine_series=float(one.engine_series),
        engine_rest=one.rest,
        gateway_mb=one.gateway_mb,
        frontend_mb=one.frontend_mb,
        archive_mb=size,
        edge_s=one.edge_s,
    )


@contextlib.contextmanager
def _quotas(options: Options) -> Iterator[tuple[float | None, str]]:
    """Cores of each engine, None where this machine sets no quota; and what to say of it."""
    try:
        with share(options.cores_each):
            """It can be done."""
    except Unavailable as reason:
        yield None, f"engines share all cores, as {reason}"
        return
    yield options.cores_each, f"each engine is held to {options.cores_each:g} cores by the kernel"


def _checks(looks: Mapping[int, Look], cores_each: float) -> Iterator[Check]:
    for name, cost in looks[1].costs.items():
        for count, seen in looks.items():
            allowed = model.bounds(cost, count, cores_each, machine.cores(), looks[1].rest)
            bound, rate = model.predicted(allowed)
            rounds = seen.rates[name]
            used = statistics.median(each.cores for each in rounds)
            yield Check(name, count, cores_each, bound, rate, tuple(each.rate for each in rounds), used)


def _archives(folder: Path) -> Path:
    """Both demo models, trained where they are not yet, and packed."""
    archives = folder / "archives"
    archives.mkdir()
    env = {**os.environ, "MARINA_ARCHIVES": str(archives), "MARINA_TUNED": "false"}
    run(("-m", "demo", "train"), env)
    for name in MODELS:
        run(("-m", "serialize", f"served_model={name}", *REGISTERED), env)
    return archives
