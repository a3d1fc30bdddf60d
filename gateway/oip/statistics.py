"""The protocol's statistics, counted here by model and version: inferences that came in over this protocol."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


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


@dataclass(slots=True)
class _Duration:
    count: int = 0
    ns: int = 0

    def add(self, seconds: float) -> None:
        self.count += 1
        self.ns += round(seconds * 1e9)


class _Counts:
    def __init__(self) -> None:
        self.last_ms = self.instances = 0
        stages = ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output")
        self.durations = {stage: _Duration() for stage in stages}


class Statistics:
    """Counts since the gateway started, one object per application."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str], _Counts] = {}

    def succeeded(self, model: str, version: str, timing: Timing, instances: int) -> None:
        """Counts an answered inference of so many instances."""
        counts = self._of(model, version)
        counts.last_ms, counts.instances = int(time.time() * 1000), counts.instances + instances
        for stage, seconds in timing.stages().items():
            counts.durations[stage].add(seconds)

    def failed(self, model: str, version: str, timing: Timing) -> None:
        """Counts an inference that got no answer."""
        self._of(model, version).durations["fail"].add(timing.seconds())

    def of(self, model: str, version: str) -> dict[str, Any]:
        """One entry of the protocol's `model_stats`; times in ms since the epoch and in ns."""
        counts = self._counts.get((model, version), _Counts())
        durations = {stage: {"count": each.count, "ns": each.ns} for stage, each in counts.durations.items()}
        return {
            "name": model,
            "version": version,
            "last_inference": counts.last_ms,
            "inference_count": counts.instances,
            "execution_count": counts.durations["success"].count,
            "inference_stats": durations,
        }

    def _of(self, model: str, version: str) -> _Counts:
        return self._counts.setdefault((model, version), _Counts())
