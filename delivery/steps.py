"""The steps of a rollout on one host: the old version answers until the new one has proven itself.

verify:   publish ─▶ register ─▶ compare ─▶ workers ─▶ golden ─▶ warm
try_out:  shadow or canary, when the settings ask for it        undo: return the traffic,
switch:   switch ─▶ watch                                             remove the new version and its archive
finalize: record ─▶ drain ─▶ remove

Each step is journaled and logged before it begins. A failure up to the switch is undone; one in `finalize` is finished
by the next rollout. Restoring a recorded version takes the same steps, and writes what it can: it works on a full disk.
"""

import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

from archive import Archive
from delivery.checks import check_golden, check_room, compare_copy, probe_request
from delivery.gateway_metrics import AnswerCounts
from delivery.hosts import HostContext
from delivery.journal import TRIALS, JournalEntry, Step, optional_write
from delivery.stores import Store
from delivery.trial import run_trial, trial_step
from delivery.watch import TrafficWatch
from deployments.serving import ServingRecord, VersionHistory
from deployments.traffic import FOLLOWED_S
from engines.engine_profile import PredictionInput
from errors import DiskError, MarinaError, RolloutError

log = logging.getLogger(__name__)

UNDO_DRAIN_S = 30.0  # for the requests that the new version got before it was withdrawn


