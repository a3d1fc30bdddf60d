"""Open loop: requests leave at moments that were drawn beforehand, whether or not the ones before were answered.

It measures latency as clients see it that know nothing of each other: from the moment a request was meant to leave, so
that neither a slow server nor a late generator makes a waiting request disappear from the figures.
"""

import asyncio
import itertools
import random
import time
from collections.abc import Callable, Iterator
from typing import Literal

from loadtest.client import Outcome, Send
from loadtest.extent import Extent
from loadtest.feed import Feed
from loadtest.sample import Sample

Arrivals = Literal["poisson", "constant"]
MOST_IN_FLIGHT = 10_000
"""Beyond it a request is not sent and counts as failed: the server is hours behind, and this machine has limits."""
NOT_SENT = f"not sent: {MOST_IN_FLIGHT} requests wait for their answers"


def arrivals(rate: float, kind: Arrivals, draw: random.Random) -> Iterator[float]:
    """Seconds since the start at which requests leave: evenly, or with the gaps of a Poisson process."""
    moment = 0.0
    while True:
        moment += draw.expovariate(rate) if kind == "poisson" else 1 / rate
        yield moment


async def open_loop(
    send: Send, feed: Feed, moments: Iterator[float], *, extent: Extent, record: Callable[[Outcome], None]
) -> None:
    """Send at `moments` until `extent` is used up, then wait for what is under way; outcomes go to `record`."""
    started = time.perf_counter()
    under_way: set[asyncio.Task[None]] = set()

    async def one(sample: Sample, intended: float) -> None:
        record(await send(sample, intended))

    async with asyncio.TaskGroup() as group:
        for number, moment in enumerate(itertools.islice(moments, extent.requests)):
            if extent.seconds is not None and moment >= extent.seconds:
                break
            intended = started + moment
            if (pause := intended - time.perf_counter()) > 0:
                await asyncio.sleep(pause)
            sample = feed.next(0, number)
            if len(under_way) >= MOST_IN_FLIGHT:
                record(Outcome(0, 0.0, NOT_SENT, sample.model, time.perf_counter()))
                continue
            task = group.create_task(one(sample, intended))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
