"""`python -m bench.handlers [--rounds 5] [--seconds 6] [--write docs/performance.md] [overrides]`: what a worker gives.

TorchServe with Marina's handlers beside TorchServe with its own VisionHandler, beside decode + forward without any
server, and beside itself. One run on one machine: all servers are loaded, the sides take turns, and the median of the
rounds' ratios counts. Every answer is checked. `overrides` are settings of the picture model.
"""

import argparse
import logging
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import commands
from bench import assets as made
from bench import document, forward, machine, options
from bench.assets import Assets
from bench.figures import Row, markdown, missing_row, ratio_row, share_row
from bench.ground import ground
from bench.handler_sides import CLIENTS, Sides
from bench.peers.peer import Level
from bench.turns import take_turns

_log = logging.getLogger("bench.handlers")

SECTION = "handlers"
WANTED_QUIET: Mapping[Level, float] = {"exact": 1.5, "fast": 2.2}
Found = Mapping[str, list[float]]


def main(arguments: Sequence[str]) -> int:
    """Print the table; 1 when a figure is missed."""
    given = _parse(arguments)
    document.check(given.write, SECTION)
    with tempfile.TemporaryDirectory(prefix="marina-bench-") as folder, ExitStack() as stack:
        assets = made.make(Path(folder), given.overrides)
        sides = Sides(assets, stack.enter_context(ground({}, ())), stack, given.seconds)
        sides.start()
        rates, starts = (take_turns(sides.rates, given.rounds, _log), take_turns(sides.starts, given.starts, _log))
        rows = _rows(assets, rates, starts)
    rows += forward.rows()
    measured = (
        f"{given.rounds} rounds of {given.seconds:g} s in turn, {given.starts} worker starts, medians and (least to "
        f"most); {CLIENTS} clients, {made.WORKERS} workers, MobileNetV3-Small of random weights, JPEGs of 1200 x 727"
    )
    text = f"{machine.heading(['python', '-m', 'bench.handlers', *arguments], measured)}\n\n{markdown(rows)}"
    print(text)
    document.write(given.write, SECTION, text)
    return 1 if any(row.reached is False for row in rows) else 0


def _rows(assets: Assets, rates: Found, starts: Found) -> list[Row]:
    rows, unit = [], "pictures/s"
    ours = {level: rates[f"Marina {level}"] for level in assets.levels}
    what = "TorchServe with Marina's handler (exact) ÷ stock VisionHandler, TorchServe's defaults"
    rows.append(ratio_row(what, ours["exact"], rates["stock, defaults"], unit, 8))
    for level, wanted in WANTED_QUIET.items():
        what = f"the same ({level}) ÷ stock VisionHandler, one thread a worker, quiet logs"
        if level in ours:
            rows.append(ratio_row(what, ours[level], rates["stock, one thread, quiet"], unit, wanted))
        else:
            rows.append(missing_row(what, assets.refused[level], f"≥ {wanted:g}"))
    for level in WANTED_QUIET:
        what = f"the same ({level}) ÷ decode + forward in two bare processes"
        handle = f"handler alone, handle() on batches of 8 ({level}) ÷ the same bare loop"
        if level in ours:
            rows.append(ratio_row(what, ours[level], rates[f"loop {level}"], unit, 0.8))
            rows.append(ratio_row(handle, rates[f"handle {level}"], rates[f"loop {level}"], unit, 0.95))
        else:
            rows.append(missing_row(what, assets.refused[level], "≥ 0.8"))
            rows.append(missing_row(handle, assets.refused[level], "≥ 0.95"))
    what = "policy worker: states a second, 256 in one request ÷ single requests"
    rows.append(ratio_row(what, rates["states, 256 in one"], rates["states, single"], "states/s", 20))
    what = "worker cold start: onnx vision ÷ stock handler"
    rows.append(share_row(what, starts["Marina"], starts["stock, defaults"], "s", 0.5))
    return rows


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = options.parser("bench.handlers", SECTION, rounds=5, seconds=6.0)
    parser.add_argument("--starts", type=options.count, default=3, help="worker starts of each side")
    parser.add_argument("overrides", nargs="*", help="of the picture model's settings")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(commands.run(main, None, unwind=options.UNWOUND))
