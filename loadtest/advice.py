"""The two settings to try next, from what a run showed.

Rules, for a closed loop of c clients on w workers, which keeps c/w requests at each worker:
- a batch larger than c/w never fills and waits the whole `max_batch_delay` each time;
- a batch much smaller leaves requests waiting that could have shared its forward pass;
- a worker that waits longer than its batch takes to fill at the measured rate waits for nobody;
- a client that is alone waits the whole delay each time, so the delay is a part of what its request costs anyway.
"""

from dataclasses import dataclass

from loadtest.report import Report
from loadtest.target import Batching

LARGEST_BATCH = 1024  # what settings.schema.RegistrationSettings allows
# Of a lone client's latency: more would be a second goal, and `make tune` weighs rate against latency by measuring.
LONE_SHARE = 0.25


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
    at_hand = max(1, report.plan.clients // batching.workers)
    batch_size, why_batch_size = _batch_size(batching, report.plan.clients, at_hand)
    delay, why_delay = _delay(batching, batch_size, rate.mean, _lone_ms(batching, at_hand, rate.mean, latency.p50))
    return Advice(batch_size, delay, why_batch_size, why_delay)


def _batch_size(now: Batching, clients: int, at_hand: int) -> tuple[int, str]:
    load = f"{_count(clients, 'client')} on {_count(now.workers, 'worker')}"
    if now.batch_size > at_hand:
        return at_hand, f"{load} cannot fill a batch of {now.batch_size}, so each one waits its whole delay"
    if now.batch_size < at_hand:
        larger = min(2 * now.batch_size, at_hand, LARGEST_BATCH)
        return larger, f"{load} keep {at_hand} requests at a worker; a batch takes {now.batch_size} of them"
    if at_hand == 1:
        return 1, f"{load} never leave two requests to batch; more would: stress.clients={8 * now.workers}"
    return at_hand // 2, f"{load} fit into one batch; half of it is gathered while the other half is answered"


def _lone_ms(now: Batching, at_hand: int, rate: float, median_ms: float) -> float:
    """What a client that is alone would wait without any delay: what one request takes of a worker, at most the median.

    A batch that never fills has waited the present delay, which is no work.
    """
    batch = min(now.batch_size, at_hand)
    waited_ms = now.max_batch_delay_ms if now.batch_size > at_hand else 0
    worked_ms = max(0.0, batch * now.workers / rate * 1000 - waited_ms) / batch
    return min(worked_ms, max(0.0, median_ms - waited_ms))


def _delay(now: Batching, batch_size: int, rate: float, lone_ms: float) -> tuple[int, str]:
    if batch_size == 1:
        return 0, "a batch of one is full at once"
    fills_in_ms = (batch_size - 1) * now.workers / rate * 1000
    why = f"at {rate:.0f}/s a batch of {batch_size} fills in {fills_in_ms:.1f} ms"
    ceiling_ms = LONE_SHARE * lone_ms
    delay = max(1, round(min(fills_in_ms, ceiling_ms)))
    if fills_in_ms > ceiling_ms:
        why += f", longer than {LONE_SHARE:.0%} of what a client that is alone waits for its answer"
    if delay == now.max_batch_delay_ms:
        delay //= 2
        why += "; the delay that follows from it is set already, so see what half of it does"
    cost = f"it costs a client that is alone {delay} ms on top of some {lone_ms:.1f} ms"
    return delay, f"{why}; {cost}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
