"""Descriptions of the steps of a rollout, for a dry run."""

from archive import Archive
from delivery.hosts import EngineHosts, is_behind
from delivery.recover import recovery_plan
from delivery.stores.store import archive_file_name
from delivery.trial import only_tried_out, trial_plan


def plan_rollout(hosts: EngineHosts, archive: Archive, version: str, *, serves: bool) -> tuple[str, ...]:
    """Describe what a rollout of the archive as `version` would do; `serves` says that this version serves already."""
    unfinished = recovery_plan(hosts)
    steps = _restore_steps(hosts, version) if serves else _rollout_steps(hosts, archive, version)
    return (*([unfinished] if unfinished else []), *steps)


def _restore_steps(hosts: EngineHosts, version: str) -> list[str]:
    history = hosts.record.get(hosts.model)
    behind = [
        host.name
        for host in hosts.present
        if history and is_behind(host.engine, hosts.model, history.serving, exact=hosts.exact)
    ]
    if behind:
        return [f"bring {version} to {', '.join(behind)}; now {hosts.summary()}"]
    return [f"do nothing else: {version} serves it already"]


def _rollout_steps(hosts: EngineHosts, archive: Archive, version: str) -> list[str]:
    settings = hosts.settings
    params, limits = settings.served_model.request_params, settings.rollout
    on = f" on {', '.join(host.name for host in hosts.present)}" if hosts.several else ""
    serving = [host.engine.default(hosts.model) for host in hosts.present]
    old = ", ".join(sorted({found.version for found in serving if found is not None}))
    name = archive_file_name(archive.model_name, version)
    steps = [
        f"publish {name} ({archive.size} bytes, sha256 of its content {archive.content_sha256[:12]})",
        f"register it without traffic{on}: batch_size {params.batch_size}, max_batch_delay {params.max_batch_delay} ms",
        "compare the engine's copy with the checked archive",
        f"start {params.initial_workers} workers, compare {len(archive.golden['samples'])} golden answers, warm them",
    ]
    if not old:
        return [*steps, f"send all traffic to {version}, the first version"]
    steps += trial_plan(settings, old, version)
    if only_tried_out(settings):
        return steps
    one_by_one = " on one host after the other" if hosts.several else ""
    return [
        *steps,
        f"switch from {old} to {version}{one_by_one}, watch it for {limits.watch_s:g} s",
        f"drain {old} for at most {limits.drain_timeout_s:g} s and remove it",
    ]
