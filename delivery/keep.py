"""Keeps what should serve: an engine may forget its models when it restarts, and a host that was away missed rollouts.

`python -m delivery restore` does one such turn; this one stays.
"""

import logging
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from threading import Event

import engines
from delivery import hosts
from delivery.outcome import Outcome
from delivery.rollout import restore
from deployments.serving import DeployedVersion, ServingRecord
from engines.torchserve.client import EngineClient
from errors import MarinaError
from files import explained
from settings import Settings

log = logging.getLogger(__name__)

INTERVAL_S = 5.0
HEARTBEAT = "keeper"  # a file of the state folder, touched at each turn: the container's health check looks at its age
# After a failure a model is left alone on its hosts for a while: what does not load will not a second later.
RETRY_S = 15.0


class Keeper:
    """Brings back what is recorded and not served, a turn at a time.

    A single engine is looked at every five seconds, and a model is brought back when it is not registered at all: an
    upload under way, or one that was killed, is not the keeper's business. Of several hosts (each `engine.check_s`
    seconds) one that serves another version than recorded is behind, too: it was away during a rollout. An engine that
    does not answer is waited for.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._several = bool(settings.engine.nodes)
        self._said: str | None = None
        self._resting: dict[str, float] = {}
        self.pause_s = settings.engine.check_s if self._several else INTERVAL_S

    def turn(self) -> None:
        """Look once; what goes wrong is logged, once and not at every turn."""
        trouble = None
        heartbeat = Path(self._settings.paths.state) / HEARTBEAT
        try:
            with explained(heartbeat):
                heartbeat.parent.mkdir(parents=True, exist_ok=True)
                heartbeat.touch()
            found = _turn_of_hosts(self._settings, self._resting) if self._several else _turn(self._settings)
            for outcome in found:
                log.info("%s %s serves again%s", outcome.model, outcome.version, _on(outcome))
        except MarinaError as error:
            trouble = str(error)
        if trouble is not None and trouble != self._said:
            log.warning("nothing is restored yet: %s", trouble)
        self._said = trouble


def keep(settings: Settings, stop: Event, interval_s: float | None = None) -> None:
    """Take turns until `stop` is set, each `interval_s` seconds or as often as the settings say."""
    keeper = Keeper(settings)
    while not stop.is_set():
        keeper.turn()
        stop.wait(interval_s or keeper.pause_s)


def _turn(settings: Settings) -> list[Outcome]:
    """One look at a single engine."""
    with engines.connect(settings) as engine:
        forgotten = any(engine.default(model) is None for model in ServingRecord.of(settings).all())
    return restore(settings) if forgotten else []


def _turn_of_hosts(settings: Settings, resting: dict[str, float]) -> Iterator[Outcome]:
    """One look at several hosts; a model that fails on one does not keep the others from theirs."""
    for model in behind(settings):
        if resting.get(model, 0.0) > time.monotonic():
            continue
        try:
            yield from hosts.restore_model(model, settings)
        except MarinaError as error:
            log.warning("%s is not brought up to date: %s", model, error)
            resting[model] = time.monotonic() + RETRY_S


def behind(settings: Settings) -> Iterator[str]:
    """Models that a host which answers does not serve as recorded; each once."""
    recorded = ServingRecord.of(settings).all()
    with ExitStack() as opened:
        opened_hosts = [opened.enter_context(engines.connect(settings, node)) for node in settings.engine.hosts]
        well = [engine for engine in opened_hosts if engine.answers()]
        for model, history in recorded.items():
            if not all(_right(engine, model, history.serving) for engine in well):
                yield model


def _right(engine: EngineClient, model: str, serving: DeployedVersion) -> bool:
    try:
        return hosts.is_right(engine, model, serving)
    except MarinaError:
        # It went away between two questions; the next look tells.
        return True


def _on(outcome: Outcome) -> str:
    return f" on {outcome.where}" if outcome.where else ""
