"""What bench.handlers lets take turns: each side is a function that measures it once."""

import json
import logging
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace

from bench import answers, drive, targets
from bench import assets as made
from bench.assets import Assets
from bench.bare_workers import BareWorkers, Mode, bare_workers
from bench.client import Job
from bench.ground import Ground
from bench.peers.measure import launched
from bench.peers.peer import PORTS, Level, Site, Start
from bench.peers.torchserve import peer as torchserve
from bench.ports import free_ports
from bench.server import Failed
from bench.targets import Sample, Target
from bench.worker_start import Scaler, kit_scaler

_log = logging.getLogger(__name__)

CLIENTS = 16
MANY = 256
JPEG, JSON = "image/jpeg", "application/json"
STOCK: dict[str, Callable[[Site], Start]] = {
    "stock, defaults": torchserve.defaults,
    "stock, one thread, quiet": torchserve.quiet,
}


class Sides:
    """All servers, loaded and idle: `rates` (answers a second) and `starts` (seconds of a worker's start)."""

    def __init__(self, assets: Assets, kit: Ground, stack: ExitStack, seconds: float) -> None:
        self.rates: dict[str, Callable[[], float]] = {}
        self.starts: dict[str, Callable[[], float]] = {}
        self._assets = assets
        self._kit = kit
        self._stack = stack
        self._seconds = seconds
        self._pictures = made.variants(assets.pictures)

    def start(self) -> None:
        """Start everything; raises Failed for what does not answer rightly."""
        for level in self._assets.levels:
            self._marina(level)
            self._bare(level)
        for name, start in STOCK.items():
            self._stock(name, start)
        self._policy()

    def _marina(self, level: Level) -> None:
        model = f"{made.MODEL}_{level}"
        words = (*self._assets.words(level), f"served_model.model_name={model}")
        self._kit.run("-m", "serialize", *words)
        self._kit.run("upload_model.py", *words)
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

    def _stock(self, name: str, start: Callable[[Site], Start]) -> None:
        port = free_ports(PORTS)
        server = self._stack.enter_context(launched(self._assets, name, start, port))
        target = Target("127.0.0.1", port, "/predictions/weather")
        server.wait(lambda: _answers(target, self._pictures[0]))
        self.rates[name] = self._load(target, "exact")
        self.starts[name] = Scaler(f"http://127.0.0.1:{port + 1}", {}, made.MODEL, made.WORKERS).start_one
        _log.info("%s is loaded", name)

    def _load(self, target: Target, level: Level) -> Callable[[], float]:
        right = answers.with_pictures(target, self._pictures, JPEG, self._assets.reference[level])
        return _timed(target.job(target.requests(right, JPEG), right, CLIENTS, self._seconds))

    def _policy(self) -> None:
        made.make_policy(self._assets.folder)
        self._kit.run("-m", "serialize", f"served_model={made.POLICY}")
        self._kit.run("upload_model.py", f"served_model={made.POLICY}")
        target = targets.engine(self._kit.settings(), made.POLICY)
        states = targets.states()[:MANY]
        actions = made.actions(self._assets.folder, [sample.body for sample in states])
        single = answers.with_states(target, states, actions)
        self.rates["states, single"] = _timed(target.job(target.requests(single, JSON), single, CLIENTS, self._seconds))
        together = [_together(states, actions)]
        many = _timed(target.job(target.requests(together, JSON), together, CLIENTS, self._seconds))
        self.rates["states, 256 in one"] = lambda: MANY * many()


def _together(states: list[Sample], actions: list[int]) -> Sample:
    """All states as one request, and the answer's predictions as the worker writes them."""
    body = json.dumps({"instances": [json.loads(state.body) for state in states]})
    return Sample(body.encode(), json.dumps([{"action": action} for action in actions], separators=(",", ":")))


def _timed(job: Job) -> Callable[[], float]:
    """Warmed up now, measured at each call; raises Failed when an answer is not right."""
    drive.rate(replace(job, seconds=1))
    return lambda: drive.rate(job)


def _answers(target: Target, sample: Sample) -> bool:
    try:
        answers.ask(target, sample, JPEG)
    except Failed:
        return False
    return True
