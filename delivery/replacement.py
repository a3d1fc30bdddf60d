"""Replaces the version that serves, on every engine host: each host verifies the new one before the first one switches.

on each: verify ─▶ (try_out)    one by one: switch, watch      on each: finalize
└─ a failure undoes it on all ─┘└─ a failure undoes it on all ┘└─ a failure is finished by the next rollout ┘

If one of several hosts stops answering, the rollout goes on without it: the gateway sends it no requests, and it gets
the new version when it returns.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

from archive import Archive
from delivery.checks import check_comparable, probe_request
from delivery.gateway_metrics import AnswerCounts
from delivery.hosts import EngineHosts
from delivery.journal import PROVEN, TRIALS, JournalEntry, Step, optional_write
from delivery.steps import HostRollout, remove_published
from deployments.serving import DeployedVersion
from engines.engine_profile import PredictionInput
from errors import MarinaError, RolloutError, StoreError

log = logging.getLogger(__name__)


def entry_for(
    model: str, new: DeployedVersion, before: tuple[DeployedVersion, ...], *, published: bool = False
) -> JournalEntry:
    """Return the journal entry of a rollout that has not begun; each host enters the version that it serves.

    `published` says that the rollout puts the archive into the store, and removes it when it fails.
    """
    return JournalEntry(model, Step.PUBLISH, new, None, before, published)


def replace_version(
    hosts: EngineHosts,
    archive: Archive,
    entry: JournalEntry,
    publish: Callable[[], Archive],
    *,
    tried_out: bool = False,
    restoring: bool = False,
) -> AnswerCounts | None:
    """Make `entry.new` serve on every host that answers; return its answers while it was watched, if it was.

    With `tried_out`, the canary or shadow of the settings runs before the switch. A version that is `restoring` has
    served before: it is not watched, and what cannot be written does not stop it. Raises RolloutError that says what
    failed and which version serves.
    """
    rollout, allowed = _Rollout(hosts, entry, restoring=restoring), hosts.allowed()
    with rollout.undone_on_error(archive, allowed):
        rollout.verify(archive, publish)
        if tried_out:
            rollout.each(HostRollout.try_out)
        if allowed:
            hosts.allow({*allowed, entry.new.version})
        rollout.each(HostRollout.switch)
    try:
        with optional_write(f"{entry.name} is restored, but", when=restoring):
            hosts.allow({entry.new.version})
        rollout.each(lambda part: part.finalize(probe_request(archive)))
    except MarinaError as error:
        raise RolloutError(f"{entry.name} serves, but is not settled: {error}; the next rollout finishes it") from None
    seen = [part.seen for part in rollout.parts if part.seen is not None]
    return AnswerCounts.added(seen) if seen else None


def try_out_only(hosts: EngineHosts, archive: Archive, entry: JournalEntry, publish: Callable[[], Archive]) -> None:
    """Run the canary or shadow of the settings and remove the version again. Raises RolloutError as above."""
    rollout, allowed = _Rollout(hosts, entry, restoring=False), hosts.allowed()
    with rollout.undone_on_error(archive, allowed):
        rollout.verify(archive, publish)
        rollout.each(HostRollout.try_out)
    rollout.undo(probe_request(archive), allowed)


class _Rollout:
    """The hosts that still take part in the rollout; `parts` is never empty."""

    def __init__(self, hosts: EngineHosts, entry: JournalEntry, *, restoring: bool) -> None:
        self._hosts = hosts
        self._entry = entry
        self.parts = []
        for host in hosts.present:
            current = host.engine.default(entry.model)
            own = entry.replacing(current.version if current else None)
            self.parts.append(HostRollout(host, own, restoring=restoring))

    def verify(self, archive: Archive, publish: Callable[[], Archive]) -> None:
        """Verify the version on each host, and publish it once."""
        for part in self.parts:
            check_comparable(part.host.engine, part.host.settings)
        once = cache(publish)
        self.each(lambda part: part.verify(archive, once))

    def each(self, act: Callable[[HostRollout], object]) -> None:
        """Act on one host after the other. Raises RolloutError for a host that answers, and for the last one."""
        for part in tuple(self.parts):
            try:
                act(part)
            except MarinaError as error:
                if len(self.parts) == 1 or part.host.engine.answers():
                    on = f"{part.host.name}: " if self._hosts.several else ""
                    raise RolloutError(f"{on}{error}") from None
                log.warning("%s no longer answers; it gets this version when it returns", part.host.name)
                part.host.journal.close()
                self.parts.remove(part)

    @contextmanager
    def undone_on_error(self, archive: Archive, allowed: list[str]) -> Iterator[None]:
        """Undo the rollout on every host if the block fails, even by Ctrl-C. Raises RolloutError for a MarinaError."""
        try:
            yield
        except BaseException as error:
            failed, state = self._failure()
            self.undo(probe_request(archive), allowed)
            if not isinstance(error, MarinaError):
                raise
            state = self._hosts.summary() or state
            raise RolloutError(f"{self._entry.name} {failed}: {error}; {state}") from None

    def _failure(self) -> tuple[str, str]:
        """Return the outcome for the new version, and the version that serves on a single host."""
        steps, old = {part.entry.step for part in self.parts}, self.parts[0].entry.old
        if old is None:
            return "was not rolled out", "no version serves"
        if steps & PROVEN:
            return "was taken back", f"version {old} serves again"
        return "was withdrawn" if steps & TRIALS else "was not rolled out", f"version {old} serves as before"

    def undo(self, probe: PredictionInput, allowed: list[str]) -> None:
        """Undo what has begun on each host, in reverse order."""
        undone = [part.undo(probe) for part in reversed(self.parts) if _has_begun(part)]
        try:
            if all(undone):
                # A host that no longer takes part may have published it.
                remove_published(self._hosts.store, self._hosts.record, self._entry)
            self._hosts.allow(allowed)
        except MarinaError as error:
            # The gateway may then use both versions, one of which exists. The first error is the one to report.
            log.warning("%s is not wholly removed: %s; the next rollout does it", self._entry.name, error)


def _has_begun(part: HostRollout) -> bool:
    """Return True if a step has begun, or may have: the host has a journal."""
    try:
        return part.begun or part.host.journal.read() is not None
    except StoreError:
        return True
