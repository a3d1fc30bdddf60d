"""The properties of an engine, and the types in which it describes its models.

Every engine answers the same two HTTP interfaces, TorchServe's Inference and Management API. The client for both is
`engines.torchserve.engine_client.EngineClient`; an `EngineProfile` holds what differs from one engine to the next.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:  # TorchServe's first process uses these types without the settings
    from settings.schema import RegistrationSettings

Interface = Literal["inference", "management"]


@dataclass(frozen=True, slots=True)
class MetricNames:
    """Names of an engine's Prometheus counters, each by model: requests, and microseconds of waiting and computing."""

    requests: str
    queue_us: str
    inference_us: str


@dataclass(frozen=True, slots=True)
class EngineProfile:
    """The properties in which engines differ.

    `part` is the engine's name in the stack. `worker_program` appears in the command line of each worker. `package` is
    what a machine needs to run the engine, and `requirements` the file that pins it. `change_s` is the longest time
    until a switch or a removal takes effect everywhere. An engine that `compares_archives` gets the archive's sha256 at
    registration and refuses any other archive.
    """

    title: str
    part: str
    package: str
    requirements: str
    worker_program: str
    metrics: MetricNames
    change_s: float
    renews_keys: bool
    keeps_failed_fetches: bool
    compares_archives: bool


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """One process that runs a model. `pid` is the number that its answers carry, `started` an ISO time."""

    pid: int
    ready: bool
    started: str | None


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """One registered version of a model.

    `pending_requests` wait for a worker, and the queue has room for `free` more. `max_batch_delay` is in ms, timeouts
    are in seconds; None where the engine names none.
    """

    model: str
    version: str
    url: str
    batch_size: int
    max_batch_delay: int
    min_workers: int
    max_workers: int
    workers: tuple[WorkerStatus, ...]
    pending_requests: int
    free: int
    response_timeout: int | None = None
    startup_timeout: int | None = None

    @property
    def archive(self) -> str:
        """The archive's name in the store, without the query of a signed URL."""
        return self.url.partition("?")[0].rsplit("/", 1)[-1]

    @property
    def pids(self) -> frozenset[int]:
        """Process ids of the workers that have loaded the model."""
        return frozenset(worker.pid for worker in self.workers if worker.ready)

    @property
    def ready_workers(self) -> int:
        """Number of workers that have loaded the model."""
        return sum(worker.ready for worker in self.workers)

    @property
    def started(self) -> str | None:
        """Start time of the oldest worker; None without workers."""
        return min((worker.started for worker in self.workers if worker.started is not None), default=None)

    def has(self, params: "RegistrationSettings") -> bool:
        """Return whether the version was registered with these settings."""
        found = (self.batch_size, self.max_batch_delay, self.min_workers)
        same_timeout = params.response_timeout in (None, self.response_timeout)
        return same_timeout and found == (params.batch_size, params.max_batch_delay, params.initial_workers)


@dataclass(frozen=True, slots=True)
class ArchiveCopy:
    """An engine's own copy of an archive that it has registered; its workers run from that copy.

    `folder` holds the files where this machine can read them. Otherwise `hidden` gives the reason and the remedy.
    Neither is set by an engine that has compared the archive with its sha256 itself.
    """

    folder: Path | None = None
    hidden: str | None = None


@dataclass(frozen=True, slots=True)
class PredictionInput:
    """The body of a prediction request, its content type, and other headers."""

    body: bytes
    content_type: str
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PredictionResponse:
    """An engine's response of any status; `worker` is the process id, None when the engine itself answered.

    Names of headers are in lower case.
    """

    status: int
    body: bytes
    worker: int | None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The body as text, for a message."""
        return self.body.decode(errors="replace").strip()


@dataclass(frozen=True, slots=True)
class EngineEndpoint:
    """The URL of one model's predictions and the header that authorizes them, for clients that send their own."""

    url: str
    authorization: str = field(repr=False)  # a key, which no log may show
