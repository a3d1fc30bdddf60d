"""The autoscaler: gives each model of `scaling.models` the workers that its queue needs.

gateway figures ──ModelLoad──▶ WorkerScaler ──wanted workers──▶ resize

While the figures cannot be read, every model keeps its workers: a model without figures is not idle.
"""

import dataclasses
import logging
import time
from threading import Event

from prometheus_client import CollectorRegistry, Gauge, start_http_server

import engines
from delivery.gateway_metrics import ModelLoad, ModelTotals
from delivery.hosts import EngineHosts, open_hosts
from delivery.journal import optional_write, rollout_lock
from delivery.publish import publish, published_archive
from delivery.recover import recover
from delivery.replacement import entry_for, replace_version
from delivery.rollout import with_registration
from delivery.stores.store import archive_file_name
from deployments.serving import VersionHistory
from engines.engine_profile import ModelVersion
from errors import ConfigError, MarinaError, RolloutError
from prometheus import GatewayMetrics
from settings import Settings
from settings.schema import ScalingSettings, WorkerLimits

log = logging.getLogger(__name__)

# A worker is removed only while the requests outstanding fill less than this share of the other workers' batches.
FULL_SHARE = 0.5


def scale(settings: Settings, stop: Event) -> None:
    """Check every model each `scaling.check_s` seconds, until `stop` is set."""
    loop = ScalingLoop(settings, frozen_gauge(settings.scaling.metrics_port))
    while not stop.is_set():
        loop.turn(time.monotonic())
        stop.wait(settings.scaling.check_s)


def frozen_gauge(port: int | None) -> Gauge:
    """Return the autoscaler's own gauge, and serve it at `port` of loopback. Raises ConfigError when that is taken."""
    registry = CollectorRegistry()
    gauge = Gauge(
        "marina_scaler_frozen",
        "1 while a model keeps its workers because the figures cannot be read",
        ["model"],
        registry=registry,
    )
    if port is not None:
        try:
            start_http_server(port, "127.0.0.1", registry)
        except OSError as error:
            raise ConfigError(f"scaling.metrics_port={port} cannot be used: {error.strerror}") from None
    return gauge


class WorkerScaler:
    """Decides on one worker more or less for one model, with hysteresis. `now` is any clock's, in seconds."""

    def __init__(self, limits: WorkerLimits, scaling: ScalingSettings) -> None:
        self._limits = limits
        self._scaling = scaling
        self._busy_since: float | None = None
        self._calm_since: float | None = None

    def wanted(self, now: float, load: ModelLoad, workers: int, batch_size: int) -> int:
        """Return the number of workers that the model should have: the same, one more or one less."""
        if workers < self._limits.min_workers:
            return self._limits.min_workers
        if workers > self._limits.max_workers:
            return workers - 1
        busy = load.wait_ms > self._scaling.target_queue_ms or load.refused > 0
        calm = load.wait_ms <= self._scaling.calm_queue_ms and not busy
        calm = calm and load.outstanding <= FULL_SHARE * (workers - 1) * batch_size
        self._busy_since = (self._busy_since if self._busy_since is not None else now) if busy else None
        self._calm_since = (self._calm_since if self._calm_since is not None else now) if calm else None
        if _lasts(self._busy_since, now, self._scaling.up_after_s) and workers < self._limits.max_workers:
            return workers + 1
        if _lasts(self._calm_since, now, self._scaling.down_after_s) and workers > self._limits.min_workers:
            return workers - 1
        return workers

    def reset(self) -> None:
        """Restart, because the load before a change says nothing about the load after it."""
        self._busy_since = self._calm_since = None


def _lasts(since: float | None, now: float, seconds: float) -> bool:
    return since is not None and now - since >= seconds


