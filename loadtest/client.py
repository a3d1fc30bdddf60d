"""Sends one sample and judges the answer: only a right answer is counted, everything else is an error of some kind."""

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import aiohttp

from loadtest.sample import Sample


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one request: `items` predictions after `latency_ms`, or an error (then items is 0).

    `ended` is a time of `time.perf_counter`, `prediction` the first one, `lag_ms` how much later than intended the
    request was sent.
    """

    items: int
    latency_ms: float
    error: str | None = None
    model: str = ""
    ended: float = 0.0
    prediction: Any = None
    lag_ms: float = 0.0


class Send(Protocol):
    """Sends one sample and never raises for what the server does.

    The latency counts from `intended`, a time of `time.perf_counter`; None is the moment of sending.
    """

    async def __call__(self, sample: Sample, intended: float | None = None) -> Outcome:
        """The outcome, once it is known."""


def session_for(connections: int, timeout_s: float, headers: Mapping[str, str]) -> aiohttp.ClientSession:
    """Keep-alive connections for this many requests at once, each with `headers`; to be closed by the caller."""
    # No proxy of the environment and no cookies: the load goes where stress.url says, each request like the other.
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=connections, keepalive_timeout=60),
        timeout=aiohttp.ClientTimeout(total=timeout_s),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        headers=headers,
    )


def sender(session: aiohttp.ClientSession, url: str, model: str) -> Send:
    """A function that sends a sample to the predict route of its model, or of `model` when it names none."""

    async def send(sample: Sample, intended: float | None = None) -> Outcome:
        asked = sample.model or model
        sent = time.perf_counter()
        since = sent if intended is None else intended
        prediction = None
        try:
            headers = {"Content-Type": sample.content_type}
            async with session.post(f"{url}/models/{asked}/predict", data=sample.body, headers=headers) as answer:
                body = await answer.read()
                ended = time.perf_counter()
                prediction, error = judge(answer.status, body, asked, sample.items)
        except (aiohttp.ClientError, OSError, TimeoutError) as failure:
            ended = time.perf_counter()
            error = explain(failure)
        items = 0 if error else sample.items
        return Outcome(items, (ended - since) * 1000, error, asked, ended, prediction, (sent - since) * 1000)

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


def judge(status: int, body: bytes, model: str, items: int) -> tuple[Any, str | None]:
    """The first prediction of a right answer, or what is wrong with it in a few words."""
    try:
        answer = json.loads(body)
    except ValueError:
        answer = None
    if status != 200:
        code = answer.get("error") if isinstance(answer, dict) else None
        return None, f"{status} {code}" if isinstance(code, str) else str(status)
    if not isinstance(answer, dict):
        return None, "wrong answer: no JSON object"
    if answer.get("model") != model:
        return None, "wrong answer: from another model"
    predictions = answer.get("predictions")
    if not isinstance(predictions, list) or len(predictions) != items:
        return None, "wrong answer: not one prediction for each input"
    if not all(isinstance(prediction, dict) and prediction for prediction in predictions):
        return None, "wrong answer: an empty prediction"
    return predictions[0], None
