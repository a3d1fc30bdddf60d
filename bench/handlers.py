"""`python -m bench.handlers [--rounds 5] [--seconds 6] [--write FILE] [overrides]`: the rate of a worker.

TorchServe with Marina's handlers beside TorchServe with its own VisionHandler, and beside decode and forward without
any server. One run on one machine: all servers are loaded, the sides take turns, and the median of the rounds' ratios
counts. Every answer is checked. `overrides` are settings of the picture model.
"""

import json
import logging
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from bench import assets as made
from bench import document, driver, forward, options, samples, targets
from bench.assets import Assets, Level
from bench.engine_nodes import Scaler, kit_scaler
from bench.local_stack import LocalStack, free_ports, local_stack
from bench.peers import launch
from bench.peers.launch import PORTS, Launch, Site, launched
from bench.samples import JPEG, JSON, Sample
from bench.server_process import MeasurementError
from bench.tables import Row, figures, missed, missing_row, ratio_row
from bench.targets import Target
from bench.worker_process import BareWorkers, Mode, bare_workers

_log = logging.getLogger("bench.handlers")

SECTION = "handlers"
CLIENTS = 16
MANY = 256
WANTED_QUIET: Mapping[Level, float] = {"exact": 1.5, "fast": 2.2}
STOCK: Mapping[str, Launch] = {
    "stock, defaults": launch.torchserve,
    "stock, one thread, quiet": launch.quiet_torchserve,
}
Found = Mapping[str, list[float]]


class Sides:
    """All servers, loaded and idle: `rates` (answers a second) and `starts` (seconds of a worker's start)."""

    def __init__(self, assets: Assets, kit: LocalStack, stack: ExitStack, seconds: float) -> None:
        self.rates: dict[str, Callable[[], float]] = {}
        self.starts: dict[str, Callable[[], float]] = {}
        self._assets = assets
        self._kit = kit
        self._stack = stack
        self._seconds = seconds
        self._pictures = assets.variants()

    def start(self) -> None:
        """Start all sides. Raises MeasurementError for a server that does not answer rightly."""
        for level in self._assets.levels:
            self._marina(level)
            self._bare(level)
        for name, launch_ in STOCK.items():
            self._stock(name, launch_)
        self._policy()

    def _marina(self, level: Level) -> None:
        model = f"{made.MODEL}_{level}"
        overrides = (*self._assets.model_overrides(level), f"served_model.model_name={model}")
        self._kit.run("-m", "serialize", *overrides)
        self._kit.run("upload_model.py", *overrides)
        settings = self._kit.settings()
        self.rates[f"Marina {level}"] = self._load(targets.engine(settings, model), level)
        self.starts.setdefault("Marina", kit_scaler(settings, model, made.WORKERS).start_one)
        _log.info("%s is loaded", model)

    def _bare(self, level: Level) -> None:
        folder = self._assets.folder
        workers = self._stack.enter_context(bare_workers(folder / level, folder / "pictures", made.WORKERS))
        for mode in ("loop", "handle"):
            self.rates[f"{mode} {level}"] = self._bare_rate(workers, mode)

    def _bare_rate(self, workers: BareWorkers, mode: Mode) -> Callable[[], float]:
        return lambda: workers.rate(mode, self._seconds)

    def _stock(self, name: str, launch_: Launch) -> None:
        port = free_ports(PORTS)[0]
        site = Site(self._assets, self._assets.folder / "sites" / name, sys.executable, port)
        server = self._stack.enter_context(launched(site, launch_))
        target = Target("127.0.0.1", port, "/predictions/weather")
        server.wait(lambda: _answers(target, self._pictures[0]))
        self.rates[name] = self._load(target, "exact")
        self.starts[name] = Scaler(f"http://127.0.0.1:{port + 1}", {}, made.MODEL, made.WORKERS).start_one
        _log.info("%s is loaded", name)

    def _load(self, target: Target, level: Level) -> Callable[[], float]:
        right = targets.check_pictures(target, self._pictures, JPEG, self._assets.reference[level])
        return driver.warmed(target.load(right, JPEG, CLIENTS, self._seconds))

    def _policy(self) -> None:
        made.build_policy(self._assets.folder)
        self._kit.run("-m", "serialize", *made.POLICY_OVERRIDES)
        self._kit.run("upload_model.py", *made.POLICY_OVERRIDES)
        target = targets.engine(self._kit.settings(), made.POLICY)
        states = samples.states()[:MANY]
        actions = made.right_actions(self._assets.folder, [sample.body for sample in states])
        single = targets.check_states(target, states, actions)
        self.rates["states, single"] = driver.warmed(target.load(single, JSON, CLIENTS, self._seconds))
        many = driver.warmed(target.load([_together(states, actions)], JSON, CLIENTS, self._seconds))
        self.rates["states, 256 in one"] = lambda: MANY * many()


