"""Findings as a table for people, and as JSON for programs."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from itertools import groupby

from delivery.doctor.finding import Finding, State

HOLE_WIDTH = 48


def table(findings: Sequence[Finding]) -> str:
    """A block for each part; a line for each hole, with the setting that closes it where it is not closed."""
    lines: list[str] = []
    for part, found in groupby(findings, key=lambda finding: finding.part):
        lines += ["", part, *map(_line, found)]
    return "\n".join([*lines[1:], "", summary(findings)])


def summary(findings: Sequence[Finding]) -> str:
    """`1 open, 2 warnings, 3 not checked, 40 closed`."""
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
    """A list of objects with the fields of a finding."""
    return json.dumps([asdict(finding) for finding in findings], indent=2)


def _line(finding: Finding) -> str:
    head = f"  {finding.state:<12}{finding.hole:<{HOLE_WIDTH}}{finding.seen}"
    return head if finding.state in {State.CLOSED, State.NOT_CHECKED} else f"{head} -> {finding.closes}"
