"""Ends what a killed rollout began: finishes it when the new version is proven and has the traffic, else undoes it."""

import logging

from delivery.journal import PROVEN, Entry
from delivery.machine import Tools, settle, take_back
from delivery.probe import request_of
from delivery.published import stored
from deployments.serving import DeployedVersion
from engines.engine_profile import ModelVersion, PredictionInput
from errors import MarinaError

log = logging.getLogger(__name__)


def recover(tools: Tools, model: str) -> None:
    """Leave no version, worker or file behind that no rollout answers for."""
    entry = tools.journal.read()
    if entry is not None:
        _end(tools, entry)
    remove_strangers(tools, model)


def intention(tools: Tools) -> str | None:
    """What `recover` would do, in words; None when nothing was interrupted."""
    entry = tools.journal.read()
    if entry is None:
        return None
    verb = "finish" if proven(entry, tools.engine.default(entry.model)) else "undo"
    return f"{verb} the rollout of {entry.model} {entry.new.version} that ended at its step {entry.step!r}"


def _end(tools: Tools, entry: Entry) -> None:
    probe = probe_of(tools, entry.new)
    if proven(entry, tools.engine.default(entry.model)) and probe is not None:
        log.warning("finish %s %s, killed at its step %r", entry.model, entry.new.version, str(entry.step))
        settle(tools, entry, probe)
    else:
        log.warning("undo %s %s, killed at its step %r", entry.model, entry.new.version, str(entry.step))
        take_back(tools, entry, probe)


def proven(entry: Entry, default: ModelVersion | None) -> bool:
    """Whether the new version had passed every check and requests go to it."""
    return entry.step in PROVEN and default is not None and default.version == entry.new.version


def probe_of(tools: Tools, served: DeployedVersion) -> PredictionInput | None:
    """A request for a version; None, and a warning, when its archive is gone or is no longer trusted."""
    try:
        return request_of(stored(served, tools.store, tools.settings))
    except MarinaError as error:
        log.warning("%s cannot be read: %s", served.archive, error)
        return None


def remove_strangers(tools: Tools, model: str) -> None:
    """Take away versions without traffic that no journal tells of, and a share that no trial answers for."""
    if tools.splits.clear(model):
        log.warning("all traffic of %s goes to its default version again", model)
    current = tools.engine.default(model)
    for found in tools.engine.versions(model):
        if current is not None and found.version != current.version:
            log.warning("remove %s %s, which has no traffic and was left over", model, found.version)
            tools.engine.unregister(model, found.version)
