"""Health of one engine host: limits against overload, its clock, and its models beside the records."""

import os
import re
import resource
import time

import psutil

from delivery.doctor import probes
from delivery.doctor.check import Check, Result, closed, is_open, not_checked, warning
from delivery.doctor.deployment import ExaminedHost
from delivery.doctor.probes import any_size
from delivery.sockets import host_and_port
from deployments.serving import DeployedVersion
from engines.engine_profile import ModelVersion

FILES = 4096  # connections of a busy gateway, sockets of workers, archives
LONG_RESPONSE_S = 600
LONG_QUEUE = 10_000
QUIET = {"warn", "error", "fatal", "off"}
OLDEST_JAVA = 17
_LOGGER = re.compile(r'<(?:Root|Logger name="([^"]+)") level="(\w+)"')


def _request_size(host: ExaminedHost) -> Result:
    return any_size(f"{host.node.inference_url}/predictions/{probes.UNUSED_NAME}")


def _property(host: ExaminedHost, name: str, default: int) -> int:
    return int(host.process.properties.get(name, default))


def _response_time(host: ExaminedHost) -> Result:
    seconds = _property(host, "default_response_timeout", 120)
    if not 0 < seconds <= LONG_RESPONSE_S:
        return warning(f"a worker that hangs is noticed after {seconds} s")
    return closed(f"a worker that hangs is ended after {seconds} s")


def _queue(host: ExaminedHost) -> Result:
    size = _property(host, "job_queue_size", 100)
    if size > LONG_QUEUE:
        return warning(f"{size} requests may wait for a model, each with its body in memory")
    full = [found for found in host.versions if found.pending_requests >= 0.9 * size]
    if full:
        return warning(f"nearly full: {', '.join(f'{found.model} {found.version}' for found in full)}")
    return closed(f"{size} requests may wait for a model")


def _log_level(host: ExaminedHost) -> Result:
    path = host.process.log_config
    if path is None:
        return warning("TorchServe's default: at least one line for each request, 100 MB in seconds under load")
    found = _LOGGER.findall(path.read_text())
    levels = {name or "root": level.lower() for name, level in found}
    loud = [name for name in ("root", "ACCESS_LOG", "TS_METRICS") if levels.get(name, levels["root"]) not in QUIET]
    return warning(f"{', '.join(loud)} write a line for each request") if loud else closed(f"quiet, by {path.name}")


def _open_files(host: ExaminedHost) -> Result:
    soft, _ = psutil.Process(host.process.pid).rlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < FILES:
        return warning(f"{soft} open files; each connection is one")
    return closed("no limit" if soft == resource.RLIM_INFINITY else f"{soft} open files")


def _root(host: ExaminedHost) -> Result:
    if psutil.Process(host.process.pid).uids().effective == 0:
        return warning("it runs as root, and so does every handler of every archive")
    return closed("not root")


def _java(host: ExaminedHost) -> Result:
    version = host.process.java_version
    if not version:
        return not_checked(f"{host.process.java} does not report its version")
    number = int(version.partition(".")[0])
    return closed(f"Java {version}") if number >= OLDEST_JAVA else is_open(f"Java {version}: TorchServe wants 17")


def _clock(host: ExaminedHost) -> Result:
    name, _ = host_and_port(host.node.inference_url)
    if host.deployment.sockets.is_here(name):
        return closed("the same machine")
    return compare_clocks(host)


BEHIND_S, AHEAD_S = 2.0, 5.0  # half of the gateway's usual deadline, and the time that a busy worker may take
PASSED = 504


def compare_clocks(host: ExaminedHost, *, offset_s: float = 0.0) -> Result:
    """Compare clocks: the host must refuse a past deadline and accept a future one; `offset_s` shifts our own clock."""
    found = next((version for version in host.versions if version.ready_workers), None)
    if found is None:
        return not_checked("no model with a worker that could answer")

    def refused(left_s: float) -> bool:
        moment = int((time.time() + offset_s + left_s) * 1000)
        # An invalid body, so nothing is computed, whatever the clock says.
        return host.infer(found, b"\xff", {"X-Deadline-At": str(moment)}).status_code == PASSED

    if refused(AHEAD_S):
        return is_open(f"its clock is {AHEAD_S:g} s or more ahead of this machine's: deadlines expire too early")
    if not refused(-BEHIND_S):
        return is_open(f"its clock is {BEHIND_S:g} s or more behind this machine's: deadlines expire too late")
    return closed(f"within {BEHIND_S:g} s of this machine's behind, {AHEAD_S:g} s ahead")


