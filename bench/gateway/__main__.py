"""`python -m bench.gateway [--rounds N] [--seconds S] [--overload-seconds S] [--write FILE]`: what the gateway costs.

One run on one machine, each figure beside what it is compared with: the two take turns, in as many rounds as asked
for, and the median of the rounds' ratios counts. Every answer is checked against what TorchServe says when it is asked
alone. Prints one table as Markdown, and with `--write docs/performance.md` puts it there as well.
"""

import sys
from collections.abc import Sequence

import commands
from bench import document, machine, options
from bench.figures import markdown
from bench.gateway.costs import at_rest, coalescing, latency_added, pictures_per_second, states_per_second
from bench.gateway.depth import depth
from bench.gateway.distress import crowd, killed_worker, overload, storm
from bench.gateway.under_test import Bench, pictures, states
from bench.ground import ground, running

TWO_WORKERS = "served_model.request_params.initial_workers=2"
SLOW = "imagenet_resnet18"
MODELS = {"digits": [TWO_WORKERS], "cartpole": [], SLOW: [TWO_WORKERS, "served_model.weights=random"]}
SECTION = "gateway"
PARTS = ("depth", "costs", "overload", "storm")


def main(arguments: Sequence[str]) -> int:
    """Prints the table; 1 when a figure is not reached."""
    parser = options.parser("bench.gateway", SECTION, rounds=5, seconds=5.0)
    parser.add_argument("--overload-seconds", type=options.positive, default=30.0)
    parser.add_argument(
        "--running", action="store_true", help=f"use the running stack; digits and {SLOW} need two workers"
    )
    parser.add_argument("--only", choices=PARTS, help="measure one part alone")
    parser.add_argument("overrides", nargs="*", help="of the gateway's settings, e.g. gateway.processes=2")
    given = parser.parse_args(arguments)
    if given.only and given.write:
        parser.error("--only leaves rows out, and --write takes whole tables")
    document.check(given.write, SECTION)
    if given.only == "depth":
        rows = depth()
        print(markdown(rows))
        return 0 if all(row.reached for row in rows) else 1
    with running() if given.running else ground(MODELS, given.overrides) as stack:
        bench = Bench(stack.settings(), given.rounds, given.seconds, given.overload_seconds)
        rows = []
        shown = pictures(bench)
        if given.only in (None, "costs"):
            asked = states(bench)
            rows.append(at_rest(bench))
            rows += pictures_per_second(bench, shown)
            rows.append(latency_added(bench, shown, asked))
            rows.append(states_per_second(bench, asked))
            rows.append(coalescing(bench, stack, asked))
        if given.only in (None, "overload"):
            rows += overload(bench, shown)
            rows += crowd(bench, shown)
            rows.append(killed_worker(bench, shown))
        if given.only in (None, "storm"):
            rows += storm(bench, SLOW, pictures(bench, SLOW))
    measured = f"{bench.rounds} rounds of {bench.seconds:g} s in turns, median (least to most) and median of the ratios"
    heading = machine.heading(["python", "-m", "bench.gateway", *arguments], measured)
    text = f"{heading}\n\n{markdown(rows)}"
    print(text)
    document.write(given.write, SECTION, text)
    return 0 if all(row.reached for row in rows) else 1


if __name__ == "__main__":
    sys.exit(commands.run(main, None, unwind=options.UNWOUND))
