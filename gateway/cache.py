"""Answers kept by the content of their request: bounded, least recently used first out, with a time to live."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable

from gateway.content import Key, is_drawn, key_of
from gateway.engine import Engine, EngineAnswer
from gateway.hooks import PredictionRequest
from gateway.metrics import Metrics
from settings.schema import Cache

Mark = Callable[[str, str | None], str | None]
"""Model and version asked for → what changes when another version answers; None when the model is not known."""


class AnswerCache:
    """Answers from memory what was answered before by the very version that would answer now."""

    def __init__(self, engine: Engine, settings: Cache, mark: Mark, metrics: Metrics) -> None:
        self._engine = engine
        self._settings = settings
        self._mark = mark
        self._metrics = metrics
        self._answers: OrderedDict[Key, tuple[float, EngineAnswer]] = OrderedDict()
        self._marks: dict[tuple[str, str | None], str | None] = {}

    async def predict(self, request: PredictionRequest) -> EngineAnswer:
        """The kept answer, or the engine's, which is kept then."""
        if is_drawn(request):
            return await self._engine.predict(request)
        clock = asyncio.get_running_loop().time
        mark = self._current_mark(request)
        key = key_of(request)
        kept = self._answers.get(key)
        if kept is not None and clock() < kept[0]:
            self._answers.move_to_end(key)
            self._metrics.cache(request.model, hit=True)
            return kept[1]
        self._metrics.cache(request.model, hit=False)
        answer = await self._engine.predict(request)
        # What was asked of one version and answered while another took over is not kept.
        if mark is not None and mark == self._current_mark(request):
            self._answers[key] = (clock() + self._settings.ttl_s, answer)
            self._answers.move_to_end(key)
            while len(self._answers) > self._settings.max_entries:
                self._answers.popitem(last=False)
        return answer

    def _current_mark(self, request: PredictionRequest) -> str | None:
        """The mark of who answers now; a change of it empties the cache of this model."""
        place = (request.model, request.version)
        mark = self._mark(*place)
        if self._marks.get(place, mark) != mark:
            for key in [key for key in self._answers if key.model == request.model]:
                del self._answers[key]
        self._marks[place] = mark
        return mark
