"""Several engine hosts as one engine: each request goes to the one with the fewest outstanding, and to another if lost.

    look ──▶ every node that answers ──▶ merged for the catalog
    predict ──▶ in traffic, has the model, fewest outstanding ──▶ lost? the next

A node is left out when it does not answer, and while it does not serve the versions that may answer (`live`).
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from urllib.parse import urlsplit

import engines
from deployments.traffic import AnsweringVersions, live_folder, read_live
from engines.torchserve.client import EngineClient
from errors import EngineError, NoWorker, UnknownModel, WorkerLost
from gateway.catalog import READ_S, Look, ServedModel, ServedVersion, Survey
from gateway.hooks import EngineResponse, PredictionRequest, Predictor
from gateway.metrics import Metrics
from gateway.tracing import Tracer
from gateway.upstream.connections import Pool, open_pool
from gateway.upstream.inference_client import InferenceClient
from logs import event
from settings.schema import Settings

logger = logging.getLogger(__name__)

# One late answer is a busy machine, two in a row are a host that hangs.
MISSES = 2

Ping = Callable[[], Awaitable[bool]]


class EngineHost:
    """Takes part while it answers and serves the versions that may answer."""

    def __init__(
        self,
        name: str,
        upstream: Predictor,
        look: Look,
        ping: Ping,
        live: Callable[[], AnsweringVersions],
        metrics: Metrics,
    ) -> None:
        self.name = name
        self.models: Mapping[str, ServedModel] = {}
        self.right = False  # whether it served the right versions when it last told
        self.used = 0  # its last turn, so that equals take turns
        self._upstream = upstream
        self._look = look
        self._ping = ping
        self._live = live
        self._metrics = metrics
        self._running: set[asyncio.Task[EngineResponse]] = set()
        self._misses = 0
        self._in_traffic = False
        metrics.node_in_traffic(name, ready=False)

    @property
    def in_traffic(self) -> bool:
        """Whether it gets requests."""
        return self._in_traffic

    @property
    def outstanding(self) -> int:
        """Requests that wait for its answer."""
        return len(self._running)

    def has(self, request: PredictionRequest) -> bool:
        """Whether it had a worker for this request when it was last looked at."""
        model = self.models.get(request.model)
        version = None if model is None else model.version(request.version)
        return version is not None and version.workers_ready > 0

    async def predict(self, request: PredictionRequest) -> EngineResponse:
        """Its answer. Raises WorkerLost when it is given up meanwhile, and what the upstream raises."""
        task = asyncio.ensure_future(self._upstream.predict(request))
        self._running.add(task)
        try:
            return await task
        except asyncio.CancelledError:
            current = asyncio.current_task()
            if current is not None and current.cancelling():
                raise
            raise WorkerLost(f"node {self.name} answers no longer") from None
        finally:
            self._running.discard(task)
            del task  # an error's traceback leads to this frame, and the task to the error

    async def check(self) -> None:
        """Takes it out when it does not answer, and looks whether it may come back when it does."""
        if await self._ping():
            self._misses = 0
            if not self._in_traffic:
                await self.look()
            return
        self._misses += 1
        if self._misses >= MISSES or not self._in_traffic:
            self.leave("it does not answer")
            for task in tuple(self._running):
                task.cancel()

    async def look(self) -> None:
        """Looks at what it serves, and judges by it.

        Raises EngineError when it does not tell: that keeps it out, but is no reason to take it out while it answers.
        """
        before = self._live()
        self.models = await self._look()
        # Staying needs the right versions only: a worker that restarts is no reason to lose the other models.
        self.right = serves(self.models, together(before, self._live()), workers=not self._in_traffic)
        if self.right:
            self._join()
        else:
            self.leave("it does not serve the versions that it should")

    def leave(self, reason: str) -> None:
        """Takes it out: no new requests until it is found right again."""
        if self._in_traffic:
            event(logger, logging.WARNING, "node_left", node=self.name, reason=reason)
        self._in_traffic = False
        self._metrics.node_in_traffic(self.name, ready=False)

    def _join(self) -> None:
        if not self._in_traffic:
            event(logger, logging.INFO, "node_joined", node=self.name)
        self._in_traffic = True
        self._metrics.node_in_traffic(self.name, ready=True)


def together(one: AnsweringVersions, other: AnsweringVersions) -> AnsweringVersions:
    """Merge two readings: reading what a host serves takes a moment, in which a rollout may have gone on."""
    both = one.keys() & other.keys()
    return {model: one[model] | other[model] for model in both}


def serves(models: Mapping[str, ServedModel], live: AnsweringVersions, *, workers: bool) -> bool:
    """Return True if each model serves a version that may answer; with `workers`, each must have a ready one, too."""
    for name, versions in live.items():
        model = models.get(name)
        if model is None or model.default.version not in versions:
            return False
        if workers and not model.default.workers_ready:
            return False
    return True


class LoadBalancer:
    """The engine that stands for all of them."""

    def __init__(self, nodes: Sequence[EngineHost], metrics: Metrics, check_s: float) -> None:
        self._nodes = nodes
        self._metrics = metrics
        self._check_s = check_s
        self._turns = count(1)
        self._checking: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begins to ask each node, again and again, whether it is well."""
        self._checking = [asyncio.create_task(self._keep_checking(node)) for node in self._nodes]

    async def close(self) -> None:
        """Ends that."""
        for task in self._checking:
            task.cancel()
        if self._checking:
            await asyncio.wait(self._checking)

    async def predict(self, request: PredictionRequest) -> EngineResponse:
        """One prediction; a node that does not answer it, or does not know the model, is not the last that is asked."""
        tried: list[EngineHost] = []
        while True:
            node = self._choose(request, tried)
            tried.append(node)
            try:
                return await node.predict(request)
            except (NoWorker, UnknownModel) as error:
                if type(error) is NoWorker:
                    node.leave(error.detail)
                late = asyncio.get_running_loop().time() >= request.deadline
                if late or all(each in tried for each in self._candidates()):
                    raise
            self._metrics.retried(request.model)

    async def look(self) -> Mapping[str, ServedModel]:
        """What the nodes in traffic serve together. Raises EngineError when there is none."""
        known = [node for node in self._nodes if node.in_traffic]
        # One that hangs would hold up the view of all; its own task looks whether it comes back.
        looks = await asyncio.gather(*(node.look() for node in known or self._nodes), return_exceptions=True)
        others = [found for found in looks if isinstance(found, BaseException) and not isinstance(found, EngineError)]
        if others:
            raise others[0]
        models = [node.models for node in self._nodes if node.in_traffic]
        if not models or all(isinstance(found, EngineError) for found in looks):
            raise EngineError("no engine host answers with the versions that it should serve")
        return merged(models)

    def _candidates(self) -> list[EngineHost]:
        # With none in traffic, one that only seemed to be lost may still be there: better asked than refused.
        return [node for node in self._nodes if node.in_traffic] or [node for node in self._nodes if node.right]

    def _choose(self, request: PredictionRequest, tried: Sequence[EngineHost]) -> EngineHost:
        left = [node for node in self._candidates() if node not in tried]
        if not left:
            raise NoWorker("no engine host is ready")
        able = [node for node in left if node.has(request)] or left
        chosen = min(able, key=lambda node: (node.outstanding, node.used))
        chosen.used = next(self._turns)
        return chosen

    async def _keep_checking(self, node: EngineHost) -> None:
        while True:
            try:
                await node.check()
            except (EngineError, LookupError, TypeError, ValueError):
                pass  # no answer, or a description that cannot be read: it stays out, as the catalog tells
            except Exception:
                # The edge of a task: whatever one look breaks on, the node must be looked at again.
                logger.exception("node_check_failed", extra={"fields": {"node": node.name}})
            await asyncio.sleep(self._check_s)