def _together(states: list[Sample], actions: list[int]) -> Sample:
    """Return all states as one request, with the predictions as the worker writes them."""
    body = json.dumps({"instances": [json.loads(state.body) for state in states]})
    return Sample(body.encode(), json.dumps([{"action": action} for action in actions], separators=(",", ":")))


def _answers(target: Target, sample: Sample) -> bool:
    try:
        target.ask(sample, JPEG)
    except MeasurementError:
        return False
    return True


def main(arguments: Sequence[str]) -> int:
    """Print the table; return 1 when a figure is missed."""
    parser = options.parser(
        "bench.handlers", SECTION, rounds=5, seconds=6.0, overrides="of the picture model's settings"
    )
    parser.add_argument("--starts", type=options.count, default=3, help="worker starts of each side")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="marina-bench-") as folder, ExitStack() as stack:
        assets = made.build_assets(Path(folder), given.overrides)
        sides = Sides(assets, stack.enter_context(local_stack({}, ())), stack, given.seconds)
        sides.start()
        rates = driver.take_turns(sides.rates, given.rounds, _log)
        starts = driver.take_turns(sides.starts, given.starts, _log)
        rows = [*_rate_rows(assets, rates), _start_row(starts)]
    rows += forward.rows()
    measured = (
        f"{given.rounds} rounds of {given.seconds:g} s in turn, {given.starts} worker starts, medians and (least to "
        f"most); {CLIENTS} clients, {made.WORKERS} workers, MobileNetV3-Small of random weights, JPEGs of 1200 x 727"
    )
    heading = document.heading("bench.handlers", arguments, measured)
    document.publish(given.write, SECTION, f"{heading}\n\n{figures(rows)}")
    return 1 if missed(rows) else 0


def _rate_rows(assets: Assets, rates: Found) -> list[Row]:
    rows, unit = [], "pictures/s"
    ours = {level: rates[f"Marina {level}"] for level in assets.levels}
    what = "TorchServe with Marina's handler (exact) ÷ stock VisionHandler, TorchServe's defaults"
    rows.append(ratio_row(what, ours["exact"], rates["stock, defaults"], unit, least=8))
    for level, wanted in WANTED_QUIET.items():
        what = f"the same ({level}) ÷ stock VisionHandler, one thread a worker, quiet logs"
        if level in ours:
            rows.append(ratio_row(what, ours[level], rates["stock, one thread, quiet"], unit, least=wanted))
        else:
            rows.append(missing_row(what, assets.refused[level], f"≥ {wanted:g}"))
    for level in WANTED_QUIET:
        what = f"the same ({level}) ÷ decode + forward in two bare processes"
        handle = f"handler alone, handle() on batches of 8 ({level}) ÷ the same bare loop"
        if level in ours:
            rows.append(ratio_row(what, ours[level], rates[f"loop {level}"], unit, least=0.8))
            rows.append(ratio_row(handle, rates[f"handle {level}"], rates[f"loop {level}"], unit, least=0.95))
        else:
            rows.append(missing_row(what, assets.refused[level], "≥ 0.8"))
            rows.append(missing_row(handle, assets.refused[level], "≥ 0.95"))
    what = "policy worker: states a second, 256 in one request ÷ single requests"
    rows.append(ratio_row(what, rates["states, 256 in one"], rates["states, single"], "states/s", least=20))
    return rows


def _start_row(starts: Found) -> Row:
    what = "worker cold start: onnx vision ÷ stock handler"
    return ratio_row(what, starts["Marina"], starts["stock, defaults"], "s", most=0.5)


if __name__ == "__main__":
    options.program(main)
