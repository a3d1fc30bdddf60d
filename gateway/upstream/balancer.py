"""The engine's hosts, one or several, as one engine.

    survey every host in traffic ──▶ merged for the catalog
    predict   in traffic, has the model, fewest outstanding ──▶ lost? another one

A checked host gets no requests while it does not answer, or does not serve the versions that may answer. A single host
without a name is only pinged, because no other host could answer instead.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from urllib.parse import urlsplit

import engines
from deployments.traffic import AnsweringVersions, live_folder, read_live
from engines.torchserve.engine_client import EngineClient
from errors import EngineError, NoWorker, UnknownModel, WorkerLost
from gateway.catalog import Look
from gateway.hooks import EngineResponse, PredictionRequest, Predictor
from gateway.http.deadline import CancelScope
from gateway.metrics import Metrics
from gateway.served_models import ServedModel, ServedVersion
from gateway.tracing import Tracer
from gateway.upstream.connections import open_pool
from gateway.upstream.inference_client import InferenceClient
from gateway.upstream.pulse import PULSE_S, Pulse
from gateway.upstream.survey import READ_S, Survey
from logs import event
from settings.schema import Settings

logger = logging.getLogger(__name__)

# One late answer means a busy machine, two in a row mean a host that hangs.
MISSES = 2

Ping = Callable[[], Awaitable[bool]]


class EngineHost:
    """One host. `answering` returns the versions that may answer; None for a host that is not checked."""

    def __init__(
        self,
        name: str,
        client: Predictor,
        look: Look,
        ping: Ping,
        answering: Callable[[], AnsweringVersions] | None,
        metrics: Metrics,
        close: Callable[[], None] | None = None,
    ) -> None:
        self.name = name
        self.client = client
        self.models: Mapping[str, ServedModel] = {}
        self.serves_right = answering is None  # True when it served the right versions at the last check
        self.used = 0  # number of its last request, so that equals take turns
        self._look = look
        self._ping = ping
        self._answering = answering
        self._metrics = metrics
        self._close = close
        self._running: set[CancelScope] = set()
        self._misses = 0
        self._pulse = Pulse()
        self._in_traffic = answering is None
        if answering is not None:
            metrics.node_in_traffic(name, ready=False)

    @property
    def is_checked(self) -> bool:
        """True for a host that may be taken out of the traffic."""
        return self._answering is not None

    @property
    def in_traffic(self) -> bool:
        """True while it gets requests."""
        return self._in_traffic

    @property
    def outstanding(self) -> int:
        """The number of requests that wait for its response."""
        return len(self._running)

    def has(self, request: PredictionRequest) -> bool:
        """Return True when it had a worker for this request at the last check."""
        model = self.models.get(request.model)
        version = None if model is None else model.version(request.version)
        return version is not None and version.workers_ready > 0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Count a request as outstanding. Raises WorkerLost when the host hangs meanwhile.

        Raises NoWorker when it hangs already: the request would only wait for its deadline.
        """
        clock = asyncio.get_running_loop().time
        if self._pulse.hangs(clock()):
            raise NoWorker("the engine does not answer")
        with CancelScope() as scope:
            self._running.add(scope)
            try:
                yield
            finally:
                self._running.discard(scope)
        self._pulse.heard(clock())

    @property
    def is_lost(self) -> bool:
        """True while it gives no sign of life."""
        return self._pulse.is_lost(asyncio.get_running_loop().time())

    async def check(self) -> None:
        """Ping the host. Take it out of the traffic when it does not answer; check whether it may return when it does.

        A host that is not checked stays in the traffic.
        """
        answers = await self._is_alive()
        if not self.is_checked:
            return
        if answers:
            self._misses = 0
            if not self._in_traffic:
                await self.look()
            return
        self._misses += 1
        if self._misses >= MISSES or not self._in_traffic:
            self.leave("it does not answer")
            for scope in tuple(self._running):
                scope.cancel(WorkerLost(f"node {self.name} answers no longer"))

    async def _is_alive(self) -> bool:
        clock = asyncio.get_running_loop().time
        self._pulse.asked(clock())
        answered = await self._ping()
        self._pulse.pinged(clock(), answered=answered)
        return answered

    async def look(self) -> None:
        """Read what the host serves, and judge it by that.

        Raises EngineError when it does not answer: it stays out then, but does not leave while its pings answer.
        """
        if self._answering is None:
            self.models = await self._look()
            return
        before = self._answering()
        self.models = await self._look()
        # To stay in traffic, a host needs only the right versions: a restarting worker must not cost the other models.
        answering = overlapping(before, self._answering())
        self.serves_right = serves(self.models, answering, workers=not self._in_traffic)
        if self.serves_right:
            self._join()
        else:
            self.leave("it does not serve the versions that it should")

    def leave(self, reason: str) -> None:
        """Send it no new requests until a check passes again."""
        if not self.is_checked:
            return
        if self._in_traffic:
            event(logger, logging.WARNING, "node_left", node=self.name, reason=reason)
        self._in_traffic = False
        self._metrics.node_in_traffic(self.name, ready=False)

    def close(self) -> None:
        """Close the host's connections."""
        if self._close is not None:
            self._close()

    def _join(self) -> None:
        if not self._in_traffic:
            event(logger, logging.INFO, "node_joined", node=self.name)
        self._in_traffic = True
        self._metrics.node_in_traffic(self.name, ready=True)


