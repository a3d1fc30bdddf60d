"""Watches the models of `scaling.models`, and gives each the workers that its queue asks for.

While the gateway's figures cannot be read, every model keeps the workers it has: a model that nobody sees is not idle.
"""

import logging
import time
from threading import Event

from prometheus_client import CollectorRegistry, Gauge, start_http_server

import engines
from delivery.scaling import Load, Scaler, Totals
from delivery.sizing import resize
from engines.engine_profile import ModelVersion
from errors import ConfigError, MarinaError
from prometheus import GatewayFigures
from settings import Settings

log = logging.getLogger(__name__)


def scale(settings: Settings, stop: Event) -> None:
    """Look each `scaling.check_s` seconds, until `stop` is set."""
    loop = ScalingLoop(settings, _shown(settings.scaling.metrics_port))
    while not stop.is_set():
        loop.turn(time.monotonic())
        stop.wait(settings.scaling.check_s)


def _shown(port: int | None) -> Gauge:
    """The scaler's own figure, for Prometheus at `port` of loopback. Raises ConfigError when the port is taken."""
    registry = CollectorRegistry()
    gauge = Gauge(
        "marina_scaler_frozen", "1 while a model keeps its workers for want of figures", ["model"], registry=registry
    )
    if port is not None:
        try:
            start_http_server(port, "127.0.0.1", registry)
        except OSError as error:
            raise ConfigError(f"scaling.metrics_port={port} cannot be used: {error.strerror}") from None
    return gauge


class ScalingLoop:
    """The models that are scaled, and what was counted of each by the last good look."""

    def __init__(self, settings: Settings, frozen: Gauge) -> None:
        self._settings = settings
        self._frozen = frozen
        self._figures = GatewayFigures(settings.gateway)
        self._scalers = {model: Scaler(limits, settings.scaling) for model, limits in settings.scaling.models.items()}
        self._before: dict[str, tuple[float, Totals]] = {}
        self._restarts = 0
        self._troubles: dict[str, str] = {}

    def turn(self, now: float) -> None:
        """Look once at every model, and change the workers of one at most."""
        trouble = self._look()
        restarted, self._restarts = self._figures.restarts != self._restarts, self._figures.restarts
        for model, scaler in self._scalers.items():
            unknown = None if trouble or self._figures.serves(model) else "the gateway knows no such model"
            self._note(model, trouble or unknown)
            if trouble or unknown or restarted:
                self._forget(model)
                continue
            counted, before = Totals.of(self._figures.growth, model), self._before.get(model)
            self._before[model] = now, counted
            if before is None:
                continue
            load = Load.between(before[1], counted, now - before[0])
            if _adjust(model, scaler, load, now, self._settings):
                # Changing took its time, in which others may have been counted already.
                for each in self._scalers:
                    self._before.pop(each, None)
                return

    def _look(self) -> str | None:
        """Read the figures; why that failed, None when it did not."""
        try:
            return None if self._figures.look() else self._figures.trouble
        except MarinaError as error:
            return str(error)

    def _forget(self, model: str) -> None:
        """Begin anew: what was seen before a gap says nothing about the time after it."""
        self._before.pop(model, None)
        self._scalers[model].changed()

    def _note(self, model: str, trouble: str | None) -> None:
        """Show whether the model is frozen, and log it once."""
        self._frozen.labels(model).set(trouble is not None)
        known = self._troubles.get(model)
        if trouble is not None and known is None:
            log.warning("%s keeps its workers: %s", model, trouble)
        elif trouble is None and known is not None:
            log.info("%s is scaled again", model)
        if trouble is None:
            self._troubles.pop(model, None)
        else:
            self._troubles.setdefault(model, trouble)


def _adjust(model: str, scaler: Scaler, load: Load, now: float, settings: Settings) -> bool:
    """Whether the number of workers was changed, or a change was tried."""
    serving = _serving(model, settings)
    if not serving:
        return False
    workers, hosts = serving[0].min_workers, len(serving)
    share = Load(load.wait_ms, load.outstanding / hosts, load.refused)
    wanted = scaler.wanted(now, share, workers, serving[0].batch_size)
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


def _serving(model: str, settings: Settings) -> list[ModelVersion]:
    """The version that serves, on each host that answers."""
    found = []
    for node in settings.engine.hosts:
        with engines.connect(settings, node) as engine:
            try:
                default = engine.default(model)
            except MarinaError:
                continue
            if default is not None and default.ready_workers:
                found.append(default)
    return found
