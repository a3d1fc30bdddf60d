"""A stock tritonclient, in its four kinds and with default settings, against the real gateway and a real engine."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import requests

from gateway.examples import PICTURE, PICTURE_BASE64
from tests.gateway.engine import Engine
from tests.gateway.gateway_program import Served, program
from tests.gateway.triton.client import KINDS, Client, InferenceServerException, pictures
from tests.polling import wait_for

BAD = b"bad".ljust(32)
STATE = np.array([[0.1, 0.2, 0.01, -0.2]], np.float32)
GRPC_WORDS = {400: "INVALID_ARGUMENT", 404: "NOT_FOUND", 403: "UNAVAILABLE", 503: "UNAVAILABLE", 504: "Deadline"}


@pytest.fixture(scope="module")
def served(engine: Engine) -> Iterator[Served]:
    with program(engine) as started:
        wait_for(lambda: requests.get(f"{started.url}/readyz", timeout=30).status_code == 200)
        yield started


@pytest.fixture(scope="module", params=KINDS)
def client(request: pytest.FixtureRequest, served: Served) -> Iterator[Client]:
    with Client(request.param, served.http, served.grpc) as made:
        yield made


def refused(client: Client, status: int, words: str, name: str, *arguments: Any, **options: Any) -> None:
    with pytest.raises(InferenceServerException) as caught:
        client.call(name, *arguments, **options)
    assert words in str(caught.value)
    assert (GRPC_WORDS[status] if client.over_grpc else str(status)) in str(caught.value.status())


def test_server_metadata_names_extensions(client: Client) -> None:
    assert client.call("is_server_live") is True
    assert client.call("is_server_ready") is True
    metadata = client.describe("get_server_metadata")
    assert metadata["name"] == "marina"
    assert "binary_tensor_data" in metadata["extensions"]


def test_model_ready_needs_a_worker(client: Client) -> None:
    assert client.call("is_model_ready", "digits") is True
    assert client.call("is_model_ready", "digits", "2.0") is True
    assert client.call("is_model_ready", "idle") is False


def test_model_metadata_is_enough_to_build_a_request(client: Client) -> None:
    metadata = client.describe("get_model_metadata", "cartpole")
    assert metadata["versions"] == ["1.0"]
    (reads,) = metadata["inputs"]
    assert (reads["name"], reads["datatype"]) == ("observation", "FP32")
    assert [int(size) for size in reads["shape"]] == [-1, 4]
    shape = [max(int(size), 3) if int(size) < 0 else int(size) for size in reads["shape"]]
    tensor = client.tensor(reads["name"], np.zeros(shape, np.float32), reads["datatype"])
    action = client.call("infer", "cartpole", [tensor]).as_numpy(metadata["outputs"][0]["name"])
    assert (action.dtype, action.tolist()) == (np.int64, [1, 1, 1])


def test_model_metadata_of_pictures_lists_classes(client: Client) -> None:
    outputs = client.describe("get_model_metadata", "digits", "2.0")["outputs"]
    found = {each["name"]: (each["datatype"], [int(size) for size in each["shape"]]) for each in outputs}
    assert found == {"probabilities": ("FP32", [-1, 2]), "label": ("BYTES", [-1]), "confidence": ("FP32", [-1])}


def test_model_config_names_labels_and_batch_settings(client: Client) -> None:
    config = client.describe("get_model_config", "digits")
    config = config.get("config", config)
    assert config["parameters"]["labels"]["string_value"] == '["1", "7"]'
    assert config["parameters"]["batch_size"]["string_value"] == "4"
    assert config["input"][0]["data_type"] == "TYPE_STRING"


@pytest.mark.parametrize("count", [1, 3])
def test_infer_pictures_answers_in_order_of_labels(client: Client, count: int) -> None:
    answer = client.call("infer", "digits", [client.tensor("image", pictures(*[PICTURE] * count), "BYTES")])
    assert answer.as_numpy("probabilities").tolist() == [[0.25, 0.75]] * count
    assert answer.as_numpy("label").tolist() == [b"7"] * count
    assert answer.as_numpy("confidence").dtype == np.float32


def test_infer_answers_requested_output_with_id_and_version(client: Client) -> None:
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


def test_infer_best_classes_are_text(client: Client) -> None:
    outputs = [client.output("probabilities", class_count=5)]
    answer = client.call("infer", "digits", [client.tensor("image", pictures(PICTURE), "BYTES")], outputs=outputs)
    assert answer.as_numpy("probabilities").tolist() == [[b"0.750000:1:7", b"0.250000:0:1"]]


@pytest.mark.parametrize("datatype", ["FP64", "FP16", "BF16", "INT8", "INT32", "INT64", "UINT8", "UINT32", "UINT64"])
def test_infer_state_of_another_datatype_is_taken_exactly(client: Client, datatype: str) -> None:
    values = np.array([[1, 2, 0, 3]], {"FP64": np.float64, "FP16": np.float16, "BF16": np.float32}.get(datatype))
    if datatype.startswith(("INT", "UINT")):
        values = values.astype(datatype.lower())
    answer = client.call("infer", "cartpole", [client.tensor("observation", values, datatype)])
    assert answer.as_numpy("action").tolist() == [1]


def test_infer_picture_of_batched_bytes_or_as_uint8(client: Client) -> None:
    batched = client.tensor("image", pictures(PICTURE).reshape(1, 1), "BYTES")
    encoded = client.tensor("image", np.frombuffer(PICTURE, np.uint8).reshape(1, -1), "UINT8")
    for tensor in (batched, encoded):
        assert client.call("infer", "digits", [tensor]).as_numpy("label").tolist() == [b"7"]


def test_infer_sequence_is_refused_by_name(client: Client) -> None:
    tensor = client.tensor("observation", STATE, "FP32")
    with pytest.raises(InferenceServerException, match="sequence_id: the models here keep no state"):
        client.call("infer", "cartpole", [tensor], sequence_id=7, sequence_start=True)


@pytest.mark.parametrize("kind", ["http", "http_aio"])
@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_infer_request_and_response_may_be_compressed(served: Served, kind: str, encoding: str) -> None:
    with Client(kind, served.http, served.grpc) as client:
        tensor = client.tensor("image", pictures(*[PICTURE] * 60), "BYTES")
        options = {"request_compression_algorithm": encoding, "response_compression_algorithm": encoding}
        answer = client.call("infer", "digits", [tensor], **options)
    assert answer.as_numpy("label").tolist() == [b"7"] * 60


def test_trace_and_log_settings_are_read_only(client: Client) -> None:
    trace = client.describe("get_trace_settings")
    trace = trace.get("settings", trace)
    assert trace["trace_level"] in (["OFF"], {"value": ["OFF"]})
    log = client.describe("get_log_settings")
    assert log.get("settings", log)["log_error"] in (True, {"bool_param": True})
    refused(client, 403, "gateway.tracing.endpoint", "update_trace_settings", settings={"trace_rate": "1"})
    refused(client, 403, "gateway.access_log", "update_log_settings", {"log_verbose_level": 1})


@pytest.mark.parametrize("kind", ["http", "http_aio"])
@pytest.mark.parametrize("binary", [True, False])
def test_infer_json_tensors_both_ways(served: Served, kind: str, binary: bool) -> None:
    with Client(kind, served.http, served.grpc) as client:
        states = client.tensor("observation", STATE, "FP32", binary_data=False)
        outputs = [client.output("action", binary_data=binary)]
        assert client.call("infer", "cartpole", [states], outputs=outputs).as_numpy("action").tolist() == [1]
        image = client.tensor("image", pictures(PICTURE_BASE64.encode()), "BYTES", binary_data=False)
        labels = client.call("infer", "digits", [image], outputs=[client.output("label", binary_data=binary)])
        assert labels.as_numpy("label").tolist() == [b"7" if binary else "7"]


WRONG: dict[str, tuple[str, str, Any, str, str]] = {
    "datatype": ("cartpole", "observation", STATE > 0, "BOOL", "has datatype FP32, not BOOL"),
    "inexact": ("cartpole", "observation", np.array([[0.1, 0, 0, 0]]), "FP64", "FP32 does not hold 0.1 exactly"),
    "inexact integer": (
        "cartpole",
        "observation",
        np.array([[0, 2**24 + 1, 0, 0]], np.int32),
        "INT32",
        "FP32 does not hold 16777217 exactly",
    ),
    "too large": ("cartpole", "observation", np.array([[0, 1e300, 0, 0]]), "FP64", "FP32 does not hold 1e+300"),
    "pictures as bytes": (
        "digits",
        "image",
        np.frombuffer(PICTURE * 2, np.uint8).reshape(2, -1),
        "UINT8",
        "has datatype BYTES, not UINT8",
    ),
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
def test_infer_unfit_tensor_is_refused_with_reason(
    client: Client, model: str, name: str, values: Any, datatype: str, words: str
) -> None:
    refused(client, 400, words, "infer", model, [client.tensor(name, values, datatype)])


def test_infer_wrong_output_or_number_of_inputs_is_refused(client: Client) -> None:
    tensor = client.tensor("observation", STATE, "FP32")
    label, words = [client.output("label")], "has no output 'label'; it answers 'action'"
    refused(client, 400, words, "infer", "cartpole", [tensor], outputs=label)
    refused(client, 400, "was sent 2 times", "infer", "cartpole", [tensor, tensor])
    refused(client, 400, "was sent 0 times", "infer", "cartpole", [])
    classes = [client.output("action", class_count=1)]
    refused(client, 400, "no classes to choose from", "infer", "cartpole", [tensor], outputs=classes)


def test_infer_unknown_model_or_version_is_not_found(client: Client) -> None:
    tensor = client.tensor("observation", STATE, "FP32")
    refused(client, 404, "no model nobody is registered", "infer", "nobody", [tensor])
    refused(client, 404, "no version 9.9 of model cartpole", "infer", "cartpole", [tensor], model_version="9.9")
    refused(client, 404, "no model nobody is registered", "get_model_metadata", "nobody")
    refused(client, 404, "no model nobody is registered", "get_model_config", "nobody")


def test_infer_model_without_worker_is_unavailable(client: Client) -> None:
    refused(client, 503, "has no worker", "infer", "idle", [client.tensor("image", pictures(PICTURE), "BYTES")])


def test_statistics_count_successes_and_failures(client: Client) -> None:
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


def test_repository_index_lists_versions_with_state(client: Client) -> None:
    found = client.describe("get_model_repository_index")
    entries = found["models"] if client.over_grpc else found
    listed = {(each["name"], each["version"]): each["state"] for each in entries}
    assert listed["digits", "2.0"] == "READY"
    assert listed["idle", "1.0"] == "UNAVAILABLE"


def test_repository_load_and_unload_are_off_by_default(client: Client) -> None:
    refused(client, 403, "gateway.repository_control=true", "load_model", "digits")
    refused(client, 403, "gateway.repository_control=true", "unload_model", "digits")


def test_shared_memory_is_off_by_default(client: Client) -> None:
    refused(client, 403, "gateway.shared_memory=true", "get_system_shared_memory_status")
    refused(client, 403, "gateway.shared_memory=true", "register_system_shared_memory", "in", "/in", 64)
    tensor = client.tensor("observation", STATE, "FP32", ("in", 16, 0))
    refused(client, 403, "gateway.shared_memory=true", "infer", "cartpole", [tensor])
