"""A raw ASGI application with a numpy policy: no framework, no validation beyond what it needs."""

import json
import os
from collections.abc import Awaitable, Callable
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

FIELDS = ("cart_position", "cart_velocity", "pole_angle", "pole_angular_velocity")
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
HEADERS = [(b"content-type", b"application/json")]


def _layers() -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    values, layers = np.fromfile(os.environ["POLICY"], dtype=np.float32), []
    for inputs, outputs in pairwise((4, 64, 64, 2)):
        end = inputs * outputs
        layers.append((values[:end].reshape(inputs, outputs), values[end : end + outputs]))
        values = values[end + outputs :]
    return layers


LAYERS = _layers()


async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Answer one state."""
    if scope["type"] != "http":
        return
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    state = json.loads(body)
    values = np.array([state[field] for field in FIELDS], dtype=np.float32)
    for weight, bias in LAYERS[:-1]:
        values = np.tanh(values @ weight + bias)
    weight, bias = LAYERS[-1]
    answer = b'{"action":%d}' % (values @ weight + bias).argmax()
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": answer})
