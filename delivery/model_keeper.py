"""The keeper: restores recorded models after an engine has lost them or has missed a rollout.

`python -m delivery restore` does this once; `python -m delivery keep` and the stack's keeper repeat it.
"""

import logging
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from threading import Event

import engines
from delivery.hosts import is_behind
from delivery.rollout import RolloutResult, restore_model
from deployments.serving import DeployedVersion, ServingRecord
from engines.torchserve.engine_client import EngineClient
from errors import MarinaError
from files import explained
from settings import Settings

log = logging.getLogger(__name__)

INTERVAL_S = 5.0
HEARTBEAT = "keeper"  # a file of the state folder, touched at each turn: a container's health check reads its age
RETRY_S = 15.0  # pause of a model that could not be restored


class ModelKeeper:
    """Restores recorded models that do not serve, one turn at a time.

    A single engine is checked every five seconds, and a model is restored when it is not registered at all: another
    version belongs to a rollout under way, or to one that was killed. Several hosts are checked every `engine.check_s`
    seconds, and a host that serves another version than the recorded one has missed a rollout.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._logged: str | None = None
        self._paused: dict[str, float] = {}
        self.pause_s = settings.engine.check_s if settings.engine.nodes else INTERVAL_S

    def turn(self) -> None:
        """Check once, and restore what is missing. A problem is logged when it begins, not on every turn."""
        problem = None
        heartbeat = Path(self._settings.paths.state) / HEARTBEAT
        try:
            with explained(heartbeat):
                heartbeat.parent.mkdir(parents=True, exist_ok=True)
                heartbeat.touch()
            for result in self._restored():
                on = f" on {result.where}" if result.where else ""
                log.info("%s %s serves again%s", result.model, result.version, on)
        except MarinaError as error:
            problem = str(error)
        if problem is not None and problem != self._logged:
            log.warning("nothing is restored yet: %s", problem)
        self._logged = problem

    def _restored(self) -> Iterator[RolloutResult]:
        """Restore each model that is behind; an error with one does not stop the others."""
        for model in list(models_behind(self._settings)):
            if self._paused.get(model, 0.0) > time.monotonic():
                continue
            try:
                result = restore_model(model, self._settings)
            except MarinaError as error:
                log.warning("%s is not restored: %s", model, error)
                self._paused[model] = time.monotonic() + RETRY_S
                continue
            if result is not None:
                yield result


def keep(settings: Settings, stop: Event, interval_s: float | None = None) -> None:
    """Take turns until `stop` is set, every `interval_s` seconds or as often as the settings say."""
    keeper = ModelKeeper(settings)
    while not stop.is_set():
        keeper.turn()
        stop.wait(interval_s or keeper.pause_s)


def models_behind(settings: Settings) -> Iterator[str]:
    """Yield each recorded model that a host does not serve as recorded. Of several hosts, those that answer count.

    Raises EngineError when a single engine does not answer.
    """
    recorded = ServingRecord.of(settings).all()
    several = bool(settings.engine.nodes)
    with ExitStack() as opened:
        hosts = [opened.enter_context(engines.connect(settings, node)) for node in settings.engine.hosts]
        answering = [engine for engine in hosts if not several or engine.answers()]
        for model, history in recorded.items():
            if any(_is_behind(engine, model, history.serving, several=several) for engine in answering):
                yield model


def _is_behind(engine: EngineClient, model: str, serving: DeployedVersion, *, several: bool) -> bool:
    try:
        return is_behind(engine, model, serving, several=several)
    except MarinaError:
        if not several:
            raise
        # The host stopped answering meanwhile; the next turn handles it.
        return False