LIMITS = (
    Check(
        "requests of any size",
        "engine.max_request_bytes",
        _request_size,
        closes_external="max_request_size in its config.properties",
    ),
    Check(
        "workers that hang",
        "engine.response_timeout_s",
        _response_time,
        closes_external="default_response_timeout in its config.properties",
    ),
    Check("job queue", "engine.job_queue_size", _queue, closes_external="job_queue_size in its config.properties"),
    Check(
        "log that fills the disk",
        "--log-config docker/log4j2.xml, as `make up` does",
        _log_level,
        closes_external="start it with --log-config and a file whose levels are WARN",
    ),
    Check("open files", "LimitNOFILE=65536 in its systemd unit, or ulimit -n", _open_files),
    Check("runs as root", "User= in its systemd unit", _root),
    Check("Java", "engine.java_home", _java, closes_external="JAVA_HOME where it is started: Java 17 or newer"),
    Check("clock of its machine", "NTP on every host, for deadlines (X-Deadline-At)", _clock),
)


def _workers(host: ExaminedHost) -> Result:
    none = [_named(found) for found in host.versions if found.min_workers and not found.ready_workers]
    none += [f"{_named(found)} was given none" for found in host.versions if not found.min_workers]
    few = [
        f"{_named(found)} {found.ready_workers} of {found.min_workers}"
        for found in host.versions
        if 0 < found.ready_workers < found.min_workers
    ]
    if none:
        return is_open(f"without a worker: {', '.join(none)}")
    return warning(f"not all are ready: {', '.join(few)}") if few else closed(_count(len(host.versions), "version"))


def _recorded_serves(host: ExaminedHost) -> Result:
    served = host.deployment.recorded
    wrong = [words for model, history in served.items() if (words := _differs(host, model, history.serving))]
    return is_open("; ".join(wrong)) if wrong else closed(_count(len(served), "model"))


def _differs(host: ExaminedHost, model: str, serving: DeployedVersion) -> str:
    found = host.engine.default(model)
    if found is None:
        return f"{model} {serving.version} is recorded and not registered"
    if (found.version, found.archive) != (serving.version, serving.archive):
        return f"{model} serves {found.version} of {found.archive}, recorded is {serving.version} of {serving.archive}"
    return "" if found.has(serving.params) else f"{model} {found.version} has other settings than recorded"


def _left_over(host: ExaminedHost) -> Result:
    left = [found for found in host.versions if found.version != _default_version(host, found.model)]
    if not left:
        return closed("each model has one version")
    words = ", ".join(map(_named, left))
    return warning(f"beside the serving versions: {words}; a rollout under way, or one that was killed")


def _default_version(host: ExaminedHost, model: str) -> str | None:
    found = host.engine.default(model)
    return found.version if found else None


def _unknown_models(host: ExaminedHost) -> Result:
    known = host.deployment.recorded
    strange = sorted({found.model for found in host.versions} - known.keys())
    if strange:
        lost = "" if host.deployment.settings.engine.external else "; a restart of TorchServe loses them"
        return warning(f"not rolled out by this kit: {', '.join(strange)}{lost}")
    return closed("every model is recorded")


def _threads(host: ExaminedHost) -> Result:
    name, _ = host_and_port(host.node.inference_url)
    if not host.deployment.sockets.is_here(name):
        return not_checked("the cores of another machine")
    cores = os.cpu_count() or 1
    many = [
        f"{model} {history.serving.initial_workers} x {history.serving.threads or 1}"
        for model, history in host.deployment.recorded.items()
        if history.serving.initial_workers * (history.serving.threads or 1) > cores
    ]
    if many:
        return warning(f"workers x threads above the {cores} cores: {', '.join(many)}")
    return closed(f"no model has more than the {cores} cores")


def _named(found: ModelVersion) -> str:
    return f"{found.model} {found.version}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


RESTORE = "python -m delivery restore"
MODELS = (
    Check("models without a worker", "the engine's log says why; make rollback, or fewer workers", _workers),
    Check("another version than was rolled out", RESTORE, _recorded_serves),
    Check(
        "versions left over", "make upload_model of the same archive: it finishes or undoes a killed one", _left_over
    ),
    Check("models of somebody else", "make upload_model, or DELETE them", _unknown_models),
    Check("more threads than cores", "served_model.request_params.initial_workers, .threads", _threads),
)

CHECKS = (*LIMITS, *MODELS)
