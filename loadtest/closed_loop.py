"""Closed loop: a fixed number of clients, each sending its next request when its last is answered.

It measures throughput. Its latencies do not tell what requests wait for when they come at a rate of their own.
"""

import asyncio
import itertools
import time
from collections.abc import Callable

from loadtest.client import Outcome, Send
from loadtest.extent import Extent
from loadtest.feed import Feed

AFTER_ERROR_S = 0.01  # so that a server that refuses at once is not counted in millions of failures


async def closed_loop(
    send: Send, feed: Feed, *, clients: int, extent: Extent, record: Callable[[Outcome], None]
) -> None:
    """Send until `extent` is used up, `clients` requests at a time; each outcome goes to `record`."""
    numbers = iter(itertools.count()) if extent.requests is None else iter(range(extent.requests))
    ends = time.perf_counter() + extent.seconds if extent.seconds is not None else float("inf")

    async def client(place: int) -> None:
        for number in numbers:
            outcome = await send(feed.next(place, number))
            record(outcome)
            feed.told(place, outcome)
            if time.perf_counter() >= ends:
                return
            if outcome.error is not None:
                await asyncio.sleep(AFTER_ERROR_S)

    async with asyncio.TaskGroup() as group:
        for place in range(clients if extent.requests is None else min(clients, extent.requests)):
            group.create_task(client(place))
