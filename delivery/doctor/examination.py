"""Every check of every part, in the order of the report."""

from collections.abc import Iterator

from delivery.doctor.check import examine
from delivery.doctor.checks import (
    archives,
    edge,
    engine_keys,
    gateway,
    limits,
    machine,
    models,
    reach,
    registration,
    rollouts,
    store,
)
from delivery.doctor.deployment import Deployment
from delivery.doctor.finding import Finding

ENGINE = (*reach.CHECKS, *engine_keys.CHECKS, *registration.CHECKS, *limits.CHECKS, *models.CHECKS)
REST = (
    ("rollouts", rollouts.CHECKS),
    ("archives", archives.CHECKS),
    ("store", store.CHECKS),
    ("gateway", gateway.CHECKS),
    ("edge", edge.CHECKS),
    ("machine", machine.CHECKS),
)


def examine_all(deployment: Deployment) -> Iterator[Finding]:
    """One finding for each check; those of the engine for each of its hosts."""
    for host in deployment.hosts:
        try:
            yield from examine(host.name, ENGINE, host)
        finally:
            host.forget()
    for part, checks in REST:
        yield from examine(part, checks, deployment)
