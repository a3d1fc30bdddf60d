"""What an engine must be able to do for the rest of the kit.

    rollouts, trials, tables ──▶ Host      register, scale, warm, predict, set_default, drain, unregister
    gateway                  ──▶ Front     what a prediction looks like on the wire, keys, descriptions
    load tests, stack        ──▶ Facts     names of counters and processes

A Host blocks and waits, because a rollout does one thing after the other; a Front never does, because a gateway does
thousands at once over a client of its own. Both raise EngineError, of one line, for whatever does not work.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self

from engines.described import Address, Answer, Copy, Request, Version
from errors import RequestError
from settings.schema import Node, RequestParams

if TYPE_CHECKING:
    import aiohttp

Interface = Literal["inference", "management"]


@dataclass(frozen=True, slots=True)
class MetricNames:
    """Names of an engine's Prometheus counters, each by model: requests, and microseconds of waiting and working."""

    requests: str
    queue_us: str
    inference_us: str


@dataclass(frozen=True, slots=True)
class Facts:
    """What is true of one engine and not of another, where the same words are spoken to both.

    `part` is its name in the stack; `worker_program` stands in the command line of each of its workers. `package` is
    what running it here needs, `requirements` the file that pins it. `change_s` is how long a switch or a removal may
    take until it is everywhere. One that `compares_archives` takes the sha256 of what is to be registered, and refuses
    anything else.
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


class Host(Protocol):
    """One host of an engine, as delivery works with it; a context manager that closes its connections."""

    @property
    def node(self) -> Node:
        """Which host."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *exception: object) -> None: ...

    def close(self) -> None:
        """Close its connections."""
        ...

    def answers(self) -> bool:
        """Whether it answers at all and accepts the keys; decided in a few seconds."""
        ...

    def models(self) -> list[str]:
        """Names of all registered models, sorted."""
        ...

    def versions(self, model: str) -> list[Version]:
        """All registered versions; empty for an unknown model."""
        ...

    def default(self, model: str) -> Version | None:
        """The version that requests without a version go to."""
        ...

    def find(self, model: str, version: str) -> Version | None:
        """One version; None when it is not registered."""
        ...

    def hides_copies(self) -> str | None:
        """Why its own copies of archives cannot be compared with what was checked, and what to do; None when they can.

        Nothing is asked of it.
        """
        ...

    def register(
        self, model: str, url: str, params: RequestParams, timeout_s: float, sha256: str | None = None
    ) -> Copy:
        """Have it fetch an archive, without workers yet; returns its own copy. The first version becomes the default.

        An engine that `compares_archives` refuses one that has not this sha256.
        """
        ...

    def scale(self, model: str, version: str, workers: int, timeout_s: float) -> None:
        """Set the number of workers and wait until they have loaded the model; EngineError when they do not.

        The description may follow a moment later. More lose no request; fewer may, so whoever wants fewer registers
        another version.
        """
        ...

    def warm(self, version: Version, request: Request, times: int, timeout_s: float) -> bool:
        """Have every ready worker answer so often; False when that took too long."""
        ...

    def predict(self, model: str, version: str, request: Request, *, timeout_s: float | None = None) -> Answer:
        """One prediction by exactly this version, whatever its status."""
        ...

    def set_default(self, model: str, version: str) -> None:
        """Send requests without a version to this one from now on."""
        ...

    def drain(self, version: Version, request: Request, timeout_s: float) -> bool:
        """Wait until a version without traffic has answered all it was given; False, and a warning, when too late.

        `request` is one that the version answers, should the engine have to be asked one to know.
        """
        ...

    def unregister(self, model: str, version: str) -> None:
        """Remove a version and its workers; unknown is fine. The default goes only when it is the last."""
        ...

    def address(self, model: str, version: str | None = None) -> Address:
        """Where predictions are posted by those who measure the engine itself."""
        ...


class Dialect(Protocol):
    """What a prediction looks like on the wire; asked at each request, so all of it only computes."""

    def prediction_path(self, model: str, version: str | None) -> str:
        """The path that predicts; names are quoted, so that none of them can end a request line."""
        ...

    def key_refused(self, status: int, body: bytes) -> bool:
        """Whether the engine did not accept the token: it expired, or the engine was started anew."""
        ...

    def refusal(self, status: int, body: bytes, model: str) -> RequestError:
        """The error that a client is told for an answer that is not 200."""
        ...


class Keys(Protocol):
    """The tokens that an engine accepts, as they change."""

    async def token(self, interface: Interface) -> str | None:
        """The bearer token of an interface; None when there is none (yet)."""
        ...

    async def replaced(self, interface: Interface, refused: str | None) -> bool:
        """Whether another token than the one the engine refused is at hand now; fetches one when needed."""
        ...

    async def close(self) -> None:
        """Ends what runs beside the requests."""
        ...


class Reader(Protocol):
    """Describes what a host serves. Every method but `answers` raises EngineError when it does not tell."""

    async def answers(self) -> bool:
        """Whether it is there; asked again and again, so it costs the host next to nothing."""
        ...

    async def model_names(self) -> list[str]:
        """Names of all registered models."""
        ...

    async def versions(self, name: str) -> list[Version]:
        """All versions of a model; empty when it is gone."""
        ...

    async def default_version(self, name: str) -> str | None:
        """The version that answers when none is named."""
        ...

    async def card(self, name: str, version: str) -> Mapping[str, Any] | None:
        """The model card, asked of a worker; empty for an archive without one, None when no worker answered."""
        ...


@dataclass(frozen=True, slots=True)
class Front:
    """One host, as the gateway works with it."""

    dialect: Dialect
    keys: Keys
    reader: Reader


class Engine(Protocol):
    """An engine as the settings describe it: the way to each of its hosts."""

    @property
    def facts(self) -> Facts:
        """How it differs from others."""
        ...

    def open(self, node: Node | None = None) -> Host:
        """One host for delivery; the first for None. Nothing is asked yet."""
        ...

    def front(self, node: Node, session: "aiohttp.ClientSession") -> Front:
        """The same for the gateway, over its session."""
        ...
