"""What is registered on one engine host, beside what is recorded as serving."""

import os

from delivery.doctor.check import Check
from delivery.doctor.checks.archives import recorded
from delivery.doctor.deployment import Host
from delivery.doctor.finding import Seen, closed, is_open, not_checked, warning
from delivery.doctor.sockets import place
from deployments.serving import DeployedVersion
from engines.engine_profile import ModelVersion


def _workers(host: Host) -> Seen:
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


def _serving(host: Host) -> Seen:
    served = recorded(host.deployment)
    wrong = [words for model, history in served.items() if (words := _differs(host, model, history.serving))]
    return is_open("; ".join(wrong)) if wrong else closed(_count(len(served), "model"))


def _differs(host: Host, model: str, serving: DeployedVersion) -> str:
    found = host.engine.default(model)
    if found is None:
        return f"{model} {serving.version} is recorded and not registered"
    if (found.version, found.archive) != (serving.version, serving.archive):
        return f"{model} serves {found.version} of {found.archive}, recorded is {serving.version} of {serving.archive}"
    return "" if found.has(serving.params) else f"{model} {found.version} has other settings than recorded"


def _left_over(host: Host) -> Seen:
    left = [found for found in host.versions if found.version != _default(host, found.model)]
    if not left:
        return closed("each model has one version")
    words = ", ".join(map(_named, left))
    return warning(f"beside those that serve: {words}; a rollout under way, or one that was killed")


def _default(host: Host, model: str) -> str | None:
    found = host.engine.default(model)
    return found.version if found else None


def _strangers(host: Host) -> Seen:
    known = recorded(host.deployment)
    strange = sorted({found.model for found in host.versions} - known.keys())
    if strange:
        return warning(f"not rolled out by this kit: {', '.join(strange)}; a restart of TorchServe loses them")
    return closed("every model is recorded")


def _threads(host: Host) -> Seen:
    name, _ = place(host.node.inference_url)
    if not host.deployment.sockets.is_here(name):
        return not_checked("the cores of another machine")
    cores = os.cpu_count() or 1
    many = [
        f"{model} {history.serving.initial_workers} x {history.serving.threads or 1}"
        for model, history in recorded(host.deployment).items()
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
CHECKS = (
    Check("models without a worker", "the engine's log says why; make rollback, or fewer workers", _workers),
    Check("another version than was rolled out", RESTORE, _serving),
    Check(
        "versions left over", "make upload_model of the same archive: it finishes or undoes a killed one", _left_over
    ),
    Check("models of somebody else", "make upload_model, or DELETE them", _strangers),
    Check("more threads than cores", "served_model.request_params.initial_workers, .threads", _threads),
)
