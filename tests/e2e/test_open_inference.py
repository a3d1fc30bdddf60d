"""A stock tritonclient of each kind asks the two demo models, knowing no more than their metadata says."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import requests

from tests.e2e.conftest import Stack, unseen_digits
from tests.gateway.triton.client import KINDS, Client, InferenceServerException, pictures

pytestmark = pytest.mark.e2e
DTYPES = {"FP32": np.float32, "INT64": np.int64}


@pytest.fixture(params=KINDS)
def client(request: pytest.FixtureRequest, stack: Stack) -> Iterator[Client]:
    http, grpc = (f"127.0.0.1:{stack.env[name]}" for name in ("MARINA_GATEWAY_PORT", "MARINA_GATEWAY_GRPC_PORT"))
    with Client(request.param, http, grpc) as made:
        yield made


def sizes(described: dict[str, Any]) -> list[int]:
    return [int(size) for size in described["shape"]]


def test_pictures_are_classified(client: Client) -> None:
    metadata = client.describe("get_model_metadata", "digits")
    (image,) = metadata["inputs"]
    assert (image["name"], image["datatype"], sizes(image)) == ("image", "BYTES", [-1])
    chosen, labels = unseen_digits()
    for part in (slice(0, 1), slice(1, 17)):
        answer = client.call("infer", "digits", [client.tensor("image", pictures(*chosen[part]), "BYTES")])
        found = [label.decode() for label in answer.as_numpy("label").tolist()]
        probabilities = answer.as_numpy("probabilities")
        assert sum(a == b for a, b in zip(found, labels[part], strict=True)) >= 0.9 * len(found)
        assert probabilities.shape == (len(found), 10)
        assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-4)
        assert np.allclose(probabilities.max(axis=1), answer.as_numpy("confidence"))


def test_states_get_actions(client: Client) -> None:
    metadata = client.describe("get_model_metadata", "cartpole")
    (reads,), (writes,) = metadata["inputs"], metadata["outputs"]
    states = np.array([[0.0, 0.0, 0.1, 0.5], [0.0, 0.0, -0.1, -0.5]], DTYPES[reads["datatype"]])
    assert sizes(reads) == [-1, states.shape[1]]
    for rows in (states, states[:1]):
        answer = client.call("infer", "cartpole", [client.tensor(reads["name"], rows, reads["datatype"])])
        action = answer.as_numpy(writes["name"])
        assert (action.dtype, action.tolist()) == (DTYPES[writes["datatype"]], [1, 0][: len(rows)])


@pytest.mark.parametrize(
    ("model", "name", "values", "datatype", "words"),
    [
        ("cartpole", "observation", np.full((1, 4), 0.1), "FP64", "FP32 does not hold 0.1 exactly"),
        ("cartpole", "observation", np.zeros((1, 3), np.float32), "FP32", "expected [-1, 4], got [1, 3]"),
        ("cartpole", "observation", np.full((1, 4), 99, np.float32), "FP32", "cart_position is 99, outside of"),
        ("digits", "image", pictures(b"no picture at all, but long enough"), "BYTES", "picture"),
        ("nobody", "image", pictures(b"x"), "BYTES", "no model nobody is registered"),
    ],
)
def test_what_does_not_fit_is_refused_in_clear_words(
    client: Client, model: str, name: str, values: Any, datatype: str, words: str
) -> None:
    with pytest.raises(InferenceServerException) as caught:
        client.call("infer", model, [client.tensor(name, values, datatype)])
    assert words in str(caught.value)


def test_the_server_says_how_its_models_are(client: Client) -> None:
    assert client.call("is_server_ready")
    assert client.call("is_model_ready", "cartpole")
    config = client.describe("get_model_config", "cartpole")
    assert config.get("config", config)["platform"] == "onnxruntime_onnx"
    client.call("infer", "cartpole", [client.tensor("observation", np.zeros((1, 4), np.float32), "FP32")])
    (stats,) = client.describe("get_inference_statistics", "cartpole")["model_stats"]
    assert int(stats["inference_count"]) >= 1


def test_models_are_unloaded_and_loaded_where_that_is_allowed(stack: Stack) -> None:
    """A second gateway over the same engine, which alone may roll models out."""
    from tests.e2e.conftest import new_stack
    from tests.polling import wait_for

    env = dict(stack.env)
    for name in ("MARINA_GATEWAY_PORT", "MARINA_GATEWAY_GRPC_PORT"):
        env[name] = new_stack(stack.state, stack.archives).env[name]
    other = Stack(env)
    gateway = other.start("app.py", "gateway.repository_control=true")
    try:
        wait_for(lambda: _answers(other))
        addresses = (f"127.0.0.1:{env[name]}" for name in ("MARINA_GATEWAY_PORT", "MARINA_GATEWAY_GRPC_PORT"))
        http, grpc = addresses
        with Client("http", http, grpc) as client:
            client.call("unload_model", "cartpole")
            assert client.call("is_model_ready", "cartpole") is False
            states = {each["name"]: each["state"] for each in client.call("get_model_repository_index")}
            assert states == {"cartpole": "UNAVAILABLE", "digits": "READY"}
            with pytest.raises(InferenceServerException, match="failed to load 'nobody', no model of that"):
                client.call("load_model", "nobody")
        with Client("grpc", http, grpc) as client:
            assert client.call("is_model_ready", "cartpole") is False
            client.call("load_model", "cartpole")
            assert client.call("is_model_ready", "cartpole") is True
            with pytest.raises(InferenceServerException, match=r"failed to load 'cartpole', .* is not valid JSON"):
                client.call("load_model", "cartpole", config='"max_batch_size": 8')
            client.call("load_model", "cartpole", config='{"max_batch_size": 8}')
            parameters = client.describe("get_model_config", "cartpole")["config"]["parameters"]
            assert parameters["batch_size"]["string_value"] == "8"
            with pytest.raises(InferenceServerException, match=r"'weather', it is configured, but not built: make"):
                client.call("load_model", "weather")
    finally:
        gateway.terminate()
        gateway.communicate()


def _answers(stack: Stack) -> bool:
    try:
        return requests.get(f"{stack.gateway}/healthz", timeout=5).status_code == 200
    except OSError:
        return False
