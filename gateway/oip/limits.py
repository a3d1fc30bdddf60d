"""A deadline around what answers a request."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from errors import DeadlinePassed


@asynccontextmanager
async def answered_within(moment: float) -> AsyncIterator[None]:
    """Ends what runs inside at a moment of the event loop's clock, and raises DeadlinePassed then."""
    started = asyncio.get_running_loop().time()
    try:
        async with asyncio.timeout_at(moment) as limit:
            yield
    except TimeoutError:
        # Only this deadline is the client's; a time limit inside business logic is an error of its own.
        if not limit.expired():
            raise
        raise DeadlinePassed(f"no answer within {max(0.0, moment - started) * 1000:.0f} ms") from None
