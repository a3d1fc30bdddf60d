"""Rollout, rollback and restore: what has to happen, and that only one of them happens to a model at a time."""

import logging
from pathlib import Path

import engines
from archive import Archive, TrustPolicy, open_trusted
from delivery import hosts, recover
from delivery.copies import check_comparable
from delivery.edge_update import follow
from delivery.journal import Entry, Step
from delivery.lock import alone
from delivery.machine import Tools, observe, remove_archives, replace
from delivery.outcome import Outcome
from delivery.published import assign_version, publish, same_content, stored
from delivery.sizing import sized
from delivery.stores import open_store
from delivery.stores.base import file_name
from delivery.trial import in_words, step_of
from delivery.versions import names
from deployments.serving import DeployedVersion, ServingRecord
from engines.engine_profile import ModelVersion
from errors import MarinaError, RolloutError
from settings import Settings

log = logging.getLogger(__name__)


def roll_out(archive_file: Path, settings: Settings) -> Outcome:
    """Have the engine, and then a running edge, serve `archive_file` with the batch settings of `settings`.

    Returns without a change when that very content serves already with these settings. Raises RolloutError saying
    what failed and which version serves, EdgeError when only the edge still serves another one.
    """
    outcome = _roll_out(archive_file, settings)
    return outcome if outcome.plan else _followed_by_edge(outcome, settings)


def _roll_out(archive_file: Path, settings: Settings) -> Outcome:
    archive = open_trusted(archive_file, TrustPolicy.of(settings))
    if settings.engine.nodes:
        return hosts.roll_out(archive, settings)
    model = archive.model_name
    with alone(model, settings), engines.connect(settings) as engine:
        tools = Tools.of(settings, engine, open_store(settings), model)
        if settings.rollout.dry_run:
            return _dry_run(tools, archive)
        recover.recover(tools, model)
        current = engine.default(model)
        settings = sized(settings, current)
        tools, params = tools.under(settings), settings.served_model.request_params
        if current is not None and _serves(tools, archive, current):
            return Outcome(model, current.version, changed=False)
        version = _new_version(tools, archive)
        served = DeployedVersion(version, file_name(model, version), **params.model_dump())
        entry = _entry(tools, model, served, current)

        def put() -> Archive:
            return publish(archive, version, tools.store, settings)

        if current is not None and _only_observed(settings):
            checked = observe(tools, archive, entry, put)
            return Outcome(model, current.version, changed=False, golden=checked, observed=version)
        proof = replace(tools, archive, entry, put, tried_out=True)
        return Outcome(model, version, changed=True, golden=proof.golden, watched=proof.watched)


def roll_back(model: str, settings: Settings) -> Outcome:
    """Have the engine, and then a running edge, serve the version before, with the settings of that time."""
    return _followed_by_edge(_roll_back(model, settings), settings)


def _roll_back(model: str, settings: Settings) -> Outcome:
    if settings.engine.nodes:
        return hosts.roll_back(model, settings)
    with alone(model, settings), engines.connect(settings) as engine:
        tools = Tools.of(settings, engine, open_store(settings), model)
        recover.recover(tools, model)
        history = tools.record.get(model)
        if history is None or not history.before:
            raise RolloutError(f"{model}: there is no version before to go back to")
        after = history.rolled_back()
        target = after.serving
        archive = stored(target, tools.store, settings)
        current = engine.default(model)
        if current is not None and current.version == target.version:
            raise RolloutError(f"{model} {target.version} serves already")
        old = current.version if current else None
        entry = Entry(model, Step.PUBLISH, target, old, after.before, published=False)
        proof = replace(tools, archive, entry, lambda: archive)
        return Outcome(model, target.version, changed=True, golden=proof.golden, watched=proof.watched)


def remove(model: str, settings: Settings) -> None:
    """Have the engine serve the model no longer: what waits is answered, then every version and its archive goes.

    Raises RolloutError when it is not registered.
    """
    if settings.engine.nodes:
        hosts.remove(model, settings)
        return
    with alone(model, settings), engines.connect(settings) as engine:
        tools = Tools.of(settings, engine, open_store(settings), model)
        recover.recover(tools, model)
        history, current = tools.record.get(model), engine.default(model)
        if current is None:
            raise RolloutError(f"{model} is not registered")
        probe = recover.probe_of(tools, history.serving) if history else None
        if probe is not None:
            engine.drain(current, probe, settings.rollout.drain_timeout_s)
        # The default version can only go last.
        for found in sorted(engine.versions(model), key=lambda each: each.version == current.version):
            engine.unregister(model, found.version)
        tools.record.forget(model)
        remove_archives(tools.store, history)
        log.info("%s is removed; no version serves", model)


