"""The objects that outlive a request: opened when the gateway starts, closed when it stops."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends
from starlette.requests import Request
from starlette.types import Scope

from deployments.serving import serving_file
from deployments.traffic import traffic_file
from gateway import early_refusal, fast_path
from gateway.apikey import ApiKeys
from gateway.catalog import Catalog
from gateway.dialects.registry import Dialects
from gateway.early_refusal import EarlyRefusal
from gateway.fast_path import FastPath
from gateway.hooks import Business
from gateway.http.body import BodyBudget
from gateway.http.deadline import Deadlines
from gateway.http.responses import CommonHeaders
from gateway.metrics import Metrics, TrialMetrics
from gateway.middleware import RequestRecorder
from gateway.pipeline import EngineStages, Pipeline, build_stages
from gateway.process_slots import ProcessSlot
from gateway.recorded import RecordedModels
from gateway.scheduling.admission import AdmissionControl
from gateway.shutdown import Shutdown, stop_signals
from gateway.tracing import Tracer
from gateway.traffic.canary import CanaryRouter
from gateway.traffic.splits import TrafficSplits
from gateway.upstream.balancer import load_balancer
from settings.schema import Settings


@dataclass(frozen=True, slots=True)
class Shared:
    """The objects that the application, its services and its connections share, made before the gateway starts."""

    settings: Settings
    business: Business
    dialects: Dialects
    metrics: Metrics
    tracer: Tracer
    recorder: RequestRecorder
    budget: BodyBudget
    common: CommonHeaders
    shutdown: Shutdown
    keys: ApiKeys | None
    slot: ProcessSlot | None


@dataclass(frozen=True, slots=True)
class Services:
    """The objects that routes work with."""

    settings: Settings
    catalog: Catalog
    pipeline: Pipeline
    traffic: CanaryRouter
    metrics: Metrics
    recorder: RequestRecorder
    deadlines: Deadlines
    admission: AdmissionControl
    shutdown: Shutdown
    budget: BodyBudget
    fast_path: FastPath | None
    early_refusal: EarlyRefusal | None
    slot: ProcessSlot | None


@asynccontextmanager
async def open_services(shared: Shared) -> AsyncIterator[Services]:
    """Open the connections to the engine and everything on top of them. The engine may start later."""
    settings, gateway, metrics = shared.settings, shared.settings.gateway, shared.metrics
    balancer = load_balancer(settings, metrics, shared.tracer)
    recorded = RecordedModels(serving_file(settings))
    catalog = Catalog(balancer.look, gateway.catalog_ttl_s, recorded.versions, balancer.is_lost)
    trials = TrialMetrics(metrics.registry)
    splits = TrafficSplits(traffic_file(settings), lambda model, split: trials.begun(model, split.trial))
    stages = build_stages(balancer, catalog, gateway, metrics, splits, trials, shared.tracer)
    splits.start()
    try:
        balancer.start()
        with stop_signals(
            shared.shutdown,
            notice_s=gateway.stop_notice_ms / 1000,
            grace_s=gateway.graceful_stop_s,
            in_flight=lambda: shared.recorder.in_flight,
        ):
            yield Services(
                settings,
                catalog,
                Pipeline(stages.first, shared.business, catalog, metrics),
                stages.traffic,
                metrics,
                shared.recorder,
                Deadlines(gateway.deadline_ms, gateway.max_deadline_ms),
                stages.admission,
                shared.shutdown,
                shared.budget,
                _fast_path(shared, catalog, stages),
                _early_refusal(shared, catalog, stages),
                shared.slot,
            )
    finally:
        splits.close()
        stages.breaker.close()
        await stages.shadow.close()
        shared.tracer.close()
        await catalog.close()
        await balancer.close()
        if shared.slot is not None:
            shared.slot.leave()


def _fast_path(shared: Shared, catalog: Catalog, stages: EngineStages) -> FastPath | None:
    gateway = shared.settings.gateway
    if not fast_path.is_usable(gateway):
        return None
    return FastPath(gateway, shared.dialects, catalog, stages, shared.business, shared.recorder, shared.common)


def _early_refusal(shared: Shared, catalog: Catalog, stages: EngineStages) -> EarlyRefusal | None:
    gateway = shared.settings.gateway
    if not early_refusal.is_usable(gateway):
        return None
    return EarlyRefusal(
        gateway, shared.dialects, catalog, stages.admission, shared.recorder, shared.common, shared.keys
    )


def services_of(scope: Scope) -> Services:
    """Return the services of the application that answers this request."""
    services: Services = scope["state"]["services"]
    return services


def _services(request: Request) -> Services:
    return services_of(request.scope)


ServicesDep = Annotated[Services, Depends(_services)]
"""The services, for route functions."""
