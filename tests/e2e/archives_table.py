"""`python -m tests.e2e.archives_table [--engine NAME] [--only NAMES] [--write FILE]`: what becomes of foreign archives.

Each is adopted, rolled out, tried out, rolled back, loaded, and restored after its engine was killed. A run keeps each
row in reports/archives/ENGINE-NAME.json, and writes the table of all rows that are there: after an interruption,
`--only` runs the archives that are missing.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from bench import document, options, tables
from files import write_atomic
from settings.load import ROOT
from tests.e2e.foreign_cases import CASES
from tests.e2e.foreign_journey import STEPS, ArchiveRow, Journeys, foreign_stack

ROWS = ROOT / "reports" / "archives"
SECTION = "archives"
ENGINES = {"torchserve": "TorchServe", "ray": "Ray"}
NAMES = tuple(case.name for case in CASES)


def run(engine: str, names: Sequence[str]) -> list[ArchiveRow]:
    """Return what became of these archives on an engine, and keep it for the table."""
    with tempfile.TemporaryDirectory(prefix="marina-archives-") as folder:
        with foreign_stack(engine, Path(folder)) as stack:
            journeys = Journeys(stack, engine, Path(folder))
            journeys.run([case for case in CASES if case.name in names], keep)
        return journeys.rows


def keep(row: ArchiveRow) -> None:
    """Keep a row, and print it."""
    sys.stdout.write(f"{row.engine} {row.name} {row.steps}\n")
    sys.stdout.flush()
    ROWS.mkdir(parents=True, exist_ok=True)
    write_atomic(_file(row.engine, row.name), json.dumps(asdict(row), indent=1))


def _file(engine: str, name: str) -> Path:
    return ROWS / f"{engine}-{name}.json"


def text(arguments: Sequence[str]) -> str:
    """Return a table for each engine, of the rows that are kept."""
    parts = [document.heading("tests.e2e.archives_table", arguments, "what became of each archive")]
    for engine, title in ENGINES.items():
        files = [file for name in NAMES if (file := _file(engine, name)).exists()]
        rows = [ArchiveRow(**json.loads(file.read_text())).cells() for file in files]
        if rows:
            parts.append(f"### On {title}\n\n{tables.table(('archive', *STEPS), rows)}")
    return "\n\n".join(parts)


def main(arguments: Sequence[str]) -> int:
    """Run the archives, print the table, and return 1 if a step failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.archives_table")
    options.add_write(parser, SECTION)
    parser.add_argument("--engine", type=options.some_of(ENGINES), default=list(ENGINES))
    parser.add_argument("--only", type=options.some_of(NAMES), default=NAMES)
    given = parser.parse_args(arguments)
    rows = [row for engine in given.engine for row in run(engine, given.only)]
    document.publish(given.write, SECTION, text(arguments))
    return 1 if any(row.failed for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
