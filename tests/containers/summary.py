"""What a run prints at its end: tables of the tests, the images' sizes and the minutes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import docker.errors

from bench.tables import table
from tests.containers.project import engine


@dataclass
class Summary:
    """Tables by their heading: the first row names the columns."""

    tables: dict[str, list[tuple[str, ...]]] = field(default_factory=dict)

    def add(self, heading: str, columns: tuple[str, ...], row: tuple[str, ...]) -> None:
        """Add a row to a table, which is begun when it is not there."""
        self.tables.setdefault(heading, [columns]).append(row)

    def lines(self, images: Mapping[str, str], minutes: float) -> list[str]:
        """Return everything as it is printed."""
        printed = [line for heading, rows in self.tables.items() for line in (heading, *_drawn(rows), "")]
        sizes = [(tag, _megabytes(tag)) for tag in images.values()]
        return [*printed, "images", *_drawn([("image", "MB"), *sizes]), "", f"{minutes:.1f} minutes"]


def _drawn(rows: Sequence[tuple[str, ...]]) -> list[str]:
    return table(rows[0], rows[1:]).splitlines()


def _megabytes(tag: str) -> str:
    try:
        return f"{engine().images.get(tag).attrs['Size'] / 1e6:.0f}"
    except docker.errors.ImageNotFound:
        return "not built"
