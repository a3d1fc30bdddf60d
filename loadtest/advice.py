"""The two settings to try next, from what a run showed.

Rules, for a closed loop of c clients on w workers, which keeps c/w requests at each worker:
- a batch larger than c/w never fills and waits the whole `max_batch_delay` each time;
- a batch much smaller leaves requests waiting that could have shared its forward pass;
- a worker that waits longer than its batch takes to fill at the measured rate waits for nobody.
"""

from dataclasses import dataclass

from loadtest.report import Report
from loadtest.target import Batching

LARGEST_BATCH = 1024  # what settings.schema.RequestParams allows


@dataclass(frozen=True)
class Advice:
    """Values to try, each with its reason."""

    batch_size: int
    max_batch_delay_ms: int
    why_batch_size: str
    why_max_batch_delay: str


def advise(report: Report) -> Advice | None:
    """What to try next; None when nothing was answered or the batch settings are not known."""
    batching, rate, latency = report.plan.target.batching, report.rate, report.latency_ms
    if batching is None or rate is None or latency is None or rate.mean <= 0:
        return None
    batch_size, why_batch_size = _batch_size(batching, report.plan.clients)
    delay, why_delay = _delay(batching, batch_size, rate.mean, latency.p50)
    return Advice(batch_size, delay, why_batch_size, why_delay)


def _batch_size(now: Batching, clients: int) -> tuple[int, str]:
    at_hand = max(1, clients // now.workers)
    load = f"{_count(clients, 'client')} on {_count(now.workers, 'worker')}"
    if now.batch_size > at_hand:
        return at_hand, f"{load} cannot fill a batch of {now.batch_size}, so each one waits its whole delay"
    if now.batch_size < at_hand:
        larger = min(2 * now.batch_size, at_hand, LARGEST_BATCH)
        return larger, f"{load} keep {at_hand} requests at a worker; a batch takes {now.batch_size} of them"
    if at_hand == 1:
        return 1, f"{load} never leave two requests to batch; more would: stress.clients={8 * now.workers}"
    return at_hand // 2, f"{load} fit into one batch; half of it is gathered while the other half is answered"


def _delay(now: Batching, batch_size: int, rate: float, median_ms: float) -> tuple[int, str]:
    if batch_size == 1:
        return 0, "a batch of one is full at once"
    fills_in_ms = (batch_size - 1) * now.workers / rate * 1000
    why = f"at {rate:.0f}/s a batch of {batch_size} fills in {fills_in_ms:.1f} ms"
    # Half the median: beyond that the wait for a batch would be most of what a client sees.
    ceiling = median_ms / 2
    if fills_in_ms > ceiling:
        why += f"; half of today's median latency is {ceiling:.1f} ms"
    delay = max(1, round(min(fills_in_ms, ceiling)))
    if delay == now.max_batch_delay_ms:
        delay = max(1, delay // 2) if delay > 1 else 2
        why += "; that is set already, so see what its neighbour does"
    return delay, why


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
