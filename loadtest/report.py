"""A whole run: its plan, its rounds and what follows from them."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from loadtest.machine import Machine
from loadtest.measure import Round
from loadtest.plan import Plan
from loadtest.resources import Usage
from loadtest.server import ServerSide
from loadtest.summary import Percentiles, Spread


@dataclass(frozen=True)
class Report:
    """What was measured. `warmup` is kept apart: it counts for success, not for any figure."""

    plan: Plan
    started: datetime
    warmup: Round | None
    rounds: tuple[Round, ...]
    interrupted: bool
    servers: tuple[ServerSide, ...] = ()
    usage: Usage = field(default_factory=dict)
    machine: Machine | None = None
    configuration: Mapping[str, Any] = field(default_factory=dict)
    episodes: tuple[float, ...] = ()  # returns of what was played
    unread: tuple[str, ...] = ()  # figures of servers that could not be read, and why

    @property
    def rate(self) -> Spread | None:
        """Predictions a second over the complete rounds; over the broken one when there is no other."""
        rounds = [one for one in self.rounds if one.complete] or [one for one in self.rounds if one.items]
        return Spread.of([one.rate for one in rounds]) if rounds else None

    @property
    def latency_ms(self) -> Percentiles | None:
        """Of all answered requests of all rounds."""
        latencies = [latency for one in self.rounds for latency in one.latencies_ms]
        return Percentiles.of(latencies) if latencies else None

    @property
    def errors(self) -> dict[str, int]:
        """Requests that failed, by kind, the most frequent first."""
        counted: Counter[str] = Counter()
        for one in self.rounds:
            counted.update(dict(one.errors))
        return dict(counted.most_common())

    @property
    def requests(self) -> int:
        """Requests whose outcome is known, warm-up not counted."""
        return sum(one.requests for one in self.rounds)

    @property
    def failed(self) -> bool:
        """Whether anything at all failed, in the warm-up too, or nothing was answered."""
        warmup_failed = self.warmup is not None and self.warmup.failed > 0
        return bool(self.errors) or warmup_failed or not any(one.items for one in self.rounds)

    @property
    def doubts(self) -> tuple[str, ...]:
        """Why the figures may be the load generator's own; empty when nothing speaks for it."""
        median = self.latency_ms.p50 if self.latency_ms else None
        watched = [one.generator for one in self.rounds if one.generator is not None]
        found = [doubt for one in watched if (doubt := one.doubt(median)) is not None]
        return (f"in {len(found)} of {len(watched)} rounds: {found[0]}",) if found else ()
