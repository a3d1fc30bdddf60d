"""What the servers' own counters say about a run: where a request's time went, and how full the batches were."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

import prometheus
from engines.engine_profile import EngineProfile
from errors import MetricsError
from prometheus import CounterGrowth, MetricsReading, Series

GATEWAY = "marina_gateway_"
EVENTS = ("shed", "retries", "joined")
MODEL_LABELS = ("model", "model_name", "ModelName")

Counters = Mapping[tuple[str, str], float]
"""(name of a sample, model) → its value, summed over versions, statuses, routes and workers."""


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
    """One model as the servers saw it; `events` counts what the gateway refused, repeated or joined, if it told.

    `engine` is its name for people.
    """

    model: str
    engine: str
    stages: Stages
    batches: Batches
    events: Mapping[str, int]


@dataclass(frozen=True)
class Before:
    """One reading of both servers: figures, or why there are none."""

    gateway: MetricsReading | MetricsError
    engine: MetricsReading | MetricsError | None


@dataclass(frozen=True)
class Counted:
    """By how much both servers' counters grew, None where that is not known, and `unread`: why."""

    gateway: Counters | None
    engine: Counters | None
    unread: tuple[str, ...]


class Servers:
    """Reads the counters before and after. `engine` is the address of the engine's, None when it is not known."""

    def __init__(self, gateway: str, headers: Mapping[str, str], engine: str | None) -> None:
        self._gateway = f"{gateway}/metrics"
        self._headers = headers
        self._engine = engine

    async def read(self) -> Before:
        """The counters as they stand."""
        gateway = await asyncio.to_thread(_read, self._gateway, self._headers)
        return Before(gateway, await asyncio.to_thread(_read, self._engine, {}) if self._engine else None)

    async def since(self, before: Before) -> Counted:
        """What was counted meanwhile."""
        after = await self.read()
        pairs = ((before.gateway, after.gateway), (before.engine, after.engine))
        gateway, engine = (_grown(*pair) for pair in pairs)
        errors = [next((one for one in pair if isinstance(one, MetricsError)), None) for pair in pairs]
        return Counted(gateway, engine, tuple(str(error) for error in errors if error is not None))


def _read(url: str, headers: Mapping[str, str]) -> MetricsReading | MetricsError:
    try:
        return prometheus.read(url, headers)
    except MetricsError as error:
        return error


def _grown(
    before: MetricsReading | MetricsError | None, after: MetricsReading | MetricsError | None
) -> Counters | None:
    if not isinstance(before, MetricsReading) or not isinstance(after, MetricsReading):
        return None
    growth = CounterGrowth()
    growth.take("", before)
    growth.take("", after)
    return by_model(growth.counted)


def by_model(figures: Mapping[Series, float]) -> Counters:
    """The sum of each name and model; buckets are left out."""
    found: dict[tuple[str, str], float] = {}
    for (name, own), value in figures.items():
        labels = dict(own)
        if "le" not in labels:
            model = next((labels[each] for each in MODEL_LABELS if each in labels), "")
            key = name.removesuffix("_total"), model
            found[key] = found.get(key, 0.0) + value
    return found


def server_side(model: str, counted: Counted, engine: EngineProfile | None) -> ServerSide | None:
    """What the growth of the counters tells about `model`; None when neither server's could be read.

    Without the engine's facts, only what the kit's handlers count is known of it.
    """
    if counted.gateway is None and counted.engine is None:
        return None
    names = engine.metrics if engine else None
    front, back = _Of(counted.gateway or {}, model), _Of(counted.engine or {}, model)
    requests = back.value(names.requests) if names else None
    batches = back.value("handler_batch_fill_ratio_count")
    return ServerSide(
        model=model,
        engine=engine.title if engine else "the engine",
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
        # A gateway that nobody could read has not counted zero.
        events={}
        if counted.gateway is None
        else {name: round(front.value(f"{GATEWAY}{name}") or 0) for name in EVENTS},
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
