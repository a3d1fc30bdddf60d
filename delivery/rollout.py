"""Brings one archive to serve: the old version answers until the new one has proven that it does.

checked ─▶ published ─▶ registered, workers up ─▶ golden answers ─▶ switched to ─▶ old drained and removed ─▶ recorded

Anything that goes wrong before the switch takes the new version away again and leaves the old one as it was.
"""

import contextlib
import fcntl
import logging
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from archive import Archive, open_archive, stamp
from delivery import golden
from delivery.management import Management, Version
from delivery.record import History, Record, Served
from delivery.stores import Store, open_store
from delivery.stores.base import file_name
from delivery.versions import free_version, names
from errors import EngineError, MarinaError, RolloutError
from settings import Settings

log = logging.getLogger(__name__)

DRAIN_TIMEOUT_S = 60.0
KEPT_VERSIONS = 3  # how many former versions `make rollback` can go back through


@dataclass(frozen=True)
class Outcome:
    """How a rollout ended well: which version serves now, and whether anything had to change for it."""

    model: str
    version: str
    changed: bool
    golden: int = 0


def roll_out(archive_file: Path, settings: Settings) -> Outcome:
    """Have the engine serve `archive_file` with the batch settings of `settings`.

    Returns without a change when that very content serves already with these settings. Raises RolloutError saying
    what failed and which version serves.
    """
    archive = open_archive(archive_file)
    params = settings.served_model.request_params
    with _alone(archive.model_name, settings), Management(settings.engine) as engine:
        store = open_store(settings)
        current = engine.default(archive.model_name)
        if current is not None and current.has(params) and _same_content(archive, current, store):
            return Outcome(archive.model_name, current.version, changed=False)
        _remove_leftovers(engine, archive.model_name, current)
        version = _assign_version(archive, engine, store)
        _publish(archive, version, store)
        served = Served(version, file_name(archive.model_name, version), **params.model_dump())
        checked = _replace(engine, store, archive, served, current)
        _remember(Record.of(settings), archive.model_name, served, store)
        return Outcome(archive.model_name, version, changed=True, golden=checked)


def roll_back(model: str, settings: Settings) -> Outcome:
    """Have the engine serve the version before, with the settings it was registered with then."""
    record = Record.of(settings)
    with _alone(model, settings), Management(settings.engine) as engine:
        history = record.get(model)
        if history is None or not history.before:
            raise RolloutError(f"{model}: there is no version before to go back to")
        store = open_store(settings)
        target, *older = history.before
        archive = _stored(target, store)
        current = engine.default(model)
        if current is not None and current.version == target.version:
            raise RolloutError(f"{model} {target.version} serves already")
        _remove_leftovers(engine, model, current)
        checked = _replace(engine, store, archive, target, current)
        record.put(model, History(target, tuple(older)))
        return Outcome(model, target.version, changed=True, golden=checked)


def remove(model: str, settings: Settings) -> None:
    """Have the engine serve the model no longer: what waits is answered, then every version goes and is forgotten.

    Raises RolloutError when it is not registered.
    """
    with _alone(model, settings), Management(settings.engine) as engine:
        current = engine.default(model)
        if current is None:
            raise RolloutError(f"{model} is not registered")
        _remove_leftovers(engine, model, current)
        _drain(engine, current)
        engine.unregister(model, current.version)
        Record.of(settings).forget(model)
        log.info("%s %s is drained and removed; no version serves", model, current.version)


def restore(settings: Settings) -> list[Outcome]:
    """Register again what served before TorchServe was restarted; TorchServe itself forgets."""
    outcomes = []
    with Management(settings.engine) as engine:
        store = open_store(settings)
        for model, history in Record.of(settings).all().items():
            if engine.default(model) is not None:
                continue
            try:
                archive = _stored(history.serving, store)
                checked = _replace(engine, store, archive, history.serving, None)
            except MarinaError as error:
                log.warning("%s %s is not restored: %s", model, history.serving.version, error)
                continue
            outcomes.append(Outcome(model, history.serving.version, changed=True, golden=checked))
    return outcomes


