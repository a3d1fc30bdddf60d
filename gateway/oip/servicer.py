"""The protocol's gRPC calls. What is refused is raised as RequestError; the edge makes it a status."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any

import grpc
from google.protobuf.json_format import ParseDict
from google.protobuf.message_factory import GetMessageClass

from gateway.http.body import full
from gateway.http.deadline import answered_within
from gateway.oip import grpc_wire, metadata, repository
from gateway.oip import open_inference_pb2 as pb
from gateway.oip.context import Oip
from gateway.oip.exchanged import timeout_s
from gateway.oip.grpc_edge import current_call
from gateway.oip.inference import infer
from gateway.oip.rest import statistics, version_of
from gateway.oip.stream import Streams
from gateway.services import has_worker, missing_models


class Servicer:
    """The calls, named as the protocol names them."""

    def __init__(self, oip: Oip, version: str) -> None:
        self._oip = oip
        self._version = version
        self.streams = Streams(self._streamed)

    async def ServerLive(self, _: Any, __: Any) -> Any:  # noqa: N802 -- this and all below: the protocol's own names
        """The gateway itself runs."""
        return pb.ServerLiveResponse(live=True)

    async def ServerReady(self, _: Any, __: Any) -> Any:  # noqa: N802
        """Whether every model that a short route or default names has a worker."""
        return pb.ServerReadyResponse(ready=not await missing_models(self._oip.services))

    async def ServerMetadata(self, _: Any, __: Any) -> Any:  # noqa: N802
        """Name, version and extensions of this server."""
        return pb.ServerMetadataResponse(**metadata.server(self._version))

    async def ModelReady(self, message: Any, _: Any) -> Any:  # noqa: N802
        """Whether the model has a worker."""
        _, found = await version_of(self._oip, message.name, message.version or None)
        return pb.ModelReadyResponse(ready=has_worker(self._oip.services, found))

    async def ModelMetadata(self, message: Any, _: Any) -> Any:  # noqa: N802
        """A model's versions and its tensors."""
        served, found = await version_of(self._oip, message.name, message.version or None)
        return ParseDict(metadata.model(served, found), pb.ModelMetadataResponse())

    async def ModelConfig(self, message: Any, _: Any) -> Any:  # noqa: N802
        """The model's configuration."""
        _, found = await version_of(self._oip, message.name, message.version or None)
        told = metadata.config(found, self._oip.services.settings.engine.name)
        return pb.ModelConfigResponse(config=ParseDict(told, pb.ModelConfig()))

    async def ModelStatistics(self, message: Any, _: Any) -> Any:  # noqa: N802
        """Counts of inferences since the gateway started, of all models when none is named."""
        version = message.version or None
        if message.name:
            served, _found = await version_of(self._oip, message.name, version)
            models = [served]
        else:
            found = (await self._oip.services.catalog.current()).models
            models = [each for _, each in sorted(found.items())]
        content = {"model_stats": statistics(self._oip, models, version)}
        return ParseDict(content, pb.ModelStatisticsResponse())

    async def RepositoryIndex(self, message: Any, _: Any) -> Any:  # noqa: N802
        """Every version that is registered; where models may be loaded, those that could be as well."""
        found = await repository.index(self._oip, ready_only=message.ready)
        return ParseDict({"models": found}, pb.RepositoryIndexResponse())

    async def RepositoryModelLoad(self, message: Any, _: Any) -> Any:  # noqa: N802
        """Rolls the model's archive out."""
        await repository.load(self._oip, message.model_name, grpc_wire.parameters(message.parameters))
        return pb.RepositoryModelLoadResponse()

    async def RepositoryModelUnload(self, message: Any, _: Any) -> Any:  # noqa: N802
        """Takes the model away."""
        await repository.unload(self._oip, message.model_name, grpc_wire.parameters(message.parameters))
        return pb.RepositoryModelUnloadResponse()

    async def ModelInfer(self, message: Any, context: Any) -> Any:  # noqa: N802
        """One inference, within the client's deadline."""
        return await self._infer(message, context.time_remaining())

    def ModelStreamInfer(self, messages: Any, _: Any) -> AsyncGenerator[Any, None]:  # noqa: N802
        """Inferences over one stream, answered in order; an error ends its own inference only."""
        return self.streams.answers(messages)

    async def _infer(self, message: Any, remaining_s: float | None) -> Any:
        deadlines, request = self._oip.services.deadlines, grpc_wire.read(message)
        seconds = [deadlines.longest_ms / 1000, remaining_s, timeout_s(request.parameters)]
        if remaining_s is None:
            seconds.append(deadlines.default_ms / 1000)
        deadline = asyncio.get_running_loop().time() + min(each for each in seconds if each is not None)
        async with answered_within(deadline):
            found = await self._oip.services.catalog.find(request.model, request.version)
            call = current_call.get()
            call.model = found.model
            self._oip.services.admission.check(found.model, deadline)
            response = await infer(self._oip, found, request, replace(call, deadline=deadline))
        return grpc_wire.write(response)

    async def _streamed(self, message: Any) -> Any:
        size, receiving = message.ByteSize(), self._oip.services.receiving
        if not receiving.take(size):
            raise full()
        try:
            response = await self._infer(message, None)
        finally:
            receiving.give_back(size)
        # The model answers each request once, so each answer is its request's last.
        response.parameters["triton_final_response"].bool_param = True
        return pb.ModelStreamInferResponse(infer_response=response)


def registered(servicer: Servicer) -> grpc.GenericRpcHandler:
    """Connect each call of the service to the servicer's method of that name."""
    service = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"]
    handlers = {}
    for method in service.methods:
        made = grpc.stream_stream_rpc_method_handler if method.client_streaming else grpc.unary_unary_rpc_method_handler
        request, response = GetMessageClass(method.input_type), GetMessageClass(method.output_type)
        handlers[method.name] = made(getattr(servicer, method.name), request.FromString, response.SerializeToString)
    return grpc.method_handlers_generic_handler(service.full_name, handlers)
