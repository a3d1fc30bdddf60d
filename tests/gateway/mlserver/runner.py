"""Runs in the environment of MLServer: sends what its types, codecs and stubs make, and prints the answers as JSON.

A call is over `rest`, `grpc`, or `raw` (gRPC with raw contents).
"""

import json
import sys
from typing import Any

import grpc
import httpx
import numpy as np
from mlserver.codecs import NumpyCodec, StringCodec
from mlserver.grpc.converters import (
    ModelInferRequestConverter,
    ModelInferResponseConverter,
    ModelMetadataResponseConverter,
    ServerMetadataResponseConverter,
)
from mlserver.grpc.dataplane_pb2 import ModelMetadataRequest, ModelReadyRequest, ServerMetadataRequest
from mlserver.grpc.dataplane_pb2_grpc import GRPCInferenceServiceStub
from mlserver.grpc.model_repository_pb2 import RepositoryIndexRequest
from mlserver.grpc.model_repository_pb2_grpc import ModelRepositoryServiceStub
from mlserver.types import (
    InferenceErrorResponse,
    InferenceRequest,
    InferenceResponse,
    MetadataModelResponse,
    MetadataServerResponse,
    RepositoryIndexResponse,
    ResponseOutput,
)


def request_of(tensors: dict[str, Any]) -> InferenceRequest:
    """Return MLServer's request; texts are encoded by its codec of strings, numbers by that of arrays."""
    inputs = []
    for name, values in tensors.items():
        if isinstance(values, list):
            inputs.append(StringCodec.encode_input(name, values))
        else:
            inputs.append(NumpyCodec.encode_input(name, np.array(values["values"], values["dtype"])))
    return InferenceRequest(id="order-66", inputs=inputs)


def plain(answer: InferenceResponse) -> dict[str, Any]:
    """Return an answer with the values of its outputs by name."""
    outputs = {output.name: values_of(output) for output in answer.outputs}
    return {"id": answer.id, "model": answer.model_name, "version": answer.model_version, "outputs": outputs}


def values_of(output: ResponseOutput) -> Any:
    """Return the values of an output as MLServer decodes them."""
    decoded = StringCodec.decode_output(output) if output.datatype == "BYTES" else NumpyCodec.decode_output(output)
    return np.array(decoded).tolist()


def over_rest(client: httpx.Client, call: dict[str, Any]) -> Any:
    """Return what MLServer's types make of the answer of its REST routes."""
    model = call.get("model")
    if call["method"] == "infer":
        content = request_of(call["tensors"]).model_dump_json()
        answer = client.post(f"/v2/models/{model}/infer", content=content)
        if answer.status_code != httpx.codes.OK:
            return f"{answer.status_code}: {InferenceErrorResponse.model_validate_json(answer.content).error}"
        return plain(InferenceResponse.model_validate_json(answer.content))
    if call["method"] == "ready":
        return client.get(f"/v2/models/{model}/ready").status_code == httpx.codes.OK
    if call["method"] == "index":
        answer = client.post("/v2/repository/index", json={})
        return sorted({each.name for each in RepositoryIndexResponse.model_validate_json(answer.content).root})
    if call["method"] == "server":
        return MetadataServerResponse.model_validate_json(client.get("/v2").content).model_dump()
    return MetadataModelResponse.model_validate_json(client.get(f"/v2/models/{model}").content).model_dump()


def over_grpc(channel: grpc.Channel, call: dict[str, Any]) -> Any:
    """Return what MLServer's types make of the answer of its services."""
    stub, model = GRPCInferenceServiceStub(channel), call.get("model")
    try:
        if call["method"] == "infer":
            sent = request_of(call["tensors"])
            message = ModelInferRequestConverter.from_types(sent, model, use_raw=call["over"] == "raw")
            return plain(ModelInferResponseConverter.to_types(stub.ModelInfer(message)))
        if call["method"] == "ready":
            return stub.ModelReady(ModelReadyRequest(name=model)).ready
        if call["method"] == "index":
            found = ModelRepositoryServiceStub(channel).RepositoryIndex(RepositoryIndexRequest())
            return sorted({each.name for each in found.models})
        if call["method"] == "server":
            return ServerMetadataResponseConverter.to_types(stub.ServerMetadata(ServerMetadataRequest())).model_dump()
        answer = stub.ModelMetadata(ModelMetadataRequest(name=model))
        return ModelMetadataResponseConverter.to_types(answer).model_dump()
    except grpc.RpcError as error:
        return f"{error.code().name}: {error.details()}"


def main(addresses: dict[str, str], calls: list[dict[str, Any]]) -> list[Any]:
    """Return the result of each call, or the text of its error."""
    with (
        httpx.Client(base_url=addresses["http"], timeout=60) as client,
        grpc.insecure_channel(addresses["grpc"]) as channel,
    ):
        return [over_rest(client, call) if call["over"] == "rest" else over_grpc(channel, call) for call in calls]


given = json.load(sys.stdin)
print(json.dumps(main(given["addresses"], given["calls"])))  # noqa: T201
