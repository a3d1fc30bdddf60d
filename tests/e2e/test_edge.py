"""The edge beside the running stack: the gateway's bytes, and the gateway's version after a rollout."""

import pytest
import requests

from tests.e2e.conftest import Stack
from tests.edge import fuzz
from tests.edge.archives import CARTPOLE_FIELDS as FIELDS
from tests.edge.served import JSON, NGINX_DEV

pytestmark = [pytest.mark.e2e, NGINX_DEV]
MODEL = "/models/cartpole/predict"


@pytest.fixture(scope="module")
def edge(stack: Stack) -> str:
    stack.run("-m", "edge", "served_model=cartpole", "edge.parity_states=2000")
    return f"http://127.0.0.1:{stack.env['MARINA_EDGE_PORT']}"


def test_gateway_and_edge_answer_with_the_same_bytes(stack: Stack, edge: str) -> None:
    headers = JSON | {"X-Request-Id": "same"}
    for number, body in enumerate(fuzz.bodies(60, FIELDS, 4, seed=5)):
        path = "/predict" if number % 3 == 0 else MODEL
        there, here = (
            requests.post(f"{url}{path}", body, headers=headers, timeout=30) for url in (stack.gateway, edge)
        )
        assert (here.status_code, here.content) == (there.status_code, there.content), body
        for name in ("content-type", "x-request-id", "x-content-type-options"):
            assert here.headers[name] == there.headers[name]
        assert here.headers.get("x-model-version") == there.headers.get("x-model-version")


def test_rollout_and_rollback_bring_the_edge_along(stack: Stack, edge: str) -> None:
    before = requests.post(f"{edge}{MODEL}", b"[0,0,0,0]", headers=JSON, timeout=10).json()["version"]
    stack.run(
        "upload_model.py",
        "served_model=cartpole",
        "served_model.request_params.batch_size=7",
        "edge.parity_states=2000",
    )
    answers = [requests.post(f"{url}{MODEL}", b"[0,0,0,0]", headers=JSON, timeout=30) for url in (stack.gateway, edge)]
    assert answers[0].json()["version"] != before
    assert answers[0].content == answers[1].content
    stack.run("-m", "delivery", "rollback", "served_model=cartpole", "edge.parity_states=2000")
    assert requests.post(f"{edge}{MODEL}", b"[0,0,0,0]", headers=JSON, timeout=10).json()["version"] == before
