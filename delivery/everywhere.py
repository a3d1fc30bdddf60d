"""One version to serve on several engine hosts: proven on all of them before the first one switches.

on each: register ─▶ compare ─▶ workers ─▶ golden ─▶ warm  one by one: switch ─▶ watch  each: record ─▶ drain ─▶ remove
└── a failure removes the new version everywhere ───────┘  └── goes back everywhere ─┘  └─ a failure is tried again ─┘

A host that stops answering on the way is left behind: the gateway gives it no requests, and it gets what the others
have when it comes back.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

from archive import Archive
from delivery.copies import check_comparable
from delivery.fleet import Fleet, name_of
from delivery.journal import PROVEN, Entry, Step
from delivery.machine import Begun, Proof, Tools, prove, settle, switch, take_back
from delivery.probe import request_of
from delivery.recover import probe_of, proven, remove_strangers
from delivery.undo import remove_archive
from delivery.watch import Counts
from deployments.serving import DeployedVersion
from engines.engine_profile import PredictionInput
from errors import MarinaError, RolloutError, StoreError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Part:
    """The rollout on one host, with a journal of its own."""

    tools: Tools
    begun: Begun


class _Rollout:
    """The hosts that still take part."""

    def __init__(self, parts: list[_Part]) -> None:
        self.parts = parts

    def each(self, act: Callable[[_Part], object]) -> None:
        """On one host after the other. Raises RolloutError naming the host on which it failed."""
        for part in tuple(self.parts):
            try:
                act(part)
            except MarinaError as error:
                if part.tools.engine.answers():
                    raise RolloutError(f"{name_of(part.tools)}: {error}") from None
                log.warning("%s answers no longer; it is brought up to date when it comes back", name_of(part.tools))
                part.tools.journal.close()
                self.parts.remove(part)
        if not self.parts:
            raise RolloutError("no engine host answers any longer")


def replace_everywhere(fleet: Fleet, archive: Archive, entry: Entry, publish: Callable[[], Archive]) -> Proof:
    """Bring `entry.new` to serve on all hosts that answer; of the golden answers, returns how many held on each.

    `entry.old` is what each host itself has as default. Raises RolloutError, which says where each host stands.
    """
    for tools in fleet.present:
        check_comparable(tools.engine, tools.settings)
    history = fleet.present[0].record.get(entry.model)
    former = fleet.live.get() or ([history.serving.version] if history else [])
    rollout = _Rollout([_part(tools, entry) for tools in fleet.present])
    checked: list[int] = []
    once = _once(publish)
    try:
        rollout.each(lambda part: checked.append(prove(part.tools, archive, part.begun, once)))
        if former:
            fleet.live.put({*former, entry.new.version})
        rollout.each(lambda part: switch(part.tools, part.begun))
    except BaseException as error:
        taken_back = any(part.begun.entry.step in PROVEN for part in rollout.parts)
        _undo(fleet, rollout, entry, former, request_of(archive))
        if not isinstance(error, MarinaError):
            raise
        how = "was taken back" if taken_back else "was not rolled out"
        raise RolloutError(f"{entry.model} {entry.new.version} {how}: {error}; {fleet.standing()}") from None
    try:
        fleet.live.put({entry.new.version})
        rollout.each(lambda part: settle(part.tools, part.begun.entry, request_of(archive)))
    except MarinaError as error:
        name = f"{entry.model} {entry.new.version}"
        raise RolloutError(f"{name} serves, but is not settled: {error}; the next rollout finishes it") from None
    seen = [part.begun.seen for part in rollout.parts if part.begun.seen is not None]
    return Proof(checked[0], Counts.together(seen) if seen else None)


def recover_everywhere(fleet: Fleet) -> None:
    """End what a killed rollout began: finished if every host had switched to a proven version, else undone on all.

    The journals of hosts that are away are closed: what they have is looked at when they come back.
    """
    open_parts = [(tools, entry) for tools in fleet.present if (entry := tools.journal.read()) is not None]
    lost = [entry for tools in fleet.away if (entry := tools.journal.read()) is not None]
    if open_parts and all(proven(entry, tools.engine.default(entry.model)) for tools, entry in open_parts):
        _finish(fleet, open_parts)
    else:
        _take_back(fleet, open_parts, lost)
    for tools in fleet.away:
        tools.journal.close()
    for tools in fleet.present:
        remove_strangers(tools, fleet.model)


def intention(fleet: Fleet) -> str | None:
    """What `recover_everywhere` would do, in words; None when nothing was interrupted."""
    entries = [(tools, entry) for tools in fleet.present if (entry := tools.journal.read()) is not None]
    if not entries:
        return None
    whole = all(proven(entry, tools.engine.default(entry.model)) for tools, entry in entries)
    return f"{'finish' if whole else 'undo'} the rollout of {fleet.model} {entries[0][1].new.version} that was killed"


def entry_for(fleet: Fleet, served: DeployedVersion, before: tuple[DeployedVersion, ...], *, published: bool) -> Entry:
    """What is journaled on each host; the version that it leaves is filled in there."""
    return Entry(fleet.model, Step.PUBLISH, served, None, before, published)


def _part(tools: Tools, entry: Entry) -> _Part:
    current = tools.engine.default(entry.model)
    return _Part(tools, Begun(tools, replace(entry, old=current.version if current else None), watched=True))


def _once(publish: Callable[[], Archive]) -> Callable[[], Archive]:
    """Publishes at the first call: the archive is the same for all hosts."""
    done: list[Archive] = []

    def publish_once() -> Archive:
        if not done:
            done.append(publish())
        return done[0]

    return publish_once


def _undo(fleet: Fleet, rollout: _Rollout, entry: Entry, former: list[str], probe: PredictionInput) -> None:
    for part in reversed(rollout.parts):
        tools = part.tools
        # A host whose turn had not come has no journal, and nothing to take back.
        if _has_begun(tools):
            take_back(tools, part.begun.entry, probe)
    store, record = fleet.present[0].store, fleet.present[0].record
    try:
        remove_archive(store, record, entry)
        fleet.live.put(former)
    except MarinaError as error:
        # Both versions may answer then, and only one is there. Why this rollout failed is what counts.
        log.warning("%s %s is not wholly removed: %s; the next rollout does it", entry.model, entry.new.version, error)


def _has_begun(tools: Tools) -> bool:
    try:
        return tools.journal.read() is not None
    except StoreError:
        return True


def _finish(fleet: Fleet, parts: list[tuple[Tools, Entry]]) -> None:
    for tools, entry in parts:
        log.warning("finish %s %s on %s", entry.model, entry.new.version, name_of(tools))
        probe = probe_of(tools, entry.new)
        if probe is None:
            raise RolloutError(f"{entry.new.archive} is gone from the store; `make upload_model` brings a new version")
        fleet.live.put({entry.new.version})
        settle(tools, entry, probe)


def _take_back(fleet: Fleet, parts: list[tuple[Tools, Entry]], lost: list[Entry]) -> None:
    for tools, entry in reversed(parts):
        log.warning("undo %s %s on %s, killed at %r", entry.model, entry.new.version, name_of(tools), str(entry.step))
        take_back(tools, entry, probe_of(tools, entry.new))
    first = fleet.present[0]
    for entry in lost:
        remove_archive(first.store, first.record, entry)
    history = first.record.get(fleet.model)
    if (parts or lost) and history is not None:
        fleet.live.put({history.serving.version})
