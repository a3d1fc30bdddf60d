"""Takes back what a rollout has done that failed or was killed: the version, its workers, its archive."""

import logging
import time

from delivery.journal import Entry, Journal, Step
from delivery.stores import Store
from deployments.serving import ServingRecord
from deployments.traffic import FOLLOWED_S, TrafficFile
from engines.engine_profile import PredictionInput
from engines.torchserve.client import EngineClient
from errors import MarinaError, StoreError

log = logging.getLogger(__name__)

DRAIN_TIMEOUT_S = 30.0  # for what the new version was given between the switch and the return


def undo(
    engine: EngineClient,
    store: Store,
    record: ServingRecord,
    journal: Journal,
    splits: TrafficFile,
    entry: Entry,
    probe: PredictionInput | None,
) -> None:
    """Give the traffic back to the old version, and remove the new one and its archive.

    What cannot be undone now, because the engine does not answer, stays in the journal for the next run.
    """
    name = f"{entry.model} {entry.new.version}"
    try:
        journal.write(entry.at(Step.TAKE_BACK))
    except StoreError as error:
        # On a full disk, say. The journal has the step before, which the next run undoes just as well.
        log.warning("%s is undone without its journal: %s", name, error)
    try:
        # Before anything else, and without the engine: it may be the reason.
        had_share = splits.clear(entry.model)
    except StoreError as error:
        # The share ends by itself, and until then the old version answers what the new one does not.
        log.warning("%s keeps its share of the traffic until the trial's time is over: %s", name, error)
        had_share = True
    try:
        _give_back(engine, entry, probe, had_share=had_share)
        remove_archive(store, record, entry)
    except MarinaError as error:
        log.warning("%s is not wholly removed: %s; the next rollout does it", name, error)
        return
    journal.close()


def _give_back(engine: EngineClient, entry: Entry, probe: PredictionInput | None, *, had_share: bool) -> None:
    found = engine.find(entry.model, entry.new.version)
    if found is None:
        return
    # Also after a kill between the two: the step tells that there was a share.
    if had_share or entry.step in (Step.SHADOW, Step.CANARY):
        log.warning("%s %s gets no more traffic", entry.model, entry.new.version)
        time.sleep(FOLLOWED_S)
        if probe is not None:
            engine.drain(found, probe, DRAIN_TIMEOUT_S)
    default = engine.default(entry.model)
    if default is not None and default.version == entry.new.version and entry.old is not None:
        engine.set_default(entry.model, entry.old)
        log.warning("%s %s takes the traffic again", entry.model, entry.old)
        if probe is not None:
            engine.drain(found, probe, DRAIN_TIMEOUT_S)
    engine.unregister(entry.model, entry.new.version)


def remove_archive(store: Store, record: ServingRecord, entry: Entry) -> None:
    """Remove what this rollout put into the store, unless it is one that served and can be gone back to."""
    if not entry.published:
        return
    history = record.get(entry.model)
    known = {served.archive for served in history.versions} if history else set()
    if entry.new.archive not in known:
        store.remove(entry.new.archive)
