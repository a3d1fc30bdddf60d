"""What an engine tells about what it serves, whichever engine it is."""

from dataclasses import dataclass, field
from pathlib import Path

from settings.schema import RequestParams


@dataclass(frozen=True, slots=True)
class Worker:
    """One process that runs a model. `pid` is the name that its answers carry, `started` an ISO time."""

    pid: int
    ready: bool
    started: str | None


@dataclass(frozen=True, slots=True)
class Version:
    """One registered version of a model. `pending_requests` wait for a worker, `free` more may; the delay is ms."""

    model: str
    version: str
    url: str
    batch_size: int
    max_batch_delay: int
    min_workers: int
    max_workers: int
    workers: tuple[Worker, ...]
    pending_requests: int
    free: int

    @property
    def archive(self) -> str:
        """The archive's name in the store; a signed URL carries a query behind it."""
        return self.url.partition("?")[0].rsplit("/", 1)[-1]

    @property
    def pids(self) -> frozenset[int]:
        """The workers that have loaded the model."""
        return frozenset(worker.pid for worker in self.workers if worker.ready)

    @property
    def ready_workers(self) -> int:
        """How many have."""
        return sum(worker.ready for worker in self.workers)

    @property
    def started(self) -> str | None:
        """When the oldest worker was started."""
        return min((worker.started for worker in self.workers if worker.started is not None), default=None)

    def has(self, params: RequestParams) -> bool:
        """Whether it was registered with these settings."""
        found = (self.batch_size, self.max_batch_delay, self.min_workers)
        return found == (params.batch_size, params.max_batch_delay, params.initial_workers)


@dataclass(frozen=True, slots=True)
class Copy:
    """An engine's own copy of an archive that it has registered; its workers run from that.

    `folder` holds its files where they can be read from here; else `hidden` says why they cannot be, and what to do.
    Neither is set by an engine that has itself compared the archive with the sha256 that was handed over.
    """

    folder: Path | None = None
    hidden: str | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """What a model is asked to predict."""

    body: bytes
    content_type: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, whatever its status; `worker` is who made it, None when the engine itself answered."""

    status: int
    body: bytes
    worker: int | None

    @property
    def text(self) -> str:
        """The body for a message."""
        return self.body.decode(errors="replace").strip()


@dataclass(frozen=True, slots=True)
class Address:
    """Where predictions of one model are posted, for whoever sends them by a client of their own."""

    url: str
    authorization: str = field(repr=False)  # a key, which no log may show
