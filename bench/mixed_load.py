"""Clients that mix pictures and states, and remember of each answer when it was asked for, when it came and of whom."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import aiohttp

STATE = {"cart_position": 0.0, "cart_velocity": 0.0, "pole_angle": 0.1, "pole_angular_velocity": 0.5}


@dataclass(frozen=True, slots=True)
class Answer:
    """One request: times of `time.monotonic`, its status (0 for no answer) and the version that made it."""

    model: str
    sent: float
    came: float
    status: int
    version: str


@dataclass(frozen=True)
class Load:
    """Closed-loop load until `stop` is called; half of the clients send pictures, half states."""

    gateway: str
    clients: int
    pictures: Sequence[bytes]
    answers: list[Answer] = field(default_factory=list)
    _over: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        """Send requests from every client until `stop`."""
        timeout = aiohttp.ClientTimeout(total=60)
        connector = aiohttp.TCPConnector(limit=self.clients)
        async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:
            await asyncio.gather(*(self._client(session, number) for number in range(self.clients)))

    def stop(self) -> None:
        """Let every client finish the request it waits for."""
        self._over.set()

    async def _client(self, session: aiohttp.ClientSession, number: int) -> None:
        turn = number
        while not self._over.is_set():
            turn += 1
            if number % 2:
                await self._ask(session, "digits", self.pictures[turn % len(self.pictures)], "image/png")
            else:
                await self._ask(session, "cartpole", STATE, "application/json")

    async def _ask(self, session: aiohttp.ClientSession, model: str, body: object, media: str) -> None:
        sent, status, version = time.monotonic(), 0, ""
        content = {"data": body, "headers": {"Content-Type": media}} if isinstance(body, bytes) else {"json": body}
        try:
            async with session.post(f"{self.gateway}/models/{model}/predict", **content) as answer:
                document = await answer.json(content_type=None)
                status, version = answer.status, document.get("version", "")
        except (aiohttp.ClientError, TimeoutError, ValueError):
            """No answer counts as status 0."""
        self.answers.append(Answer(model, sent, time.monotonic(), status, version))
