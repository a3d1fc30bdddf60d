"""How many requests a second a model answers when it always has more to do."""

import math

# Long enough for several batches, short enough to follow a change.
MEMORY_S = 2.0
# A slow model takes longer than that for as many answers as say something; so long is what is remembered of it.
LEAST_ANSWERS = 8
# Fewer answers say nothing yet, unless they took MEMORY_S: the first of a worker is far slower than the next.
ENOUGH_ANSWERS = 32
# Nor does less saturated time than this.
ENOUGH_S = 0.25
# How long the best rate counts: in this time an engine that became slower is believed, to 1/e.
BEST_S = 30.0


class Speed:
    """Answers by time, counted only while the model is saturated; older ones count less and less.

    A model that waits for requests would look as slow as they come. And a gateway busy with refusals takes processor
    time from the workers: what they answer meanwhile is less than they can do. So the best rate seen counts until it
    has faded, and only saturated time lets it fade.
    """

    __slots__ = ("_answers", "_best", "_last", "_parallel", "_seconds", "_seen", "_seen_s", "is_saturated")

    def __init__(self) -> None:
        self._last = 0.0
        self.is_saturated = False
        self._parallel = 0
        self._best = self._answers = self._seconds = self._seen_s = 0.0
        self._seen = 0

    @property
    def per_second(self) -> float | None:
        """Answers a second; None while too little was seen of a saturated model."""
        if self._seen == 0 or self._seen_s < ENOUGH_S:
            return None
        if self._seen < ENOUGH_ANSWERS and self._seen_s < MEMORY_S:
            return None
        return max(self._answers / self._seconds, self._best)

    def look(self, now: float, inside: int, parallel: int) -> None:
        """Note that time has passed up to `now`, and whether the model is saturated from now on.

        It is when more requests are `inside` than its workers can have at work at once (`parallel`). When that changes,
        the workers did, and what was measured before says nothing any more.
        """
        if parallel != self._parallel:
            self._parallel = parallel
            self._forget()
        elif self.is_saturated:
            self._count(now - self._last)
        self._last = now
        self.is_saturated = inside > parallel

    def answered(self) -> None:
        """Count one answer."""
        if self.is_saturated:
            self._answers += 1
            self._seen += 1

    def _count(self, passed: float) -> None:
        memory = MEMORY_S
        if self._answers:
            memory = max(memory, LEAST_ANSWERS * self._seconds / self._answers)
        fade = math.exp(-passed / memory)
        self._seconds = self._seconds * fade + passed
        self._answers *= fade
        self._seen_s += passed
        self._best *= math.exp(-passed / BEST_S)
        # Over a shorter time the rate of answers that come in batches swings, and its crests are no speed.
        if self._seen_s >= MEMORY_S:
            self._best = max(self._best, self._answers / self._seconds)

    def _forget(self) -> None:
        self._best = self._answers = self._seconds = self._seen_s = 0.0
        self._seen = 0
