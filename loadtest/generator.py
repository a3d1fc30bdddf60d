"""Whether the load generator itself was the bottleneck: the core it used, and how late its own event loop was.

The generator is one process with one event loop. When that loop is busy all the time, or late when an answer comes, it
measures itself and not the server; then its figures are a lower bound, and a report has to say so.
"""

import asyncio
import time
from array import array
from collections.abc import Sequence
from dataclasses import dataclass

from loadtest.summary import percentile

EVERY_S = 0.02
BUSY = 0.85
"""Share of its core beyond which a generator cannot be trusted: answers then queue inside it."""
LATE_MS = 10.0
LATE_SHARE = 0.25
"""Its loop's delay, as a share of the median latency, beyond which the latency is the generator's own."""


@dataclass(frozen=True)
class Generator:
    """The generator during one round: share of one core, delays of its event loop and of its requests, in ms (p99)."""

    cpu_share: float
    loop_lag_ms: float
    send_lag_ms: float

    def doubt(self, median_ms: float | None) -> str | None:
        """Why the round's figures may be the generator's own; None when there is no reason."""
        if self.cpu_share > BUSY:
            return f"the generator used {self.cpu_share:.0%} of its core"
        late = max(self.loop_lag_ms, self.send_lag_ms)
        if late > LATE_MS and median_ms is not None and late > LATE_SHARE * median_ms:
            return f"the generator was up to {late:.0f} ms late (p99)"
        return None


class Watch:
    """Measures the generator from `start` to `stop`."""

    def __init__(self) -> None:
        self._lags_ms = array("d")
        self._task = asyncio.create_task(self._look())
        self._wall, self._cpu = time.perf_counter(), time.thread_time()

    def stop(self, send_lags_ms: Sequence[float]) -> Generator:
        """The generator since it was made; `send_lags_ms` are its requests' own delays."""
        self._task.cancel()
        wall, cpu = time.perf_counter() - self._wall, time.thread_time() - self._cpu
        return Generator(cpu / wall if wall > 0 else 0.0, _p99(self._lags_ms), _p99(send_lags_ms))

    async def _look(self) -> None:
        while True:
            before = time.perf_counter()
            await asyncio.sleep(EVERY_S)
            self._lags_ms.append(max(0.0, (time.perf_counter() - before - EVERY_S) * 1000))


def _p99(values: Sequence[float]) -> float:
    return percentile(sorted(values), 99) if values else 0.0
