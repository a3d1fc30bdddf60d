"""A stock tritonclient, in its four kinds and with default settings, against the real gateway and a real engine."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from gateway.examples import PICTURE, PICTURE_BASE64
from tests.gateway.engine import Engine
from tests.gateway.gateway_program import Served, program
from tests.gateway.triton.client import KINDS, Client, InferenceServerException, pictures

BAD = b"bad".ljust(32)
STATE = np.array([[0.1, 0.2, 0.01, -0.2]], np.float32)
GRPC_WORDS = {400: "INVALID_ARGUMENT", 404: "NOT_FOUND", 403: "UNAVAILABLE", 503: "UNAVAILABLE", 504: "Deadline"}


@pytest.fixture(scope="module")
def served(engine: Engine) -> Iterator[Served]:
    with program(engine) as started:
        yield started


@pytest.fixture(params=KINDS)
def client(request: pytest.FixtureRequest, served: Served) -> Iterator[Client]:
    with Client(request.param, served.http, served.grpc) as made:
        yield made


def refused(client: Client, status: int, words: str, name: str, *arguments: Any, **options: Any) -> None:
    with pytest.raises(InferenceServerException) as caught:
        client.call(name, *arguments, **options)
    assert words in str(caught.value)
    assert (GRPC_WORDS[status] if client.over_grpc else str(status)) in str(caught.value.status())


def test_the_server_is_live_and_ready_and_says_what_it_is(client: Client) -> None:
    assert client.call("is_server_live") is True
    assert client.call("is_server_ready") is True
    metadata = client.describe("get_server_metadata")
    assert metadata["name"] == "marina"
    assert "binary_tensor_data" in metadata["extensions"]


def test_a_model_is_ready_when_it_has_a_worker(client: Client) -> None:
    assert client.call("is_model_ready", "digits") is True
    assert client.call("is_model_ready", "digits", "2.0") is True
    assert client.call("is_model_ready", "idle") is False


def test_metadata_is_enough_to_build_a_request(client: Client) -> None:
    metadata = client.describe("get_model_metadata", "cartpole")
    assert metadata["versions"] == ["1.0"]
    (reads,) = metadata["inputs"]
    assert (reads["name"], reads["datatype"]) == ("observation", "FP32")
    assert [int(size) for size in reads["shape"]] == [-1, 4]
    shape = [max(int(size), 3) if int(size) < 0 else int(size) for size in reads["shape"]]
    tensor = client.tensor(reads["name"], np.zeros(shape, np.float32), reads["datatype"])
    action = client.call("infer", "cartpole", [tensor]).as_numpy(metadata["outputs"][0]["name"])
    assert (action.dtype, action.tolist()) == (np.int64, [1, 1, 1])


def test_a_picture_models_metadata_lists_its_classes(client: Client) -> None:
    outputs = client.describe("get_model_metadata", "digits", "2.0")["outputs"]
    found = {each["name"]: (each["datatype"], [int(size) for size in each["shape"]]) for each in outputs}
    assert found == {"probabilities": ("FP32", [-1, 2]), "label": ("BYTES", [-1]), "confidence": ("FP32", [-1])}


def test_the_configuration_names_labels_and_batch_settings(client: Client) -> None:
    config = client.describe("get_model_config", "digits")
    config = config.get("config", config)
    assert config["parameters"]["labels"]["string_value"] == '["1", "7"]'
    assert config["parameters"]["batch_size"]["string_value"] == "4"
    assert config["input"][0]["data_type"] == "TYPE_STRING"


@pytest.mark.parametrize("count", [1, 3])
def test_pictures_are_classified_in_the_order_of_the_labels(client: Client, count: int) -> None:
    answer = client.call("infer", "digits", [client.tensor("image", pictures(*[PICTURE] * count), "BYTES")])
    assert answer.as_numpy("probabilities").tolist() == [[0.25, 0.75]] * count
    assert answer.as_numpy("label").tolist() == [b"7"] * count
    assert answer.as_numpy("confidence").dtype == np.float32


def test_only_what_is_asked_for_is_answered_with_the_id_and_the_version(client: Client) -> None:
    answer = client.call(
        "infer",
        "digits",
        [client.tensor("image", pictures(PICTURE), "BYTES")],
        model_version="2.0",
        outputs=[client.output("label")],
        request_id="order-66",
    )
    assert answer.as_numpy("confidence") is None
    assert (answer.response["id"], answer.response["model_version"]) == ("order-66", "2.0")


def test_the_best_classes_come_as_text(client: Client) -> None:
    outputs = [client.output("probabilities", class_count=5)]
    answer = client.call("infer", "digits", [client.tensor("image", pictures(PICTURE), "BYTES")], outputs=outputs)
    assert answer.as_numpy("probabilities").tolist() == [[b"0.750000:1:7", b"0.250000:0:1"]]


@pytest.mark.parametrize("kind", ["http", "http_aio"])
@pytest.mark.parametrize("binary", [True, False])
def test_tensors_may_be_json_both_ways(served: Served, kind: str, binary: bool) -> None:
    with Client(kind, served.http, served.grpc) as client:
        states = client.tensor("observation", STATE, "FP32", binary_data=False)
        outputs = [client.output("action", binary_data=binary)]
        assert client.call("infer", "cartpole", [states], outputs=outputs).as_numpy("action").tolist() == [1]
        image = client.tensor("image", pictures(PICTURE_BASE64.encode()), "BYTES", binary_data=False)
        labels = client.call("infer", "digits", [image], outputs=[client.output("label", binary_data=binary)])
        assert labels.as_numpy("label").tolist() == [b"7" if binary else "7"]


WRONG: dict[str, tuple[str, str, Any, str, str]] = {
    "datatype": ("cartpole", "observation", STATE.astype(np.float64), "FP64", "has datatype FP32, not FP64"),
    "shape": ("cartpole", "observation", STATE[:, :3], "FP32", "expected [-1, 4], got [1, 3]"),
    "rank": ("cartpole", "observation", STATE[0], "FP32", "expected [-1, 4], got [4]"),
    "no instance": ("cartpole", "observation", STATE[:0], "FP32", "holds no instance"),
    "not finite": ("cartpole", "observation", STATE * np.inf, "FP32", "not finite"),
    "name": ("cartpole", "state", STATE, "FP32", "has no input 'state'; it reads 'observation'"),
    "picture as numbers": ("digits", "image", STATE, "FP32", "has datatype BYTES, not FP32"),
    "empty picture": ("digits", "image", pictures(b""), "BYTES", "empty picture"),
    "refused by the handler": ("digits", "image", pictures(BAD), "BYTES", "this is not a picture"),
}


@pytest.mark.parametrize(("model", "name", "values", "datatype", "words"), WRONG.values(), ids=WRONG.keys())
def test_a_tensor_that_does_not_fit_is_a_bad_request_in_clear_words(
    client: Client, model: str, name: str, values: Any, datatype: str, words: str
) -> None:
    refused(client, 400, words, "infer", model, [client.tensor(name, values, datatype)])


def test_a_wrong_output_or_number_of_inputs_is_a_bad_request(client: Client) -> None:
    tensor = client.tensor("observation", STATE, "FP32")
    label, words = [client.output("label")], "has no output 'label'; it answers 'action'"
    refused(client, 400, words, "infer", "cartpole", [tensor], outputs=label)
    refused(client, 400, "was sent 2 times", "infer", "cartpole", [tensor, tensor])
    refused(client, 400, "was sent 0 times", "infer", "cartpole", [])
    classes = [client.output("action", class_count=1)]
    refused(client, 400, "no classes to choose from", "infer", "cartpole", [tensor], outputs=classes)


def test_an_unknown_model_or_version_is_not_found(client: Client) -> None:
    tensor = client.tensor("observation", STATE, "FP32")
    refused(client, 404, "no model nobody is registered", "infer", "nobody", [tensor])
    refused(client, 404, "no version 9.9 of model cartpole", "infer", "cartpole", [tensor], model_version="9.9")
    refused(client, 404, "no model nobody is registered", "get_model_metadata", "nobody")
    refused(client, 404, "no model nobody is registered", "get_model_config", "nobody")


def test_a_model_without_a_worker_is_unavailable(client: Client) -> None:
    refused(client, 503, "has no worker", "infer", "idle", [client.tensor("image", pictures(PICTURE), "BYTES")])


def test_statistics_count_what_was_inferred_and_what_failed(client: Client) -> None:
    def stats() -> dict[str, Any]:
        (found,) = client.describe("get_inference_statistics", "digits", "2.0")["model_stats"]
        return dict(found)

    def count(found: dict[str, Any], stage: str) -> int:
        return int(found.get("inference_stats", {}).get(stage, {}).get("count", 0))

    before = stats()
    tensor = client.tensor("image", pictures(PICTURE, PICTURE), "BYTES")
    client.call("infer", "digits", [tensor], model_version="2.0")
    refused(client, 400, "not a picture", "infer", "digits", [client.tensor("image", pictures(BAD), "BYTES")], "2.0")
    after = stats()
    assert int(after["inference_count"]) - int(before.get("inference_count", 0)) == 2
    assert count(after, "success") - count(before, "success") == 1
    assert count(after, "fail") - count(before, "fail") == 1
    assert int(after["inference_stats"]["compute_infer"]["ns"]) > 0
    assert len(client.describe("get_inference_statistics")["model_stats"]) >= 5


def test_the_repository_lists_versions_with_their_state(client: Client) -> None:
    found = client.describe("get_model_repository_index")
    entries = found["models"] if client.over_grpc else found
    listed = {(each["name"], each["version"]): each["state"] for each in entries}
    assert listed["digits", "2.0"] == "READY"
    assert listed["idle", "1.0"] == "UNAVAILABLE"


def test_loading_and_unloading_are_off_unless_configured(client: Client) -> None:
    refused(client, 403, "gateway.repository_control=true", "load_model", "digits")
    refused(client, 403, "gateway.repository_control=true", "unload_model", "digits")


def test_what_is_not_offered_says_so(client: Client) -> None:
    with pytest.raises(InferenceServerException, match="not offered here"):
        client.call("get_system_shared_memory_status")
