"""The protocol's gRPC calls, their streams, and the conversion of their messages.

The servicer raises RequestError; the interceptor turns it into a status.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from dataclasses import asdict, replace
from typing import Any

import grpc
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.json_format import ParseDict
from google.protobuf.message_factory import GetMessageClass

from gateway.http.body import budget_full
from gateway.http.context import RequestContext
from gateway.http.deadline import CancelScope
from gateway.oip import open_inference_pb2 as pb
from gateway.oip.grpc_codec import parameters_of, read_request, write_response
from gateway.oip.grpc_interceptor import current_call, is_local_call
from gateway.oip.infer_streams import InferStreams
from gateway.oip.inference import InferenceRunner
from gateway.oip.repository import ModelRepository, server_metadata
from gateway.oip.server_settings import log_settings, trace_settings
from gateway.oip.shared_memory import Region, RegionRegistry, RequestMemory, no_cuda
from gateway.oip.triton_words import in_tritons_words
from gateway.services import Services

logger = logging.getLogger(__name__)


SERVICE = "inference.GRPCInferenceService"
REPOSITORY_SERVICE = "inference.model_repository.ModelRepositoryService"


def rpc_handlers(service: str, methods: Iterable[MethodDescriptor], servicer: object) -> grpc.GenericRpcHandler:
    """Connect each call of a service to the method of the servicer that has its name."""
    makers = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }
    found = {}
    for method in methods:
        request, response = GetMessageClass(method.input_type), GetMessageClass(method.output_type)
        make = makers[method.client_streaming, method.server_streaming]
        found[method.name] = make(getattr(servicer, method.name), request.FromString, response.SerializeToString)
    return grpc.method_handlers_generic_handler(service, found)


class GrpcServicer:
    """The calls of the service, under the protocol's names."""

    def __init__(
        self,
        services: Services,
        runner: InferenceRunner,
        repository: ModelRepository,
        regions: RegionRegistry | None,
        version: str,
    ) -> None:
        self._services = services
        self._runner = runner
        self._repository = repository
        self._regions = regions
        self._version = version
        self.streams = InferStreams(self._stream_infer)

    def handlers(self) -> tuple[grpc.GenericRpcHandler, ...]:
        """Return the handlers of the service, and of MLServer's service of some of the same calls."""
        service = pb.DESCRIPTOR.services_by_name[SERVICE.rpartition(".")[2]]
        repository = [method for method in service.methods if method.name.startswith("Repository")]
        return rpc_handlers(SERVICE, service.methods, self), rpc_handlers(REPOSITORY_SERVICE, repository, self)

    async def ServerLive(self, _: pb.ServerLiveRequest, __: Any) -> pb.ServerLiveResponse:  # noqa: N802 -- the protocol's own name, as are those below
        """Answer that the gateway runs."""
        return pb.ServerLiveResponse(live=True)

    async def ServerReady(self, _: pb.ServerReadyRequest, __: Any) -> pb.ServerReadyResponse:  # noqa: N802
        """Answer whether every model that delivery recorded or a short route names has a worker."""
        return pb.ServerReadyResponse(ready=not await self._repository.missing())

    async def ServerMetadata(self, _: pb.ServerMetadataRequest, __: Any) -> pb.ServerMetadataResponse:  # noqa: N802
        """Return name, version and extensions of this server."""
        return pb.ServerMetadataResponse(**server_metadata(self._version, shared_memory=self._regions is not None))

    async def ModelReady(self, message: pb.ModelReadyRequest, _: Any) -> pb.ModelReadyResponse:  # noqa: N802
        """Answer whether the model has a worker."""
        return pb.ModelReadyResponse(ready=await self._repository.is_ready(message.name, message.version or None))

    async def ModelMetadata(self, message: pb.ModelMetadataRequest, _: Any) -> pb.ModelMetadataResponse:  # noqa: N802
        """Return a model's versions and its tensors."""
        found = await self._repository.metadata(message.name, message.version or None)
        return ParseDict(found, pb.ModelMetadataResponse())

    async def ModelConfig(self, message: pb.ModelConfigRequest, _: Any) -> pb.ModelConfigResponse:  # noqa: N802
        """Return the model's configuration."""
        found = await self._repository.config(message.name, message.version or None)
        return pb.ModelConfigResponse(config=ParseDict(found, pb.ModelConfig()))

    async def ModelStatistics(self, message: pb.ModelStatisticsRequest, _: Any) -> pb.ModelStatisticsResponse:  # noqa: N802
        """Return counts of inferences since the gateway started, of all models when none is named."""
        found = await self._repository.statistics(message.name or None, message.version or None)
        return ParseDict({"model_stats": found}, pb.ModelStatisticsResponse())

    async def RepositoryIndex(self, message: pb.RepositoryIndexRequest, _: Any) -> pb.RepositoryIndexResponse:  # noqa: N802
        """Return every registered version and, where models may be loaded, the models that could be."""
        found = await self._repository.index(ready_only=message.ready)
        return ParseDict({"models": found}, pb.RepositoryIndexResponse())

    async def RepositoryModelLoad(  # noqa: N802
        self, message: pb.RepositoryModelLoadRequest, _: Any
    ) -> pb.RepositoryModelLoadResponse:
        """Roll the model's archive out."""
        await self._repository.load(message.model_name, parameters_of(message.parameters))
        return pb.RepositoryModelLoadResponse()

    async def RepositoryModelUnload(  # noqa: N802
        self, message: pb.RepositoryModelUnloadRequest, _: Any
    ) -> pb.RepositoryModelUnloadResponse:
        """Remove the model from the engine."""
        await self._repository.unload(message.model_name, parameters_of(message.parameters))
        return pb.RepositoryModelUnloadResponse()

    async def ModelInfer(self, message: pb.ModelInferRequest, context: Any) -> pb.ModelInferResponse:  # noqa: N802
        """Answer one inference within the client's deadline."""
        return await self._infer(message, context.time_remaining(), current_call.get())

    def ModelStreamInfer(  # noqa: N802
        self, messages: AsyncIterator[pb.ModelInferRequest], _: Any
    ) -> AsyncGenerator[pb.ModelStreamInferResponse, None]:
        """Answer the inferences of one stream in order; an error ends its own inference only."""
        return self.streams.answers(messages)

    async def SystemSharedMemoryStatus(  # noqa: N802
        self, message: pb.SystemSharedMemoryStatusRequest, _: Any
    ) -> pb.SystemSharedMemoryStatusResponse:
        """Return one registered region, or all of them."""
        regions = self._memory(current_call.get()).regions()
        found = [regions.find(message.name)] if message.name else regions.all().values()
        return pb.SystemSharedMemoryStatusResponse(
            regions={each.name: pb.SystemSharedMemoryStatusResponse.RegionStatus(**asdict(each)) for each in found}
        )

    async def SystemSharedMemoryRegister(  # noqa: N802
        self, message: pb.SystemSharedMemoryRegisterRequest, _: Any
    ) -> pb.SystemSharedMemoryRegisterResponse:
        """Register a region of a shared memory object."""
        region = Region(message.name, message.key, message.offset, message.byte_size)
        self._memory(current_call.get()).regions().add(region)
        return pb.SystemSharedMemoryRegisterResponse()

    async def SystemSharedMemoryUnregister(  # noqa: N802
        self, message: pb.SystemSharedMemoryUnregisterRequest, _: Any
    ) -> pb.SystemSharedMemoryUnregisterResponse:
        """Forget one region, or all of them."""
        self._memory(current_call.get()).regions().remove(message.name or None)
        return pb.SystemSharedMemoryUnregisterResponse()

    async def CudaSharedMemoryStatus(  # noqa: N802
        self, _: pb.CudaSharedMemoryStatusRequest, __: Any
    ) -> pb.CudaSharedMemoryStatusResponse:
        """Return no region, because none can be registered."""
        return pb.CudaSharedMemoryStatusResponse()

    async def CudaSharedMemoryRegister(  # noqa: N802
        self, message: pb.CudaSharedMemoryRegisterRequest, _: Any
    ) -> pb.CudaSharedMemoryRegisterResponse:
        """Refuse to register a region of a GPU's memory."""
        raise no_cuda(message.name)

    async def CudaSharedMemoryUnregister(  # noqa: N802
        self, _: pb.CudaSharedMemoryUnregisterRequest, __: Any
    ) -> pb.CudaSharedMemoryUnregisterResponse:
        """Do nothing, because no region is registered."""
        return pb.CudaSharedMemoryUnregisterResponse()

    async def TraceSetting(self, message: pb.TraceSettingRequest, _: Any) -> pb.TraceSettingResponse:  # noqa: N802
        """Return the trace settings; a change is refused."""
        if message.model_name:
            await self._services.catalog.find(message.model_name)
        found = trace_settings(self._services.settings.gateway, message.settings)
        texts = {name: value if isinstance(value, list) else [value] for name, value in found.items()}
        value_of = pb.TraceSettingResponse.SettingValue
        return pb.TraceSettingResponse(settings={name: value_of(value=value) for name, value in texts.items()})

    async def LogSettings(self, message: pb.LogSettingsRequest, _: Any) -> pb.LogSettingsResponse:  # noqa: N802
        """Return the log settings; a change is refused."""
        found = log_settings(self._services.settings.gateway, message.settings)
        fields = {bool: "bool_param", int: "uint32_param", str: "string_param"}
        value_of = pb.LogSettingsResponse.SettingValue
        return pb.LogSettingsResponse(
            settings={name: value_of(**{fields[type(value)]: value}) for name, value in found.items()}
        )

    def _memory(self, call: RequestContext) -> RequestMemory:
        return RequestMemory(self._regions, is_local_call.get(), self._services.budget, call)

    async def _infer(
        self, message: pb.ModelInferRequest, remaining_s: float | None, call: RequestContext
    ) -> pb.ModelInferResponse:
        memory = self._memory(call)
        services, request = self._services, read_request(message, memory)
        limits = [services.deadlines.longest_ms / 1000, remaining_s, request.timeout_s()]
        if remaining_s is None:
            limits.append(services.deadlines.default_ms / 1000)
        started = asyncio.get_running_loop().time()
        deadline = started + min(each for each in limits if each is not None)
        with CancelScope(deadline, since=started):
            with in_tritons_words():
                version = await services.catalog.find(request.model, request.version)
            call.model = version.model
            services.admission.check(version.model, deadline)
            own = replace(call, deadline=deadline)
            return await self._runner.infer(version, request, own, memory, write_response)

    async def _stream_infer(self, message: pb.ModelInferRequest) -> pb.ModelStreamInferResponse:
        size, budget, stream = message.ByteSize(), self._services.budget, current_call.get()
        if not budget.take(size):
            raise budget_full()
        call = replace(stream, held=size)
        try:
            response = await self._infer(message, None, call)
        finally:
            stream.model = call.model
            budget.give_back(call.held)
        # A model answers each request once, so each response is its request's last.
        response.parameters["triton_final_response"].bool_param = True
        return pb.ModelStreamInferResponse(infer_response=response)