def overlapping(one: AnsweringVersions, other: AnsweringVersions) -> AnsweringVersions:
    """Merge two readings, because a rollout may proceed while a host's models are being read."""
    both = one.keys() & other.keys()
    return {model: one[model] | other[model] for model in both}


def serves(models: Mapping[str, ServedModel], answering: AnsweringVersions, *, workers: bool) -> bool:
    """Return True if each model serves a version that may answer; with `workers`, each must have a ready one, too."""
    for name, versions in answering.items():
        model = models.get(name)
        if model is None or model.default.version not in versions:
            return False
        if workers and not model.default.workers_ready:
            return False
    return True


class LoadBalancer:
    """The engine that represents all hosts: it chooses one for each request, and another when that one fails."""

    def __init__(self, hosts: Sequence[EngineHost], metrics: Metrics, check_s: float) -> None:
        self._hosts = hosts
        self._metrics = metrics
        self._check_s = check_s
        self._turns = count(1)
        self._checks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to check the hosts."""
        self._checks = [asyncio.create_task(self._keep_checking(host)) for host in self._hosts]

    async def close(self) -> None:
        """End the checks and close all connections."""
        for task in self._checks:
            task.cancel()
        if self._checks:
            await asyncio.wait(self._checks)
        for host in self._hosts:
            host.close()

    async def predict(self, request: PredictionRequest) -> EngineResponse:
        """Answer one prediction. A request that a host fails, or whose model it does not know, goes to the others."""
        tried: list[EngineHost] = []
        while True:
            host = self._choose(request, tried)
            tried.append(host)
            try:
                with host.running():
                    return await host.client.predict(request)
            except (NoWorker, UnknownModel) as error:
                if type(error) is NoWorker:
                    host.leave(error.detail)
                is_late = asyncio.get_running_loop().time() >= request.deadline
                if is_late or all(each in tried for each in self._candidates()):
                    raise
            self._metrics.retried(request.model)

    async def look(self) -> Mapping[str, ServedModel]:
        """Return the models of all hosts in traffic. Raises EngineError when no host is in traffic."""
        known = [host for host in self._hosts if host.in_traffic]
        # A host that hangs would delay the whole survey; its own check notices when it returns.
        looks = await asyncio.gather(*(host.look() for host in known or self._hosts), return_exceptions=True)
        errors = [found for found in looks if isinstance(found, BaseException)]
        unforeseen = [error for error in errors if not isinstance(error, EngineError)]
        if unforeseen or (errors and len(self._hosts) == 1):
            raise (unforeseen or errors)[0]
        models = [host.models for host in self._hosts if host.in_traffic]
        if not models or len(errors) == len(looks):
            raise EngineError("no engine host answers with the versions that it should serve")
        return merged(models)

    def is_lost(self) -> bool:
        """Return True when no host gives a sign of life."""
        return all(host.is_lost for host in self._hosts)

    def _candidates(self) -> list[EngineHost]:
        # With no host in traffic, try one that may only seem lost, rather than refuse the request.
        return [host for host in self._hosts if host.in_traffic] or [host for host in self._hosts if host.serves_right]

    def _choose(self, request: PredictionRequest, tried: Sequence[EngineHost]) -> EngineHost:
        left = [host for host in self._candidates() if host not in tried]
        if not left:
            raise NoWorker("no engine host is ready")
        chosen = left[0]
        if len(left) > 1:
            able = [host for host in left if host.has(request)] or left
            chosen = min(able, key=lambda host: (host.outstanding, host.used))
        chosen.used = next(self._turns)
        return chosen

    async def _keep_checking(self, host: EngineHost) -> None:
        while True:
            try:
                await host.check()
            except (EngineError, LookupError, TypeError, ValueError):
                pass  # no answer, or a description that cannot be read: it stays out, as the catalog logs
            except Exception:
                # The edge of a task: whatever error one check raises, the host must be checked again.
                logger.exception("node_check_failed", extra={"fields": {"node": host.name}})
            await asyncio.sleep(self._check_s if host.is_checked else PULSE_S)


def merged(found: Iterable[Mapping[str, ServedModel]]) -> dict[str, ServedModel]:
    """Merge several hosts' models: add up workers and queues; the first host says which version is the default."""
    models: dict[str, ServedModel] = {}
    for served in found:
        for name, model in served.items():
            known = models.get(name)
            models[name] = model if known is None else ServedModel(name, _versions(known, model))
    return models


