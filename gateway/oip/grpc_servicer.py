"""The protocol's gRPC calls, their streams, and the conversion of their messages.

The servicer raises RequestError; the interceptor turns it into a status.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

import grpc
from google.protobuf.json_format import ParseDict
from google.protobuf.message_factory import GetMessageClass

from errors import RequestError, UnreadableInput
from gateway.http.body import budget_full
from gateway.http.deadline import CancelScope
from gateway.oip import open_inference_pb2 as pb
from gateway.oip.grpc_interceptor import current_call
from gateway.oip.infer_messages import InferRequest, InferResponse, RequestedOutput, Tensor, from_raw, is_known, to_raw
from gateway.oip.inference import InferenceRunner
from gateway.oip.repository import ModelRepository, server_metadata
from gateway.services import Services
from logs import log_task_error

logger = logging.getLogger(__name__)

# Further requests of one stream wait in its connection, which slows the client down.
STREAM_REQUESTS = 16

# The field of InferTensorContents that holds the elements of a datatype; FP16 comes raw only.
_FIELDS: Mapping[str, str] = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}


class GrpcServicer:
    """The calls of the service, under the protocol's names."""

    def __init__(self, services: Services, runner: InferenceRunner, repository: ModelRepository, version: str) -> None:
        self._services = services
        self._runner = runner
        self._repository = repository
        self._version = version
        self.streams = InferStreams(self._stream_infer)

    def handlers(self) -> grpc.GenericRpcHandler:
        """Connect each call of the service to the method of that name."""
        service = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"]
        found = {}
        for method in service.methods:
            request, response = GetMessageClass(method.input_type), GetMessageClass(method.output_type)
            make = grpc.unary_unary_rpc_method_handler
            if method.client_streaming:
                make = grpc.stream_stream_rpc_method_handler
            found[method.name] = make(getattr(self, method.name), request.FromString, response.SerializeToString)
        return grpc.method_handlers_generic_handler(service.full_name, found)

    async def ServerLive(self, _: pb.ServerLiveRequest, __: Any) -> pb.ServerLiveResponse:  # noqa: N802 -- the protocol's own name, as are those below
        """Answer that the gateway runs."""
        return pb.ServerLiveResponse(live=True)

    async def ServerReady(self, _: pb.ServerReadyRequest, __: Any) -> pb.ServerReadyResponse:  # noqa: N802
        """Answer whether every model that a short route or default names has a worker."""
        return pb.ServerReadyResponse(ready=not await self._repository.missing())

    async def ServerMetadata(self, _: pb.ServerMetadataRequest, __: Any) -> pb.ServerMetadataResponse:  # noqa: N802
        """Return name, version and extensions of this server."""
        return pb.ServerMetadataResponse(**server_metadata(self._version))

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
        await self._repository.load(message.model_name, _parameters(message.parameters))
        return pb.RepositoryModelLoadResponse()

    async def RepositoryModelUnload(  # noqa: N802
        self, message: pb.RepositoryModelUnloadRequest, _: Any
    ) -> pb.RepositoryModelUnloadResponse:
        """Remove the model from the engine."""
        await self._repository.unload(message.model_name, _parameters(message.parameters))
        return pb.RepositoryModelUnloadResponse()

    async def ModelInfer(self, message: pb.ModelInferRequest, context: Any) -> pb.ModelInferResponse:  # noqa: N802
        """Answer one inference within the client's deadline."""
        return await self._infer(message, context.time_remaining())

    def ModelStreamInfer(  # noqa: N802
        self, messages: AsyncIterator[pb.ModelInferRequest], _: Any
    ) -> AsyncGenerator[pb.ModelStreamInferResponse, None]:
        """Answer the inferences of one stream in order; an error ends its own inference only."""
        return self.streams.answers(messages)

    async def _infer(self, message: pb.ModelInferRequest, remaining_s: float | None) -> pb.ModelInferResponse:
        services, request = self._services, read_request(message)
        limits = [services.deadlines.longest_ms / 1000, remaining_s, request.timeout_s()]
        if remaining_s is None:
            limits.append(services.deadlines.default_ms / 1000)
        started = asyncio.get_running_loop().time()
        deadline = started + min(each for each in limits if each is not None)
        with CancelScope(deadline, since=started):
            version = await services.catalog.find(request.model, request.version)
            call = current_call.get()
            call.model = version.model
            services.admission.check(version.model, deadline)
            response = await self._runner.infer(version, request, replace(call, deadline=deadline))
        return write_response(response)

    async def _stream_infer(self, message: pb.ModelInferRequest) -> pb.ModelStreamInferResponse:
        size, budget = message.ByteSize(), self._services.budget
        if not budget.take(size):
            raise budget_full()
        try:
            response = await self._infer(message, None)
        finally:
            budget.give_back(size)
        # A model answers each request once, so each response is its request's last.
        response.parameters["triton_final_response"].bool_param = True
        return pb.ModelStreamInferResponse(infer_response=response)