class ScalingLoop:
    """The scaled models, and the counts of each at the last successful reading."""

    def __init__(self, settings: Settings, frozen: Gauge) -> None:
        self._settings = settings
        self._frozen = frozen
        self._figures = GatewayMetrics(settings.gateway)
        limits = settings.scaling.models
        self._scalers = {model: WorkerScaler(limits[model], settings.scaling) for model in limits}
        self._before: dict[str, tuple[float, ModelTotals]] = {}
        self._restarts = 0
        self._problems: dict[str, str] = {}

    def turn(self, now: float) -> None:
        """Check every model, and change the workers of at most one."""
        problem = self._look()
        restarted, self._restarts = self._figures.restarts != self._restarts, self._figures.restarts
        for model, scaler in self._scalers.items():
            unknown = None if problem or self._figures.serves(model) else "the gateway knows no such model"
            self._note(model, problem or unknown)
            if problem or unknown or restarted:
                self._forget(model)
                continue
            counted, before = ModelTotals.of(self._figures.growth, model), self._before.get(model)
            self._before[model] = now, counted
            if before is None:
                continue
            load = ModelLoad.between(before[1], counted, now - before[0])
            try:
                changed = adjust(model, scaler, load, now, self._settings)
            except Exception:
                # A fault of Marina with one model must not end the scaling of the others.
                log.exception("%s is not scaled", model)
                self._forget(model)
                continue
            if changed:
                # During the change, the gateway went on counting requests of the other models.
                for each in self._scalers:
                    self._before.pop(each, None)
                return

    def _look(self) -> str | None:
        """Read the figures; return the reason when they cannot be read."""
        try:
            return None if self._figures.look() else self._figures.trouble
        except MarinaError as error:
            return str(error)

    def _forget(self, model: str) -> None:
        self._before.pop(model, None)
        self._scalers[model].reset()

    def _note(self, model: str, problem: str | None) -> None:
        """Show whether the model is frozen, and log the change."""
        self._frozen.labels(model).set(problem is not None)
        known = self._problems.get(model)
        if problem is not None and known is None:
            log.warning("%s keeps its workers: %s", model, problem)
        elif problem is None and known is not None:
            log.info("%s is scaled again", model)
        if problem is None:
            self._problems.pop(model, None)
        else:
            self._problems.setdefault(model, problem)


def adjust(model: str, scaler: WorkerScaler, load: ModelLoad, now: float, settings: Settings) -> bool:
    """Change the number of workers if the load requires it; return True if a change was tried."""
    serving = serving_versions(model, settings)
    if not serving:
        return False
    workers, hosts = serving[0].min_workers, len(serving)
    of_one_host = ModelLoad(load.wait_ms, load.outstanding / hosts, load.refused)
    wanted = scaler.wanted(now, of_one_host, workers, serving[0].batch_size)
    if wanted == workers:
        return False
    seen = f"waits of {load.wait_ms:.1f} ms, {load.outstanding:.1f} requests in the engine"
    log.info("%s gets %d workers instead of %d: %s", model, wanted, workers, seen)
    try:
        resize(model, wanted, settings)
    except MarinaError as error:
        log.warning("%s is not scaled: %s", model, error)
    scaler.reset()
    return True


def serving_versions(model: str, settings: Settings) -> list[ModelVersion]:
    """Return the version that serves on each host that answers and has a worker."""
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


def resize(model: str, workers: int, settings: Settings) -> None:
    """Serve a model with `workers` workers on each host, without losing a request. Raises MarinaError.

    An engine loses no request when it starts a worker, but may lose those of a worker that it stops. So more workers
    join the version that serves, and fewer workers take a rollout of the same archive as a new version.
    """
    with rollout_lock(model, settings), open_hosts(settings, model) as hosts:
        recover(hosts)
        history, current = hosts.record.get(model), hosts.present[0].engine.default(model)
        if history is None or current is None or current.version != history.serving.version:
            raise RolloutError(f"{model} does not serve the recorded version")
        if workers >= current.min_workers:
            _add_workers(hosts, history, workers)
        else:
            _replace_with_fewer(hosts, history, workers)


def _add_workers(hosts: EngineHosts, history: VersionHistory, workers: int) -> None:
    model, version = hosts.model, history.serving.version
    for host in hosts.present:
        if host.engine.find(model, version) is not None:
            host.engine.scale(model, version, workers, hosts.settings.rollout.workers_timeout_s)
    served = dataclasses.replace(history.serving, initial_workers=workers)
    with optional_write(f"{model} {version} has these workers only until its engine restarts"):
        hosts.record.put(model, VersionHistory(served, history.before))
    log.info("%s %s has %d workers", model, version, workers)


def _replace_with_fewer(hosts: EngineHosts, history: VersionHistory, workers: int) -> None:
    model, old = hosts.model, history.serving
    archive = published_archive(old, hosts.store, hosts.settings)
    version = hosts.new_version(archive)
    new = dataclasses.replace(old, version=version, archive=archive_file_name(model, version), initial_workers=workers)
    as_registered = with_registration(hosts.settings, old.params)
    entry = entry_for(model, new, history.before, published=True)
    replace_version(hosts, archive, entry, lambda: publish(archive, version, hosts.store, as_registered))
    # No rollback returns to the larger version, because the new one serves the same content.
    if old.archive not in {new.archive, *(each.archive for each in history.before)}:
        hosts.store.remove(old.archive)
    log.info("%s %s has %d workers", model, version, workers)
