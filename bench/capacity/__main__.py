"""`python -m bench.capacity measure | plan`: the cost of a request, and the number of machines that a load needs.

    measure [--rounds 3] [--seconds 6] [--engines 1,2,3] [--cores-each 0.4] [--costs FILE] [--write docs/scale.md]
    plan --rate 1e6 --model digits-200kb [--cores 16] [--network 25] [--memory 64] [--busy 0.6] [--costs FILE]

`measure` starts stacks of its own; it writes the measured costs as JSON, and with --write the tables of the document.
`plan` computes from that file and starts nothing.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import commands
from bench import document, options
from bench.capacity import capacity_tables, costs
from bench.capacity.costs import FILE, Costs
from bench.capacity.forecast import Assumptions, plan
from bench.capacity.workloads import LARGE, SMALL, STATE, WORKLOADS
from errors import ConfigError
from loadtest.resources import HostInfo
from settings.load import ROOT

SECTIONS = ("costs", "checks", "limits", "million")
MILLION = 1e6


def main(arguments: Sequence[str]) -> int:
    """Run one of the two commands and return its exit status."""
    given = _parse(arguments)
    return _measure(given, arguments) if given.command == "measure" else _plan(given)


def _measure(given: argparse.Namespace, arguments: Sequence[str]) -> int:
    # Imported here: a plan needs no load generator.
    from bench.capacity.measure import Options, measure

    rounds = f"{given.rounds} rounds of {given.seconds:g} s, medians (least to most)"
    heading = document.heading("bench.capacity", arguments, rounds)
    found = measure(Options(given.rounds, given.seconds, given.engines, given.cores_each), heading)
    if given.costs is not None:
        costs.write(given.costs, found)
    for name, text in _texts(found, Assumptions()).items():
        document.publish(given.write, name, f"{text}\n")
    return 0


def _texts(found: Costs, assumed: Assumptions) -> dict[str, str]:
    """Return the sections of the document."""
    plans = [(found.cost(name), plan(found, found.cost(name), assumed, MILLION)) for name in (LARGE, SMALL, STATE)]
    return {
        "costs": capacity_tables.costs_table(found),
        "checks": capacity_tables.check_table(found),
        "limits": f"{capacity_tables.assumptions(assumed)}\n\n{capacity_tables.limits_table(found, LARGE, assumed)}",
        "million": capacity_tables.plan_table(plans, assumed),
    }


def _plan(given: argparse.Namespace) -> int:
    try:
        found = costs.read(given.costs)
        cost = found.cost(given.model)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    assumed = Assumptions(busy=given.busy, cores=given.cores, memory_gb=given.memory, network_gbit=given.network)
    made = plan(found, cost, assumed, given.rate)
    print(f"{capacity_tables.assumptions(assumed)}\n\n{capacity_tables.plan_table([(cost, made)], assumed)}\n")
    print(capacity_tables.limits_table(found, given.model, assumed))
    return 0


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.capacity", description=(__doc__ or "").splitlines()[0], epilog=commands.EPILOG
    )
    parts = parser.add_subparsers(dest="command", required=True)
    measure = parts.add_parser("measure", help="put load on one, two and three engines of this machine")
    measure.add_argument("--rounds", type=options.count, default=3)
    measure.add_argument("--seconds", type=options.positive, default=6.0, help="of each measurement")
    measure.add_argument("--engines", type=options.counts, default=(1, 2, 3), help="numbers of engines, e.g. 1,2,3")
    measure.add_argument(
        "--cores-each", type=options.positive, default=0.2 * HostInfo.this().cores, help="of one engine"
    )
    measure.add_argument("--costs", type=Path, metavar="FILE", help="where the measured costs go, as JSON")
    options.add_write(measure, *SECTIONS)
    ask = parts.add_parser("plan", help="processors, memory, network and machines for a rate")
    ask.add_argument("--rate", type=options.positive, required=True, help="requests a second, e.g. 1e6")
    ask.add_argument("--model", choices=list(WORKLOADS), required=True)
    ask.add_argument("--cores", type=options.count, default=Assumptions.cores, help="of a host")
    ask.add_argument("--memory", type=options.positive, default=Assumptions.memory_gb, help="of a host, in GB")
    ask.add_argument("--network", type=options.positive, default=Assumptions.network_gbit, help="of a host, in Gbit/s")
    ask.add_argument(
        "--busy", type=options.share, default=Assumptions.busy, help="share of processors and network to plan with"
    )
    ask.add_argument("--costs", type=Path, metavar="FILE", default=ROOT / FILE, help="what `measure` has written")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    options.program(main)
