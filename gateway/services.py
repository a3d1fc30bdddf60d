"""What the routes work with, built when the gateway starts and taken down when it stops."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.types import Scope

from deployments.traffic import traffic_file
from gateway.admission import Admission
from gateway.catalog import Catalog
from gateway.chain import chain
from gateway.deadline import Deadlines
from gateway.hooks import Business
from gateway.hosts import hosts
from gateway.metrics import Metrics
from gateway.origins import Origins, origins_for
from gateway.overload import Refusals, refusals_for
from gateway.pipeline import Pipeline
from gateway.receiving import Receiving, receiving_for
from gateway.session import open_session
from gateway.shortcut import Shortcut, may_be_taken
from gateway.siblings import Siblings
from gateway.splits import Splits
from gateway.stopping import Stopping, notice
from gateway.tracing import Tracer
from gateway.traffic import Traffic
from gateway.trial_metrics import TrialMetrics
from settings.schema import Settings

if TYPE_CHECKING:
    from gateway.api_keys import Keys


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
    stopping: Stopping
    receiving: Receiving
    origins: Origins | None
    shortcut: Shortcut | None
    refusals: Refusals | None
    siblings: Siblings | None


@asynccontextmanager
async def open_services(
    settings: Settings,
    business: Business,
    metrics: Metrics,
    tracer: Tracer,
    keys: "Keys | None",
    siblings: Siblings | None,
) -> AsyncIterator[Services]:
    """Opens the session to the engine and what stands on it; closes it at the end. The engine need not be there."""
    gateway = settings.gateway
    async with open_session(gateway) as session:
        served = hosts(settings, session, metrics, tracer)
        catalog = Catalog(served.look, gateway.catalog_ttl_s)
        deadlines = Deadlines(gateway.deadline_ms, gateway.max_deadline_ms)
        trials = TrialMetrics(metrics.registry)
        splits = Splits(traffic_file(settings), lambda model, split: trials.begun(model, split.trial))
        made = chain(served.engine, catalog, gateway, metrics, splits, trials, tracer)
        splits.start()
        try:
            served.start()
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


def is_stopping(scope: Scope) -> bool:
    """Whether the gateway was asked to end."""
    services: Services | None = scope["state"].get("services")
    return services is not None and services.stopping.asked
