"""The two kinds of load.

Closed loop: a fixed number of clients, each of which sends its next request after its last answer. It measures
throughput. Its latencies hide queueing, because the clients of a stalled server stop sending.

Open loop: requests leave at times drawn beforehand, independent of earlier answers. Latency counts from the intended
time, so neither a slow server nor a late generator removes a waiting request from the figures.
"""

import asyncio
import itertools
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from loadtest.feed import Feed
from loadtest.inputs import RequestSample
from loadtest.load_client import RequestResult, Send

Arrivals = Literal["poisson", "constant"]
Record = Callable[[RequestResult], None]

AFTER_ERROR_S = 0.01  # so that a server that refuses at once does not cause millions of failures
MOST_IN_FLIGHT = 10_000
"""Limit of an open loop. Beyond it the server is hours behind, and the request counts as failed without being sent."""
NOT_SENT = f"not sent: {MOST_IN_FLIGHT} requests wait for their answers"


@dataclass(frozen=True)
class RoundLength:
    """The length of a round, in requests or in seconds; exactly one of them is set."""

    requests: int | None = None
    seconds: float | None = None

    def __str__(self) -> str:
        return f"{self.requests} requests" if self.seconds is None else f"{self.seconds:g} s"


async def closed_loop(send: Send, feed: Feed, *, clients: int, length: RoundLength, record: Record) -> None:
    """Keep `clients` requests in flight for one round; pass each result to `record`."""
    numbers = iter(itertools.count()) if length.requests is None else iter(range(length.requests))
    ends = time.perf_counter() + length.seconds if length.seconds is not None else float("inf")

    async def client(index: int) -> None:
        for number in numbers:
            result = await send(feed.next(index, number))
            record(result)
            feed.answered(index, result)
            if time.perf_counter() >= ends:
                return
            if result.error is not None:
                await asyncio.sleep(AFTER_ERROR_S)

    async with asyncio.TaskGroup() as group:
        for index in range(clients if length.requests is None else min(clients, length.requests)):
            group.create_task(client(index))


def arrivals(rate: float, kind: Arrivals, draw: random.Random) -> Iterator[float]:
    """Yield send times in seconds since the start: evenly spaced, or with the gaps of a Poisson process."""
    moment = 0.0
    while True:
        moment += draw.expovariate(rate) if kind == "poisson" else 1 / rate
        yield moment


async def open_loop(
    send: Send, feed: Feed, send_times: Iterator[float], *, length: RoundLength, record: Record
) -> None:
    """Send at `send_times` for one round, then wait for the requests in flight; pass each result to `record`."""
    started = time.perf_counter()
    in_flight: set[asyncio.Task[None]] = set()

    async def one(sample: RequestSample, intended: float) -> None:
        record(await send(sample, intended))

    async with asyncio.TaskGroup() as group:
        for number, moment in enumerate(itertools.islice(send_times, length.requests)):
            if length.seconds is not None and moment >= length.seconds:
                break
            intended = started + moment
            if (pause := intended - time.perf_counter()) > 0:
                await asyncio.sleep(pause)
            sample = feed.next(0, number)
            if len(in_flight) >= MOST_IN_FLIGHT:
                record(RequestResult(0, 0.0, NOT_SENT, sample.model, time.perf_counter()))
                continue
            task = group.create_task(one(sample, intended))
            in_flight.add(task)
            task.add_done_callback(in_flight.discard)
