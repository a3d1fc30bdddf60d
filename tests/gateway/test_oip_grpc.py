"""gRPC by itself: streams, deadlines, sizes, ids, the port, and a stop under load."""

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import requests
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    ServiceDescriptorProto,
)

from gateway.apikey import new_key
from gateway.examples import PICTURE
from gateway.oip import open_inference_pb2 as pb
from tests.gateway.engine import Engine, hold
from tests.gateway.gateway_program import ROOT, Served, program, stub
from tests.gateway.triton.client import Client, InferenceServerException, pictures, schemas
from tests.observability.collector import Collector
from tests.polling import wait_for

STATE = np.array([[0.1, 0.2, 0.01, -0.2]], np.float32)
SLEEP, BAD = b"sleep".ljust(32), b"bad".ljust(32)


@pytest.fixture(scope="module")
def served(engine: Engine) -> Iterator[Served]:
    with program(engine, "gateway.max_body_bytes=100000") as started:
        yield started


@pytest.fixture(scope="module")
def client(served: Served) -> Iterator[Client]:
    with Client("grpc", served.http, served.grpc) as made:
        yield made


def image(client: Client, content: bytes) -> list[Any]:
    return [client.tensor("image", pictures(content), "BYTES")]


def test_infer_too_many_instances_are_refused(client: Client) -> None:
    with pytest.raises(InferenceServerException, match=r"RESOURCE_EXHAUSTED.* 65 instances, more than the 64"):
        client.call("infer", "digits", [client.tensor("image", pictures(*[PICTURE] * 65), "BYTES")])


def test_stream_answers_in_order_and_outlives_an_error(client: Client) -> None:
    client.call("start_stream")
    for number in range(40):
        content = BAD if number == 20 else PICTURE
        client.call("async_stream_infer", "digits", image(client, content), request_id=str(number))
    answers = client.stream_results(40)
    client.call("stop_stream")
    errors = [number for number, (_, error) in enumerate(answers) if error is not None]
    assert errors == [20]
    assert "this is not a picture" in str(answers[20][1])
    results = [result for result, _ in answers if result is not None]
    assert [result.response["id"] for result in results] == [str(n) for n in range(40) if n != 20]
    assert all(result.as_numpy("label").tolist() == [b"7"] for result in results)
    assert all(result.response["parameters"]["triton_final_response"]["bool_param"] for result in results)


def test_stream_of_asyncio_client_is_answered(served: Served) -> None:
    with Client("grpc_aio", served.http, served.grpc) as client:
        tensor = client.tensor("observation", STATE, "FP32")
        asked = [{"model_name": model, "inputs": [tensor]} for model in ("cartpole", "nobody", "cartpole")]
        answers = client.stream_infer(asked)
    assert [error is None for _, error in answers] == [True, False, True]
    assert "no model nobody" in str(answers[1][1])
    assert answers[2][0] is not None
    assert answers[2][0].as_numpy("action").tolist() == [1]


def test_infer_honours_client_deadline_and_timeout_parameter(client: Client) -> None:
    for limit in ({"client_timeout": 0.2}, {"timeout": 200_000}):
        with pytest.raises(InferenceServerException, match=r"Deadline|no answer within"):
            client.call("infer", "fragile", image(client, SLEEP), **limit)


def test_infer_without_deadline_has_the_configured_one(engine: Engine) -> None:
    with (
        program(engine, "gateway.deadline_ms=200") as served,
        Client("grpc", served.http, served.grpc) as client,
        pytest.raises(InferenceServerException, match=r"no answer within 200 ms|the deadline passed"),
    ):
        client.call("infer", "fragile", image(client, SLEEP))


def test_infer_message_beyond_limit_is_refused(client: Client) -> None:
    with pytest.raises(InferenceServerException, match=r"(?i)larger than max") as caught:
        client.call("infer", "digits", image(client, bytes(200_000)))
    assert "RESOURCE_EXHAUSTED" in str(caught.value.status())


def test_infer_typed_contents_are_read(served: Served) -> None:
    with grpc.insecure_channel(served.grpc) as channel:
        tensor = pb.ModelInferRequest.InferInputTensor(name="observation", datatype="FP32", shape=[1, 4])
        tensor.contents.fp32_contents.extend(STATE[0].tolist())
        request = pb.ModelInferRequest(model_name="cartpole", inputs=[tensor])
        answer = stub(channel).ModelInfer(request, timeout=30)
    assert answer.raw_output_contents == [np.array([1], np.int64).tobytes()]