def restore(settings: Settings) -> list[Outcome]:
    """Register again what served before the engine was restarted, as TorchServe itself forgets."""
    if settings.engine.nodes:
        return hosts.restore(settings)
    outcomes = []
    with engines.connect(settings) as engine:
        store = open_store(settings)
        for model in ServingRecord.of(settings).all():
            try:
                with alone(model, settings):
                    outcome = _restore(Tools.of(settings, engine, store, model), model)
            except MarinaError as error:
                log.warning("%s is not restored: %s", model, error)
                continue
            outcomes += [outcome] if outcome else []
    return outcomes


def _restore(tools: Tools, model: str) -> Outcome | None:
    recover.recover(tools, model)
    history = tools.record.get(model)
    if history is None or tools.engine.default(model) is not None:
        return None
    archive = stored(history.serving, tools.store, tools.settings)
    entry = Entry(model, Step.PUBLISH, history.serving, None, history.before, published=False)
    proof = replace(tools, archive, entry, lambda: archive)
    return Outcome(model, history.serving.version, changed=True, golden=proof.golden)


def _followed_by_edge(outcome: Outcome, settings: Settings) -> Outcome:
    """Run the last step. A bucket keeps no file here that the edge could compile."""
    published = open_store(settings).path(file_name(outcome.model, outcome.version))
    if published is not None:
        follow(outcome.model, outcome.version, published, settings)
    return outcome


def _only_observed(settings: Settings) -> bool:
    return settings.shadow.only and step_of(settings) is not None


def _serves(tools: Tools, archive: Archive, current: ModelVersion) -> bool:
    """Whether this content serves already, with these settings and a worker."""
    params = tools.settings.served_model.request_params
    if current.ready_workers == 0 or not current.has(params):
        return False
    return same_content(archive, params.stamped, current.archive, tools.store)


def _new_version(tools: Tools, archive: Archive) -> str:
    registered = names(tools.engine.versions(archive.model_name))
    return assign_version(archive, registered, tools.store, tools.settings)


def _entry(tools: Tools, model: str, served: DeployedVersion, current: ModelVersion | None) -> Entry:
    history = tools.record.get(model)
    before = history.versions if history else ()
    return Entry(model, Step.PUBLISH, served, current.version if current else None, before, published=True)


def _dry_run(tools: Tools, archive: Archive) -> Outcome:
    model = archive.model_name
    check_comparable(tools.engine, tools.settings)
    current = tools.engine.default(model)
    unfinished = recover.intention(tools)
    first = (unfinished,) if unfinished else ()
    if current is not None and _serves(tools, archive, current):
        return Outcome(
            model,
            current.version,
            changed=False,
            plan=(*first, f"do nothing else: {current.version} serves it already"),
        )
    version = _new_version(tools, archive)
    return Outcome(model, version, changed=False, plan=(*first, *_plan(tools, archive, version, current)))


def _plan(tools: Tools, archive: Archive, version: str, current: ModelVersion | None) -> tuple[str, ...]:
    params, name = tools.settings.served_model.request_params, file_name(archive.model_name, version)
    steps = [
        f"publish {name} ({archive.size} bytes, sha256 of its content {archive.content_sha256[:12]})",
        f"register it without traffic: batch_size {params.batch_size}, max_batch_delay {params.max_batch_delay} ms",
        "compare the engine's copy with what was checked",
        f"start {params.initial_workers} workers, compare {len(archive.golden['samples'])} golden answers, warm them",
    ]
    if current is None:
        return (*steps, f"let {version} take the traffic, as the first version")
    limits = tools.settings.rollout
    steps += in_words(tools.settings, current.version, version)
    if _only_observed(tools.settings):
        return tuple(steps)
    return (
        *steps,
        f"switch from {current.version} to {version}, watch it for {limits.watch_s:g} s",
        f"drain {current.version} for at most {limits.drain_timeout_s:g} s and remove it",
    )
