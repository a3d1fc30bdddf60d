"""What the servers' own counters say about a run: where a request's time went, and how full the batches were."""

from collections.abc import Mapping
from dataclasses import dataclass

import aiohttp

from engines.interface import MetricNames
from loadtest import scrape
from loadtest.scrape import Counters

GATEWAY = "marina_gateway_"
EVENTS = ("shed", "retries", "joined")


@dataclass(frozen=True)
class Stages:
    """Mean milliseconds of a request of one model, by whom it was with; None where nobody counted.

    `gateway` is the whole time inside the gateway, the others are parts of it. The queue is the engine's: it holds the
    wait for a batch to fill. Decoding, forward and wording are a batch's, and each request of it waits for all of them.
    """

    gateway: float | None
    gateway_queue: float | None
    upstream: float | None
    queue: float | None
    inference: float | None
    decode: float | None
    forward: float | None
    post: float | None


@dataclass(frozen=True)
class Batches:
    """Requests in a worker's batch, the share of `batch_size` that they fill, and states in one engine request."""

    requests_per_batch: float | None
    fill: float | None
    coalesced: float | None


@dataclass(frozen=True)
class ServerSide:
    """One model as the servers saw it; `events` counts what the gateway refused, repeated or joined."""

    model: str
    stages: Stages
    batches: Batches
    events: Mapping[str, int]


class Servers:
    """Reads the counters before and after. `engine` is the address of the engine's, None when it is not known."""

    def __init__(self, session: aiohttp.ClientSession, gateway: str, engine: str | None) -> None:
        self._session = session
        self._gateway = f"{gateway}/metrics"
        self._engine = engine

    async def read(self) -> tuple[Counters | None, Counters | None]:
        """The gateway's counters and the engine's, each None when it cannot be read."""
        engine = await scrape.read(self._session, self._engine) if self._engine else None
        return await scrape.read(self._session, self._gateway), engine


def server_side(
    model: str, gateway: Counters | None, engine: Counters | None, names: MetricNames | None
) -> ServerSide | None:
    """What the growth of the counters tells about `model`; None when neither server's could be read.

    `names` are the engine's own; without them, only what the kit's handlers count is known of it.
    """
    if gateway is None and engine is None:
        return None
    front, back = _Of(gateway or {}, model), _Of(engine or {}, model)
    requests = back.value(names.requests) if names else None
    batches = back.value("handler_batch_fill_ratio_count")
    return ServerSide(
        model=model,
        stages=Stages(
            gateway=front.mean(f"{GATEWAY}request_seconds"),
            gateway_queue=front.mean(f"{GATEWAY}queue_wait_seconds"),
            upstream=front.mean(f"{GATEWAY}upstream_seconds"),
            queue=_ratio(back.value(names.queue_us), requests, 1e-3) if names else None,
            inference=_ratio(back.value(names.inference_us), requests, 1e-3) if names else None,
            decode=back.mean("handler_decode_seconds"),
            forward=back.mean("handler_forward_seconds"),
            post=back.mean("handler_post_seconds"),
        ),
        batches=Batches(
            requests_per_batch=_ratio(requests, batches),
            fill=back.mean("handler_batch_fill_ratio", 1),
            coalesced=front.mean(f"{GATEWAY}coalesced_size", 1),
        ),
        events={name: round(front.value(f"{GATEWAY}{name}") or 0) for name in EVENTS},
    )


class _Of:
    """The counters of one model."""

    def __init__(self, counters: Counters, model: str) -> None:
        self._counters = counters
        self._model = model

    def value(self, name: str) -> float | None:
        return self._counters.get((name, self._model))

    def mean(self, name: str, scale: float = 1000) -> float | None:
        """Of a histogram; seconds become milliseconds."""
        return _ratio(self.value(f"{name}_sum"), self.value(f"{name}_count"), scale)


def _ratio(over: float | None, under: float | None, scale: float = 1) -> float | None:
    return None if over is None or not under else over / under * scale
