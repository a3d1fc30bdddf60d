"""Clients that keep asking a stack in containers while a test breaks it, with every answer counted by kind."""

import asyncio
import contextlib
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from loadtest.feed import SampleCycle
from loadtest.inputs import RequestSample
from loadtest.load_client import RequestResult, sender, session_for
from loadtest.loops import RoundLength, closed_loop
from tests.containers.project import Project
from tests.e2e.conftest import unseen_digits

TIMEOUT_S = 60.0
CLIENTS = 8


@dataclass
class Answered:
    """The answers so far; times are those of `time.perf_counter`."""

    results: list[RequestResult] = field(default_factory=list)

    @property
    def requests(self) -> int:
        return len(self.results)

    @property
    def failures(self) -> Counter[str]:
        """How often each kind of failure came, as `loadtest` names it: "503 no_workers", "connection refused"."""
        return Counter(result.error for result in self.results if result.error is not None)

    @property
    def last_failure(self) -> float | None:
        """When the last failed request ended."""
        return max((result.ended for result in self.results if result.error is not None), default=None)

    def wait_for_more(self, requests: int, seconds: float = 60) -> None:
        """Return when so many further answers are there; fail when they do not come in time."""
        wanted, until = self.requests + requests, time.monotonic() + seconds
        while self.requests < wanted:
            assert time.monotonic() < until, f"{self.requests} answers, {self.failures}"
            time.sleep(0.02)


def samples(models: Sequence[str] = ("digits", "cartpole")) -> list[RequestSample]:
    """Pictures and states, no two the same, the models in turn."""
    pictures, chance = unseen_digits()[0][:50], random.Random(17)
    made = []
    for number, picture in enumerate(pictures):
        of = {
            "digits": RequestSample(f"picture-{number}", "image/png", picture, model="digits"),
            "cartpole": RequestSample.of_json(f"state-{number}", [0, chance.uniform(-1, 1), 0.1, 0.5], "cartpole"),
        }
        made += [of[model] for model in models]
    return made


@contextlib.contextmanager
def load(
    project: Project, *, clients: int = CLIENTS, models: Sequence[str] = ("digits", "cartpole"), url: str = ""
) -> Iterator[Answered]:
    """Keep `clients` requests in flight until the block ends; each request that was sent is answered and counted."""
    answered, over = Answered(), threading.Event()
    thread = threading.Thread(target=asyncio.run, args=(_asking(project, clients, models, url, answered, over),))
    thread.start()
    try:
        answered.wait_for_more(clients)
        yield answered
    finally:
        over.set()
        thread.join()


async def _asking(
    project: Project, clients: int, models: Sequence[str], url: str, answered: Answered, over: threading.Event
) -> None:
    async with session_for(clients, TIMEOUT_S, project.headers) as session:
        send = sender(session, url or project.gateway, "")

        async def send_until_over(sample: RequestSample, intended: float | None = None) -> RequestResult:
            if over.is_set():
                raise asyncio.CancelledError  # ends this client after its last answer, and no other
            return await send(sample, intended)

        feed = SampleCycle(samples(models))
        await closed_loop(send_until_over, feed, clients=clients, length=RoundLength(), record=answered.results.append)
