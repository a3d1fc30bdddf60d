"""Sends one sample and judges the answer: only a right answer is counted, everything else is an error of some kind."""

import json
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import aiohttp

from loadtest.sample import Sample


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one request: `items` predictions after `latency_ms`, or an error (then items is 0)."""

    items: int
    latency_ms: float
    error: str | None = None


Send = Callable[[Sample], Awaitable[Outcome]]


def session_for(clients: int, timeout_s: float) -> aiohttp.ClientSession:
    """Keep-alive connections for `clients` requests at once; to be closed by the caller."""
    # No proxy of the environment and no cookies: the load goes where stress.url says, each request like the other.
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=clients, keepalive_timeout=60),
        timeout=aiohttp.ClientTimeout(total=timeout_s),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
    )


def sender(session: aiohttp.ClientSession, url: str, model: str) -> Send:
    """A function that sends one sample to the model's predict route and never raises for what the server does."""
    address = f"{url}/models/{model}/predict"

    async def send(sample: Sample) -> Outcome:
        started = time.perf_counter()
        try:
            headers = {"Content-Type": sample.content_type}
            async with session.post(address, data=sample.body, headers=headers) as answer:
                body = await answer.read()
                latency_ms = (time.perf_counter() - started) * 1000
                error = find_fault(answer.status, body, model, sample.items)
        except (aiohttp.ClientError, OSError, TimeoutError) as failure:
            latency_ms = (time.perf_counter() - started) * 1000
            error = explain(failure)
        return Outcome(0 if error else sample.items, latency_ms, error)

    return send


def explain(failure: Exception) -> str:
    """A failed exchange in a few words, the same words for the same kind."""
    if isinstance(failure, TimeoutError):
        return "timeout"
    if isinstance(failure, aiohttp.ServerDisconnectedError):
        return "connection closed without an answer"
    if isinstance(failure, aiohttp.ClientPayloadError):
        return "answer cut short"
    if isinstance(failure, OSError) and failure.errno:
        return os.strerror(failure.errno).lower()
    return type(failure).__name__


def find_fault(status: int, body: bytes, model: str, items: int) -> str | None:
    """What is wrong with an answer, in a few words; None when it is right."""
    try:
        answer = json.loads(body)
    except ValueError:
        answer = None
    if status != 200:
        code = answer.get("error") if isinstance(answer, dict) else None
        return f"{status} {code}" if isinstance(code, str) else str(status)
    if not isinstance(answer, dict):
        return "wrong answer: no JSON object"
    if answer.get("model") != model:
        return "wrong answer: from another model"
    predictions = answer.get("predictions")
    if not isinstance(predictions, list) or len(predictions) != items:
        return "wrong answer: not one prediction for each input"
    return None