def _replace(engine: Management, store: Store, archive: Archive, new: Served, old: Version | None) -> int:
    """Register `new`, prove it, switch to it, and only then let go of `old`; returns the golden answers that held."""
    model = archive.model_name
    try:
        log.info("register %s %s from %s", model, new.version, store.url(new.archive))
        engine.register(model, store.url(new.archive), new.params)
        checked = golden.check(engine, model, new.version, archive.golden)
        log.info("%d golden answers of %s %s hold", checked, model, new.version)
        if old is not None:
            engine.set_default(model, new.version)
            log.info("%s %s takes the traffic", model, new.version)
    except BaseException as error:
        with contextlib.suppress(EngineError):
            engine.unregister(model, new.version)
        if not isinstance(error, MarinaError):
            raise
        serving = f"version {old.version} serves as before" if old else "no version serves"
        raise RolloutError(f"{model} {new.version} was not rolled out: {error}; {serving}") from None
    if old is not None:
        _drain(engine, old)
        engine.unregister(model, old.version)
        log.info("%s %s is drained and removed", model, old.version)
    return checked


def _drain(engine: Management, old: Version) -> None:
    """Wait until the old version's queue is empty and its workers have had time for what they took from it."""
    deadline = time.monotonic() + DRAIN_TIMEOUT_S
    while any(found.version == old.version and found.pending_requests for found in engine.versions(old.model)):
        if time.monotonic() > deadline:
            log.warning("%s %s still has requests in its queue after %g s", old.model, old.version, DRAIN_TIMEOUT_S)
            return
        time.sleep(0.2)
    # TorchServe does not tell what its workers still hold; a batch is delayed and answered well within this.
    time.sleep(1 + old.max_batch_delay / 1000)


def _remove_leftovers(engine: Management, model: str, current: Version | None) -> None:
    """Take away versions without traffic that a killed rollout left behind."""
    for found in engine.versions(model):
        if current is not None and found.version != current.version:
            log.warning("remove %s %s, left by a rollout that did not end", model, found.version)
            engine.unregister(model, found.version)


def _assign_version(archive: Archive, engine: Management, store: Store) -> str:
    """The archive's own version unless it is registered or published with another content; then the next free one."""
    taken = names(engine.versions(archive.model_name))
    version = free_version(archive.version, taken)
    while (published := store.path(file_name(archive.model_name, version))) is not None:
        if open_archive(published).content_sha256 == archive.content_sha256:
            break
        taken.add(version)
        version = free_version(archive.version, taken)
    return version


def _same_content(archive: Archive, current: Version, store: Store) -> bool:
    published = store.path(current.url.rsplit("/", 1)[-1])
    if published is None or current.ready_workers == 0:
        return False
    return open_archive(published).content_sha256 == archive.content_sha256


def _publish(archive: Archive, version: str, store: Store) -> None:
    name = file_name(archive.model_name, version)
    with tempfile.TemporaryDirectory(prefix="marina-") as folder:
        source = archive.path
        if archive.version != version:
            source = stamp(archive.path, version, Path(folder) / name).path
        store.put(source, name)


def _stored(served: Served, store: Store) -> Archive:
    path = store.path(served.archive)
    if path is None:
        raise RolloutError(f"{served.archive} is no longer in the store")
    return open_archive(path)


def _remember(record: Record, model: str, served: Served, store: Store) -> None:
    """Record what serves now, and forget archives that are older than can be gone back to."""
    history = record.get(model)
    former = (history.serving, *history.before) if history else ()
    before = tuple(entry for entry in former if entry.version != served.version)
    record.put(model, History(served, before[:KEPT_VERSIONS]))
    for entry in before[KEPT_VERSIONS:]:
        store.remove(entry.archive)


@contextlib.contextmanager
def _alone(model: str, settings: Settings) -> Iterator[None]:
    """One rollout of a model at a time: a second waits for the first and then finds its work done, or does its own."""
    folder = Path(settings.paths.state) / "rollouts"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{model}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.warning("another rollout of %s is under way; waiting for it", model)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
