"""The values of `batch_size` and `max_batch_delay` to try next.

The rules apply to a closed loop of c clients on w workers, which keeps c/w requests at each worker:
- a larger batch never fills, and each batch waits the whole `max_batch_delay`;
- a much smaller batch leaves requests waiting that could have shared its forward pass;
- a delay longer than a batch takes to fill at the measured rate gains nothing;
- a single client waits the whole delay on each request, so the delay is limited to a share of that latency.
"""

from dataclasses import dataclass

from loadtest.report import LoadReport
from loadtest.target import Batching

LARGEST_BATCH = 1024  # what settings.schema.RegistrationSettings allows
# Of a single client's latency: `make tune` weighs rate against latency further, by measuring.
SINGLE_CLIENT_SHARE = 0.25


@dataclass(frozen=True)
class Advice:
    """Values to try, each with its reason."""

    batch_size: int
    max_batch_delay_ms: int
    why_batch_size: str
    why_max_batch_delay: str


def advise(report: LoadReport) -> Advice | None:
    """Return the values to try next.

    Returns None for an open loop, when nothing was answered, and when the batch settings are unknown.
    """
    batching, rate, latency = report.plan.target.batching, report.rate, report.latency_ms
    if report.plan.stress.rate is not None or batching is None or rate is None or latency is None or rate.mean <= 0:
        return None
    per_worker = max(1, report.plan.stress.clients // batching.workers)
    batch_size, why_batch_size = _batch_size(batching, report.plan.stress.clients, per_worker)
    single_ms = _single_client_ms(batching, per_worker, rate.mean, latency.p50)
    delay, why_delay = _delay(batching, batch_size, rate.mean, single_ms)
    return Advice(batch_size, delay, why_batch_size, why_delay)


def _batch_size(now: Batching, clients: int, per_worker: int) -> tuple[int, str]:
    load = f"{_count(clients, 'client')} on {_count(now.workers, 'worker')}"
    if now.batch_size > per_worker:
        return per_worker, f"{load} cannot fill a batch of {now.batch_size}, so each one waits its whole delay"
    if now.batch_size < per_worker:
        larger = min(2 * now.batch_size, per_worker, LARGEST_BATCH)
        return larger, f"{load} keep {per_worker} requests at a worker; a batch takes {now.batch_size} of them"
    if per_worker == 1:
        return 1, f"{load} never leave two requests to batch; more would: stress.clients={8 * now.workers}"
    return per_worker // 2, f"{load} fit into one batch; half of it is gathered while the other half is answered"


def _single_client_ms(now: Batching, per_worker: int, rate: float, median_ms: float) -> float:
    """Return the latency of a single client without any delay: a worker's time for one request, at most the median.

    The delay of a batch that never fills is not work, so it is subtracted.
    """
    batch = min(now.batch_size, per_worker)
    waited_ms = now.max_batch_delay_ms if now.batch_size > per_worker else 0
    worked_ms = max(0.0, batch * now.workers / rate * 1000 - waited_ms) / batch
    return min(worked_ms, max(0.0, median_ms - waited_ms))


def _delay(now: Batching, batch_size: int, rate: float, single_ms: float) -> tuple[int, str]:
    if batch_size == 1:
        return 0, "a batch of one is full at once"
    fills_in_ms = (batch_size - 1) * now.workers / rate * 1000
    why = f"at {rate:.0f}/s a batch of {batch_size} fills in {fills_in_ms:.1f} ms"
    ceiling_ms = SINGLE_CLIENT_SHARE * single_ms
    delay = max(1, round(min(fills_in_ms, ceiling_ms)))
    if fills_in_ms > ceiling_ms:
        why += f", longer than {SINGLE_CLIENT_SHARE:.0%} of what a client that is alone waits for its answer"
    if delay == now.max_batch_delay_ms:
        delay //= 2
        why += "; the delay that follows from it is set already, so see what half of it does"
    cost = f"it costs a client that is alone {delay} ms on top of some {single_ms:.1f} ms"
    return delay, f"{why}; {cost}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
