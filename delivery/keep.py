"""Keeps the engine's models: one that restarts may have forgotten them, and in a container nobody runs `make up`."""

import logging
from pathlib import Path
from threading import Event

import engines
from delivery.record import Record
from delivery.rollout import restore
from errors import MarinaError
from settings import Settings

log = logging.getLogger(__name__)

INTERVAL_S = 5.0
HEARTBEAT = "keeper"  # a file of the state folder, touched at each turn: the container's health check looks at its age


def keep(settings: Settings, stop: Event, interval_s: float = INTERVAL_S) -> None:
    """Restore what is recorded and not registered, every `interval_s` seconds until `stop` is set.

    An engine that does not answer is waited for. While every model is there, nothing is touched: a rollout under way
    is not the keeper's business.
    """
    said, heartbeat = None, Path(settings.paths.state) / HEARTBEAT
    heartbeat.parent.mkdir(parents=True, exist_ok=True)
    while not stop.is_set():
        heartbeat.touch()
        trouble = None
        try:
            if _forgotten(settings):
                for outcome in restore(settings):
                    log.info("%s %s serves again", outcome.model, outcome.version)
        except MarinaError as error:
            trouble = str(error)
        if trouble is not None and trouble != said:  # once, not every five seconds
            log.warning("nothing is restored yet: %s", trouble)
        said = trouble
        stop.wait(interval_s)


def _forgotten(settings: Settings) -> bool:
    """Whether a model that served is registered no more."""
    with engines.of(settings).open() as engine:
        return any(engine.default(model) is None for model in Record.of(settings).all())