def _versions(known: ServedModel, more: ServedModel) -> tuple[ServedVersion, ...]:
    others = {version.version: version for version in more.versions}
    added = tuple(_added(version, others.pop(version.version, None)) for version in known.versions)
    return (*added, *(replace(version, default=False) for version in others.values()))


def _added(one: ServedVersion, other: ServedVersion | None) -> ServedVersion:
    if other is None:
        return one
    return replace(
        one,
        workers_ready=one.workers_ready + other.workers_ready,
        workers=one.workers + other.workers,
        min_workers=one.min_workers + other.min_workers,
        max_workers=one.max_workers + other.max_workers,
        pending=one.pending + other.pending,
        capacity=one.capacity + other.capacity,
        card=one.card or other.card,
    )


def load_balancer(settings: Settings, metrics: Metrics, tracer: Tracer) -> LoadBalancer:
    """Return the hosts that the settings name as one engine."""
    clients = [engines.connect(settings, node, timeout_s=READ_S) for node in settings.engine.hosts]
    hosts = [_host(client, settings, metrics, tracer) for client in clients]
    return LoadBalancer(hosts, metrics, settings.engine.check_s)


def _host(client: EngineClient, settings: Settings, metrics: Metrics, tracer: Tracer) -> EngineHost:
    node, survey = client.node, Survey(client)
    url = urlsplit(node.inference_url)
    pool = open_pool(settings.gateway, url.hostname or "", url.port or 80)
    is_checked = bool(settings.engine.nodes)
    inference = InferenceClient(url.netloc, pool, client.keys, metrics, tracer, node.name if is_checked else None)

    def close() -> None:
        inference.close()
        pool.close()
        survey.close()

    answering = (lambda: read_live(live_folder(settings))) if is_checked else None
    return EngineHost(node.name, inference, survey.look, survey.is_alive, answering, metrics, close)
