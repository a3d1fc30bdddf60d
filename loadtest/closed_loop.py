"""Closed loop: a fixed number of clients, each sending its next request when its last is answered.

It measures throughput. Its latencies do not tell what requests wait for when they come at a rate of their own.
"""

import asyncio
from collections.abc import Callable, Sequence

from loadtest.client import Outcome, Send
from loadtest.sample import Sample


async def closed_loop(
    send: Send, samples: Sequence[Sample], *, clients: int, requests: int, record: Callable[[Outcome], None]
) -> None:
    """Send `requests` requests, `clients` at a time, taking the samples in turn; each outcome goes to `record`."""
    numbers = iter(range(requests))

    async def client() -> None:
        for number in numbers:
            record(await send(samples[number % len(samples)]))

    async with asyncio.TaskGroup() as group:
        for _ in range(min(clients, requests)):
            group.create_task(client())
