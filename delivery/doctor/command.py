"""`python -m delivery doctor [--json] [overrides]`."""

from collections.abc import Sequence

import settings
from delivery.doctor import Deployment, Sockets, State, examine_all, report


def run(arguments: Sequence[str]) -> tuple[str, int]:
    """The report, and the exit status: 0 when nothing is open."""
    overrides = [word for word in arguments if word != "--json"]
    deployment = Deployment(settings.load(overrides), Sockets.of_this_machine())
    findings = tuple(examine_all(deployment))
    words = report.document(findings) if "--json" in arguments else report.table(findings)
    return words, int(any(finding.state is State.OPEN for finding in findings))
