"""What the routes work with, built when the gateway starts and taken down when it stops."""

import asyncio
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING, Any

from starlette.types import Scope

from deployments.traffic import traffic_file
from errors import NoWorker
from gateway.catalog import Catalog, ServedVersion, Snapshot
from gateway.early_refusal import Refusals, refusals_for
from gateway.fast_path import FastPath, may_be_taken
from gateway.hooks import Business
from gateway.http.body import BodyBudget, receiving_for
from gateway.http.deadline import Deadlines
from gateway.metrics import Metrics, TrialMetrics
from gateway.pipeline import Pipeline, chain
from gateway.process_slots import ProcessSlot
from gateway.scheduling.admission import AdmissionControl
from gateway.security import Origins, origins_for
from gateway.tracing import Tracer
from gateway.traffic.canary import CanaryRouter
from gateway.traffic.splits import TrafficSplits
from gateway.upstream.balancer import hosts
from settings.schema import GatewaySettings, Settings

if TYPE_CHECKING:
    from gateway.apikey import ApiKeys

Handler = Callable[[int, FrameType | None], Any]

SIGNALS = (signal.SIGTERM, signal.SIGINT)


@dataclass(slots=True)
class Shutdown:
    """Whether the gateway was asked to end."""

    asked: bool = False


@contextmanager
def notice(stopping: Shutdown, seconds: float) -> Iterator[None]:
    """Puts the notice in front of the server's own signal handlers, which must be there already.

    Outside of the main thread no signal arrives, and nothing is done.
    """
    if seconds == 0 or threading.current_thread() is not threading.main_thread():
        yield
        return
    servers = {number: server for number in SIGNALS if callable(server := signal.getsignal(number))}
    asked = _Notice(stopping, seconds, asyncio.get_running_loop(), servers)
    for number in servers:
        signal.signal(number, asked)
    try:
        yield
    finally:
        for number, server in servers.items():
            signal.signal(number, server)


@dataclass(frozen=True, slots=True)
class _Notice:
    """The signal handler that gives the notice."""

    stopping: Shutdown
    seconds: float
    loop: asyncio.AbstractEventLoop
    servers: dict[signal.Signals, Handler]

    def __call__(self, number: int, frame: FrameType | None) -> None:
        server = self.servers[signal.Signals(number)]
        if self.stopping.asked:  # asked twice: at once
            server(number, frame)
            return
        self.stopping.asked = True
        self.loop.call_soon_threadsafe(self.loop.call_later, self.seconds, server, number, frame)


@dataclass(frozen=True, slots=True)
class Services:
    """The parts that outlive a request."""

    settings: Settings
    catalog: Catalog
    pipeline: Pipeline
    traffic: CanaryRouter
    metrics: Metrics
    deadlines: Deadlines
    admission: AdmissionControl
    stopping: Shutdown
    receiving: BodyBudget
    origins: Origins | None
    shortcut: FastPath | None
    refusals: Refusals | None
    siblings: ProcessSlot | None


@asynccontextmanager
async def open_services(
    settings: Settings,
    business: Business,
    metrics: Metrics,
    tracer: Tracer,
    keys: "ApiKeys | None",
    siblings: ProcessSlot | None,
) -> AsyncIterator[Services]:
    """Open the connections to the engine and the services on top of them; close them at the end.

    The engine need not be there yet.
    """
    gateway = settings.gateway
    served = hosts(settings, metrics, tracer)
    catalog = Catalog(served.look, gateway.catalog_ttl_s)
    deadlines = Deadlines(gateway.deadline_ms, gateway.max_deadline_ms)
    trials = TrialMetrics(metrics.registry)
    splits = TrafficSplits(traffic_file(settings), lambda model, split: trials.begun(model, split.trial))
    made = chain(served.engine, catalog, gateway, metrics, splits, trials, tracer)
    splits.start()
    try:
        served.start()
        pipeline = Pipeline(made.engine, business, metrics)
        stopping = Shutdown()
        shortcut = None
        if may_be_taken(gateway):
            shortcut = FastPath(gateway, catalog, made, business, metrics)
        with notice(stopping, gateway.stop_notice_ms / 1000):
            yield Services(
                settings,
                catalog,
                pipeline,
                made.traffic,
                metrics,
                deadlines,
                made.admission,
                stopping,
                receiving_for(gateway),
                origins_for(gateway.security.cors_origins),
                shortcut,
                refusals_for(gateway, catalog, made.admission, metrics, keys),
                siblings,
            )
    finally:
        splits.close()
        await made.shadow.close()
        tracer.close()
        await catalog.close()
        await served.close()
        if siblings is not None:
            siblings.leave()


def services_of(scope: Scope) -> Services:
    """The services of the application that answers this request."""
    services: Services = scope["state"]["services"]
    return services


async def missing_models(services: Services) -> list[str]:
    """What is not ready, in words; empty when everything is."""
    if services.stopping.asked:
        return ["the gateway is about to stop"]
    try:
        snapshot = await services.catalog.fresh()
    except NoWorker:
        return ["the engine does not answer"]
    return [words for name in promised(services.settings.gateway) if (words := _missing(snapshot, name))]


def has_worker(services: Services, found: ServedVersion) -> bool:
    """Whether a version of a model is ready."""
    return found.workers_ready > 0 and not services.stopping.asked


def promised(gateway: GatewaySettings) -> list[str]:
    """The models that short routes or defaults name, each once."""
    names = [gateway.default_vision_model, gateway.default_policy, *(alias.model for alias in gateway.aliases)]
    return list(dict.fromkeys(names))


def _missing(snapshot: Snapshot, name: str) -> str:
    found = snapshot.find(name, None)
    if found is None:
        return f"model {name} is not registered"
    return "" if found.workers_ready else f"model {name} has no worker"
