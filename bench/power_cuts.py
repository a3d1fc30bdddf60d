"""Kills one of two engine hosts, starts it again, and waits until it gets requests again; then the same once more."""

import asyncio
import time

import prometheus
from bench.two_nodes import TwoNodes
from errors import MarinaError

UP_S, DOWN_S = 8.0, 6.0
RETURN_S = 240.0
IN_TRAFFIC = "marina_gateway_node_in_traffic"


class PowerCuts:
    """`kills` and `returns` count what has happened so far."""

    def __init__(self, nodes: TwoNodes) -> None:
        self._nodes = nodes
        self.kills = 0
        self.returns = 0

    async def go_on(self, over: asyncio.Event) -> None:
        """Until `over` is set; ends with the host back in traffic. Raises MarinaError when it does not come back."""
        while not await _is_set(over, UP_S):
            await asyncio.to_thread(self._nodes.kill_second)
            self.kills += 1
            await asyncio.sleep(DOWN_S)
            await asyncio.to_thread(self._nodes.start_second)
            await self._back()
            self.returns += 1

    async def _back(self) -> None:
        deadline = time.monotonic() + RETURN_S
        while time.monotonic() < deadline:
            found = await asyncio.to_thread(prometheus.read, f"{self._nodes.gateway}/metrics")
            if prometheus.total(found.gauges, IN_TRAFFIC, node="b"):
                return
            await asyncio.sleep(0.5)
        raise MarinaError(f"the killed node was not back in traffic after {RETURN_S:g} s")


async def _is_set(event: asyncio.Event, within_s: float) -> bool:
    try:
        async with asyncio.timeout(within_s):
            await event.wait()
    except TimeoutError:
        return False
    return True
