"""The steps of a rollout, each journaled before it begins: the old version answers until the new one has proven itself.

publish ─▶ register ─▶ compare ─▶ workers ─▶ golden ─▶ warm ─▶ (canary)  switch ─▶ watch  record ─▶ drain ─▶ remove
└────── a failure removes the new version ────────────────────────────┘  └─ goes back ─┘  └ a failure is tried again ┘
"""

import contextlib
import dataclasses
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from archive import Archive
from delivery import golden
from delivery.copies import check_comparable, compare
from delivery.journal import Entry, Journal, Step
from delivery.probe import request_of
from delivery.stores import Store
from delivery.trial import step_of, try_out
from delivery.undo import undo
from delivery.watch import Counts, Watch
from deployments.serving import ServingRecord, VersionHistory
from deployments.traffic import TrafficFile
from engines.engine_profile import ModelVersion, PredictionInput
from engines.torchserve.client import EngineClient
from errors import MarinaError, RolloutError
from settings import Settings

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Tools:
    """What every step works with."""

    settings: Settings
    engine: EngineClient
    store: Store
    record: ServingRecord
    journal: Journal
    splits: TrafficFile

    @classmethod
    def of(cls, settings: Settings, engine: EngineClient, store: Store, model: str, node: str = "") -> "Tools":
        """The tools for one model of one stack; with `node`, for that one of several engine hosts."""
        journal = Journal.of(settings, model, node)
        return cls(settings, engine, store, ServingRecord.of(settings), journal, TrafficFile.of(settings))

    def under(self, settings: Settings) -> "Tools":
        """The same tools with other settings."""
        return dataclasses.replace(self, settings=settings)


@dataclass(frozen=True)
class Proof:
    """What speaks for a version: golden answers that held, and what it answered while watched; None: it was not."""

    golden: int
    watched: Counts | None = None


def replace(
    tools: Tools,
    archive: Archive,
    entry: Entry,
    publish: Callable[[], Archive],
    *,
    tried_out: bool = False,
    watched: bool = True,
) -> Proof:
    """Bring `entry.new` to serve in place of `entry.old`.

    `tried_out`: after the canary or shadow that the settings ask for. `watched`: not for a version that has proven
    itself elsewhere, which comes back without the gateway, too. Raises RolloutError when the version was not rolled
    out or was taken back, saying which one serves.
    """
    begun = Begun(tools, entry, watched=watched)
    with _or_undone(tools, archive, begun):
        checked = prove(tools, archive, begun, publish)
        if tried_out:
            _try_out(tools, begun)
        switch(tools, begun)
    try:
        settle(tools, begun.entry, request_of(archive))
    except MarinaError as error:
        name = f"{entry.model} {entry.new.version}"
        raise RolloutError(f"{name} serves, but is not settled: {error}; the next rollout finishes it") from None
    return Proof(checked, begun.seen)


def observe(tools: Tools, archive: Archive, entry: Entry, publish: Callable[[], Archive]) -> int:
    """Let `entry.new` prove itself beside `entry.old`, report, and take it away again; how many golden answers held."""
    begun = Begun(tools, entry, watched=True)
    with _or_undone(tools, archive, begun):
        checked = prove(tools, archive, begun, publish)
        _try_out(tools, begun)
    take_back(tools, begun.entry, request_of(archive))
    return checked


@contextlib.contextmanager
def _or_undone(tools: Tools, archive: Archive, begun: "Begun") -> Iterator[None]:
    """Whatever fails in here, even by Ctrl-C, takes back what was done before."""
    try:
        yield
    except BaseException as error:
        take_back(tools, begun.entry, request_of(archive))
        if not isinstance(error, MarinaError):
            raise
        raise RolloutError(_words(begun.entry, error)) from None


def take_back(tools: Tools, entry: Entry, probe: PredictionInput | None) -> None:
    """Undo what a rollout has done so far, as its journal tells."""
    undo(tools.engine, tools.store, tools.record, tools.journal, tools.splits, entry, probe)


def settle(tools: Tools, entry: Entry, probe: PredictionInput) -> None:
    """Record a version that has proven itself, and let go of every other one."""
    begun = Begun(tools, entry)
    begun.at(Step.RECORD)
    tools.splits.clear(entry.model)
    _record(tools, entry)
    begun.at(Step.DRAIN)
    others = [found for found in tools.engine.versions(entry.model) if found.version != entry.new.version]
    for old in others:
        tools.engine.drain(old, probe, tools.settings.rollout.drain_timeout_s)
    begun.at(Step.REMOVE)
    for old in others:
        tools.engine.unregister(entry.model, old.version)
        log.info("%s %s is drained and removed", entry.model, old.version)
    _forget_archives(tools, entry)
    tools.journal.close()


