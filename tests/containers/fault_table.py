"""`python -m tests.containers.fault_table [--write FILE]`: the table of faults of the last `make test_containers`.

Each test of a fault adds its row to reports/containers/faults.json; a row replaces the former one of its fault.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from bench import document, options, tables
from files import write_atomic
from loadtest.resources import HostInfo
from settings.load import ROOT
from tests.containers.checked_load import CheckedAnswer, kinds

ROWS = ROOT / "reports" / "containers" / "faults.json"
SECTION = "faults"
GROUPS = ("ray:", "torchserve", "gateway", "front", "filebrowser", "archives", "delivery", "prometheus")
HEAD = (
    "fault",
    "requests",
    "refused with `Retry-After`",
    "waited until the deadline",
    "no connection",
    "other failures",
    "last failure after",
    "all well after",
)


@dataclass(frozen=True)
class FaultRow:
    """What clients saw of one fault; the seconds count from its end, and from a kill itself."""

    fault: str
    requests: int
    refused: dict[str, int]
    waited: dict[str, int]
    unconnected: dict[str, int]
    others: dict[str, int]
    last_failure_s: float | None
    well_s: float

    @property
    def group(self) -> int:
        """The place of the part in the table; rows of one part stand together."""
        return next((place for place, word in enumerate(GROUPS) if word in self.fault.lower()), len(GROUPS))

    def cells(self) -> tuple[str, ...]:
        last = "-" if self.last_failure_s is None else f"{self.last_failure_s:.1f} s"
        counts = (_counted(each) for each in (self.refused, self.waited, self.unconnected, self.others))
        return (self.fault, f"{self.requests}", *counts, last, f"{self.well_s:.1f} s")


def row(fault: str, answers: Sequence[CheckedAnswer], ended: float, well_s: float) -> FaultRow:
    """Sort the failures of all answers; `ended` is the time of `time.monotonic` at which the fault was over."""
    failed = [answer for answer in answers if answer.kind]
    last = max((answer.ended for answer in failed), default=None)
    return FaultRow(
        fault,
        len(answers),
        refused=dict(kinds(each for each in failed if each.told)),
        waited=dict(kinds(each for each in failed if each.waited)),
        unconnected=dict(kinds(each for each in failed if each.unconnected)),
        others=dict(kinds(each for each in failed if not (each.told or each.waited or each.unconnected))),
        last_failure_s=None if last is None else max(0.0, last - ended),
        well_s=well_s,
    )


def record(made: FaultRow) -> None:
    """Keep a row for the table."""
    kept = json.loads(ROWS.read_text()) if ROWS.exists() else {}
    write_atomic(ROWS, json.dumps({**kept, made.fault: asdict(made)}, indent=1))


def text() -> str:
    """Return the table with the machine and the day. Raises SystemExit where no test has run."""
    if not ROWS.exists():
        raise SystemExit(f"{ROWS} is missing; `make test_containers` writes it")
    rows = sorted((FaultRow(**each) for each in json.loads(ROWS.read_text()).values()), key=lambda each: each.group)
    host, day = HostInfo.this(), datetime.fromtimestamp(ROWS.stat().st_mtime, UTC)
    heading = f"{day:%Y-%m-%d} · {host.cpu}, {host.cores} cores, {host.memory / 1e9:.0f} GB · {host.system}"
    total = sum(each.requests for each in rows)
    return f"{heading} · {len(rows)} faults, {total} requests\n\n{tables.table(HEAD, (each.cells() for each in rows))}"


def _counted(counts: dict[str, int]) -> str:
    return "; ".join(f"{number} of {kind}" for kind, number in Counter(counts).most_common()) or "-"


def main(arguments: Sequence[str]) -> int:
    """Print the table, write it to a document if asked, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.containers.fault_table")
    options.add_write(parser, SECTION)
    given = parser.parse_args(arguments)
    target: Path | None = given.write
    document.publish(target, SECTION, text())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
