"""A model with a version under trial: everything around an engine that a test gives, and engines that go wrong."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from prometheus_client import CollectorRegistry

from deployments.traffic import TrafficDocument as File
from gateway.hooks import EngineResponse, PredictionRequest
from gateway.metrics import TrialMetrics
from gateway.traffic.canary import CanaryRouter, EvenSample
from gateway.traffic.shadow import ShadowTraffic
from gateway.traffic.splits import TrafficSplits
from tests.gateway.stage_parts import GivenEngine
from tests.settings.splits import given_split

STABLE, TRIAL = "1.0", "1.1"


class Setting:
    """Everything around an engine that a test gives, following a file that it writes."""

    def __init__(self, folder: Path, engine: GivenEngine, **changes: object) -> None:
        self.file = folder / "traffic.json"
        self.registry = CollectorRegistry()
        self.engine = engine
        metrics = TrialMetrics(self.registry)
        self.splits = TrafficSplits(self.file, lambda model, split: metrics.begun(model, split.trial))
        self.shadow = ShadowTraffic(engine, self.splits, metrics)
        self.traffic = CanaryRouter(engine, self.splits, self.shadow, metrics)
        # Elsewhere they begin by chance, so that several processes do not choose alike.
        self.traffic._canaries, self.traffic._copies = EvenSample(0.0), EvenSample(0.0)
        self.write(**changes)

    def write(self, **changes: object) -> None:
        split = given_split(TRIAL, **changes)
        draft = self.file.with_suffix(".draft")
        draft.write_text(File(models={"cartpole": split}).model_dump_json())
        draft.replace(self.file)
        self.splits.read()

    async def answered_by(self, one: PredictionRequest) -> str | None:
        """Which version the engine was last asked for."""
        await self.traffic.predict(one)
        return self.engine.seen[-1].version

    def count(self, name: str, **labels: str) -> float:
        found = self.registry.get_sample_value(f"marina_gateway_{name}", {"model": "cartpole", **labels})
        return found or 0.0

    def counted(self, version: str, way: str = "live", status: int = 200) -> float:
        return self.count("version_seconds_count", version=version, way=way, status=str(status))


def fails_on_trial(error: Callable[[], Exception]) -> GivenEngine:
    engine = GivenEngine()
    engine.fail = lambda one: error() if one.version == TRIAL else None
    return engine


class Hanging(GivenEngine):
    """Never answers for one version."""

    async def predict(self, request: PredictionRequest) -> EngineResponse:
        if request.version == TRIAL:
            self.seen.append(request)
            await asyncio.Event().wait()
        return await super().predict(request)
