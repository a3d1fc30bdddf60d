"""Which settings there are to try, and which lie side by side."""

import itertools
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace

from loadtest.target import Batching, Target
from settings.schema import TuneSettings

DELAYS_MS = (0, 1, 2, 5, 10, 20)
COALESCE = (1, 16, 64, 128, 256)


@dataclass(frozen=True, order=True)
class Setting:
    """How a model is registered; None leaves it to worker or gateway."""

    initial_workers: int
    threads: int | None
    batch_size: int
    max_batch_delay: int
    coalesce: int | None

    @classmethod
    def serving(cls, now: Batching) -> "Setting":
        """What serves now."""
        return cls(now.workers, now.threads, now.batch_size, now.max_batch_delay_ms, now.coalesce)

    def __str__(self) -> str:
        names = {"initial_workers": "workers", "max_batch_delay": "delay", "batch_size": "batch"}
        return ", ".join(f"{names.get(key, key)} {value}" for key, value in asdict(self).items() if value is not None)

    @property
    def cost(self) -> tuple[int, int]:
        """What it takes of a machine before anything is asked: processes, and threads in them."""
        return self.initial_workers, self.initial_workers * (self.threads or 1)


DIMENSIONS = tuple(field.name for field in fields(Setting))


@dataclass(frozen=True)
class Space:
    """The values of each dimension, rising; a dimension of (None,) is not searched."""

    initial_workers: tuple[int, ...]
    threads: tuple[int | None, ...]
    batch_size: tuple[int, ...]
    max_batch_delay: tuple[int, ...]
    coalesce: tuple[int | None, ...]

    @classmethod
    def of(cls, tune: TuneSettings, target: Target, clients: int, cores: int) -> "Space":
        """The values asked for, or those that can make a difference for this load on this machine."""
        coalesce: tuple[int | None, ...] = tuple(sorted(tune.coalesce or COALESCE))
        return cls(
            initial_workers=tuple(sorted(tune.workers or _doubling(cores))),
            threads=tuple(sorted(tune.threads or _doubling(cores))),
            # A batch larger than the clients can fill only waits; of an open loop nobody knows the number in flight.
            batch_size=tuple(sorted(tune.batch_size or _doubling(min(64, max(clients, 4))))),
            max_batch_delay=tuple(sorted(tune.max_batch_delay or DELAYS_MS)),
            coalesce=coalesce if target.kind == "policy" else (None,),
        )

    def all(self) -> Iterator[Setting]:
        """Every setting: the full grid."""
        for values in itertools.product(*(getattr(self, name) for name in DIMENSIONS)):
            setting = Setting(*values)
            # A batch of one is full at once, so its delay is none.
            if setting.batch_size > 1 or setting.max_batch_delay == self.max_batch_delay[0]:
                yield setting

    def guess(self, clients: int, cores: int) -> Setting:
        """A first one, by rules of thumb: a worker a core, one thread each, batches that the clients fill at once."""
        workers = max((each for each in self.initial_workers if each <= cores), default=self.initial_workers[0])
        each_worker = max(1, clients // (2 * workers))
        return Setting(
            initial_workers=workers,
            threads=self.threads[0],
            batch_size=max((size for size in self.batch_size if size <= each_worker), default=self.batch_size[0]),
            max_batch_delay=self.max_batch_delay[min(1, len(self.max_batch_delay) - 1)],
            coalesce=self.coalesce[-1],
        )

    def neighbours(self, setting: Setting) -> Iterator[Setting]:
        """One step in one dimension; and workers against threads, because they share the cores."""
        steps = {name: list(self._beside(setting, name)) for name in DIMENSIONS}
        for name, values in steps.items():
            for value in values:
                yield self._plain(replace(setting, **{name: value}))
        for workers, threads in itertools.product(steps["initial_workers"], steps["threads"]):
            if threads is not None and (workers > setting.initial_workers) != (threads > (setting.threads or 0)):
                yield self._plain(replace(setting, initial_workers=workers, threads=threads))

    def _plain(self, setting: Setting) -> Setting:
        return replace(setting, max_batch_delay=self.max_batch_delay[0]) if setting.batch_size == 1 else setting

    def _beside(self, setting: Setting, name: str) -> Iterator[int]:
        """The next lower and the next higher value; the setting's own need not be one of the space's."""
        own = getattr(setting, name) or 0
        values = [value for value in getattr(self, name) if value is not None]
        below, above = [value for value in values if value < own], [value for value in values if value > own]
        yield from (*below[-1:], *above[:1])


def _doubling(most: int) -> tuple[int, ...]:
    """1, 2, 4, ... and `most`."""
    powers = {2**power for power in range(int(math.log2(most)) + 1)} if most > 0 else {1}
    return tuple(sorted(powers | {max(1, most)}))
