"""Rollout, rollback, removal and restore where there are several engine hosts; `rollout` is the same for one."""

import logging

from archive import Archive
from delivery.copies import check_comparable
from delivery.everywhere import entry_for, intention, recover_everywhere, replace_everywhere
from delivery.fleet import Fleet, name_of, new_version, open_fleet
from delivery.journal import Entry, Step
from delivery.lock import alone
from delivery.machine import Tools, remove_archives, replace
from delivery.outcome import Outcome
from delivery.published import publish, same_content, stored
from delivery.recover import probe_of
from delivery.sizing import sized
from delivery.stores.base import file_name
from delivery.trial import step_of
from deployments.serving import DeployedVersion, ServingRecord, VersionHistory
from engines.engine_profile import PredictionInput
from engines.torchserve.client import EngineClient
from errors import ConfigError, MarinaError, RolloutError
from settings import Settings

log = logging.getLogger(__name__)


def roll_out(archive: Archive, settings: Settings) -> Outcome:
    """Have every host that answers serve the archive; a host that is away gets it when it comes back."""
    model = archive.model_name
    if step := step_of(settings):
        raise ConfigError(f"a {step} tries a version out on one engine host, and engine.nodes names several")
    with alone(model, settings), open_fleet(settings, model) as fleet:
        settings = sized(settings, fleet.present[0].engine.default(model))
        fleet = fleet.under(settings)
        if settings.rollout.dry_run:
            return _dry_run(fleet, archive)
        recover_everywhere(fleet)
        history = fleet.present[0].record.get(model)
        if history is not None and _is_recorded(fleet, archive, history):
            brought = [tools for tools in fleet.present if bring(fleet, tools, history)]
            return Outcome(model, history.serving.version, changed=bool(brought), where=fleet.standing())
        version, store = new_version(fleet, archive), fleet.present[0].store
        served = DeployedVersion(
            version, file_name(model, version), **settings.served_model.request_params.model_dump()
        )
        entry = entry_for(fleet, served, history.versions if history else (), published=True)
        proof = replace_everywhere(fleet, archive, entry, lambda: publish(archive, version, store, settings))
        return Outcome(model, version, True, proof.golden, where=fleet.standing(), watched=proof.watched)


def roll_back(model: str, settings: Settings) -> Outcome:
    """Have every host serve the version before, with the settings it was registered with then."""
    with alone(model, settings), open_fleet(settings, model) as fleet:
        recover_everywhere(fleet)
        first = fleet.present[0]
        history = first.record.get(model)
        if history is None or not history.before:
            raise RolloutError(f"{model}: there is no version before to go back to")
        after = history.rolled_back()
        target = after.serving
        archive = stored(target, first.store, settings)
        _check_new(fleet, target.version)
        entry = entry_for(fleet, target, after.before, published=False)
        proof = replace_everywhere(fleet, archive, entry, lambda: archive)
        return Outcome(model, target.version, True, proof.golden, where=fleet.standing(), watched=proof.watched)


def remove(model: str, settings: Settings) -> None:
    """Have no host serve the model any longer. Raises RolloutError when it is registered on none."""
    with alone(model, settings), open_fleet(settings, model) as fleet:
        recover_everywhere(fleet)
        first = fleet.present[0]
        history = first.record.get(model)
        registered = [tools for tools in fleet.present if tools.engine.default(model) is not None]
        if not registered and history is None:
            raise RolloutError(f"{model} is not registered")
        probe = probe_of(first, history.serving) if history else None
        # First, so that a host which comes back meanwhile is not brought what is about to go.
        first.record.forget(model)
        fleet.live.put([])
        for tools in registered:
            _remove(tools, model, probe)
        remove_archives(first.store, history)
        log.info("%s is removed; no version serves", model)


def restore(settings: Settings) -> list[Outcome]:
    """Bring every host that answers to what is recorded as serving, model by model."""
    outcomes = []
    for model in ServingRecord.of(settings).all():
        try:
            outcomes += restore_model(model, settings)
        except MarinaError as error:
            log.warning("%s is not restored: %s", model, error)
    return outcomes