@pytest.mark.parametrize(
    ("datatype", "field", "values", "words"),
    [
        ("INT8", "int_contents", [1, 2, 3, 300], "contents hold something that is not INT8"),
        ("FP16", "fp32_contents", [1, 2, 3, 4], "FP16 in raw_input_contents only"),
        ("FP32", "fp64_contents", [1, 2, 3, 4], r"elements of FP32 belong into contents\.fp32_contents"),
    ],
)
def test_infer_contents_that_are_not_the_datatypes_are_refused(
    served: Served, datatype: str, field: str, values: list[float], words: str
) -> None:
    tensor = pb.ModelInferRequest.InferInputTensor(name="observation", datatype=datatype, shape=[1, 4])
    getattr(tensor.contents, field).extend(values)
    with grpc.insecure_channel(served.grpc) as channel, pytest.raises(grpc.RpcError, match=words):
        stub(channel).ModelInfer(pb.ModelInferRequest(model_name="cartpole", inputs=[tensor]), timeout=30)


def test_infer_raw_form_may_have_empty_contents_beside_it(served: Served) -> None:
    tensor = pb.ModelInferRequest.InferInputTensor(name="observation", datatype="FP32", shape=[1, 4])
    request = pb.ModelInferRequest(model_name="cartpole", inputs=[tensor], raw_input_contents=[STATE.tobytes()])
    request.inputs[0].contents.SetInParent()  # as MLServer's converters do
    with grpc.insecure_channel(served.grpc) as channel:
        answer = stub(channel).ModelInfer(request, timeout=30)
        assert answer.raw_output_contents == [np.array([1], np.int64).tobytes()]
        request.inputs[0].contents.fp32_contents.extend(STATE[0].tolist())
        with pytest.raises(grpc.RpcError, match="has contents beside its raw form"):
            stub(channel).ModelInfer(request, timeout=30)


def test_interceptor_returns_request_id_and_refuses_unknown_call(served: Served) -> None:
    with grpc.insecure_channel(served.grpc) as channel:
        metadata = (("x-request-id", "order-66"),)
        _, call = stub(channel).ServerLive.with_call(pb.ServerLiveRequest(), metadata=metadata, timeout=30)
        assert dict(call.trailing_metadata())["x-request-id"] == "order-66"
        other: Any = channel.unary_unary("/inference.GRPCInferenceService/Nothing")
        with pytest.raises(grpc.RpcError, match="Nothing is not offered here") as caught:
            other(b"", timeout=30)
    assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED


def test_interceptor_counts_calls_as_requests(served: Served, client: Client) -> None:
    client.call("infer", "digits", image(client, PICTURE))
    with pytest.raises(InferenceServerException):
        client.call("infer", "digits", image(client, BAD))
    with pytest.raises(InferenceServerException):
        client.call("get_model_metadata", "nobody-typed-this")
    text = requests.get(f"{served.url}/metrics", timeout=30).text
    for status in (200, 400):
        labels = f'model="digits",route="/inference.GRPCInferenceService/ModelInfer",status="{status}"'
        assert f"marina_gateway_request_seconds_count{{{labels}}}" in text
    assert "nobody-typed-this" not in text


def test_stream_left_by_client_is_no_longer_in_flight(served: Served, client: Client) -> None:
    def flying(count: int) -> bool:
        # This request for the metrics is in flight itself.
        return f"marina_gateway_requests_in_flight {count}.0" in requests.get(f"{served.url}/metrics", timeout=30).text

    client.call("start_stream")
    for _ in range(3):
        client.call("async_stream_infer", "fragile", image(client, SLEEP))
    wait_for(lambda: flying(2))
    client.call("stop_stream", cancel_requests=True)
    wait_for(lambda: flying(1))


def test_server_stop_waits_for_calls_and_ends_idle_streams(engine: Engine, tmp_path: Path) -> None:
    with (
        program(engine, "gateway.stop_notice_ms=3000", log=tmp_path / "log") as served,
        Client("grpc", served.http, served.grpc) as client,
    ):
        client.call("start_stream")
        answers: list[Any] = []
        with hold(tmp_path) as content:
            tensor = image(client, content)
            asking = threading.Thread(target=lambda: answers.append(client.call("infer", "fragile", tensor)))
            asking.start()
            # The stream, the call, and this very request.
            flying = "marina_gateway_requests_in_flight 3.0"
            wait_for(lambda: flying in requests.get(f"{served.url}/metrics", timeout=30).text)
            served.process.send_signal(signal.SIGTERM)
            assert requests.get(f"{served.url}/readyz", timeout=30).status_code == 503
        asking.join()
        assert answers[0].as_numpy("label").tolist() == [b"7"]
        assert served.process.wait(30) in (0, -signal.SIGTERM)
        client.call("stop_stream", cancel_requests=True)


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    made.start()
    yield made
    made.stop()


