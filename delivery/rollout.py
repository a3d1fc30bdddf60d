"""Rollout, rollback, removal and restore of a model, on every engine host, one at a time for each model.

roll_out   lock ─▶ recover ─▶ next version ─▶ replace_version ─▶ RolloutResult
roll_back  lock ─▶ recover ─▶ version before ─▶ replace_version ─▶ RolloutResult
restore    lock ─▶ recover ─▶ recorded version, to each host that lacks it
remove     lock ─▶ recover ─▶ drain ─▶ unregister every version
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

import settings as configuration
from archive import Archive, TrustPolicy, open_trusted
from delivery.checks import check_comparable, check_packages, check_timeout
from delivery.dry_run import plan_rollout
from delivery.edge_update import follow
from delivery.gateway_metrics import AnswerCounts
from delivery.hosts import EngineHosts, HostContext, is_behind, open_hosts
from delivery.journal import RolloutUnderWay, rollout_lock
from delivery.publish import PublishedVersions, publish, published_archive, same_content
from delivery.recover import find_probe, recover
from delivery.replacement import entry_for, replace_version, try_out_only
from delivery.stores import open_store
from delivery.stores.store import archive_file_name
from delivery.trial import only_tried_out, trial_step
from deployments.serving import DeployedVersion, ServingRecord, VersionHistory
from engines.engine_profile import ModelVersion, PredictionInput
from errors import ConfigError, MarinaError, RolloutError
from settings import Settings
from settings.schema import RegistrationSettings

log = logging.getLogger(__name__)

RESTORED_AT_ONCE = 4
"""Models. A restore mostly waits for workers that load; more of them at once need more memory."""


@dataclass(frozen=True)
class RolloutResult:
    """The version that serves after a successful rollout; `changed` when the rollout made it serve.

    `plan` describes a dry run, which changes nothing. `observed` is a version that was only tried out. `where` names
    the versions of several engine hosts. `watched` counts the answers after the switch, None when nothing was watched.
    """

    model: str
    version: str
    changed: bool
    plan: tuple[str, ...] = ()
    observed: str | None = None
    where: str = ""
    watched: AnswerCounts | None = None

    @property
    def remarks(self) -> str:
        """The remarks in brackets for the end of a line; empty without any."""
        unseen = self.watched is not None and self.watched.answered == 0
        found = [*([self.where] if self.where else []), *(["no request came while it was watched"] if unseen else [])]
        return f" ({'; '.join(found)})" if found else ""


def roll_out(archive_file: Path, settings: Settings) -> RolloutResult:
    """Make every host that answers, and then a running edge, serve an archive with the batch settings of `settings`.

    Changes nothing when that content already serves with these settings, or for a dry run. Raises RolloutError that
    says what failed and which version serves, and EdgeError when only the edge keeps another version.
    """
    result = _roll_out(archive_file, settings)
    return result if result.plan else _followed_by_edge(result, settings)


def _roll_out(archive_file: Path, settings: Settings) -> RolloutResult:
    archive = open_trusted(archive_file, TrustPolicy.of(settings))
    check_packages(archive, settings)
    check_timeout(archive, settings)
    model, dry_run = archive.model_name, settings.rollout.dry_run
    step = trial_step(settings)
    if step and settings.engine.nodes:
        raise ConfigError(f"a {step} tries a version out on one engine host, and engine.nodes names several")
    with rollout_lock(model, settings), open_hosts(settings, model) as hosts:
        if not dry_run:
            recover(hosts)
        settings = _with_scaled_workers(settings, hosts.present[0].engine.default(model))
        hosts = hosts.with_settings(settings)
        for host in hosts.present if dry_run else ():
            check_comparable(host.engine, settings)
        serving = _serving_version(hosts, archive)
        if dry_run:
            version = serving or hosts.new_version(archive)
            plan = plan_rollout(hosts, archive, version, serves=serving is not None)
            return RolloutResult(model, version, changed=False, plan=plan)
        if serving is not None:
            brought = _restore_hosts(hosts, _recorded(hosts, serving))
            return RolloutResult(model, serving, changed=bool(brought), where=hosts.summary())
        return _roll_out_new(hosts, archive)


def _roll_out_new(hosts: EngineHosts, archive: Archive) -> RolloutResult:
    model, version, settings = hosts.model, hosts.new_version(archive), hosts.settings
    new, history = _deployed(hosts, version), hosts.record.get(model)
    entry = entry_for(model, new, history.versions if history else (), published=True)

    def put() -> Archive:
        return publish(archive, version, hosts.store, settings)

    current = hosts.present[0].engine.default(model)
    if current is not None and only_tried_out(settings):
        try_out_only(hosts, archive, entry, put)
        return RolloutResult(model, current.version, changed=False, observed=version)
    watched = replace_version(hosts, archive, entry, put, tried_out=True)
    return RolloutResult(model, version, changed=True, where=hosts.summary(), watched=watched)


def _serving_version(hosts: EngineHosts, archive: Archive) -> str | None:
    """Return the version that serves this content with these settings; None when it takes a new one.

    One of several hosts is enough: the others are then brought to it. Where there is a record, it names that version.
    """
    params, history = hosts.settings.served_model.request_params, hosts.record.get(hosts.model)
    found = set()
    for host in hosts.present:
        current = host.engine.default(hosts.model)
        if current is None or current.ready_workers == 0 or not _has_settings(current, params, history):
            continue
        # A TorchServe of others may have an archive of another name, such as the one in its own model store.
        published = current.archive == archive_file_name(hosts.model, current.version)
        if published and same_content(archive, params.stamped, current.archive, hosts.store):
            found.add(current.version)
    if history is not None:
        found &= {history.serving.version}
    return min(found, default=None)


def _recorded(hosts: EngineHosts, version: str) -> VersionHistory:
    """Return the history of the version that serves; record it again where `serving.json` was lost."""
    history = hosts.record.get(hosts.model)
    if history is None:
        history = VersionHistory(_deployed(hosts, version))
        hosts.record.put(hosts.model, history)
        hosts.allow({version})
        log.warning("%s %s served without a record; it is recorded now", hosts.model, version)
    return history


def _deployed(hosts: EngineHosts, version: str) -> DeployedVersion:
    """Return a version with its archive's name and the registration settings of `hosts`."""
    params = hosts.settings.served_model.request_params
    return DeployedVersion(version, archive_file_name(hosts.model, version), **params.model_dump())


