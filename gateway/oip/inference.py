"""One inference: check its tensors, send them through the pipeline, and convert the predictions into tensors."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any, TypeVar

from errors import Internal, InvalidFields, NoWorker, RequestError, UnreadableInput
from gateway.hooks import EngineResponse, PredictionRequest, Reply
from gateway.http.context import RequestContext
from gateway.http.payload import check_limits
from gateway.oip.datatypes import BYTES
from gateway.oip.infer_messages import InferRequest, InferResponse, RequestedOutput, Tensor, to_raw
from gateway.oip.infer_statistics import InferStatistics, StageTimer
from gateway.oip.shared_memory import RequestMemory
from gateway.oip.tensor_metadata import inputs_of
from gateway.scheduling.queue import on_wait
from gateway.served_models import ServedVersion
from gateway.services import Services
from handlers.outputs import OutputTensor, output_tensors

Written = TypeVar("Written")


class InferenceRunner:
    """Answers InferRequests and counts them."""

    def __init__(self, services: Services, statistics: InferStatistics) -> None:
        self._services = services
        self._statistics = statistics

    async def infer(
        self,
        version: ServedVersion,
        request: InferRequest,
        context: RequestContext,
        memory: RequestMemory,
        write: Callable[[InferResponse], Written],
    ) -> Written:
        """Return the response of this version, as `write` encodes it.

        Raises RequestError: UnreadableInput for tensors that do not fit, Internal for an answer that does not.
        """
        timer = StageTimer(asyncio.get_running_loop().time)
        on_wait.set(timer.waited)
        try:
            response, count = await self._infer(version, request, context, timer)
            written = write(_placed(response, request, memory))
        except BaseException as error:
            # Count every failure, including a client that left.
            self._statistics.failed(version.model, version.version, timer, error)
            raise
        self._statistics.succeeded(version.model, version.version, timer, count)
        return written

    async def _infer(
        self, version: ServedVersion, request: InferRequest, context: RequestContext, timer: StageTimer
    ) -> tuple[InferResponse, int]:
        request.check_parameters()
        inputs = inputs_of(version.card)
        if inputs is None:
            raise _not_described(version)
        sent = inputs.check(request.inputs, version.model)
        requested = _requested(request.outputs, output_tensors(version.card), version.model)
        payload = inputs.payload(sent)
        check_limits(payload, version.card)
        prediction = PredictionRequest(
            version.model,
            request.version,
            version.kind,
            payload.content_type,
            payload.data,
            context.request_id,
            context.deadline,
            self._services.traffic.sticky(version.model, context.headers),
        )
        timer.engine_called()
        answer = await self._services.pipeline.predict(prediction)
        timer.engine_returned()
        content, count = _content(answer), inputs.instances(sent)
        if len(content["predictions"]) != count:
            raise Internal(f"the model answered {count} instances with {len(content['predictions'])} predictions")
        _check_none_refused(content["predictions"])
        outputs = tuple(answered_tensor(output, wanted, content["predictions"]) for output, wanted in requested)
        # Every response says when the weights are random.
        parameters = {"weights": content["weights"]} if "weights" in content else {}
        answered_by = str(content.get("version") or version.version)
        return InferResponse(version.model, answered_by, request.id, outputs, parameters), count


def _placed(response: InferResponse, request: InferRequest, memory: RequestMemory) -> InferResponse:
    """Write the outputs that the client wants in shared memory there."""
    wanted = {each.name: each.place for each in request.outputs or () if each.place is not None}
    if not wanted:
        return response
    places = {
        tensor.name: memory.write(wanted[tensor.name], to_raw(tensor), tensor.name)
        for tensor in response.outputs
        if tensor.name in wanted
    }
    return replace(response, places=places)


def _not_described(version: ServedVersion) -> RequestError:
    if not version.workers_ready:
        return NoWorker(f"model '{version.model}' has no worker")
    return UnreadableInput(f"model '{version.model}' does not describe its tensors; see /models/{version.model}")


def _requested(
    requested: Sequence[RequestedOutput] | None, offered: Sequence[OutputTensor], model: str
) -> list[tuple[OutputTensor, RequestedOutput]]:
    if requested is None:
        return [(output, RequestedOutput(output.name)) for output in offered]
    by_name = {output.name: output for output in offered}
    for each in requested:
        if each.name not in by_name:
            names = ", ".join(f"'{name}'" for name in by_name)
            raise UnreadableInput(f"model '{model}' has no output '{each.name[:80]}'; it answers {names}")
        if each.classes and not (by_name[each.name].labels or _has_row_of_numbers(by_name[each.name])):
            raise UnreadableInput(f"output '{each.name}' of model '{model}' has no classes to choose from")
    return [(by_name[each.name], each) for each in requested]


def _has_row_of_numbers(output: OutputTensor) -> bool:
    return output.is_row and output.datatype not in (BYTES, "BOOL")


def _content(answer: EngineResponse | Reply) -> dict[str, Any]:
    if isinstance(answer, EngineResponse):
        return answer.content()
    content = answer.content
    if answer.status < 400 and isinstance(content, dict) and isinstance(content.get("predictions"), list):
        return content
    error = RequestError("business logic replied to this request itself and returned no tensors")
    error.status = answer.status if answer.status >= 400 else 500
    raise error


def _check_none_refused(predictions: list[Any]) -> None:
    """Raise InvalidFields or Internal for an instance that was refused alone: a tensor has no place for its error."""
    for index, each in enumerate(predictions):
        if isinstance(each, dict) and each.keys() == {"error", "detail"}:
            refusal = Internal if each["error"] == Internal.code else InvalidFields
            raise refusal(f"instance {index}: {each['detail']}")


def answered_tensor(output: OutputTensor, wanted: RequestedOutput, predictions: list[Any]) -> Tensor:
    """Return the tensor of an output for these predictions, or its best classes. Raises Internal without one."""
    try:
        rows = [output.read(prediction) for prediction in predictions]
        shape, values = ((), list(chain.from_iterable(rows))) if wanted.classes else output.joined(rows)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise Internal(f"the model's answer has no '{output.name}'") from error
    tensor = Tensor(output.name, output.datatype, shape, values)
    if not wanted.classes:
        return tensor
    to_raw(tensor)  # only to check the elements
    rows = [_best_classes(row, wanted.classes, output.labels) for row in rows]
    count = (len(rows),) if output.batched else ()
    return Tensor(output.name, BYTES, (*count, len(rows[0])), [text for row in rows for text in row])


def _best_classes(row: list[float], count: int, labels: Sequence[str]) -> list[str]:
    """Return the classification extension's text, value:index:label, the highest value first, or value:index."""
    order = sorted(range(len(row)), key=lambda index: -row[index])[:count]
    return [f"{row[index]:.6f}:{index}" + (f":{labels[index]}" if labels else "") for index in order]
