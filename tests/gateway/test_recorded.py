"""Models that delivery has recorded as serving and that the engine lacks: unavailable, and never unknown."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import grpc
import pytest
import requests

from gateway.examples import PICTURE
from gateway.oip import open_inference_pb2 as pb
from gateway.recorded import RecordedModels
from tests.gateway.engine import FIELDS, POLICY, Engine
from tests.gateway.gateway_program import Served, program, stub
from tests.polling import wait_for

STATE = [0.0, 0.0, 0.1, 0.5]
TENSORS = {"inputs": [{"name": "image", "datatype": "BYTES", "shape": [1], "data": ["x"]}]}


def record(state: Path, **versions: str) -> None:
    """Write what delivery writes, as far as the gateway reads it."""
    entries = {model: {"serving": {"version": version}, "before": []} for model, version in versions.items()}
    (state / "serving.json").write_text(json.dumps(entries))


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("state")


@pytest.fixture(scope="module")
def served(engine: Engine, state: Path) -> Iterator[Served]:
    """A gateway whose short routes name recorded models that the engine has not got yet."""
    record(state, absent="1.0", absent_policy="1.0", digits="1.0")
    models = ("gateway.default_vision_model=absent", "gateway.default_policy=absent_policy")
    with program(engine, f"paths.state={state}", *models) as found:
        yield found


Send = Callable[[str], requests.Response]


def posting(path: str, content: Any) -> Send:
    if isinstance(content, bytes):
        return lambda url: requests.post(url + path, data=content, headers={"Content-Type": "image/png"}, timeout=30)
    return lambda url: requests.post(url + path, json=content, timeout=30)


def getting(path: str) -> Send:
    return lambda url: requests.get(url + path, timeout=30)


def form(path: str) -> Send:
    return lambda url: requests.post(url + path, files={"image": ("x.png", PICTURE, "image/png")}, timeout=30)


ROUTES: dict[str, Send] = {
    "native": posting("/models/absent/predict", PICTURE),
    "version": posting("/models/absent/versions/1.0/predict", PICTURE),
    "fast path": posting("/models/absent_policy/predict", STATE),
    "/predict": posting("/predict", dict.fromkeys(FIELDS, 0)),
    "/predict/": posting("/predict/", {"image": "eA=="}),
    "/predict_proba": form("/predict_proba"),
    "/classify": form("/classify"),
    "card": getting("/models/absent"),
    "infer": posting("/v2/models/absent/infer", TENSORS),
    "infer version": posting("/v2/models/absent/versions/1.0/infer", TENSORS),
    "metadata": getting("/v2/models/absent"),
    "config": getting("/v2/models/absent/versions/1.0/config"),
    "stats": getting("/v2/models/absent/stats"),
}


@pytest.mark.parametrize("send", ROUTES.values(), ids=ROUTES.keys())
def test_recorded_model_that_the_engine_lacks_is_503_with_retry_after(served: Served, send: Send) -> None:
    answer = send(served.url)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert "delivery brings its version 1.0 back" in answer.text


def test_open_inference_readiness_and_index_tell_of_recorded_models(served: Served) -> None:
    answer = requests.get(f"{served.url}/v2/models/absent/ready", timeout=30)
    assert (answer.status_code, answer.json()["ready"]) == (503, False)
    index = requests.post(f"{served.url}/v2/repository/index", timeout=30).json()
    assert {"name": "absent", "version": "1.0", "state": "UNAVAILABLE", "reason": "not registered"} in index
    assert requests.get(f"{served.url}/console/state", timeout=30).json()["lost"] == ["absent", "absent_policy"]


def test_gateway_is_not_ready_while_a_recorded_model_does_not_serve(served: Served) -> None:
    words = "model absent is not registered at the moment; delivery brings its version 1.0 back"
    for path in ("/readyz", "/v2/health/ready"):
        answer = requests.get(served.url + path, timeout=30)
        assert answer.status_code == 503
        assert words in answer.text
    with grpc.insecure_channel(served.grpc) as channel:
        assert not stub(channel).ServerReady(pb.ServerReadyRequest(), timeout=30).ready


def test_grpc_calls_about_a_recorded_model_are_unavailable(served: Served) -> None:
    with grpc.insecure_channel(served.grpc) as channel:
        calls = stub(channel)
        assert not calls.ModelReady(pb.ModelReadyRequest(name="absent"), timeout=30).ready
        asked = {
            "ModelInfer": pb.ModelInferRequest(model_name="absent"),
            "ModelMetadata": pb.ModelMetadataRequest(name="absent"),
            "ModelConfig": pb.ModelConfigRequest(name="absent"),
            "ModelStatistics": pb.ModelStatisticsRequest(name="absent"),
        }
        for call, message in asked.items():
            with pytest.raises(grpc.RpcError) as refused:
                getattr(calls, call)(message, timeout=30)
            assert refused.value.code() is grpc.StatusCode.UNAVAILABLE, call
        with pytest.raises(grpc.RpcError) as unknown:
            calls.ModelMetadata(pb.ModelMetadataRequest(name="nobody"), timeout=30)
        assert unknown.value.code() is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize(
    "path", ["/models/nobody/predict", "/models/absent/versions/9.9/predict", "/v2/models/nobody/infer"]
)
def test_model_or_version_without_a_record_is_404(served: Served, path: str) -> None:
    assert requests.post(served.url + path, json=STATE, timeout=30).status_code == 404


def test_recorded_model_answers_when_it_is_back_and_is_404_when_removed(
    served: Served, engine: Engine, state: Path
) -> None:
    url = f"{served.url}/models/returning/predict"
    record(state, returning="1.0")
    assert requests.post(url, json=STATE, timeout=30).status_code == 503
    engine.add("returning", POLICY)
    wait_for(lambda: requests.post(url, json=STATE, timeout=30).status_code == 200)
    # The gateway's view is old now: only the engine says that the model is gone.
    assert engine.manage("DELETE", "/models/returning/1.0").status_code == 200
    assert {requests.post(url, json=STATE, timeout=30).status_code for _ in range(20)} == {503}
    record(state)
    assert requests.post(url, json=STATE, timeout=30).status_code == 404


def test_a_damaged_record_changes_nothing(tmp_path: Path) -> None:
    recorded = RecordedModels(tmp_path / "serving.json")
    assert recorded.versions() == {}
    record(tmp_path, digits="1.0")
    assert recorded.versions() == {"digits": "1.0"}
    for damaged in ('{"digits": ', "[]", '{"digits": {"serving": null}}', '{"digits": 7}', "\0"):
        (tmp_path / "serving.json").write_text(damaged)
        assert recorded.versions() == {"digits": "1.0"}
        assert RecordedModels(tmp_path / "serving.json").versions() == {}
    (tmp_path / "serving.json").unlink()
    assert recorded.versions() == {}


def test_record_that_could_not_be_read_once_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record(tmp_path, digits="1.0")
    recorded = RecordedModels(tmp_path / "serving.json")
    with monkeypatch.context() as broken:
        broken.setattr("gateway.recorded.read_serving", Mock(side_effect=PermissionError))
        assert recorded.versions() == {}
    assert recorded.versions() == {"digits": "1.0"}
