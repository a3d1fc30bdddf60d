"""`python -m delivery doctor`: run every check and print the findings, as a table or as JSON."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import groupby

import settings
from delivery.doctor import (
    engine_health,
    engine_security,
    gateway_and_edge,
    rollouts_and_store,
    this_container,
    this_machine,
)
from delivery.doctor.check import Finding, State, examine
from delivery.doctor.deployment import Deployment
from delivery.sockets import Sockets

ENGINE = (*engine_security.CHECKS, *engine_health.CHECKS)
REST = (
    ("rollouts", rollouts_and_store.ROLLOUTS),
    ("archives", rollouts_and_store.ARCHIVES),
    ("store", rollouts_and_store.STORE),
    ("edge", gateway_and_edge.EDGE),
    ("machine", this_machine.CHECKS),
    ("container", this_container.CHECKS),
)
HOLE_WIDTH = 48


def run(arguments: Sequence[str]) -> tuple[str, int]:
    """Return the report and the exit status: 0 when nothing is open."""
    overrides = [word for word in arguments if word != "--json"]
    deployment = Deployment(settings.load(overrides), Sockets.of_this_machine())
    findings = tuple(examine_all(deployment))
    words = document(findings) if "--json" in arguments else table(findings)
    return words, int(any(finding.state is State.OPEN for finding in findings))


def examine_all(deployment: Deployment) -> Iterator[Finding]:
    """Yield one finding for each check; those of the engine for each of its hosts, those of the gateway for each."""
    external = deployment.settings.engine.external
    for host in deployment.hosts:
        try:
            yield from examine(host.name, ENGINE, host, external=external)
        finally:
            host.close()
    for part, gateway in deployment.each_gateway():
        yield from examine(part, gateway_and_edge.GATEWAY, gateway)
    for part, checks in REST:
        yield from examine(part, checks, deployment)


def table(findings: Sequence[Finding]) -> str:
    """Format a block for each part, a line for each hole, and the setting that closes an open one."""
    lines: list[str] = []
    for part, found in groupby(findings, key=lambda finding: finding.part):
        lines += ["", part, *map(_line, found)]
    return "\n".join([*lines[1:], "", summary(findings)])


def summary(findings: Sequence[Finding]) -> str:
    """Return `1 open, 2 warnings, 3 not checked, 40 closed`."""
    counts = Counter(finding.state for finding in findings)
    warnings = f"{counts[State.WARNING]} warning{'' if counts[State.WARNING] == 1 else 's'}"
    return ", ".join(
        (
            f"{counts[State.OPEN]} open",
            warnings,
            f"{counts[State.NOT_CHECKED]} not checked",
            f"{counts[State.CLOSED]} closed",
        )
    )


def document(findings: Sequence[Finding]) -> str:
    """Return the findings as a JSON list of objects."""
    return json.dumps([asdict(finding) for finding in findings], indent=2)


def _line(finding: Finding) -> str:
    head = f"  {finding.state:<12}{finding.hole:<{HOLE_WIDTH}}{finding.seen}"
    return head if finding.state in {State.CLOSED, State.NOT_CHECKED} else f"{head} -> {finding.closes}"
