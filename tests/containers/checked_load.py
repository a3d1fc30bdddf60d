"""Clients that never send the same body twice and compare every answer with the one that its sample got at rest."""

import asyncio
import contextlib
import itertools
import math
import struct
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import aiohttp
import requests

from loadtest.inputs import RequestSample
from loadtest.load_client import check_response, describe_failure, session_for
from loadtest.loops import AFTER_ERROR_S
from tests.containers.load import CLIENTS, TIMEOUT_S, samples
from tests.containers.project import Project

DEADLINE_S = 10.0  # gateway.deadline_ms
CLOSE = 1e-3  # batches of other sizes round differently
HEADER_END = 33  # of a PNG: its signature and its first chunk


@dataclass(frozen=True, slots=True)
class CheckedAnswer:
    """One request: times of `time.monotonic`, and its kind of failure, which is empty for the right answer.

    `told` is True for a refusal with `Retry-After`.
    """

    sent: float
    ended: float
    kind: str
    told: bool = False

    @property
    def waited(self) -> bool:
        """The gateway kept the request until its deadline."""
        return self.kind == "504 deadline_passed" and self.ended - self.sent >= DEADLINE_S - 1

    @property
    def unconnected(self) -> bool:
        """No HTTP status came."""
        return bool(self.kind) and not self.kind[:3].isdigit() and not self.kind.startswith("wrong answer")


@dataclass
class CheckedLoad:
    """The answers so far."""

    answers: list[CheckedAnswer] = field(default_factory=list)

    def right(self) -> int:
        return sum(not answer.kind for answer in self.answers)

    def kinds(self) -> Counter[str]:
        return kinds(self.answers)

    def wait_for_right(self, more: int, seconds: float = 60) -> None:
        """Return when so many further right answers are there; fail when they do not come in time."""
        wanted, until = self.right() + more, time.monotonic() + seconds
        while self.right() < wanted:
            assert time.monotonic() < until, f"{self.right()} of {wanted} right answers; {self.kinds()}"
            time.sleep(0.02)


def kinds(answers: Iterable[CheckedAnswer]) -> Counter[str]:
    """Count failures by kind."""
    return Counter(answer.kind for answer in answers if answer.kind)


@contextlib.contextmanager
def checked_load(project: Project, clients: int = CLIENTS) -> Iterator[CheckedLoad]:
    """Keep `clients` requests in flight until the block ends; each request that was sent is counted."""
    load, over = CheckedLoad(), threading.Event()
    expected = {each.name: _at_rest(project, each) for each in samples()}
    thread = threading.Thread(target=asyncio.run, args=(_clients(project, expected, clients, load, over),))
    thread.start()
    try:
        load.wait_for_right(clients)
        yield load
    finally:
        over.set()
        thread.join()


def _at_rest(project: Project, sample: RequestSample) -> object:
    answer = requests.post(
        f"{project.gateway}/models/{sample.model}/predict",
        data=sample.body,
        headers={**project.headers, "Content-Type": sample.content_type},
        timeout=TIMEOUT_S,
    )
    prediction, error = check_response(answer.status_code, answer.content, sample.model, 1)
    assert error is None, f"{sample.name} at rest: {error}"
    return prediction


async def _clients(
    project: Project, expected: Mapping[str, object], clients: int, load: CheckedLoad, over: threading.Event
) -> None:
    numbers, cycle = itertools.count(1), itertools.cycle(samples())
    async with session_for(clients, TIMEOUT_S, project.headers) as session:

        async def client() -> None:
            while not over.is_set():
                sample, number = next(cycle), next(numbers)
                answer = await _send(session, project.gateway, sample, number, expected[sample.name])
                load.answers.append(answer)
                if answer.kind:
                    await asyncio.sleep(AFTER_ERROR_S)

        await asyncio.gather(*(client() for _ in range(clients)))


async def _send(
    session: aiohttp.ClientSession, gateway: str, sample: RequestSample, number: int, expected: object
) -> CheckedAnswer:
    headers = {"Content-Type": sample.content_type}
    url, sent = f"{gateway}/models/{sample.model}/predict", time.monotonic()
    told = False
    try:
        async with session.post(url, data=unique(sample, number), headers=headers) as response:
            body = await response.read()
            prediction, kind = check_response(response.status, body, sample.model, 1)
            told = "Retry-After" in response.headers
            if kind is None and not same(prediction, expected):
                kind = "wrong answer: not the one at rest"
    except (aiohttp.ClientError, OSError, TimeoutError) as failure:
        kind = describe_failure(failure)
    return CheckedAnswer(sent, time.monotonic(), kind or "", told)


def unique(sample: RequestSample, number: int) -> bytes:
    """Return a body with the sample's meaning and other bytes for each number."""
    word = f"{number}".encode()
    if sample.content_type != "image/png":
        return sample.body.replace(b"[", b"[" + b" " * (number % 4096), 1)
    text = b"tEXt" + b"number\0" + word
    chunk = struct.pack(">I", len(text) - 4) + text + struct.pack(">I", zlib.crc32(text))
    return sample.body[:HEADER_END] + chunk + sample.body[HEADER_END:]


def same(one: object, other: object) -> bool:
    """Return True for equal answers; probabilities may differ as batches of other sizes round them."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, abs_tol=CLOSE)
    return one == other


def within(answers: Iterable[CheckedAnswer], test: Callable[[CheckedAnswer], bool]) -> list[CheckedAnswer]:
    """Return the failures for which a test holds."""
    return [answer for answer in answers if answer.kind and test(answer)]
