"""A handler that is not the project's: it sleeps and names its worker, or eats memory."""

import os
import time
from typing import Any


def handle(data: list[Any] | None, context: Any) -> list[str] | None:
    """TorchServe calls it without data once, at the start of the worker."""
    if data is None:
        return None
    context.set_response_header(0, "x-worker-pid", str(os.getpid()))
    body = bytes(data[0].get("body") or b"")
    if body.startswith(b"eat"):
        eaten = bytearray(int(body.split()[1]))
        eaten[::4096] = b"x" * len(eaten[::4096])
    time.sleep(float(body) if body[:1].isdigit() else 0)
    return [str(os.getpid())]
