"""The protocol's statistics by model and version; they count only inferences over this protocol.

They are among the gateway's metrics, so that all of its processes count together.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any

from prometheus_client import Counter, Gauge, Summary

from errors import DeadlinePassed, OverCapacity, RequestError
from gateway.http.deadline import ClientDisconnect
from gateway.metrics import Metrics
from gateway.oip.triton_metrics import triton_text

STAGES = ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output")


class StageTimer:
    """Times the stages of one inference, in seconds of the event loop's clock."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.started = clock()
        self._called = self._returned = self.started
        self._waited = 0.0

    def engine_called(self) -> None:
        """Mark the start of the call to the engine."""
        self._called = self._returned = self._clock()

    def engine_returned(self) -> None:
        """Mark the end of the call to the engine."""
        self._returned = self._clock()

    def waited(self, seconds: float) -> None:
        """Add time in the gateway's queue."""
        self._waited += seconds

    def stages(self) -> Mapping[str, float]:
        """Return seconds by stage. The time in the engine's own queue is unknown and counts as compute_infer."""
        now = self._clock()
        return {
            "success": now - self.started,
            "queue": self._waited,
            "compute_input": self._called - self.started,
            "compute_infer": max(0.0, self._returned - self._called - self._waited),
            "compute_output": now - self._returned,
        }

    def seconds(self) -> float:
        """Return the seconds since the start."""
        return self._clock() - self.started


class InferStatistics:
    """Counts since the gateway started, one object per application."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        labels, registry = ("model", "version"), metrics.registry
        self._stages = Summary(
            "marina_gateway_oip_seconds",
            "Time of inferences over the Open Inference Protocol, by stage",
            (*labels, "stage"),
            registry=registry,
        )
        self._instances = Counter(
            "marina_gateway_oip_instances", "Instances in these inferences", labels, registry=registry
        )
        self._last = Gauge(
            "marina_gateway_oip_last_inference_seconds",
            "Time of the last of these answers, in seconds since 1970",
            labels,
            registry=registry,
            multiprocess_mode="max",
        )
        self._failures = Counter(
            "marina_gateway_oip_failures",
            "Inferences without an answer, by Triton's reasons",
            (*labels, "reason"),
            registry=registry,
        )
        self._stage = lru_cache(maxsize=4096)(self._stages.labels)

    def succeeded(self, model: str, version: str, timer: StageTimer, instances: int) -> None:
        """Count an answered inference of this many instances."""
        self._last.labels(model, version).set(time.time())
        self._instances.labels(model, version).inc(instances)
        for stage, seconds in timer.stages().items():
            self._stage(model, version, stage).observe(seconds)

    def failed(self, model: str, version: str, timer: StageTimer, error: BaseException) -> None:
        """Count an inference without an answer."""
        self._stage(model, version, "fail").observe(timer.seconds())
        self._failures.labels(model, version, _reason(error)).inc()

    def of(self, versions: Iterable[tuple[str, str]]) -> list[dict[str, Any]]:
        """Return the protocol's `model_stats` of these models and versions, in ms since the epoch and in ns."""
        found = self._values()
        return [_model_stats(model, version, found[model, version]) for model, version in versions]

    def triton_metrics(self, pending: Mapping[tuple[str, str], int]) -> bytes:
        """Return the counts in Prometheus' text format under Triton's names.

        `pending` has every served model and version, with the requests that wait in the engine; one without
        inferences has zeros.
        """
        found = self._values()
        return triton_text({key: found[key] for key in sorted({*found, *pending})}, pending)

    def _values(self) -> defaultdict[tuple[str, str], dict[str, float]]:
        """Return the values by model and version, and by the end of the sample's name with its further label."""
        found: defaultdict[tuple[str, str], dict[str, float]] = defaultdict(dict)
        for family in self._metrics.families():
            if family.name.startswith("marina_gateway_oip_"):
                for sample in family.samples:
                    key = sample.name.removeprefix("marina_gateway_oip_")
                    key += sample.labels.get("stage", "") + sample.labels.get("reason", "")
                    found[sample.labels["model"], sample.labels["version"]][key] = sample.value
        return found


def _reason(error: BaseException) -> str:
    """Return Triton's reason for a failure."""
    if isinstance(error, OverCapacity):
        return "REJECTED"
    if isinstance(error, asyncio.CancelledError | ClientDisconnect | DeadlinePassed):
        return "CANCELED"
    if isinstance(error, RequestError) and error.status < 500:
        return "OTHER"
    return "BACKEND"


def _model_stats(model: str, version: str, values: Mapping[str, float]) -> dict[str, Any]:
    def count(name: str) -> int:
        return int(values.get(name, 0))

    def duration(stage: str) -> dict[str, int]:
        return {"count": count(f"seconds_count{stage}"), "ns": round(values.get(f"seconds_sum{stage}", 0) * 1e9)}

    return {
        "name": model,
        "version": version,
        "last_inference": int(values.get("last_inference_seconds", 0) * 1000),
        "inference_count": count("instances_total"),
        "execution_count": count("seconds_countsuccess"),
        "inference_stats": {stage: duration(stage) for stage in STAGES},
    }
