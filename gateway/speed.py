"""How many requests a second a model answers when it always has more to do."""

import math

# Long enough for several batches of a slow model, short enough to follow a change of its workers.
MEMORY_S = 2.0
# Fewer answers say nothing yet, unless they took MEMORY_S: the first of a worker is far slower than the next.
ENOUGH_ANSWERS = 32
# Nor does less of saturated time than this.
ENOUGH_S = 0.25


class Speed:
    """Answers by time, counted only while the model is saturated, what is long ago counting less and less.

    A model that waits for requests would look as slow as they come.
    """

    __slots__ = ("_answers", "_last", "_saturated", "_seconds", "_seen", "_seen_s")

    def __init__(self) -> None:
        self._answers = 0.0
        self._seconds = 0.0
        self._seen = 0
        self._seen_s = 0.0
        self._last = 0.0
        self._saturated = False

    @property
    def per_second(self) -> float | None:
        """Answers a second; None while too little was seen of a saturated model."""
        if self._seen_s < ENOUGH_S or self._answers < 1:
            return None
        if self._seen < ENOUGH_ANSWERS and self._seen_s < MEMORY_S:
            return None
        return self._answers / self._seconds

    def look(self, now: float, *, saturated: bool) -> None:
        """Takes note of the time that passed, and whether the model is saturated from now on."""
        if self._saturated:
            passed = now - self._last
            fade = math.exp(-passed / MEMORY_S)
            self._seconds = self._seconds * fade + passed
            self._answers *= fade
            self._seen_s += passed
        self._last = now
        self._saturated = saturated

    def answered(self) -> None:
        """Counts one answer."""
        if self._saturated:
            self._answers += 1
            self._seen += 1
