"""The candidates of a search, and which of them are neighbours."""

import itertools
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace

from loadtest.target import Batching, LoadTarget
from settings.schema import TuneSettings

DELAYS_MS = (0, 1, 2, 5, 10, 20)
COALESCE = (1, 16, 64, 128, 256)


@dataclass(frozen=True, order=True)
class Candidate:
    """Registration settings of a model; None leaves the choice to the worker or the gateway."""

    initial_workers: int
    threads: int | None
    batch_size: int
    max_batch_delay: int
    coalesce: int | None

    @classmethod
    def serving(cls, now: Batching) -> "Candidate":
        """Return the settings that serve now."""
        return cls(now.workers, now.threads, now.batch_size, now.max_batch_delay_ms, now.coalesce)

    def __str__(self) -> str:
        names = {"initial_workers": "workers", "max_batch_delay": "delay", "batch_size": "batch"}
        return ", ".join(f"{names.get(key, key)} {value}" for key, value in self.chosen().items())

    def chosen(self) -> dict[str, int]:
        """Return the settings that have a value."""
        return {key: value for key, value in asdict(self).items() if value is not None}

    @property
    def cost(self) -> tuple[int, int]:
        """The processes, and all threads in them."""
        return self.initial_workers, self.initial_workers * (self.threads or 1)


DIMENSIONS = tuple(field.name for field in fields(Candidate))


@dataclass(frozen=True)
class SearchSpace:
    """The values of each dimension in ascending order; a dimension of (None,) is not searched."""

    initial_workers: tuple[int, ...]
    threads: tuple[int | None, ...]
    batch_size: tuple[int, ...]
    max_batch_delay: tuple[int, ...]
    coalesce: tuple[int | None, ...]

    @classmethod
    def of(cls, tune: TuneSettings, target: LoadTarget, clients: int, cores: int) -> "SearchSpace":
        """Return the values in the settings, or those that can matter for this load on this machine."""
        coalesce: tuple[int | None, ...] = tuple(sorted(tune.coalesce or COALESCE))
        return cls(
            initial_workers=tuple(sorted(tune.workers or _powers_of_two(cores))),
            threads=tuple(sorted(tune.threads or _powers_of_two(cores))),
            # A batch that the clients cannot fill only waits. The requests in flight of an open loop are unknown.
            batch_size=tuple(sorted(tune.batch_size or _powers_of_two(min(64, max(clients, 4))))),
            max_batch_delay=tuple(sorted(tune.max_batch_delay or DELAYS_MS)),
            coalesce=coalesce if target.kind == "policy" else (None,),
        )

    def all(self) -> Iterator[Candidate]:
        """Yield every candidate of the full grid."""
        for values in itertools.product(*(getattr(self, name) for name in DIMENSIONS)):
            candidate = Candidate(*values)
            # A batch of one is full at once, so its delay has no effect.
            if candidate.batch_size > 1 or candidate.max_batch_delay == self.max_batch_delay[0]:
                yield candidate

    def guess(self, clients: int, cores: int) -> Candidate:
        """Return a first candidate: a worker per core, one thread each, batches that the clients fill at once."""
        workers = max((each for each in self.initial_workers if each <= cores), default=self.initial_workers[0])
        each_worker = max(1, clients // (2 * workers))
        return Candidate(
            initial_workers=workers,
            threads=self.threads[0],
            batch_size=max((size for size in self.batch_size if size <= each_worker), default=self.batch_size[0]),
            max_batch_delay=self.max_batch_delay[min(1, len(self.max_batch_delay) - 1)],
            coalesce=self.coalesce[-1],
        )

    def neighbours(self, candidate: Candidate) -> Iterator[Candidate]:
        """Yield candidates one step away in one dimension, and in workers against threads, which share the cores."""
        steps = {name: list(self._adjacent(candidate, name)) for name in DIMENSIONS}
        for name, values in steps.items():
            for value in values:
                yield self._normalized(replace(candidate, **{name: value}))
        for workers, threads in itertools.product(steps["initial_workers"], steps["threads"]):
            if threads is not None and (workers > candidate.initial_workers) != (threads > (candidate.threads or 0)):
                yield self._normalized(replace(candidate, initial_workers=workers, threads=threads))

    def _normalized(self, candidate: Candidate) -> Candidate:
        if candidate.batch_size > 1:
            return candidate
        return replace(candidate, max_batch_delay=self.max_batch_delay[0])

    def _adjacent(self, candidate: Candidate, name: str) -> Iterator[int]:
        """Yield the next lower and the next higher value; the candidate's own value need not be in the space."""
        own = getattr(candidate, name) or 0
        values = [value for value in getattr(self, name) if value is not None]
        below, above = [value for value in values if value < own], [value for value in values if value > own]
        yield from (*below[-1:], *above[:1])


def _powers_of_two(most: int) -> tuple[int, ...]:
    """Return 1, 2, 4, ... and `most`."""
    powers = {2**power for power in range(int(math.log2(most)) + 1)} if most > 0 else {1}
    return tuple(sorted(powers | {max(1, most)}))
