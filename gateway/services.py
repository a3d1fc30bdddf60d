"""What the routes work with, built when the gateway starts and taken down when it stops."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from starlette.types import Scope

from gateway.admission import Admission
from gateway.breaker import Breaker
from gateway.catalog import Catalog
from gateway.chain import chain
from gateway.deadline import Deadlines
from gateway.hooks import Business
from gateway.keys import KeyPlace, KeyRing
from gateway.management import Management
from gateway.metrics import Metrics
from gateway.pipeline import Pipeline
from gateway.session import open_pool, open_session
from gateway.shortcut import Shortcut, may_be_taken
from gateway.splits import Splits
from gateway.stopping import Stopping, notice
from gateway.survey import Survey
from gateway.tracing import Tracer
from gateway.traffic import Traffic
from gateway.trial_metrics import TrialMetrics
from gateway.upstream import Upstream
from settings.schema import Settings, TorchServe
from settings.traffic import traffic_file

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Services:
    """The parts that outlive a request."""

    settings: Settings
    catalog: Catalog
    pipeline: Pipeline
    traffic: Traffic
    metrics: Metrics
    deadlines: Deadlines
    admission: Admission
    breaker: Breaker
    stopping: Stopping
    shortcut: Shortcut | None


@asynccontextmanager
async def open_services(
    settings: Settings, business: Business, metrics: Metrics, tracer: Tracer
) -> AsyncIterator[Services]:
    """Opens the session to the engine and what stands on it; closes it at the end. The engine need not be there."""
    gateway, engine = settings.gateway, settings.engine
    async with open_session(gateway) as session:
        keys = KeyRing(key_place(engine), session)
        catalog = Catalog(Survey(Management(engine.management_url, session, keys)).look, gateway.catalog_ttl_s)
        pool = open_pool(gateway, engine)
        upstream = Upstream(f"{engine.host}:{engine.inference_port}", pool, keys, metrics, tracer)
        deadlines = Deadlines(gateway.deadline_ms, gateway.max_deadline_ms)
        trials = TrialMetrics(metrics.registry)
        splits = Splits(traffic_file(settings), lambda model, split: trials.begun(model, split.trial))
        made = chain(upstream, catalog, gateway, metrics, splits, trials)
        splits.start()
        try:
            pipeline = Pipeline(made.engine, business, metrics)
            stopping = Stopping()
            shortcut = None
            if may_be_taken(gateway):
                shortcut = Shortcut(gateway, catalog, made, business, metrics)
            with notice(stopping, gateway.stop_notice_ms / 1000):
                yield Services(
                    settings,
                    catalog,
                    pipeline,
                    made.traffic,
                    metrics,
                    deadlines,
                    made.admission,
                    made.breaker,
                    stopping,
                    shortcut,
                )
        finally:
            splits.close()
            await made.shadow.close()
            metrics.close()
            tracer.close()
            pool.close()
            await catalog.close()
            await keys.close()


def key_place(engine: TorchServe) -> KeyPlace:
    """Where the engine's keys are, and when they are renewed.

    That is in the last fifth of their life, but not earlier than a minute before its end.
    """
    margin_s = min(60.0, engine.token_expiration_min * 60 / 5)
    return KeyPlace(ROOT / engine.key_file, engine.management_url, margin_s)


def services_of(scope: Scope) -> Services:
    """The services of the application that answers this request."""
    services: Services = scope["state"]["services"]
    return services


def is_stopping(scope: Scope) -> bool:
    """Whether the gateway was asked to end."""
    services: Services | None = scope["state"].get("services")
    return services is not None and services.stopping.asked