def _has_settings(current: ModelVersion, params: RegistrationSettings, history: VersionHistory | None) -> bool:
    """Return True if the version was registered with these settings.

    Only the record says whether a response timeout was the model's own or that of the engine.
    """
    recorded = history.serving if history and history.serving.version == current.version else None
    same_timeout = recorded is None or recorded.response_timeout == params.response_timeout
    return same_timeout and current.has(params)


def _with_scaled_workers(settings: Settings, current: ModelVersion | None) -> Settings:
    """Return the settings with as many workers as a scaled model has now, so that a swap under load keeps them."""
    model = settings.served_model
    limits = settings.scaling.models.get(model.model_name)
    if limits is None:
        return settings
    had = current.min_workers if current else model.request_params.initial_workers
    workers = min(max(had, limits.min_workers), limits.max_workers)
    return with_registration(settings, model.request_params.model_copy(update={"initial_workers": workers}))


def with_registration(settings: Settings, params: RegistrationSettings) -> Settings:
    """Return the settings with other registration settings of the chosen model."""
    changed: dict[str, Any] = {"served_model": settings.served_model.model_copy(update={"request_params": params})}
    return settings.model_copy(update=changed)


def roll_back(model: str, settings: Settings) -> RolloutResult:
    """Make every host that answers, and then a running edge, serve the version before with its own settings."""
    return _followed_by_edge(_roll_back(model, settings), settings)


