"""Predictions through the published ports, by every route, with a key and without."""

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import requests

from tests.containers.project import Project
from tests.e2e.clients import STATE
from tests.e2e.conftest import unseen_digits
from tests.gateway.triton.client import KINDS, Client, InferenceServerException, pictures

PICTURES, LABELS = unseen_digits()
OBSERVATION = {"name": "observation", "datatype": "FP32", "shape": [1, 4], "data": [0, 0, 0.1, 0.5]}


@dataclass(frozen=True)
class Route:
    """A request of one route, and how its answer names the prediction."""

    path: str
    content: dict[str, Any]
    answer: dict[str, Any]


def as_json(path: str, body: object, answer: dict[str, Any]) -> Route:
    return Route(path, {"json": body}, answer)


PICTURE = {"data": PICTURES[0], "headers": {"Content-Type": "image/png"}}
ENCODED = base64.b64encode(PICTURES[0]).decode()
ROUTES = {
    "a picture": Route("/models/digits/predict", PICTURE, {"label": LABELS[0]}),
    "a picture in base64": as_json("/models/digits/predict", {"image": ENCODED}, {"label": LABELS[0]}),
    "a picture of a form": Route(
        "/models/digits/predict", {"files": {"image": ("digit.png", PICTURES[0], "image/png")}}, {"label": LABELS[0]}
    ),
    "a state": as_json("/models/cartpole/predict", [0, 0, 0.1, 0.5], {"action": 1}),
    "a state by fields": as_json("/models/cartpole/predict", STATE, {"action": 1}),
    "a state of a version": as_json("/models/cartpole/versions/1.0/predict", STATE, {"action": 1}),
    "/predict": as_json("/predict", STATE, {"action": 1}),
    "/predict/": as_json("/predict/", {"image": ENCODED}, {"prediction": LABELS[0]}),
    "/classify": Route("/classify", {"files": {"image": ("d.png", PICTURES[0], "image/png")}}, {"label": LABELS[0]}),
    "/predict_proba": Route("/predict_proba", {"files": {"image": ("d.png", PICTURES[0], "image/png")}}, {}),
    "the open protocol": as_json("/v2/models/cartpole/infer", {"inputs": [OBSERVATION]}, {"data": [1]}),
}


def ask(project: Project, route: Route, key: dict[str, str]) -> requests.Response:
    content = {**route.content, "headers": {**route.content.get("headers", {}), **key}}
    return requests.post(f"{project.gateway}{route.path}", timeout=30, **content)


@pytest.mark.parametrize("name", ROUTES)
def test_a_client_with_a_key_gets_a_prediction(core: Project, name: str) -> None:
    route = ROUTES[name]
    answer = ask(core, route, core.headers)
    assert answer.status_code == 200, answer.text
    written = json.dumps(answer.json())
    for key, value in route.answer.items():
        assert f'"{key}": {json.dumps(value)}' in written
    if name == "/predict_proba":
        assert max(answer.json(), key=answer.json().__getitem__) == LABELS[0]


@pytest.mark.parametrize("name", ROUTES)
@pytest.mark.parametrize("key", [{}, {"Authorization": "Bearer another"}], ids=["no key", "a wrong key"])
def test_a_client_without_the_key_is_refused(core: Project, name: str, key: dict[str, str]) -> None:
    assert ask(core, ROUTES[name], key).status_code == 401


@pytest.fixture(params=KINDS)
def client(request: pytest.FixtureRequest, core: Project) -> Iterator[Client]:
    """A stock client of the Open Inference Protocol on the published port."""
    with Client(request.param, core.gateway.removeprefix("http://"), core.gateway_grpc) as made:
        yield made


def test_stock_clients_reach_both_models(core: Project, client: Client) -> None:
    key = {"x-api-key": core.key}
    assert client.call("is_model_ready", "digits", headers=key)
    state = client.tensor("observation", np.array([[0, 0, 0.1, 0.5]], np.float32), "FP32")
    assert client.call("infer", "cartpole", [state], headers=key).as_numpy("action").tolist() == [1]
    image = client.tensor("image", pictures(*PICTURES[:8]), "BYTES")
    found = client.call("infer", "digits", [image], headers=key).as_numpy("label").tolist()
    assert sum(label.decode() == known for label, known in zip(found, LABELS[:8], strict=True)) >= 7


def test_stock_clients_without_a_key_are_refused(client: Client) -> None:
    state = client.tensor("observation", np.zeros((1, 4), np.float32), "FP32")
    with pytest.raises(InferenceServerException, match="key"):
        client.call("infer", "cartpole", [state])
