"""Watches several engine hosts, and brings one that comes back to the versions that are recorded as serving."""

import logging
import time
from collections.abc import Iterator

import engines
from delivery.hosts import is_right, restore_model
from delivery.record import Record, Served
from engines.interface import Host
from errors import MarinaError
from settings import Settings

log = logging.getLogger(__name__)

# After a failure a host is left alone for a while: a version that does not load there will not a second later.
RETRY_S = 15.0


def follow(settings: Settings) -> None:
    """Look at every host each `engine.check_s` seconds, for ever."""
    resting: dict[str, float] = {}
    while True:
        for model in behind(settings):
            if resting.get(model, 0.0) > time.monotonic():
                continue
            try:
                for outcome in restore_model(model, settings):
                    log.info("%s %s serves again on %s", outcome.model, outcome.version, outcome.where)
            except MarinaError as error:
                log.warning("%s is not brought up to date: %s", model, error)
                resting[model] = time.monotonic() + RETRY_S
        time.sleep(settings.engine.check_s)


def behind(settings: Settings) -> Iterator[str]:
    """Models that a host which answers does not serve as recorded; each once."""
    try:
        recorded = Record.of(settings).all()
    except MarinaError as error:
        log.warning("%s", error)
        return
    hosts = [engines.of(settings).open(node) for node in settings.engine.hosts]
    try:
        well = [engine for engine in hosts if engine.answers()]
        for model, history in recorded.items():
            if not all(_right(engine, model, history.serving) for engine in well):
                yield model
    finally:
        for engine in hosts:
            engine.close()


def _right(engine: Host, model: str, serving: Served) -> bool:
    try:
        return is_right(engine, model, serving)
    except MarinaError:
        # It went away between two questions; the next look tells.
        return True
