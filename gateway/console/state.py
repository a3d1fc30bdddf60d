"""The document that the page asks for again and again: what is served, and what was counted of it."""

import multiprocessing
from time import monotonic
from typing import Any

import orjson

from deployments.traffic import TrafficSplit
from gateway.catalog import ServedModel, ServedVersion
from gateway.console.counts import Counts, by_model
from gateway.metrics import BUCKETS
from gateway.process_slots import ProcessSlot
from gateway.services import Services
from handlers import outputs

# However many pages are open, the figures are put together no more often than this.
KEPT_S = 1.0


class Console:
    """Makes the document; one object a process."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._made = float("-inf")
        self._document = b""

    def state(self) -> bytes:
        """The document as JSON, at most `KEPT_S` old. It never waits: of the engine it tells what the last look found.

        Counts only grow, from the start of the gateway on, so a reader takes differences; `at` is in seconds of the
        machine's monotonic clock, which all processes of the gateway share.
        """
        now = monotonic()
        if now - self._made >= KEPT_S:
            found = self._look(now)
            self._document = orjson.dumps(found)
            if found["engine_answers"] is not None:  # before the first look there is nothing worth keeping
                self._made = now
        return self._document

    def _look(self, now: float) -> dict[str, Any]:
        services = self._services
        answers, snapshot = services.catalog.glance()
        counted = by_model(services.metrics.families())
        models = {} if snapshot is None else snapshot.models
        return {
            "at": now,
            "whole": counts_are_whole(services.slot),
            "engine_answers": answers,
            "bounds_s": BUCKETS,
            "links": self._links(),
            "models": [self._model(each, counted.get(name, Counts())) for name, each in sorted(models.items())],
        }

    def _model(self, model: ServedModel, counts: Counts) -> dict[str, Any]:
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
            "versions": [_version(each) for each in model.versions],
        }

    def _links(self) -> dict[str, str | None]:
        console = self._services.settings.gateway.console
        own = getattr(self._services.settings.store, "url", None)
        return {"files": (own if console.files is None else console.files) or None, "grafana": console.grafana or None}


def _version(version: ServedVersion) -> dict[str, Any]:
    output = outputs.of_card(version.card)
    return {
        "version": version.version,
        "default": version.default,
        "kind": version.kind,
        "view": None if output is None else output.view,
        "weights": version.card.get("weights"),
        "workers": {"ready": version.workers_ready, "total": version.workers},
        "pending": version.pending,
        "batch_size": version.batch_size,
        "max_batch_delay": version.max_batch_delay,
    }


def _split(split: TrafficSplit, counts: Counts) -> dict[str, Any]:
    told = split.model_dump(include={"stable", "trial", "weight", "copies", "sticky_header"})
    return told | {"answered": counts.live, "copied": counts.copies[split.trial]}


def counts_are_whole(siblings: ProcessSlot | None) -> bool:
    """Whether the counts are of every process: they are shared, or there is only this one.

    Servers that are neither uvicorn nor gunicorn may start several without a word to us.
    """
    return siblings is not None or multiprocessing.parent_process() is None
