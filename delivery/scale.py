"""Watches the models of `scaling.models`, and gives each the workers that its queue asks for."""

import logging
import time

import engines
from delivery.scaling import Load, Scaler, Totals, totals
from delivery.sizing import resize
from engines.described import Version
from errors import MarinaError
from settings import Settings

log = logging.getLogger(__name__)


def scale(settings: Settings) -> None:
    """Look each `scaling.check_s` seconds, for ever."""
    scaling = settings.scaling
    scalers = {model: Scaler(limits, scaling) for model, limits in scaling.models.items()}
    before, seen = totals(settings), time.monotonic()
    while True:
        time.sleep(scaling.check_s)
        after, now = totals(settings), time.monotonic()
        if before is not None and after is not None:
            for model, scaler in scalers.items():
                load = Load.between(before.get(model, Totals()), after.get(model, Totals()), now - seen)
                if _adjust(model, scaler, load, settings):
                    # Changing took its time, in which others may have been counted already.
                    after, now = totals(settings), time.monotonic()
                    break
        before, seen = after, now


def _adjust(model: str, scaler: Scaler, load: Load, settings: Settings) -> bool:
    """Whether the number of workers was changed, or a change was tried."""
    serving = _serving(model, settings)
    if not serving:
        return False
    workers, hosts = serving[0].min_workers, len(serving)
    share = Load(load.wait_ms, load.outstanding / hosts, load.refused)
    wanted = scaler.wanted(time.monotonic(), share, workers, serving[0].batch_size)
    if wanted == workers:
        return False
    seen = f"waits of {load.wait_ms:.1f} ms, {load.outstanding:.1f} requests in the engine"
    log.info("%s gets %d workers instead of %d: %s", model, wanted, workers, seen)
    try:
        resize(model, wanted, settings)
    except MarinaError as error:
        log.warning("%s is not scaled: %s", model, error)
    scaler.changed()
    return True


def _serving(model: str, settings: Settings) -> list[Version]:
    """The version that serves, on each host that answers."""
    found = []
    for node in settings.engine.hosts:
        with engines.of(settings).open(node) as engine:
            try:
                default = engine.default(model)
            except MarinaError:
                continue
            if default is not None and default.ready_workers:
                found.append(default)
    return found
