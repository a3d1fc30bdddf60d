"""How long a worker of a running TorchServe takes from its start until it is ready."""

import time
from collections.abc import Mapping
from dataclasses import dataclass

import requests

import engines
from bench.server import Failed
from settings import Settings

PATIENCE_S = 120.0


@dataclass(frozen=True)
class Scaler:
    """One model of one TorchServe: where it is scaled, and to how many workers it goes back."""

    management: str
    headers: Mapping[str, str]
    model: str
    workers: int

    def start_one(self) -> float:
        """Seconds in which a single worker starts and loads its model while there is no other."""
        self._scale(0)
        began = time.perf_counter()
        self._scale(1)
        took = time.perf_counter() - began
        self._scale(self.workers)
        return took

    def _scale(self, workers: int) -> None:
        query: dict[str, str | int] = {"min_worker": workers, "max_worker": workers, "synchronous": "true"}
        url = f"{self.management}/models/{self.model}"
        answer = requests.put(url, params=query, headers=dict(self.headers), timeout=PATIENCE_S)
        if answer.status_code != 200:
            raise Failed(f"{self.model} does not scale: {answer.status_code} {answer.text[:200]}")


def kit_scaler(settings: Settings, model: str, workers: int) -> Scaler:
    """The scaler of a model that the kit's own TorchServe has."""
    key = engines.connect(settings).keys.token("management")
    return Scaler(settings.engine.management_url, {"Authorization": f"Bearer {key}"}, model, workers)