def _roll_back(model: str, settings: Settings) -> RolloutResult:
    with rollout_lock(model, settings), open_hosts(settings, model) as hosts:
        recover(hosts)
        history = hosts.record.get(model)
        if history is None or not history.before:
            raise RolloutError(f"{model}: no earlier version exists to roll back to")
        after = history.rolled_back()
        target = after.serving
        archive = published_archive(target, hosts.store, settings)
        for host in hosts.present:
            current = host.engine.default(model)
            if current is not None and current.version == target.version:
                # A version that serves cannot be registered a second time.
                on = f" on {host.name}" if hosts.several else ""
                raise RolloutError(f"{model} {target.version} serves already{on}")
        watched = replace_version(hosts, archive, entry_for(model, target, after.before), lambda: archive)
        return RolloutResult(model, target.version, changed=True, where=hosts.summary(), watched=watched)


def _followed_by_edge(result: RolloutResult, settings: Settings) -> RolloutResult:
    """Run the last step. A bucket keeps no file on this machine that the edge could compile."""
    published = open_store(settings).path(archive_file_name(result.model, result.version))
    if published is not None:
        follow(result.model, result.version, published, settings)
    return result


def remove(model: str, settings: Settings) -> None:
    """Drain the model, and remove its versions and archives. Raises RolloutError for a model that nothing knows."""
    with rollout_lock(model, settings), open_hosts(settings, model) as hosts:
        recover(hosts)
        history = hosts.record.get(model)
        registered = [host for host in hosts.present if host.engine.default(model) is not None]
        archives = [served.archive for served in history.versions] if history else _unrecorded_archives(hosts)
        if not registered and not archives:
            raise RolloutError(f"{model} is neither registered nor recorded")
        probe = find_probe(hosts, history.serving) if history else None
        # First, so that a host that returns meanwhile does not get the model again.
        hosts.record.forget(model)
        hosts.allow([])
        for host in registered:
            _unregister_all(host, model, probe)
        for name in archives:
            hosts.store.remove(name)
        log.info("%s is removed; no version serves", model)


def _unrecorded_archives(hosts: EngineHosts) -> list[str]:
    """Return the published archives that the store still has; a removal that was killed leaves them."""
    published = PublishedVersions.of(hosts.settings).get(hosts.model)
    return [archive_file_name(hosts.model, version) for version in hosts.store.versions(hosts.model) & published.keys()]


def _unregister_all(host: HostContext, model: str, probe: PredictionInput | None) -> None:
    current = host.engine.default(model)
    if current is None:
        return
    if probe is not None:
        host.engine.drain(current, probe, host.settings.rollout.drain_timeout_s)
    # The default version must be removed last.
    for found in sorted(host.engine.versions(model), key=lambda each: each.version == current.version):
        host.engine.unregister(model, found.version)


def restore(settings: Settings) -> list[RolloutResult]:
    """Make every host that answers serve what is recorded; return the models for which that was a change."""
    outcomes = restore_models(list(ServingRecord.of(settings).all()), settings)
    return [outcome for _, outcome in outcomes if isinstance(outcome, RolloutResult)]


def restore_models(
    models: Sequence[str], settings: Settings, *, wait: bool = True
) -> Iterator[tuple[str, RolloutResult | MarinaError | None]]:
    """Restore models, `RESTORED_AT_ONCE` at a time; yield each with its result, in the order given.

    An error with one is logged and yielded, and does not stop the others. Without `wait`, a model in a rollout is left
    as it is. When the caller is interrupted, restores that are under way end as if they were killed, and the next one
    recovers them.
    """

    def attempt(model: str) -> tuple[str, RolloutResult | MarinaError | None]:
        try:
            return model, restore_model(model, settings, wait=wait)
        except RolloutUnderWay:
            return model, None
        except MarinaError as error:
            log.warning("%s is not restored: %s", model, error)
            return model, error
        except Exception as error:
            # A fault of Marina with one model must not keep the others from coming back.
            log.exception("%s is not restored", model)
            return model, RolloutError(f"{model} is not restored: {error!r}")

    if len(models) < 2:
        yield from map(attempt, models)
        return
    with ThreadPool(min(len(models), RESTORED_AT_ONCE)) as threads:
        yield from threads.imap(attempt, models)


