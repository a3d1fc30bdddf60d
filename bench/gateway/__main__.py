"""`python -m bench.gateway [--rounds N] [--seconds S] [--overload-seconds S] [--only PART] [--write FILE] [overrides]`.

The cost of the gateway, in one run on one machine: each figure stands beside the one that it is compared with. The two
take turns in each round, and the median of the rounds' ratios counts. Every answer is checked by TorchServe's answer to
the same input alone. A second table compares the project's own HTTP client, multipart reader and statistical tests with
libraries. Prints Markdown; `--write docs/performance.md` replaces the tables there.
"""

import argparse
from collections.abc import Sequence
from contextlib import nullcontext

from bench import document, options
from bench.gateway import libraries, normal_load, overload
from bench.gateway.depth import depth
from bench.gateway.normal_load import GatewayBench
from bench.local_stack import RUNNING, local_stack
from bench.tables import Row, figures

TWO_WORKERS = "served_model.request_params.initial_workers=2"
SLOW = "imagenet_resnet18"
MODELS = {"digits": [TWO_WORKERS], "cartpole": [], SLOW: [TWO_WORKERS, "served_model.weights=random"]}
SECTION = "gateway"
STATISTICS = "median (least to most) and median of the ratios"
ON_STACK = ("costs", "overload", "storm")


def main(arguments: Sequence[str]) -> int:
    """Print the tables; return 1 unless all figures are reached."""
    given = _parse(arguments)
    rows = []
    if given.only in (None, *ON_STACK):
        rows += _on_stack(given)
        measured = f"{given.rounds} rounds of {given.seconds:g} s in turns, {STATISTICS}"
        heading = document.heading("bench.gateway", arguments, measured)
        document.publish(given.write, SECTION, f"{heading}\n\n{figures(rows)}")
    if given.only == "depth":
        rows += depth()
        print(figures(rows))
    if given.only in (None, "libraries"):
        rows += (compared := libraries.rows())
        heading = document.heading("bench.gateway", arguments, libraries.MEASURED)
        document.publish(given.write, libraries.SECTION, f"{heading}\n\n{figures(compared)}")
    return 0 if all(row.reached for row in rows) else 1


def _on_stack(given: argparse.Namespace) -> list[Row]:
    with nullcontext(RUNNING) if given.running else local_stack(MODELS, given.overrides) as stack:
        bench = GatewayBench(stack, stack.settings(), given.rounds, given.seconds, given.overload_seconds)
        rows = []
        pictures = bench.pictures("digits")
        if given.only in (None, "costs"):
            rows += normal_load.rows(bench, pictures)
        if given.only in (None, "overload"):
            rows += overload.rows(bench, pictures)
        if given.only in (None, "storm"):
            rows += overload.storm(bench, SLOW, bench.pictures(SLOW))
    return rows


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    overrides = "of the gateway's settings, e.g. gateway.processes=2"
    parser = options.parser("bench.gateway", None, rounds=5, seconds=5.0, overrides=overrides)
    options.add_write(parser, SECTION, libraries.SECTION)
    parser.add_argument("--overload-seconds", type=options.positive, default=30.0)
    parser.add_argument(
        "--running", action="store_true", help=f"use the running stack; digits and {SLOW} need two workers"
    )
    parser.add_argument("--only", choices=(*ON_STACK, "depth", "libraries"), help="measure one part alone")
    given = parser.parse_args(arguments)
    if given.only not in (None, "libraries") and given.write:
        parser.error("--only leaves rows out, and --write takes whole tables")
    return given


if __name__ == "__main__":
    options.program(main)