def merged(found: Iterable[Mapping[str, ServedModel]]) -> dict[str, ServedModel]:
    """Several hosts' models as one's: their workers and queues added up; the first host says which is the default."""
    together: dict[str, ServedModel] = {}
    for models in found:
        for name, model in models.items():
            known = together.get(name)
            together[name] = model if known is None else ServedModel(name, _versions(known, model))
    return together


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


@dataclass(frozen=True, slots=True)
class Hosts:
    """What predicts, what looks at the models, and what must be started and ended with the gateway."""

    engine: Predictor
    look: Look
    surveys: Sequence[Survey]
    pools: Sequence[Pool]
    nodes: LoadBalancer | None = field(default=None)

    def start(self) -> None:
        """Begins to check the hosts, where there are several."""
        if self.nodes is not None:
            self.nodes.start()

    async def close(self) -> None:
        """Ends what runs beside the requests."""
        if self.nodes is not None:
            await self.nodes.close()
        for pool in self.pools:
            pool.close()
        for survey in self.surveys:
            survey.close()


def hosts(settings: Settings, metrics: Metrics, tracer: Tracer) -> Hosts:
    """The engine that the settings name; a single one is asked directly, as nothing can be chosen or left out."""
    clients = [engines.connect(settings, host, timeout_s=READ_S) for host in settings.engine.hosts]
    pools = [_pool(client, settings) for client in clients]
    surveys = [Survey(client) for client in clients]
    if not settings.engine.nodes:
        [client], [survey], [pool] = clients, surveys, pools
        return Hosts(_upstream(client, pool, metrics, tracer), survey.look, surveys, pools)
    folder = live_folder(settings)
    several = [
        EngineHost(
            client.node.name,
            _upstream(client, pool, metrics, tracer, client.node.name),
            survey.look,
            survey.is_alive,
            lambda: read_live(folder),
            metrics,
        )
        for client, survey, pool in zip(clients, surveys, pools, strict=True)
    ]
    nodes = LoadBalancer(several, metrics, settings.engine.check_s)
    return Hosts(nodes, nodes.look, surveys, pools, nodes)


def _upstream(
    client: EngineClient, pool: Pool, metrics: Metrics, tracer: Tracer, name: str | None = None
) -> InferenceClient:
    authority = urlsplit(client.node.inference_url).netloc  # host and port, as a request names them
    return InferenceClient(authority, pool, client.keys, metrics, tracer, name)


def _pool(client: EngineClient, settings: Settings) -> Pool:
    parts = urlsplit(client.node.inference_url)
    return open_pool(settings.gateway, parts.hostname or "", parts.port or 80)
