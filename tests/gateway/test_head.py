"""HEAD: what GET would say, without the body."""

import pytest
import requests

from tests.gateway.raw import HEALTH, connected, request

ROUTES = ["/", "/healthz", "/readyz", "/models", "/models/cartpole", "/models/nobody", "/docs", "/docs/swagger-ui.css",
          "/openapi.json", "/console/state", "/v2", "/v2/health/live", "/v2/health/ready", "/v2/models/cartpole",
          "/v2/models/cartpole/ready", "/v2/models/cartpole/config", "/nowhere", "/predict"]  # fmt: skip
VARYING = ("date", "x-request-id")


@pytest.mark.parametrize("path", ROUTES)
def test_head_has_the_status_and_headers_of_get_and_no_body(front: str, path: str) -> None:
    expected = requests.get(front + path, headers={"Accept-Encoding": "identity"}, timeout=30)
    with connected(front) as connection:
        connection.send(request(path, method="HEAD") + HEALTH)
        found = connection.read("HEAD")
        assert connection.read().json() == {"status": "alive"}
    assert found.status == expected.status_code
    given = {name.lower(): value for name, value in expected.headers.items() if name.lower() not in VARYING}
    assert {name: value for name, value in found.headers.items() if name not in VARYING} == given


def test_the_metrics_answer_head(front: str) -> None:
    with connected(front) as connection:
        connection.send(request("/metrics", method="HEAD") + HEALTH)
        assert connection.read("HEAD").status == 200
        assert connection.read().json() == {"status": "alive"}


def test_the_document_knows_nothing_of_it(front: str) -> None:
    paths = requests.get(f"{front}/openapi.json", timeout=30).json()["paths"]
    assert [path for path, operations in paths.items() if "head" in operations] == []
