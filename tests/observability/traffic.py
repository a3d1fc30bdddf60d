"""Requests of every kind, for the figures that dashboards and alerts read."""

import base64
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import requests

from tests.e2e.conftest import unseen_digits

NO_HEADERS: Mapping[str, str] = {}


@contextmanager
def traffic(gateway: str, edge: str, headers: Mapping[str, str] = NO_HEADERS) -> Iterator[None]:
    """Pictures, more than there is room for at times; states that repeat; mistakes; the edge; until the block ends."""
    ended = threading.Event()
    load = threading.Thread(target=_send, args=(gateway, edge, headers, ended))
    load.start()
    try:
        yield
    finally:
        ended.set()
        load.join()


def _send(gateway: str, edge: str, headers: Mapping[str, str], ended: threading.Event) -> None:
    pictures = unseen_digits()[0][:50]

    def picture(body: bytes) -> None:
        content = {**headers, "Content-Type": "image/png"}
        requests.post(f"{gateway}/models/digits/predict", data=body, headers=content, timeout=30)

    def state(address: str, angle: float) -> None:
        requests.post(f"{address}/models/cartpole/predict", json=[0, 0, angle, 0], headers=headers, timeout=30)

    def infer(model: str, datatype: str, shape: list[int], data: list[float | str]) -> None:
        name = "image" if datatype == "BYTES" else "observation"
        content = {"inputs": [{"name": name, "datatype": datatype, "shape": shape, "data": data}]}
        requests.post(f"{gateway}/v2/models/{model}/infer", json=content, headers=headers, timeout=30)

    turn = 0
    with ThreadPoolExecutor(16) as pool:
        while not ended.is_set():
            turn += 1
            list(pool.map(picture, [pictures[turn % 50] + bytes([turn % 256, each]) for each in range(16)]))
            list(pool.map(picture, [pictures[turn % 50]] * 4))
            picture(pictures[0])
            for address in (gateway, edge):
                list(pool.map(state, [address] * 4, [turn / 1e6] * 4))
                requests.post(f"{address}/models/cartpole/predict", data=b"{", headers=headers, timeout=30)
            infer("cartpole", "FP32", [1, 4], [0, 0, turn / 1e6, 0])
            infer("cartpole", "FP32", [1, 4], [99, 0, 0, 0])
            infer("digits", "BYTES", [1], [base64.b64encode(pictures[turn % 50]).decode()])
            ended.wait(0.2)
