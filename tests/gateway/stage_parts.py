"""An engine whose answers and failures a test gives at the moments it chooses, and requests to it."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

from gateway.hooks import EngineResponse, PredictionRequest
from gateway.metrics import Metrics
from gateway.upstream.breaker import CircuitBreaker
from tests.gateway.engine import POLICY

CARD: dict[str, Any] = {"model_name": "cartpole", **POLICY}


def now() -> float:
    return asyncio.get_running_loop().time()


def request(body: Any, *, model: str = "cartpole", within_s: float = 60, request_id: str = "r") -> PredictionRequest:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return PredictionRequest(model, None, "policy", "application/json", content, request_id, now() + within_s)


def answer(*actions: Any) -> EngineResponse:
    """As the kit's handlers write it."""
    content = {"model": "cartpole", "version": "1.0", "predictions": [{"action": action} for action in actions]}
    return EngineResponse(json.dumps(content, separators=(",", ":")).encode(), "application/json", "1.0")


class GivenEngine:
    """Answers each observation with its first number; holds everything while `hold` is set."""

    def __init__(self) -> None:
        self.seen: list[PredictionRequest] = []
        self.cancelled = 0
        self.free = asyncio.Event()
        self.free.set()
        self.fail: Callable[[PredictionRequest], Exception | None] = lambda _: None

    async def predict(self, request: PredictionRequest) -> EngineResponse:
        self.seen.append(request)
        try:
            await asyncio.sleep(0)  # an engine never answers within the same turn of the event loop
            await self.free.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if (error := self.fail(request)) is not None:
            raise error
        content = request.json()
        many = content["instances"] if isinstance(content, dict) and "instances" in content else [content]
        return answer(*(next(iter(each.values())) if isinstance(each, dict) else each[0] for each in many))


def failing(engine: GivenEngine, error: Exception, times: int = 1_000) -> None:
    """The engine gives this error so often, and then answers."""
    left = [error] * times
    engine.fail = lambda _: left.pop() if left else None


def sample(metrics: Metrics, name: str, **labels: str) -> float:
    return metrics.registry.get_sample_value(f"marina_gateway_{name}", labels) or 0.0


async def settle() -> None:
    """Lets everything run that can."""
    for _ in range(20):
        await asyncio.sleep(0)


def breaker_state(breaker: CircuitBreaker, model: str = "cartpole") -> str:
    """How a model's breaker stands, as everybody is told."""
    return breaker._metrics.breakers().get(model, "closed")
