"""One prediction: business logic before, the engine, business logic after."""

from typing import Any

import orjson

from errors import Internal
from gateway.engine import Engine, EngineAnswer
from gateway.hooks import After, Before, Business, Prediction, PredictionRequest, Reply
from gateway.metrics import Metrics


class Pipeline:
    """Runs a prediction and the business logic around it."""

    def __init__(self, engine: Engine, business: Business, metrics: Metrics) -> None:
        self._engine = engine
        self._business = business
        self._metrics = metrics

    async def predict(self, request: PredictionRequest) -> EngineAnswer | Reply:
        """The engine's own bytes when no business logic changed them, or what business logic replied instead."""
        before = self._business.before_for(request.model)
        if before is not None:
            decided = await self._timed_before(before, request)
            if isinstance(decided, Reply):
                return decided
            request = decided
        answer = await self._engine.predict(request)
        after = self._business.after_for(request.model)
        if after is None:
            return answer
        prediction = Prediction(request, parsed(answer))
        changed = await self._timed_after(after, prediction)
        if isinstance(changed, Reply):
            return changed
        if changed is prediction:
            return answer
        return EngineAnswer(orjson.dumps(dict(changed.content)), answer.content_type, answer.version)

    async def _timed_before(self, before: Before, request: PredictionRequest) -> PredictionRequest | Reply:
        with self._metrics.business(request.model, "before"):
            return await before(request)

    async def _timed_after(self, after: After, prediction: Prediction) -> Prediction | Reply:
        with self._metrics.business(prediction.request.model, "after"):
            return await after(prediction)


def parsed(answer: EngineAnswer) -> dict[str, Any]:
    """The answer's content. Raises Internal when the model's handler does not answer as this kit's do."""
    try:
        content = orjson.loads(answer.body)
    except orjson.JSONDecodeError as error:
        raise Internal("the model's answer is not JSON") from error
    if not isinstance(content, dict) or not isinstance(content.get("predictions"), list):
        raise Internal('the model\'s answer has no list "predictions"')
    return content
