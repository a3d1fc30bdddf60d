"""Clients that leave at any moment: nothing is logged as an error, nothing is left under way, others are answered."""

import random
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from urllib.parse import urlsplit

import pytest

from tests.gateway.given import GivenTorchServe
from tests.gateway.raw import CARTPOLE, DIGITS, JSON, PNG, STATE, exchange, request
from tests.gateway.served import gateway_for
from tests.gateway.test_faults import metric
from tests.polling import wait_for

TENSORS = b'{"inputs": [{"name": "observation", "datatype": "FP32", "shape": [1, 4], "data": [0, 0, 0.%d, 0.5]}]}'
RESET = struct.pack("ii", 1, 0)
CLIENTS, REQUESTS = 8, 60


def asked(draw: random.Random) -> bytes:
    """A request that is answered, held, refused, lost or late, alone or beside its like."""
    kind, late = draw.choice([b"picture", b"hold", b"refuse", b"break"]), draw.choice([20, 60, 30_000])
    state = b"[0,0,0.%d,0.5]" % draw.randrange(1, 5)
    made = {
        "state": request(CARTPOLE, JSON, body=state),
        "patient state": request(CARTPOLE, JSON, f"X-Deadline-Ms: {late}", body=state),
        "picture": request(DIGITS, PNG, f"X-Deadline-Ms: {late}", body=kind + b" %d" % draw.randrange(1000)),
        "same picture": request(DIGITS, PNG, f"X-Deadline-Ms: {late}", body=kind + b" of many clients"),
        "tensors": request("/v2/models/cartpole/infer", JSON, body=TENSORS % draw.randrange(1, 5)),
        "unknown": request("/models/nobody/predict", PNG, body=b"x"),
        "models": request("/models", method="GET"),
    }
    whole = draw.choice(list(made.values()))
    return whole[: draw.randrange(len(whole))] if draw.random() < 0.2 else whole


def leave_again_and_again(front: str, seed: int) -> None:
    draw, address = random.Random(seed), urlsplit(front)
    for _ in range(REQUESTS):
        with socket.create_connection((address.hostname or "", address.port or 0), timeout=30) as connection:
            connection.sendall(asked(draw))
            connection.settimeout(draw.choice([0.0001, 0.002, 0.01, 0.05]))
            with suppress(TimeoutError):
                connection.recv(1)  # whatever comes first: an answer, or the moment to leave
            if draw.random() < 0.5:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)


@pytest.mark.parametrize("overrides", [(), ("gateway.coalesce.enabled=false",), ("gateway.cache.max_entries=20",)])
def test_disconnect_at_any_moment_is_no_error(
    given: GivenTorchServe, said: Callable[[], list[str]], overrides: tuple[str, ...]
) -> None:
    stop = threading.Event()

    def hold_and_release() -> None:
        while not stop.wait(0.05):
            given.hold()
            stop.wait(0.1)
            given.release()

    with gateway_for(given, "gateway.breaker.failures=1000000", *overrides) as front:
        threads = [threading.Thread(target=leave_again_and_again, args=(front, seed)) for seed in range(CLIENTS)]
        pulse = threading.Thread(target=hold_and_release)
        for thread in (*threads, pulse):
            thread.start()
        for thread in threads:
            thread.join()
        stop.set()
        pulse.join()
        given.release()
        wait_for(lambda: metric(front, "marina_gateway_requests_in_flight") == 1)
        assert metric(front, "marina_gateway_requests_admitted") == 0
        assert exchange(front, request(CARTPOLE, JSON, body=STATE)).status == 200
    assert said() == []
