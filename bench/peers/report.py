"""The comparison as Markdown: for each subject and decode level one table, and one of what a peer costs besides."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bench.figures import VERDICT, spread
from bench.peers.measure import Measured
from bench.peers.peer import Level, Peer, Subject

BARE = "decode + forward, no server"
BARE_WANTED = 0.78


@dataclass
class Entry:
    """All rounds of one row; `failed` says why there are none, or no more."""

    title: str
    subject: Subject
    level: Level
    wanted: float | None
    peer: Peer | None = None
    shape: str = ""
    rounds: dict[int, Measured] = field(default_factory=dict)
    failed: str = ""

    @property
    def rates(self) -> list[float]:
        """Answers a second, a figure a round."""
        return [measured.rate for measured in self.rounds.values()]

    def middle(self, name: str) -> float:
        """Median over the rounds of one of its figures."""
        return float(statistics.median(getattr(measured, name) for measured in self.rounds.values()))


@dataclass(frozen=True)
class Burden:
    """What a peer costs before its first request."""

    disk_mb: float
    lines: int


def table(entries: Sequence[Entry], ours: Entry) -> str:
    """Rates beside Marina's; the ratio is the median over the rounds, as what disturbs a round disturbs both."""
    lines = ["| server | a second | p50 ms | p99 ms | Marina ÷ it | wanted | |", "| --- |" + " --- |" * 6]
    for entry in entries:
        title = f"{entry.title}{f' ({entry.shape})' if entry.shape else ''}"
        wanted = "" if entry.wanted is None else f"≥ {entry.wanted:g}"
        if entry.failed or not entry.rounds:
            verdict = VERDICT[None] if wanted else ""
            lines.append(f"| {title} | not measured: {_cell(entry.failed)} | | | | {wanted} | {verdict} |")
            continue
        latency = [f"{entry.middle(name):.1f}" if entry.middle(name) else "" for name in ("p50", "p99")]
        ratio, verdict = "", ""
        if entry is not ours and ours.rounds:
            found = _ratio(ours.rounds, entry.rounds)
            ratio = f"**{found:.2f}**"
            verdict = "" if entry.wanted is None else VERDICT[found >= entry.wanted]
        cells = (title, spread(entry.rates), *latency, ratio, wanted, verdict)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def burdens(entries: Sequence[Entry], found: Mapping[str, Burden]) -> str:
    """Memory, cold start, size on disk, lines a user writes."""
    head = "| server | memory under load, MB | start to right answer, s | packages on disk, MB | lines a user writes |"
    lines = [head, "| --- |" + " --- |" * 4]
    for entry in entries:
        burden = found.get(entry.title)
        if entry.peer is None or burden is None or not entry.rounds:
            continue
        figures = (f"{entry.middle('memory_mb'):.0f}", f"{entry.middle('cold_s'):.1f}", f"{burden.disk_mb:.0f}")
        lines.append(f"| {entry.title} | {' | '.join(figures)} | {burden.lines} |")
    return "\n".join(lines)


def _ratio(ours: Mapping[int, Measured], theirs: Mapping[int, Measured]) -> float:
    both = sorted(set(ours) & set(theirs))
    return statistics.median(ours[number].rate / theirs[number].rate for number in both) if both else float("nan")


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "/").split())
