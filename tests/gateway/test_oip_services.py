"""The gRPC services beside the protocol's: health, reflection, and MLServer's model repository."""

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from gateway.oip import open_inference_pb2 as pb
from tests.gateway.engine import Engine
from tests.gateway.gateway_program import Served, program
from tests.gateway.given import GivenTorchServe

Health = health_pb2.HealthCheckResponse


@pytest.fixture(scope="module")
def served(given: GivenTorchServe) -> Iterator[Served]:
    with program(given) as started:
        yield started


@pytest.fixture
def channel(served: Served) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(served.grpc) as made:
        yield made


def health(channel: grpc.Channel, call: str) -> Any:
    make = channel.unary_unary if call == "Check" else channel.unary_stream
    return make(
        f"/grpc.health.v1.Health/{call}",
        request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
        response_deserializer=Health.FromString,
    )


@pytest.mark.parametrize("service", ["", "inference.GRPCInferenceService", "grpc.health.v1.Health"])
def test_health_check_of_a_ready_server_is_serving(channel: grpc.Channel, service: str) -> None:
    answer = health(channel, "Check")(health_pb2.HealthCheckRequest(service=service), timeout=30)
    assert answer.status == Health.SERVING


def test_health_check_of_an_unknown_service_is_not_found(channel: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError, match="no service 'x' is offered here") as caught:
        health(channel, "Check")(health_pb2.HealthCheckRequest(service="x"), timeout=30)
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND
    watched = health(channel, "Watch")(health_pb2.HealthCheckRequest(service="x"), timeout=30)
    assert next(watched).status == Health.SERVICE_UNKNOWN
    watched.cancel()


def test_health_list_has_every_service(channel: grpc.Channel) -> None:
    call: Any = channel.unary_unary(
        "/grpc.health.v1.Health/List",
        request_serializer=health_pb2.HealthListRequest.SerializeToString,
        response_deserializer=health_pb2.HealthListResponse.FromString,
    )
    found = call(health_pb2.HealthListRequest(), timeout=30).statuses
    assert {name: each.status for name, each in found.items()}["inference.GRPCInferenceService"] == Health.SERVING


def test_health_check_without_engine_is_not_serving(no_engine: Engine) -> None:
    with program(no_engine) as served, grpc.insecure_channel(served.grpc) as channel:
        answer = health(channel, "Check")(health_pb2.HealthCheckRequest(), timeout=30)
    assert answer.status == Health.NOT_SERVING


def test_health_watch_reports_the_stop_and_does_not_delay_it(given: GivenTorchServe, tmp_path: Path) -> None:
    with (
        program(given, "gateway.stop_notice_ms=3000", log=tmp_path / "log") as served,
        grpc.insecure_channel(served.grpc) as channel,
    ):
        watched = health(channel, "Watch")(health_pb2.HealthCheckRequest(), timeout=60)
        assert next(watched).status == Health.SERVING
        served.process.send_signal(signal.SIGTERM)
        assert [each.status for each in watched] == [Health.NOT_SERVING]
        assert served.process.wait(30) in (0, -signal.SIGTERM)


def test_reflection_lists_the_services_and_their_messages(channel: grpc.Channel) -> None:
    call: Any = channel.stream_stream(
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    asked = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol="inference.GRPCInferenceService"),
    ]
    listed, described = call(iter(asked), timeout=30)
    names = {each.name for each in listed.list_services_response.service}
    assert {"inference.GRPCInferenceService", "grpc.health.v1.Health"} <= names
    assert described.file_descriptor_response.file_descriptor_proto == [pb.DESCRIPTOR.serialized_pb]


def test_mlservers_repository_service_is_answered(channel: grpc.Channel) -> None:
    service = "/inference.model_repository.ModelRepositoryService"
    index: Any = channel.unary_unary(
        f"{service}/RepositoryIndex",
        request_serializer=pb.RepositoryIndexRequest.SerializeToString,
        response_deserializer=pb.RepositoryIndexResponse.FromString,
    )
    found = {each.name: each.state for each in index(pb.RepositoryIndexRequest(), timeout=30).models}
    assert found == {"cartpole": "READY", "digits": "READY"}
    load: Any = channel.unary_unary(
        f"{service}/RepositoryModelLoad",
        request_serializer=pb.RepositoryModelLoadRequest.SerializeToString,
        response_deserializer=pb.RepositoryModelLoadResponse.FromString,
    )
    with pytest.raises(grpc.RpcError, match="repository_control=true"):
        load(pb.RepositoryModelLoadRequest(model_name="digits"), timeout=30)