def restore_model(model: str, settings: Settings, *, wait: bool = True) -> RolloutResult | None:
    """Make every host that answers serve what is recorded of one model; None when that changed nothing.

    It needs no room on the disk of the state folder. Raises the first error when all hosts were tried, and
    RolloutUnderWay when it is not to `wait` for another rollout of the model.
    """
    with rollout_lock(model, settings, create=False, wait=wait), open_hosts(settings, model) as hosts:
        recover(hosts, restoring=True)
        history = hosts.record.get(model)
        brought = _restore_hosts(hosts, history)
        if history is None or not brought:
            return None
        where = ", ".join(brought) if hosts.several else ""
        return RolloutResult(model, history.serving.version, changed=True, where=where)


def _restore_hosts(hosts: EngineHosts, history: VersionHistory | None) -> list[str]:
    """Bring the recorded version to each host that lacks it, and return their names.

    An error on one host does not stop the others. Raises the first error after all hosts were tried.
    """
    brought, errors = [], []
    for host in hosts.present if history else ():
        assert history is not None
        try:
            if is_behind(host.engine, hosts.model, history.serving, exact=hosts.exact):
                _restore_host(hosts.only(host), host, history)
                brought.append(host.name)
        except MarinaError as error:
            errors.append(error)
    if errors:
        raise errors[0]
    return brought


def _restore_host(hosts: EngineHosts, host: HostContext, history: VersionHistory) -> None:
    model, serving, engine = hosts.model, history.serving, host.engine
    check_comparable(engine, host.settings)
    log.warning("bring %s %s back%s", model, serving.version, f" on {host.name}" if hosts.several else "")
    archive = published_archive(serving, hosts.store, host.settings)
    current = engine.default(model)
    for found in engine.versions(model):
        if current is not None and found.version != current.version:
            engine.unregister(model, found.version)
    if current is not None and current.version == serving.version:
        # The right number, but of another archive, with other settings or without a worker. It gets no traffic.
        engine.unregister(model, current.version)
    # It has served before. The gateway sends this host no requests until then, so there is no traffic to watch.
    replace_version(hosts, archive, entry_for(model, serving, history.before), lambda: archive, restoring=True)


class ModelControl:
    """Loads and unloads models by name, for a gateway that lets its clients do so.

    `overrides` are those of the gateway, so that both use the same engine and folders. The settings of a model are
    read again at each load, as `make upload_model` does.
    """

    def __init__(self, overrides: tuple[str, ...]) -> None:
        self._overrides = tuple(each for each in overrides if not each.startswith("served_model"))

    def names(self) -> tuple[str, ...]:
        """Return the configured models whose archive has been built."""
        folder = Path(configuration.load(self._overrides).paths.archives)
        return tuple(name for name in configuration.models() if (folder / f"{name}.mar").is_file())

    def configured(self) -> tuple[str, ...]:
        """Return the configured models."""
        return configuration.models()

    def load(self, model: str, registration: Mapping[str, int]) -> None:
        """Roll out the model's archive, and return when it serves; `registration` replaces some of its request_params.

        Raises MarinaError.
        """
        changed = [f"served_model.request_params.{name}={value}" for name, value in registration.items()]
        loaded = configuration.load([*self._overrides, f"served_model={model}", *changed], registering=True)
        roll_out(Path(loaded.paths.archives) / f"{model}.mar", loaded)

    def unload(self, model: str) -> None:
        """Drain and remove the model; a restart does not bring it back. Raises MarinaError."""
        remove(model, configuration.load(self._overrides))
