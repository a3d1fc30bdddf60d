"""One request that asks for minutes of a worker's time is refused or ends, and others are answered beside it."""

import base64
import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from tests.e2e.conftest import Stack, unseen_digits
from tests.handlers.files import flat_png

pytestmark = pytest.mark.e2e
LARGE = base64.b64encode(flat_png(2000, 2000)).decode()


def instances(count: int) -> bytes:
    return json.dumps({"instances": [LARGE] * count}).encode()


def directly(stack: Stack, body: bytes, **headers: str) -> requests.Response:
    """Ask the engine itself, as whoever passes no gateway."""
    url = f"http://127.0.0.1:{stack.env['MARINA_INFERENCE_PORT']}/predictions/digits"
    key = json.loads(stack.key_file.read_text())["inference"]["key"]
    named = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    named |= {name.replace("_", "-"): value for name, value in headers.items()}
    return requests.post(url, data=body, headers=named, timeout=120)


@pytest.mark.parametrize("count", [26, 65], ids=["too-many-pixels", "too-many-instances"])
def test_a_request_over_the_limits_is_refused_by_gateway_and_worker(stack: Stack, count: int) -> None:
    json_type = {"Content-Type": "application/json"}
    by_gateway = requests.post(stack.predict_url("digits"), data=instances(count), headers=json_type, timeout=60)
    by_worker = directly(stack, instances(count))
    assert (by_gateway.status_code, by_worker.status_code) == (413, 413)
    assert by_gateway.json()["error"] == by_worker.json()["error"] == "too_large"
    assert by_gateway.json()["detail"] == by_worker.json()["detail"]


def test_a_request_within_the_limits_ends_at_its_deadline_and_its_neighbours_are_answered(stack: Stack) -> None:
    [digit, *_], [label, *_] = unseen_digits()
    assert len(directly(stack, instances(20)).json()["predictions"]) == 20
    with ThreadPoolExecutor(5) as clients:
        # The worker is given less time than twenty pictures take, and begins before it is over.
        late = clients.submit(directly, stack, instances(20), X_Deadline_At=str(int(time.time() * 1000) + 60))
        honest = [clients.submit(requests.post, stack.predict_url("digits"), data=digit, timeout=60) for _ in range(4)]
        answers = [each.result() for each in honest]
    assert [answer.json()["predictions"][0]["label"] for answer in answers] == [label] * 4
    assert (late.result().status_code, late.result().json()["error"]) == (504, "deadline_passed")
