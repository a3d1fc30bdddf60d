"""The protocol's statistics by model and version, of inferences that came in over this protocol.

They stand among the gateway's metrics, so that all of its processes count them together.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any

from prometheus_client import Counter, Gauge, Summary

from gateway.metrics import Metrics

STAGES = ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output")


class Timing:
    """The moments of one inference, in seconds of the event loop's clock."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.started = clock()
        self._sent = self._answered = self.started

    def sent(self) -> None:
        """Marks that the engine is asked now."""
        self._sent = self._answered = self._clock()

    def answered(self) -> None:
        """Marks that the engine has answered."""
        self._answered = self._clock()

    def stages(self) -> Mapping[str, float]:
        """Seconds by stage. Waiting in the engine's queue cannot be told apart and counts as compute_infer."""
        now = self._clock()
        return {
            "success": now - self.started,
            "queue": 0.0,
            "compute_input": self._sent - self.started,
            "compute_infer": self._answered - self._sent,
            "compute_output": now - self._answered,
        }

    def seconds(self) -> float:
        """Seconds since the start."""
        return self._clock() - self.started


class Statistics:
    """Counts since the gateway started, one object per application."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        version, registry = ("model", "version"), metrics.registry
        self._stages = Summary(
            "marina_gateway_oip_seconds",
            "Time of inferences over the Open Inference Protocol, by stage",
            (*version, "stage"),
            registry=registry,
        )
        self._instances = Counter(
            "marina_gateway_oip_instances", "Instances in answered ones of these", version, registry=registry
        )
        self._last = Gauge(
            "marina_gateway_oip_last_inference_seconds",
            "When the last of these was answered, in seconds since 1970",
            version,
            registry=registry,
            multiprocess_mode="max",
        )
        self._stage = lru_cache(maxsize=4096)(self._stages.labels)

    def succeeded(self, model: str, version: str, timing: Timing, instances: int) -> None:
        """Counts an answered inference of so many instances."""
        self._last.labels(model, version).set(time.time())
        self._instances.labels(model, version).inc(instances)
        for stage, seconds in timing.stages().items():
            self._stage(model, version, stage).observe(seconds)

    def failed(self, model: str, version: str, timing: Timing) -> None:
        """Counts an inference that got no answer."""
        self._stage(model, version, "fail").observe(timing.seconds())

    def of(self, versions: Iterable[tuple[str, str]]) -> list[dict[str, Any]]:
        """The protocol's `model_stats` of these models and versions; times in ms since the epoch and in ns."""
        found: defaultdict[tuple[str, str], dict[str, float]] = defaultdict(dict)
        for family in self._metrics.families():
            if family.name.startswith("marina_gateway_oip_"):
                for sample in family.samples:
                    key = sample.name.removeprefix("marina_gateway_oip_") + sample.labels.get("stage", "")
                    found[sample.labels["model"], sample.labels["version"]][key] = sample.value
        return [_entry(model, version, found[model, version]) for model, version in versions]


def _entry(model: str, version: str, counts: Mapping[str, float]) -> dict[str, Any]:
    def count(name: str) -> int:
        return int(counts.get(name, 0))

    def duration(stage: str) -> dict[str, int]:
        return {"count": count(f"seconds_count{stage}"), "ns": round(counts.get(f"seconds_sum{stage}", 0) * 1e9)}

    return {
        "name": model,
        "version": version,
        "last_inference": int(counts.get("last_inference_seconds", 0) * 1000),
        "inference_count": count("instances_total"),
        "execution_count": count("seconds_countsuccess"),
        "inference_stats": {stage: duration(stage) for stage in STAGES},
    }