class HostRollout:
    """The rollout of one version on one host. `seen` is what the watch has counted, None when nothing was watched.

    `begun` says that a step has begun; where the journal could not be written, nothing else does.
    `restoring` brings back a version that has served before.
    """

    def __init__(self, host: HostContext, entry: JournalEntry, *, restoring: bool = False) -> None:
        settings = host.settings
        watched = not restoring and entry.old is not None and settings.rollout.watch_s > 0
        self.host = host
        self.entry = entry
        self.begun = False
        self.seen: AnswerCounts | None = None
        self._watch = TrafficWatch(settings, entry.model, host.name) if watched else None
        self._on = f" on {host.name}" if settings.engine.nodes else ""
        self._restoring = restoring
        self._journaled = True

    def _begin(self, step: Step) -> None:
        begun = self.entry.at(step)
        if self._journaled:
            self._write_journal(begun)
        self.entry, self.begun = begun, True
        log.info("%s%s: %s", self.entry.name, self._on, step)

    def _write_journal(self, entry: JournalEntry) -> None:
        try:
            self.host.journal.write(entry)
        except DiskError as error:
            if not self._restoring:
                raise
            log.warning("%s%s is restored without a journal: %s", entry.name, self._on, error)
            self._journaled = False

    def _write(self) -> AbstractContextManager[None]:
        """Let the block's writes fail where they must not keep a version from being restored."""
        return optional_write(f"{self.entry.name}{self._on} is restored, but", when=self._restoring)

    def verify(self, archive: Archive, publish: Callable[[], Archive]) -> None:
        """Publish, register and check the new version, which gets no requests yet. Raises MarinaError."""
        engine, settings, model, new = self.host.engine, self.host.settings, self.entry.model, self.entry.new
        limits = settings.rollout
        if self._watch is not None:
            self._watch.begin()
        self._begin(Step.PUBLISH)
        published = publish()
        self._begin(Step.REGISTER)
        check_room(engine.node, published)
        url = self.host.store.url(new.archive)
        copy = engine.register(model, url, new.params, limits.fetch_timeout_s, published.sha256)
        self._begin(Step.COMPARE)
        compare_copy(copy, published, settings)
        self._begin(Step.WORKERS)
        engine.scale(model, new.version, new.initial_workers, limits.workers_timeout_s)
        self._begin(Step.GOLDEN)
        checked = check_golden(engine, model, new.version, archive.golden)
        log.info("%d golden answers of %s hold", checked, self.entry.name)
        self._begin(Step.WARM)
        self._warm(probe_request(archive))

    def _warm(self, probe: PredictionInput) -> None:
        limits = self.host.settings.rollout
        found = self.host.engine.find(self.entry.model, self.entry.new.version)
        if found is None or limits.warm_requests == 0:
            return
        if not self.host.engine.warm(found, probe, limits.warm_requests, limits.workers_timeout_s):
            raise RolloutError(f"not every worker answered within {limits.workers_timeout_s:g} s")

    def try_out(self) -> None:
        """Run the canary or shadow that the settings ask for; a first version has none. Raises RolloutError."""
        step = trial_step(self.host.settings)
        if step is None or self.entry.old is None:
            return
        self._begin(step)
        run_trial(self.host.engine, self.host.traffic, self.host.settings, self.entry)
        log.info("%s has passed its %s", self.entry.name, step)

    def switch(self) -> None:
        """Give the new version the traffic, and watch it. Raises RolloutError when it fails the watch."""
        if self._watch is not None:
            self._watch.begin()
        self._begin(Step.SWITCH)
        self.host.engine.set_default(self.entry.model, self.entry.new.version)
        with self._write():
            self.host.traffic.clear(self.entry.model)
        if self.entry.old is None:
            return
        log.info("%s takes the traffic", self.entry.name)
        if self._watch is None:
            return
        self._begin(Step.WATCH)
        self.seen = self._watch.follow(self.host.engine, self.entry.new)
        log.info("%s: %s", self.entry.name, self.seen)

    def finalize(self, probe: PredictionInput) -> None:
        """Record the new version as serving, and drain and remove every other one."""
        engine, model, new = self.host.engine, self.entry.model, self.entry.new
        kept = self.host.settings.rollout.keep_versions
        self._begin(Step.RECORD)
        with self._write():
            self.host.traffic.clear(model)
            self.host.record.put(model, VersionHistory(new, self.entry.before[:kept]))
        self._begin(Step.DRAIN)
        others = [found for found in engine.versions(model) if found.version != new.version]
        for old in others:
            engine.drain(old, probe, self.host.settings.rollout.drain_timeout_s)
        self._begin(Step.REMOVE)
        for old in others:
            engine.unregister(model, old.version)
            log.info("%s %s is drained and removed", model, old.version)
        with self._write():
            self._prune_archives(kept)
            self.host.journal.close()

    def _prune_archives(self, kept: int) -> None:
        """Remove the archives of versions that no rollback can return to, except one that is registered."""
        registered = {found.archive for found in self.host.engine.versions(self.entry.model)}
        needed = registered | {self.entry.new.archive, *(served.archive for served in self.entry.before[:kept])}
        for served in self.entry.before[kept:]:
            if served.archive not in needed:
                self.host.store.remove(served.archive)

    def undo(self, probe: PredictionInput | None) -> bool:
        """Give the traffic back to the old version, and remove the new one and its archive.

        Returns False when the engine refuses: the rest stays in the journal for the next run.
        """
        name = self.entry.name
        # Without it, the journal still has the previous step, which the next run undoes in the same way.
        with optional_write(f"{name}{self._on} is undone without its journal"):
            self.host.journal.write(self.entry.at(Step.TAKE_BACK))
        had_share = True
        # First, and without the engine, which may have caused the failure. The share ends by itself; until then the old
        # version answers the requests that the new one does not.
        with optional_write(f"{name} keeps its share of the traffic until the end of the trial"):
            had_share = self.host.traffic.clear(self.entry.model)
        try:
            self._give_back(probe, had_share=had_share)
            remove_published(self.host.store, self.host.record, self.entry)
            self.host.journal.close()
        except MarinaError as error:
            log.warning("%s is not wholly removed: %s; the next rollout does it", name, error)
            return False
        return True

    def _give_back(self, probe: PredictionInput | None, *, had_share: bool) -> None:
        engine, model, new, old = self.host.engine, self.entry.model, self.entry.new, self.entry.old
        found = engine.find(model, new.version)
        if found is None:
            return
        # A killed run may have removed the share already; its step shows that there was one.
        if had_share or self.entry.step in TRIALS:
            log.warning("%s gets no more traffic", self.entry.name)
            time.sleep(FOLLOWED_S)
            if probe is not None:
                engine.drain(found, probe, UNDO_DRAIN_S)
        default = engine.default(model)
        if default is not None and default.version == new.version and old is not None:
            engine.set_default(model, old)
            log.warning("%s %s takes the traffic again", model, old)
            if probe is not None:
                engine.drain(found, probe, UNDO_DRAIN_S)
        engine.unregister(model, new.version)


def remove_published(store: Store, record: ServingRecord, entry: JournalEntry) -> None:
    """Remove the archive that a rollout put into the store, unless it is recorded as one that has served."""
    if not entry.published:
        return
    history = record.get(entry.model)
    known = {served.archive for served in history.versions} if history else set()
    if entry.new.archive not in known:
        store.remove(entry.new.archive)