def test_interceptor_logs_and_traces_call_without_content(engine: Engine, collector: Collector, tmp_path: Path) -> None:
    log = tmp_path / "log"
    traced = f"gateway.tracing.endpoint={collector.url}"
    with program(engine, "gateway.access_log=true", traced, log=log) as served:
        with Client("grpc", served.http, served.grpc) as client:
            client.call("infer", "digits", image(client, PICTURE), request_id="order-66")
        lines = [json.loads(line) for line in log.read_text().splitlines()]
    (call,) = [line for line in lines if str(line.get("path")).endswith("/ModelInfer")]
    assert (call["request_id"], call["model"], call["status"]) == ("order-66", "digits", 200)
    # The program has ended, and has sent what it had before.
    spans = {span.name: span for span in collector.trace(call["trace_id"])}
    whole = spans.pop("gRPC /inference.GRPCInferenceService/ModelInfer")
    assert {name: span.parent_id for name, span in spans.items()} == {"engine predict": whole.span_id}
    assert whole.attributes["marina.request_id"] == "order-66"
    assert "IHDR" not in log.read_text()


def test_interceptor_requires_configured_api_key(engine: Engine) -> None:
    key, digest = new_key()
    with (
        program(engine, f"gateway.security.api_keys=[{{name: a, sha256: {digest}, rate: 2/minute}}]") as served,
        Client("grpc", served.http, served.grpc) as client,
    ):
        assert client.call("is_server_live")
        tensor = image(client, PICTURE)
        for headers in ({}, {"authorization": "Bearer wrong"}):
            with pytest.raises(InferenceServerException) as caught:
                client.call("infer", "digits", tensor, headers=headers)
            assert "UNAUTHENTICATED" in str(caught.value.status())
        for headers in ({"authorization": f"Bearer {key}"}, {"x-api-key": key}):
            assert client.call("infer", "digits", tensor, headers=headers).as_numpy("label").tolist() == [b"7"]
        with pytest.raises(InferenceServerException) as caught:
            client.call("infer", "digits", tensor, headers={"x-api-key": key})
        assert "RESOURCE_EXHAUSTED" in str(caught.value.status())


def test_server_of_several_processes_shares_the_port(engine: Engine) -> None:
    with program(engine, "gateway.processes=2") as served, Client("grpc", served.http, served.grpc) as client:
        wait_for(lambda: bool(client.call("is_server_live", client_timeout=5)))
        answer = client.call("infer", "digits", image(client, PICTURE))
        assert answer.as_numpy("label").tolist() == [b"7"]


def test_server_taken_port_is_an_error_of_one_line(served: Served) -> None:
    port = served.grpc.rsplit(":", 1)[1]
    command = [sys.executable, "app.py", "gateway.port=1", f"gateway.grpc_port={port}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert (done.stderr.count("\n"), f"port {port}" in done.stderr) == (1, True), done.stderr


def test_messages_equal_those_of_the_stock_client() -> None:
    stock = schemas()
    theirs = {message.name: message for schema in stock for message in schema.message_type}
    enums = {enum.name: enum for schema in stock for enum in schema.enum_type}
    ours = FileDescriptorProto.FromString(pb.DESCRIPTOR.serialized_pb)
    for message in ours.message_type:
        assert message_fields(message) <= message_fields(theirs[message.name]), message.name
    for enum in ours.enum_type:
        assert enum == enums[enum.name]
    (theirs_service,) = (service for schema in stock for service in schema.service)
    (our_service,) = ours.service
    assert (ours.package, our_service.name) == (stock[0].package, theirs_service.name)
    assert calls(our_service) <= calls(theirs_service)


def message_fields(message: DescriptorProto, path: str = "") -> set[tuple[Any, ...]]:
    """Every field of a message and of those inside it: path, name, number, type, label, and the choice it is of."""
    choices = [choice.name for choice in message.oneof_decl]
    found: set[tuple[Any, ...]] = {
        (path, field.name, field.number, field.type, field.type_name, field.label, choice(field, choices))
        for field in message.field
    }
    for inner in message.nested_type:
        found |= message_fields(inner, f"{path}.{inner.name}")
    return found | {(path, message.options.map_entry)}


def choice(field: FieldDescriptorProto, choices: list[str]) -> str | None:
    return choices[field.oneof_index] if field.HasField("oneof_index") else None


def calls(service: ServiceDescriptorProto) -> set[tuple[Any, ...]]:
    return {
        (each.name, each.input_type, each.output_type, each.client_streaming, each.server_streaming)
        for each in service.method
    }


def test_generated_module_matches_proto_file(tmp_path: Path) -> None:
    options = ("-I.", f"--python_out={tmp_path}", f"--pyi_out={tmp_path}", "gateway/oip/open_inference.proto")
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", *options], cwd=ROOT, check=True)
    for suffix in ("py", "pyi"):
        name = f"gateway/oip/open_inference_pb2.{suffix}"
        assert (tmp_path / name).read_text() == (ROOT / name).read_text()


def test_messages_bring_no_numpy() -> None:
    program = "import sys, gateway.oip.grpc_server, gateway.oip.grpc_servicer; assert 'numpy' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)
