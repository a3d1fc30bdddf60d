"""Clients that keep asking while a test does something else."""

import random
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import requests

NO_HEADERS: Mapping[str, str] = {}
STATE = {"cart_position": 0.0, "cart_velocity": 0.0, "pole_angle": 0.1, "pole_angular_velocity": 0.5}


@dataclass(frozen=True)
class Answer:
    """What a client was answered: with which status, by which version (\"\" when it was an error), and which client."""

    status: int
    version: str
    client: int


@dataclass
class Answers:
    """All of them, as they came."""

    seen: list[Answer] = field(default_factory=list)

    @property
    def statuses(self) -> set[int]:
        return {answer.status for answer in self.seen}

    @property
    def kinds(self) -> set[tuple[int, str]]:
        """Each status with each version."""
        return {(answer.status, answer.version) for answer in self.seen}


def state(chance: random.Random) -> dict[str, float]:
    """A state of cartpole."""
    return {**STATE, "cart_velocity": chance.uniform(-1, 1)}


@contextmanager
def asking(
    url: str,
    clients: int = 4,
    headers: Mapping[str, str] = NO_HEADERS,
    content: Callable[[random.Random], Any] = state,
) -> Iterator[Answers]:
    """Clients that send what `content` draws until the block ends; `{}` in a header is their number."""
    answers, over = Answers(), threading.Event()

    def keep_asking(number: int) -> None:
        chance = random.Random(number)
        own = {name: value.format(number) for name, value in headers.items()}
        with requests.Session() as session:
            while not over.is_set():
                got = session.post(url, json=content(chance), headers=own, timeout=60)
                answers.seen.append(Answer(got.status_code, got.json().get("version", ""), number))

    threads = [threading.Thread(target=keep_asking, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield answers
    finally:
        over.set()
        for thread in threads:
            thread.join()
