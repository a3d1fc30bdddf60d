"""Ends what a killed rollout began: finishes it when the new version had the traffic on every host, else undoes it."""

import logging

from delivery.checks import probe_request
from delivery.hosts import EngineHosts, HostContext
from delivery.journal import PROVEN, JournalEntry, optional_write
from delivery.publish import published_archive
from delivery.steps import HostRollout, remove_published
from deployments.serving import DeployedVersion
from engines.engine_profile import PredictionInput
from errors import MarinaError

log = logging.getLogger(__name__)

Interrupted = list[tuple[HostContext, JournalEntry]]


def recover(hosts: EngineHosts, *, restoring: bool = False) -> None:
    """Remove every version, worker, split and file that belongs to no rollout.

    The journals of hosts that are away are closed; such a host is compared with the record when it returns. While
    `restoring`, what cannot be written is logged and left to the next call.
    """
    interrupted, lost = _interrupted(hosts.present), _interrupted(hosts.away)
    probe = find_probe(hosts, interrupted[0][1].new) if interrupted else None
    if probe is not None and _all_proven(interrupted):
        _finish(hosts, interrupted, probe)
    elif interrupted or lost:
        _undo(hosts, interrupted, lost, probe, restoring=restoring)
    for host in hosts.away:
        with optional_write(f"the journal of {host.name} is left over", when=restoring):
            host.journal.close()
    for host in hosts.present:
        _remove_leftovers(host, hosts.model, restoring=restoring)


def recovery_plan(hosts: EngineHosts) -> str | None:
    """Describe what `recover` would do; None when no rollout was interrupted."""
    interrupted = _interrupted(hosts.present)
    if not interrupted:
        return None
    entry = interrupted[0][1]
    verb = "finish" if _all_proven(interrupted) else "undo"
    return f"{verb} the rollout of {entry.name} that was interrupted at its step {str(entry.step)!r}"


def find_probe(hosts: EngineHosts, served: DeployedVersion) -> PredictionInput | None:
    """Return a request for a version; None, with a warning, when its archive is gone or no longer trusted."""
    try:
        return probe_request(published_archive(served, hosts.store, hosts.settings))
    except MarinaError as error:
        log.warning("%s cannot be read: %s", served.archive, error)
        return None


def _interrupted(hosts: tuple[HostContext, ...]) -> Interrupted:
    return [(host, entry) for host in hosts if (entry := host.journal.read()) is not None]


def _all_proven(interrupted: Interrupted) -> bool:
    """Return True if the new version had passed every check on each host, and has its traffic."""
    for host, entry in interrupted:
        default = host.engine.default(entry.model)
        if entry.step not in PROVEN or default is None or default.version != entry.new.version:
            return False
    return True


def _finish(hosts: EngineHosts, interrupted: Interrupted, probe: PredictionInput) -> None:
    for host, entry in interrupted:
        log.warning("finish %s%s, killed at its step %r", entry.name, _on(hosts, host), str(entry.step))
        hosts.allow({entry.new.version})
        HostRollout(host, entry).finalize(probe)


def _undo(
    hosts: EngineHosts,
    interrupted: Interrupted,
    lost: Interrupted,
    probe: PredictionInput | None,
    *,
    restoring: bool,
) -> None:
    for host, entry in reversed(interrupted):
        log.warning("undo %s%s, killed at its step %r", entry.name, _on(hosts, host), str(entry.step))
        HostRollout(host, entry).undo(probe)
    for _, entry in lost:
        with optional_write(f"{entry.new.archive} is left over", when=restoring):
            remove_published(hosts.store, hosts.record, entry)
    history = hosts.record.get(hosts.model)
    if history is not None:
        with optional_write(f"hosts may answer with other versions than {history.serving.version}", when=restoring):
            hosts.allow({history.serving.version})


def _remove_leftovers(host: HostContext, model: str, *, restoring: bool) -> None:
    """Remove versions without traffic that no journal mentions, and a split that belongs to no trial."""
    had_share = False
    with optional_write(f"a share of the traffic of {model} is left over, which ends by itself", when=restoring):
        had_share = host.traffic.clear(model)
    if had_share:
        log.warning("all traffic of %s goes to its default version again", model)
    current = host.engine.default(model)
    for found in host.engine.versions(model):
        if current is not None and found.version != current.version:
            log.warning("remove %s %s, which has no traffic and was left over", model, found.version)
            host.engine.unregister(model, found.version)


def _on(hosts: EngineHosts, host: HostContext) -> str:
    return f" on {host.name}" if hosts.several else ""
