"""The counters of gateway and engine during a run: the time of a request by stage, and the sizes of batches."""

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import prometheus
from engines.engine_profile import EngineProfile
from errors import MetricsError
from prometheus import CounterGrowth, MetricsReading, Series

GATEWAY = "marina_gateway_"
EVENTS = ("shed", "retries", "joined")
MODEL_LABELS = ("model", "model_name", "ModelName")

ModelCounters = Mapping[tuple[str, str], float]
"""(name of a sample, model) → its value, summed over versions, statuses, routes and workers."""


@dataclass(frozen=True)
class Stages:
    """Mean milliseconds of a request in each stage; None where no counter exists.

    `gateway` is the whole time inside the gateway, and the others are parts of it. `queue` is the engine's queue and
    contains the wait for a batch to fill. `decode`, `forward` and `post` belong to a batch, and each request of the
    batch waits for all of them.
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
    """One model by the servers' counters. `engine` is the title of the engine.

    `events` counts the requests that the gateway refused, retried or joined; it is empty if the gateway was not read.
    """

    model: str
    engine: str
    stages: Stages
    batches: Batches
    events: Mapping[str, int]


@dataclass(frozen=True)
class ServerReadings:
    """One reading of both servers: metrics, or the error that prevented it."""

    gateway: MetricsReading | MetricsError
    engine: MetricsReading | MetricsError | None


@dataclass(frozen=True)
class ServerGrowth:
    """The growth of both servers' counters, None where it is unknown, and the reasons in `unread`."""

    gateway: ModelCounters | None
    engine: ModelCounters | None
    unread: tuple[str, ...]


class ServerCounters:
    """The counters of one gateway and of its engine; `engine` is the URL of the engine's metrics, None if unknown."""

    def __init__(self, gateway: str, headers: Mapping[str, str], engine: str | None) -> None:
        self._gateway = f"{gateway}/metrics"
        self._headers = headers
        self._engine = engine

    async def read(self) -> ServerReadings:
        """Read the counters once."""
        gateway = await asyncio.to_thread(_read, self._gateway, self._headers)
        return ServerReadings(gateway, await asyncio.to_thread(_read, self._engine, {}) if self._engine else None)

    async def since(self, before: ServerReadings) -> ServerGrowth:
        """Read the counters again and return their growth."""
        after = await self.read()
        pairs = ((before.gateway, after.gateway), (before.engine, after.engine))
        gateway, engine = (_growth(*pair) for pair in pairs)
        errors = [next((one for one in pair if isinstance(one, MetricsError)), None) for pair in pairs]
        return ServerGrowth(gateway, engine, tuple(str(error) for error in errors if error is not None))


def _read(url: str, headers: Mapping[str, str]) -> MetricsReading | MetricsError:
    try:
        return prometheus.read(url, headers)
    except MetricsError as error:
        return error


def _growth(
    before: MetricsReading | MetricsError | None, after: MetricsReading | MetricsError | None
) -> ModelCounters | None:
    if not isinstance(before, MetricsReading) or not isinstance(after, MetricsReading):
        return None
    growth = CounterGrowth()
    growth.take("", before)
    growth.take("", after)
    return by_model(growth.counted)


def by_model(figures: Mapping[Series, float]) -> ModelCounters:
    """Return the sum of each name and model, without the buckets of histograms."""
    found: dict[tuple[str, str], float] = {}
    for (name, own), value in figures.items():
        labels = dict(own)
        if "le" not in labels:
            model = next((labels[each] for each in MODEL_LABELS if each in labels), "")
            key = name.removesuffix("_total"), model
            found[key] = found.get(key, 0.0) + value
    return found


def server_side(model: str, growth: ServerGrowth, engine: EngineProfile | None) -> ServerSide | None:
    """Return the growth of the counters of `model`; None when neither server could be read.

    Without the engine's profile, only the counters of the kit's handlers are known of it.
    """
    if growth.gateway is None and growth.engine is None:
        return None
    names = engine.metrics if engine else None
    front, back = _ModelFigures(growth.gateway or {}, model), _ModelFigures(growth.engine or {}, model)
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
        # Counters of a gateway that could not be read are unknown, not zero.
        events={} if growth.gateway is None else {name: round(front.value(f"{GATEWAY}{name}") or 0) for name in EVENTS},
    )


def stage_times(stages: Mapping[str, Any], engine: str) -> Iterator[tuple[str, float]]:
    """Yield the stages of a request in their order, with their milliseconds; `engine` is the title of the engine.

    The last stage is the time that no other stage accounts for.
    """
    # Coalesced observations are one request to the engine, so the stages of one request can add up to less.
    whole = stages["gateway"] or sum(filter(None, (stages["queue"], stages["inference"])))
    named = [
        ("waits in the gateway", stages["gateway_queue"]),
        (f"{engine}'s queue", stages["queue"]),
        ("decode", stages["decode"]),
        ("forward", stages["forward"]),
        ("encode the answer", stages["post"]),
    ]
    counted = 0.0
    for name, value in named:
        if value is not None and value >= 0.005:
            counted += value
            yield name, value
    if whole > counted:
        yield "between these stages", whole - counted


class _ModelFigures:
    """The counters of one model."""

    def __init__(self, counters: ModelCounters, model: str) -> None:
        self._counters = counters
        self._model = model

    def value(self, name: str) -> float | None:
        return self._counters.get((name, self._model))

    def mean(self, name: str, scale: float = 1000) -> float | None:
        """Return the mean of a histogram; seconds become milliseconds."""
        return _ratio(self.value(f"{name}_sum"), self.value(f"{name}_count"), scale)


def _ratio(over: float | None, under: float | None, scale: float = 1) -> float | None:
    return None if over is None or not under else over / under * scale
