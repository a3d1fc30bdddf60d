"""What keeps one client, one model or one long day from taking TorchServe down."""

import re
import resource

import psutil

from delivery.doctor import ask
from delivery.doctor.check import Check
from delivery.doctor.checks.deadlines import judge
from delivery.doctor.checks.strangers import any_size
from delivery.doctor.deployment import Host
from delivery.doctor.finding import Seen, closed, is_open, not_checked, warning
from delivery.doctor.sockets import place

FILES = 4096  # connections of a busy gateway, sockets of workers, archives
LONG_RESPONSE_S = 600
LONG_QUEUE = 10_000
QUIET = {"warn", "error", "fatal", "off"}
OLDEST_JAVA = 17
_LOGGER = re.compile(r'<(?:Root|Logger name="([^"]+)") level="(\w+)"')


def _request_size(host: Host) -> Seen:
    return any_size(f"{host.node.inference_url}/predictions/{ask.NOBODY}")


def _number(host: Host, name: str, default: int) -> int:
    return int(host.process.properties.get(name, default))


def _response_time(host: Host) -> Seen:
    seconds = _number(host, "default_response_timeout", 120)
    if not 0 < seconds <= LONG_RESPONSE_S:
        return warning(f"a worker that hangs is noticed after {seconds} s")
    return closed(f"a worker that hangs is ended after {seconds} s")


def _queue(host: Host) -> Seen:
    size = _number(host, "job_queue_size", 100)
    if size > LONG_QUEUE:
        return warning(f"{size} requests may wait for a model, each with its body in memory")
    full = [found for found in host.versions if found.pending_requests >= 0.9 * size]
    if full:
        return warning(f"nearly full: {', '.join(f'{found.model} {found.version}' for found in full)}")
    return closed(f"{size} requests may wait for a model")


def _log(host: Host) -> Seen:
    path = host.process.log_config
    if path is None:
        return warning("its own default: a line and more for each request, 100 MB in seconds under load")
    found = _LOGGER.findall(path.read_text())
    levels = {name or "root": level.lower() for name, level in found}
    loud = [name for name in ("root", "ACCESS_LOG", "TS_METRICS") if levels.get(name, levels["root"]) not in QUIET]
    return warning(f"{', '.join(loud)} write a line for each request") if loud else closed(f"quiet, by {path.name}")


def _open_files(host: Host) -> Seen:
    soft, _ = psutil.Process(host.process.pid).rlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < FILES:
        return warning(f"{soft} open files; each connection is one")
    return closed("no limit" if soft == resource.RLIM_INFINITY else f"{soft} open files")


def _user(host: Host) -> Seen:
    if psutil.Process(host.process.pid).uids().effective == 0:
        return warning("it runs as root, and so does every handler of every archive")
    return closed("not root")


def _java(host: Host) -> Seen:
    version = host.process.java_version
    if not version:
        return not_checked(f"{host.process.java} does not tell its version")
    number = int(version.partition(".")[0])
    return closed(f"Java {version}") if number >= OLDEST_JAVA else is_open(f"Java {version}: TorchServe wants 17")


def _clock(host: Host) -> Seen:
    name, _ = place(host.node.inference_url)
    if host.deployment.sockets.is_here(name):
        return closed("the same machine")
    return judge(host)


CHECKS = (
    Check("requests of any size", "engine.max_request_bytes", _request_size),
    Check("workers that hang", "engine.response_timeout_s", _response_time),
    Check("job queue", "engine.job_queue_size", _queue),
    Check("log that fills the disk", "--log-config docker/log4j2.xml, as `make up` does", _log),
    Check("open files", "LimitNOFILE=65536 in its systemd unit, or ulimit -n", _open_files),
    Check("runs as root", "User= in its systemd unit", _user),
    Check("Java", "engine.java_home", _java),
    Check("clock of its machine", "NTP on every host, for deadlines (X-Deadline-At)", _clock),
)
