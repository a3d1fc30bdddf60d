"""One request to the gateway, and the check of its response. Only a correct response counts as predictions."""

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import aiohttp

from loadtest.inputs import RequestSample


@dataclass(frozen=True, slots=True)
class RequestResult:
    """The result of one request: `items` predictions after `latency_ms`, or an error and no predictions.

    `ended` is a time of `time.perf_counter`, `prediction` the first prediction, and `lag_ms` how much later than
    intended the request was sent.
    """

    items: int
    latency_ms: float
    error: str | None = None
    model: str = ""
    ended: float = 0.0
    prediction: Any = None
    lag_ms: float = 0.0


class Send(Protocol):
    """A function that sends one sample, and returns server errors instead of raising them.

    The latency counts from `intended`, a time of `time.perf_counter`; None is the time of sending.
    """

    async def __call__(self, sample: RequestSample, intended: float | None = None) -> RequestResult:
        """Return the result after the whole response."""


def session_for(connections: int, timeout_s: float, headers: Mapping[str, str]) -> aiohttp.ClientSession:
    """Return a session with keep-alive connections for this many concurrent requests; the caller closes it."""
    # No proxy of the environment and no cookies: all requests go to stress.url and are alike.
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=connections, keepalive_timeout=60),
        timeout=aiohttp.ClientTimeout(total=timeout_s),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        headers=headers,
    )


def sender(session: aiohttp.ClientSession, url: str, model: str) -> Send:
    """Return a function that sends a sample to the predict route of its model, or of `model` if it names none."""

    async def send(sample: RequestSample, intended: float | None = None) -> RequestResult:
        name = sample.model or model
        sent = time.perf_counter()
        since = sent if intended is None else intended
        prediction = None
        try:
            headers = {**sample.headers, "Content-Type": sample.content_type}
            async with session.post(f"{url}/models/{name}/predict", data=sample.body, headers=headers) as response:
                body = await response.read()
                ended = time.perf_counter()
                if sample.status is None:
                    prediction, error = check_response(response.status, body, name, sample.items)
                else:
                    error = None if response.status == sample.status else _status_text(response.status, body)
        except (aiohttp.ClientError, OSError, TimeoutError) as failure:
            ended = time.perf_counter()
            error = describe_failure(failure)
        items = 0 if error else sample.items
        return RequestResult(items, (ended - since) * 1000, error, name, ended, prediction, (sent - since) * 1000)

    return send


def describe_failure(failure: Exception) -> str:
    """Return a short description of a failed request, the same for all failures of one kind."""
    if isinstance(failure, TimeoutError):
        return "timeout"
    if isinstance(failure, aiohttp.ServerDisconnectedError):
        return "connection closed without an answer"
    if isinstance(failure, aiohttp.ClientPayloadError):
        return "answer cut short"
    if isinstance(failure, OSError) and failure.errno:
        return os.strerror(failure.errno).lower()
    return type(failure).__name__


def check_response(status: int, body: bytes, model: str, items: int) -> tuple[Any, str | None]:
    """Return the first prediction of a correct response, or None and a short description of the fault."""
    content = _parsed(body)
    if status != 200:
        return None, _status_text(status, body)
    if not isinstance(content, dict):
        return None, "wrong answer: no JSON object"
    if content.get("model") != model:
        return None, "wrong answer: from another model"
    predictions = content.get("predictions")
    if not isinstance(predictions, list) or len(predictions) != items:
        return None, "wrong answer: not one prediction for each input"
    if not all(isinstance(prediction, dict) and prediction for prediction in predictions):
        return None, "wrong answer: an empty prediction"
    return predictions[0], None


def _status_text(status: int, body: bytes) -> str:
    """Return a status with the gateway's error code, where the body has one."""
    content = _parsed(body)
    code = content.get("error") if isinstance(content, dict) else None
    return f"{status} {code}" if isinstance(code, str) else str(status)


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None
