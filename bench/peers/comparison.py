"""The comparison as Markdown: a table for each subject and decode level, and one of the other costs of a peer."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bench.peers.contest import Measured
from bench.peers.table import Peer
from bench.tables import VERDICT, cell, spread, table

BARE = "decode + forward, no server"
BARE_WANTED = 0.78


@dataclass
class Entry:
    """All rounds of one row; `failed` is the reason why there are none, or no more."""

    title: str
    wanted: float | None
    peer: Peer | None = None
    shape: str = ""
    rounds: dict[int, Measured] = field(default_factory=dict)
    failed: str = ""

    @property
    def rates(self) -> list[float]:
        """Answers a second of each round."""
        return [measured.rate for measured in self.rounds.values()]

    def middle(self, name: str) -> float:
        """Return the median over the rounds of one of its figures."""
        return float(statistics.median(getattr(measured, name) for measured in self.rounds.values()))


@dataclass(frozen=True)
class Footprint:
    """The costs of a peer before its first request."""

    disk_mb: float
    lines: int


def rates_table(entries: Sequence[Entry], ours: Entry) -> str:
    """Return the rates beside Marina's; a ratio is the median over the rounds that both have."""
    head = ("server", "a second", "p50 ms", "p99 ms", "Marina ÷ it", "wanted", "")
    return table(head, (_rates_row(entry, ours) for entry in entries))


def _rates_row(entry: Entry, ours: Entry) -> tuple[str, ...]:
    title = f"{entry.title} ({entry.shape})" if entry.shape else entry.title
    wanted = "" if entry.wanted is None else f"≥ {entry.wanted:g}"
    if entry.failed or not entry.rounds:
        verdict = VERDICT[None] if wanted else ""
        return (title, f"not measured: {cell(entry.failed)}", "", "", "", wanted, verdict)
    latency = [f"{entry.middle(name):.1f}" if entry.middle(name) else "" for name in ("p50", "p99")]
    ratio, verdict = "", ""
    if entry is not ours and ours.rounds:
        found = _ratio(ours.rounds, entry.rounds)
        ratio = f"**{found:.2f}**"
        verdict = "" if entry.wanted is None else VERDICT[found >= entry.wanted]
    return (title, spread(entry.rates), *latency, ratio, wanted, verdict)


def footprint_table(entries: Sequence[Entry], found: Mapping[str, Footprint]) -> str:
    """Return memory, cold start, size on disk, and the lines that a user writes."""
    head = (
        "server",
        "memory under load, MB",
        "start to right answer, s",
        "packages on disk, MB",
        "lines a user writes",
    )
    measured = [entry for entry in entries if entry.peer is not None and entry.title in found and entry.rounds]
    return table(head, (_footprint_row(entry, found[entry.title]) for entry in measured))


def _footprint_row(entry: Entry, found: Footprint) -> tuple[str, ...]:
    memory, start = f"{entry.middle('memory_mb'):.0f}", f"{entry.middle('cold_s'):.1f}"
    return (entry.title, memory, start, f"{found.disk_mb:.0f}", str(found.lines))


def _ratio(ours: Mapping[int, Measured], theirs: Mapping[int, Measured]) -> float:
    both = sorted(set(ours) & set(theirs))
    return statistics.median(ours[number].rate / theirs[number].rate for number in both) if both else float("nan")