class Begun:
    """The rollout under way: each step is journaled and logged before it begins.

    `watch` is None where nothing is watched, as for a first version; `seen` is what it counted, once it is over.
    """

    def __init__(self, tools: Tools, entry: Entry, *, watched: bool = False) -> None:
        watched = watched and entry.old is not None and tools.settings.rollout.watch_s > 0
        self.watch = Watch(tools.settings, entry.model, tools.engine.node.name) if watched else None
        self.seen: Counts | None = None
        self._journal = tools.journal
        self._on = f" on {tools.engine.node.name}" if tools.settings.engine.nodes else ""
        self.entry = entry

    def at(self, step: Step) -> None:
        """Begin a step."""
        self.entry = self.entry.at(step)
        self._journal.write(self.entry)
        log.info("%s %s%s: %s", self.entry.model, self.entry.new.version, self._on, step)


def prove(tools: Tools, archive: Archive, begun: Begun, publish: Callable[[], Archive]) -> int:
    """Everything before the switch; the old version is not touched."""
    engine, model, new, limits = tools.engine, begun.entry.model, begun.entry.new, tools.settings.rollout
    check_comparable(engine, tools.settings)
    if begun.watch is not None:
        begun.watch.begin()
    begun.at(Step.PUBLISH)
    published = publish()
    begun.at(Step.REGISTER)
    url = tools.store.url(new.archive)
    copy = engine.register(model, url, new.params, limits.fetch_timeout_s, published.sha256)
    begun.at(Step.COMPARE)
    compare(copy, published, tools.settings)
    begun.at(Step.WORKERS)
    engine.scale(model, new.version, new.initial_workers, limits.workers_timeout_s)
    begun.at(Step.GOLDEN)
    checked = golden.check(engine, model, new.version, archive.golden)
    log.info("%d golden answers of %s %s hold", checked, model, new.version)
    begun.at(Step.WARM)
    _warm(engine, model, new.version, request_of(archive), tools.settings)
    return checked


def _try_out(tools: Tools, begun: Begun) -> None:
    """Canary or shadow beside the version that serves; a first version has none."""
    step = step_of(tools.settings)
    if step is None or begun.entry.old is None:
        return
    begun.at(step)
    try_out(tools.engine, tools.splits, tools.settings, begun.entry)
    log.info("%s %s has passed its %s", begun.entry.model, begun.entry.new.version, step)


def _warm(engine: EngineClient, model: str, version: str, probe: PredictionInput, settings: Settings) -> None:
    found: ModelVersion | None = engine.find(model, version)
    if found is None or settings.rollout.warm_requests == 0:
        return
    limits = settings.rollout
    if not engine.warm(found, probe, limits.warm_requests, limits.workers_timeout_s):
        raise RolloutError(f"not every worker answered within {limits.workers_timeout_s:g} s")


def switch(tools: Tools, begun: Begun) -> None:
    """Give the new version the traffic and watch it. Raises RolloutError when it does not stand the watch."""
    model, new = begun.entry.model, begun.entry.new
    if begun.watch is not None:
        begun.watch.begin()
    begun.at(Step.SWITCH)
    tools.engine.set_default(model, new.version)
    tools.splits.clear(model)
    if begun.entry.old is None:
        return
    log.info("%s %s takes the traffic", model, new.version)
    if begun.watch is None:
        return
    begun.at(Step.WATCH)
    begun.seen = begun.watch.follow(tools.engine, new)
    log.info("%s %s: %s", model, new.version, begun.seen.words)


def remove_archives(store: Store, history: VersionHistory | None) -> None:
    """Remove the archives of a model that is forgotten: nobody goes back to them."""
    for served in history.versions if history else ():
        store.remove(served.archive)


def _record(tools: Tools, entry: Entry) -> None:
    tools.record.put(entry.model, VersionHistory(entry.new, entry.before[: tools.settings.rollout.keep_versions]))


def _forget_archives(tools: Tools, entry: Entry) -> None:
    """Remove the archives of versions that are older than can be gone back to; never one that is registered."""
    serving = {found.archive for found in tools.engine.versions(entry.model)}
    kept = {entry.new.archive, *(served.archive for served in entry.before[: tools.settings.rollout.keep_versions])}
    for served in entry.before[tools.settings.rollout.keep_versions :]:
        if served.archive not in serving | kept:
            tools.store.remove(served.archive)


def _words(entry: Entry, error: MarinaError) -> str:
    name = f"{entry.model} {entry.new.version}"
    if entry.old is None:
        return f"{name} was not rolled out: {error}; no version serves"
    if entry.step in (Step.SHADOW, Step.CANARY):
        return f"{name} was withdrawn: {error}; version {entry.old} serves as before"
    if entry.step in (Step.SWITCH, Step.WATCH):
        return f"{name} was taken back: {error}; version {entry.old} serves again"
    return f"{name} was not rolled out: {error}; version {entry.old} serves as before"