class InferStreams:
    """All open streams. Each runs several inferences at once and answers them in the order of the requests."""

    def __init__(self, answer: Callable[[pb.ModelInferRequest], Awaitable[pb.ModelStreamInferResponse]]) -> None:
        self._answer = answer
        self._readers: set[asyncio.Task[None]] = set()

    async def answers(
        self, messages: AsyncIterator[pb.ModelInferRequest]
    ) -> AsyncGenerator[pb.ModelStreamInferResponse, None]:
        """Yield the responses to a stream of requests."""
        started: _Started = asyncio.Queue(STREAM_REQUESTS)
        reader = asyncio.create_task(self._read(messages, started))
        reader.add_done_callback(log_task_error)
        self._readers.add(reader)
        current: asyncio.Task[pb.ModelStreamInferResponse] | None = None
        try:
            while (current := await started.get()) is not None:
                yield await current
        finally:
            # A client that left does not wait for the remaining responses.
            self._readers.discard(reader)
            reader.cancel()
            for task in (current, *_left(started)):
                if task is not None:
                    task.cancel()

    def close(self) -> None:
        """Stop reading; each stream ends once the requests read so far are answered."""
        for reader in self._readers:
            reader.cancel()

    async def _read(self, messages: AsyncIterator[pb.ModelInferRequest], started: "_Started") -> None:
        try:
            async for message in messages:
                task = asyncio.create_task(self._answer_or_error(message))
                task.add_done_callback(log_task_error)
                await started.put(task)
        finally:
            await started.put(None)

    async def _answer_or_error(self, message: pb.ModelInferRequest) -> pb.ModelStreamInferResponse:
        try:
            return await self._answer(message)
        except RequestError as error:
            text = error.detail
        except Exception:
            # The edge of the process: one inference that fails must not end the others of its stream.
            logger.exception("unexpected_error", extra={"fields": {"path": "ModelStreamInfer"}})
            text = "the gateway failed on this request"
        failed = pb.ModelInferResponse(model_name=message.model_name, id=message.id)
        return pb.ModelStreamInferResponse(error_message=text, infer_response=failed)


_Started = asyncio.Queue[asyncio.Task[pb.ModelStreamInferResponse] | None]


def _left(started: _Started) -> list[asyncio.Task[pb.ModelStreamInferResponse] | None]:
    left = []
    while not started.empty():
        left.append(started.get_nowait())
    return left


def read_request(message: pb.ModelInferRequest) -> InferRequest:
    """Read the request in a message. Raises UnreadableInput when it does not follow the protocol."""
    raw = list(message.raw_input_contents)
    if raw and len(raw) != len(message.inputs):
        raise UnreadableInput(f"{len(message.inputs)} inputs came with {len(raw)} raw contents")
    inputs = tuple(_input(each, raw[at] if raw else None) for at, each in enumerate(message.inputs))
    outputs = tuple(_output(each) for each in message.outputs)
    return InferRequest(
        message.model_name,
        message.model_version or None,
        message.id,
        inputs,
        outputs or None,
        _parameters(message.parameters),
    )


def write_response(response: InferResponse) -> pb.ModelInferResponse:
    """Return the message of a response, its tensors raw."""
    outputs = [
        pb.ModelInferResponse.InferOutputTensor(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        for tensor in response.outputs
    ]
    return pb.ModelInferResponse(
        model_name=response.model,
        model_version=response.version,
        id=response.id,
        parameters={name: pb.InferParameter(string_param=str(value)) for name, value in response.parameters.items()},
        outputs=outputs,
        raw_output_contents=[to_raw(tensor) for tensor in response.outputs],
    )


def _input(tensor: pb.ModelInferRequest.InferInputTensor, raw: bytes | None) -> Tensor:
    name, datatype, shape = tensor.name, tensor.datatype, tuple(tensor.shape)
    if not is_known(datatype):
        raise UnreadableInput(f"input '{name[:80]}': datatype {datatype[:20]} is not read here")
    if "shared_memory_region" in tensor.parameters:
        raise UnreadableInput("tensors in shared memory are not read here")
    if any(not 0 <= size < 2**31 for size in shape) or len(shape) > 16:
        raise UnreadableInput(f"input '{name[:80]}': shape must be a list of sizes")
    if raw is not None:
        return from_raw(name, datatype, shape, raw)
    field = _FIELDS.get(datatype)
    return Tensor(name, datatype, shape, list(getattr(tensor.contents, field)) if field else [])


def _output(tensor: pb.ModelInferRequest.InferRequestedOutputTensor) -> RequestedOutput:
    parameters = _parameters(tensor.parameters)
    if "shared_memory_region" in parameters:
        raise UnreadableInput("tensors in shared memory are not written here")
    classes = parameters.get("classification", 0)
    if type(classes) is not int or classes < 0:
        raise UnreadableInput("classification must be a number of classes")
    return RequestedOutput(tensor.name, classes)


def _parameters(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a map of parameters, each of its own type."""
    chosen = {name: value.WhichOneof("parameter_choice") for name, value in found.items()}
    return {name: getattr(found[name], choice) for name, choice in chosen.items() if choice}
