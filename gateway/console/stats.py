"""The figures that the console's page polls: the models that are served, and what the gateway has counted of them."""

import multiprocessing
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from time import monotonic
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends
from prometheus_client import Metric
from prometheus_client.samples import Sample
from starlette.requests import Request
from starlette.responses import Response

from deployments.traffic import TrafficSplit
from gateway.examples import CONSOLE_STATE
from gateway.http.responses import JSON
from gateway.metrics import BREAKER_NAMES, BUCKETS
from gateway.openapi import responses
from gateway.process_slots import ProcessSlot
from gateway.served_models import ServedModel, ServedVersion
from gateway.services import Services
from handlers import outputs

router = APIRouter()

# The document is rebuilt at most this often, however many pages are open.
KEPT_S = 1.0


@dataclass(slots=True)
class ModelCounts:
    """Counts of one model since the gateway started.

    Attributes:
        statuses: answers by status.
        latency: answers with status 200 that took at most that many seconds.
        in_flight: requests inside the gateway, waiting or in the engine.
        breaker: state of its circuit breaker.
        live: requests by the version that answered, while one is on trial.
        copies: copies of requests that a version on trial has answered.

    """

    statuses: Counter[str] = field(default_factory=Counter)
    latency: Counter[float] = field(default_factory=Counter)
    in_flight: int = 0
    breaker: str = "closed"
    live: Counter[str] = field(default_factory=Counter)
    copies: Counter[str] = field(default_factory=Counter)


class ConsoleStats:
    """The builder of the document; one object per process."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._made = float("-inf")
        self._document = b""

    def document(self) -> bytes:
        """Return the document as JSON, at most `KEPT_S` old. It never waits for the engine.

        Counts grow from the start of the gateway on, so readers take differences; `at` is in seconds of the machine's
        monotonic clock, which all processes of the gateway share.
        """
        now = monotonic()
        if now - self._made >= KEPT_S:
            content = self._content(now)
            self._document = orjson.dumps(content)
            if content["engine_answers"] is not None:  # before the first survey, nothing is worth caching
                self._made = now
        return self._document

    def _content(self, now: float) -> dict[str, Any]:
        services = self._services
        answers, snapshot = services.catalog.glance()
        counts = counts_by_model(services.metrics.families())
        models = {} if snapshot is None else snapshot.models
        return {
            "at": now,
            "whole": covers_all_processes(services.slot),
            "engine_answers": answers,
            "bounds_s": BUCKETS,
            "links": self._links(),
            "lost": sorted(services.catalog.lost()),
            "models": [self._model(each, counts.get(name, ModelCounts())) for name, each in sorted(models.items())],
        }

    def _model(self, model: ServedModel, counts: ModelCounts) -> dict[str, Any]:
        split = self._services.traffic.split(model.name, None)
        return {
            "name": model.name,
            "description": str(model.default.card.get("description") or ""),
            "default_version": model.default.version,
            "statuses": counts.statuses,
            "latency": [counts.latency[bound] for bound in (*BUCKETS, float("inf"))],
            "in_flight": counts.in_flight,
            "breaker": counts.breaker,
            "split": None if split is None else _split(split, counts),
            "versions": [version_state(each) for each in model.versions],
        }

    def _links(self) -> dict[str, str | None]:
        console = self._services.settings.gateway.console
        own = getattr(self._services.settings.store, "url", None)
        return {"files": (own if console.files is None else console.files) or None, "grafana": console.grafana or None}


def version_state(version: ServedVersion) -> dict[str, Any]:
    """Return what the page shows of one version."""
    output = outputs.of_card(version.card)
    return {
        "version": version.version,
        "default": version.default,
        "kind": version.kind,
        "view": None if output is None else output.view,
        "weights": version.card.get("weights"),
        # An adopted archive may have been adopted without golden answers; every other has some.
        "golden": version.card.get("golden", "answers") if version.card else None,
        "workers": {"ready": version.workers_ready, "total": version.workers},
        "pending": version.pending,
        "batch_size": version.batch_size,
        "max_batch_delay": version.max_batch_delay,
    }


def _split(split: TrafficSplit, counts: ModelCounts) -> dict[str, Any]:
    shown = split.model_dump(include={"stable", "trial", "weight", "copies", "sticky_header"})
    return shown | {"answered": counts.live, "copied": counts.copies[split.trial]}


def covers_all_processes(slot: ProcessSlot | None) -> bool:
    """Return whether the counts cover every process: they are shared, or this is the only one.

    A server other than uvicorn and gunicorn may start several processes, which the gateway cannot know.
    """
    return slot is not None or multiprocessing.parent_process() is None


def counts_by_model(families: Iterable[Metric]) -> dict[str, ModelCounts]:
    """Return the counts of each model in the gateway's own metrics, without requests that name no model."""
    found: defaultdict[str, ModelCounts] = defaultdict(ModelCounts)
    for family in families:
        take = _TAKE.get(family.name)
        if take is not None:
            for sample in family.samples:
                if model := sample.labels.get("model"):
                    take(found[model], sample)
    return dict(found)


def _take_request(counts: ModelCounts, sample: Sample) -> None:
    status = sample.labels["status"]
    if sample.name.endswith("_count"):
        counts.statuses[status] += int(sample.value)
    elif sample.name.endswith("_bucket") and status == "200":
        counts.latency[float(sample.labels["le"])] += int(sample.value)


def _take_version(counts: ModelCounts, sample: Sample) -> None:
    if sample.name.endswith("_count"):
        versions = counts.live if sample.labels["way"] == "live" else counts.copies
        versions[sample.labels["version"]] += int(sample.value)


def _take_admitted(counts: ModelCounts, sample: Sample) -> None:
    counts.in_flight = int(sample.value)


def _take_breaker(counts: ModelCounts, sample: Sample) -> None:
    counts.breaker = BREAKER_NAMES[int(sample.value)]


_TAKE: Mapping[str, Callable[[ModelCounts, Sample], None]] = {
    "marina_gateway_request_seconds": _take_request,
    "marina_gateway_version_seconds": _take_version,
    "marina_gateway_requests_admitted": _take_admitted,
    "marina_gateway_breaker_state": _take_breaker,
}


def _console_stats(request: Request) -> ConsoleStats:
    stats: ConsoleStats = request.scope["state"]["console"]
    return stats


# Only the page reads it, and most of its values may be null.
@router.get("/console/state", responses=responses(CONSOLE_STATE, schema={"type": "object"}), tags=["operation"])
async def console_state(stats: Annotated[ConsoleStats, Depends(_console_stats)]) -> Response:
    """Return the console's figures: the served models, and the counts of all gateway processes since the start.

    `latency` counts the answers with status 200 up to each of `bounds_s`, and at last all of them.
    """
    return Response(stats.document(), headers={"cache-control": "no-store"}, media_type=JSON)