def restore_model(model: str, settings: Settings) -> list[Outcome]:
    """The same for one model; a host on which it fails does not keep the others from theirs.

    Raises the first error, when all have been tried.
    """
    errors = []
    with alone(model, settings), open_fleet(settings, model) as fleet:
        recover_everywhere(fleet)
        history = fleet.present[0].record.get(model)
        if history is None:
            return []
        brought = []
        for tools in fleet.present:
            try:
                brought += [tools] if bring(fleet, tools, history) else []
            except MarinaError as error:
                errors.append(RolloutError(f"{name_of(tools)}: {error}"))
        if errors:
            raise errors[0]
        where = ", ".join(map(name_of, brought))
        return [Outcome(model, history.serving.version, changed=True, where=where)] if brought else []


def is_right(engine: EngineClient, model: str, serving: DeployedVersion) -> bool:
    """Whether a host serves what is recorded, and nothing beside it."""
    found = engine.default(model)
    if found is None or (found.version, found.archive) != (serving.version, serving.archive):
        return False
    same = (found.batch_size, found.max_batch_delay) == (serving.batch_size, serving.max_batch_delay)
    return same and found.min_workers > 0 and len(engine.versions(model)) == 1


def bring(fleet: Fleet, tools: Tools, history: VersionHistory) -> bool:
    """Have one host serve what is recorded; False when it does already. Raises RolloutError when it does not."""
    model, serving = fleet.model, history.serving
    if not fleet.live.get():
        fleet.live.put({serving.version})
    if is_right(tools.engine, model, serving):
        return False
    check_comparable(tools.engine, tools.settings)
    log.warning("bring %s %s to %s", model, serving.version, name_of(tools))
    archive = stored(serving, tools.store, tools.settings)
    current = tools.engine.default(model)
    for found in tools.engine.versions(model):
        if current is not None and found.version != current.version:
            tools.engine.unregister(model, found.version)
    if current is not None and current.version == serving.version:
        # The right number, but of another archive, with other settings or without a worker. It gets no traffic.
        tools.engine.unregister(model, current.version)
        current = None
    old = current.version if current else None
    entry = Entry(model, Step.PUBLISH, serving, old, history.before, published=False)
    # It has proven itself on the others, and this host has no traffic to watch: the gateway leaves it out until then.
    replace(tools, archive, entry, lambda: archive, watched=False)
    return True


def _check_new(fleet: Fleet, version: str) -> None:
    """Raise RolloutError where a host serves the version: it cannot be registered there a second time."""
    for tools in fleet.present:
        current = tools.engine.default(fleet.model)
        if current is not None and current.version == version:
            raise RolloutError(f"{name_of(tools)} serves {fleet.model} {version} already")


def _remove(tools: Tools, model: str, probe: PredictionInput | None) -> None:
    current = tools.engine.default(model)
    if current is None:
        return
    if probe is not None:
        tools.engine.drain(current, probe, tools.settings.rollout.drain_timeout_s)
    # The default version can only go last.
    for found in sorted(tools.engine.versions(model), key=lambda each: each.version == current.version):
        tools.engine.unregister(model, found.version)


def _is_recorded(fleet: Fleet, archive: Archive, history: VersionHistory) -> bool:
    """Whether what is recorded is this very content with these settings, and some host serves it."""
    serving, first = history.serving, fleet.present[0]
    if serving.params != first.settings.served_model.request_params:
        return False
    served = any(is_right(tools.engine, fleet.model, serving) for tools in fleet.present)
    return served and same_content(archive, serving.params.stamped, serving.archive, first.store)


def _dry_run(fleet: Fleet, archive: Archive) -> Outcome:
    model = fleet.model
    for tools in fleet.present:
        check_comparable(tools.engine, tools.settings)
    unfinished = intention(fleet)
    first = (unfinished,) if unfinished else ()
    history = fleet.present[0].record.get(model)
    if history is not None and _is_recorded(fleet, archive, history):
        behind = [name_of(each) for each in fleet.present if not is_right(each.engine, model, history.serving)]
        words = f"bring {history.serving.version} to {', '.join(behind)}" if behind else "do nothing else"
        return Outcome(model, history.serving.version, changed=False, plan=(*first, f"{words}: {fleet.standing()}"))
    version, hosts = new_version(fleet, archive), ", ".join(map(name_of, fleet.present))
    plan = (
        f"publish {file_name(model, version)} ({archive.size} bytes)",
        f"register it without traffic on {hosts}, compare their copies with what was checked",
        "start its workers, compare its golden answers, warm them",
        f"switch to it on one after the other, watching each for {fleet.present[0].settings.rollout.watch_s:g} s",
        f"drain and remove what they serve now ({fleet.standing()})",
    )
    return Outcome(model, version, changed=False, plan=(*first, *plan))
