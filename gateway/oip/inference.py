"""One inference: check its tensors, send them through the pipeline, and convert the predictions into tensors."""

import asyncio
from collections.abc import Sequence
from typing import Any

from errors import Internal, NoWorker, RequestError, UnknownModel, UnreadableInput
from gateway.catalog import ServedVersion
from gateway.hooks import EngineResponse, PredictionRequest, Reply
from gateway.http.context import RequestContext
from gateway.http.payload import check_limits
from gateway.oip.infer_messages import BYTES, InferRequest, InferResponse, RequestedOutput, Tensor
from gateway.oip.infer_statistics import InferStatistics, StageTimer
from gateway.oip.tensor_metadata import inputs_of
from gateway.services import Services
from handlers.outputs import OutputTensor, tensors


class InferenceRunner:
    """Answers InferRequests and counts them."""

    def __init__(self, services: Services, statistics: InferStatistics) -> None:
        self._services = services
        self._statistics = statistics

    async def infer(self, version: ServedVersion, request: InferRequest, context: RequestContext) -> InferResponse:
        """Return the response of this version. Raises RequestError: UnreadableInput for tensors that do not fit."""
        timer = StageTimer(asyncio.get_running_loop().time)
        try:
            response, count = await self._infer(version, request, context, timer)
        except UnknownModel:
            self._services.catalog.forget()
            raise
        except BaseException:
            # Count every failure, including a client that left.
            self._statistics.failed(version.model, version.version, timer)
            raise
        self._statistics.succeeded(version.model, version.version, timer, count)
        return response

    async def _infer(
        self, version: ServedVersion, request: InferRequest, context: RequestContext, timer: StageTimer
    ) -> tuple[InferResponse, int]:
        inputs = inputs_of(version.card)
        if inputs is None:
            raise _not_described(version)
        sent = inputs.check(request.inputs, version.model)
        requested = _requested(request.outputs, tensors(version.card), version.model)
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
        content, count = _content(answer), sent[0].shape[0]
        if len(content["predictions"]) != count:
            raise Internal(f"the model answered {count} instances with {len(content['predictions'])} predictions")
        outputs = tuple(_tensor(output, wanted, content["predictions"]) for output, wanted in requested)
        # Every response says when the weights are random.
        parameters = {"weights": content["weights"]} if "weights" in content else {}
        answered_by = str(content.get("version") or version.version)
        return InferResponse(version.model, answered_by, request.id, outputs, parameters), count


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
        if each.classes and not by_name[each.name].labels:
            raise UnreadableInput(f"output '{each.name}' of model '{model}' has no classes to choose from")
    return [(by_name[each.name], each) for each in requested]


def _content(answer: EngineResponse | Reply) -> dict[str, Any]:
    if isinstance(answer, EngineResponse):
        return answer.content()
    content = answer.content
    if answer.status < 400 and isinstance(content, dict) and isinstance(content.get("predictions"), list):
        return content
    error = RequestError("business logic replied to this request itself and returned no tensors")
    error.status = answer.status if answer.status >= 400 else 500
    raise error


def _tensor(output: OutputTensor, wanted: RequestedOutput, predictions: list[Any]) -> Tensor:
    try:
        rows = [output.read(prediction) for prediction in predictions]
    except (KeyError, TypeError, AttributeError) as error:
        raise Internal(f"the model's answer has no '{output.name}'") from error
    datatype, inner = output.datatype, output.shape[1:]
    if wanted.classes:
        rows = [_best_classes(row, wanted.classes, output.labels) for row in rows]
        datatype, inner = BYTES, (min(wanted.classes, inner[0]),)
    return Tensor(output.name, datatype, (len(rows), *inner), [value for row in rows for value in row])


def _best_classes(row: list[float], count: int, labels: Sequence[str]) -> list[str]:
    """Return the classification extension's text, value:index:label, the highest value first."""
    order = sorted(range(len(row)), key=lambda index: -row[index])[:count]
    return [f"{row[index]:.6f}:{index}:{labels[index]}" for index in order]
