"""How many workers a version is brought up with, and how that number changes while it serves.

An engine may drop what a worker holds when it takes the worker away, but not when it adds one. So more workers are
given to the version that serves, and fewer are a rollout of the same archive as a new version.
"""

import logging
from dataclasses import replace
from typing import Any

import engines
from delivery import machine
from delivery.everywhere import entry_for, recover_everywhere, replace_everywhere
from delivery.fleet import new_version, open_fleet
from delivery.journal import Entry, Step
from delivery.lock import alone
from delivery.machine import Tools
from delivery.published import assign_version, publish, stored
from delivery.recover import recover
from delivery.stores import open_store
from delivery.stores.base import file_name
from delivery.versions import names
from deployments.serving import DeployedVersion, VersionHistory
from engines.engine_profile import ModelVersion
from errors import RolloutError
from settings import Settings
from settings.schema import RequestParams

log = logging.getLogger(__name__)


def sized(settings: Settings, current: ModelVersion | None) -> Settings:
    """The settings with as many workers as the scaled model has now: a swap under load begins with what it needs."""
    model = settings.served_model
    limits = settings.scaling.models.get(model.model_name)
    if limits is None:
        return settings
    had = current.min_workers if current else model.request_params.initial_workers
    workers = min(max(had, limits.min_workers), limits.max_workers)
    return _registering(settings, model.request_params.model_copy(update={"initial_workers": workers}))


def _registering(settings: Settings, params: RequestParams) -> Settings:
    changed: dict[str, Any] = {"served_model": settings.served_model.model_copy(update={"request_params": params})}
    return settings.model_copy(update=changed)


def resize(model: str, workers: int, settings: Settings) -> None:
    """Have a model served by `workers` workers on each host, without losing a request. Raises MarinaError."""
    with alone(model, settings):
        if settings.engine.nodes:
            _resize_everywhere(model, workers, settings)
            return
        with engines.connect(settings) as engine:
            tools = Tools.of(settings, engine, open_store(settings), model)
            recover(tools, model)
            history, current = _serving(tools, model)
            if workers >= current.min_workers:
                _add((tools,), history, current.version, workers, model)
                return
            archive = stored(history.serving, tools.store, settings)
            params = history.serving.params
            version = assign_version(archive, names(engine.versions(model)), tools.store, settings)
            served = _smaller(history.serving, model, version, workers)
            entry = Entry(model, Step.PUBLISH, served, current.version, history.before, published=True)
            as_before = _registering(settings, params)
            machine.replace(tools, archive, entry, lambda: publish(archive, version, tools.store, as_before))
            _forget(tools, history, served)


def _resize_everywhere(model: str, workers: int, settings: Settings) -> None:
    with open_fleet(settings, model) as fleet:
        recover_everywhere(fleet)
        first = fleet.present[0]
        history, current = _serving(first, model)
        if workers >= current.min_workers:
            _add(fleet.present, history, current.version, workers, model)
            return
        archive = stored(history.serving, first.store, settings)
        params = history.serving.params
        version = new_version(fleet, archive)
        served = _smaller(history.serving, model, version, workers)
        entry = entry_for(fleet, served, history.before, published=True)
        as_before = _registering(settings, params)
        replace_everywhere(fleet, archive, entry, lambda: publish(archive, version, first.store, as_before))
        _forget(first, history, served)


def _serving(tools: Tools, model: str) -> tuple[VersionHistory, ModelVersion]:
    history, current = tools.record.get(model), tools.engine.default(model)
    if history is None or current is None or current.version != history.serving.version:
        raise RolloutError(f"{model} does not serve as it is recorded")
    return history, current


def _add(hosts: tuple[Tools, ...], history: VersionHistory, version: str, workers: int, model: str) -> None:
    for tools in hosts:
        if tools.engine.find(model, version) is not None:
            tools.engine.scale(model, version, workers, tools.settings.rollout.workers_timeout_s)
    served = replace(history.serving, initial_workers=workers)
    hosts[0].record.put(model, VersionHistory(served, history.before))
    log.info("%s %s has %d workers", model, version, workers)


def _smaller(serving: DeployedVersion, model: str, version: str, workers: int) -> DeployedVersion:
    return replace(serving, version=version, archive=file_name(model, version), initial_workers=workers)


def _forget(tools: Tools, history: VersionHistory, served: DeployedVersion) -> None:
    """Remove the archive of the larger one, which nobody goes back to: its content is served on."""
    kept = {served.archive, *(each.archive for each in history.before)}
    if history.serving.archive not in kept:
        tools.store.remove(history.serving.archive)
    log.info("%s has %d workers", served.archive.removesuffix(".mar"), served.initial_workers)
