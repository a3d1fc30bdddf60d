"""The report of a whole run: its plan, its rounds and the figures that follow from them."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from loadtest.plan import LoadPlan
from loadtest.resources import HostInfo, Usage
from loadtest.round_stats import Percentiles, Spread
from loadtest.rounds import RoundResult
from loadtest.server_metrics import ServerSide


@dataclass(frozen=True)
class LoadReport:
    """The measurements of a run.

    `warmup` decides about failure, but no figure includes it. `episodes` are the returns of the episodes that were
    played, `unread` the reasons why counters of servers are missing.
    """

    plan: LoadPlan
    started: datetime
    warmup: RoundResult | None
    rounds: tuple[RoundResult, ...]
    interrupted: bool
    servers: tuple[ServerSide, ...] = ()
    usage: Usage = field(default_factory=dict)
    machine: HostInfo | None = None
    configuration: Mapping[str, Any] = field(default_factory=dict)
    episodes: tuple[float, ...] = ()
    unread: tuple[str, ...] = ()

    @property
    def rate(self) -> Spread | None:
        """Predictions a second over the complete rounds, or over the interrupted one if there is no other."""
        rounds = [one for one in self.rounds if one.complete] or [one for one in self.rounds if one.items]
        return Spread.of([one.rate for one in rounds]) if rounds else None

    @property
    def latencies_ms(self) -> list[float]:
        """The latencies of all answered requests of all rounds."""
        return [latency for one in self.rounds for latency in one.latencies_ms]

    @property
    def latency_ms(self) -> Percentiles | None:
        """Percentiles of the latencies; None when nothing was answered."""
        return Percentiles.of(latencies) if (latencies := self.latencies_ms) else None

    @property
    def errors(self) -> dict[str, int]:
        """Failed requests by kind, the most frequent kind first."""
        counted: Counter[str] = Counter()
        for one in self.rounds:
            counted.update(dict(one.errors))
        return dict(counted.most_common())

    @property
    def requests(self) -> int:
        """The number of requests with a known result, without the warm-up."""
        return sum(one.requests for one in self.rounds)

    @property
    def failed(self) -> bool:
        """True when any request failed, in the warm-up too, or nothing was answered."""
        warmup_failed = self.warmup is not None and self.warmup.failed > 0
        return bool(self.errors) or warmup_failed or not any(one.items for one in self.rounds)

    @property
    def doubts(self) -> tuple[str, ...]:
        """Reasons why the figures may be the load generator's own; usually none."""
        median = self.latency_ms.p50 if self.latency_ms else None
        watched = [one.generator for one in self.rounds if one.generator is not None]
        found = [doubt for one in watched if (doubt := one.doubt(median)) is not None]
        return (f"in {len(found)} of {len(watched)} rounds: {found[0]}",) if found else ()
