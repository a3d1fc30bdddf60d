"""One inference: tensors checked and sent through the pipeline, predictions made into tensors."""

import asyncio
from collections.abc import Sequence
from typing import Any

from errors import Internal, NoWorker, RequestError, UnknownModel, UnreadableInput
from gateway.catalog import ServedVersion
from gateway.hooks import EngineResponse, PredictionRequest, Reply
from gateway.http.context import RequestContext
from gateway.http.payload import check_limits
from gateway.oip import check
from gateway.oip.context import Oip
from gateway.oip.exchanged import InferRequest, InferResponse, RequestedOutput
from gateway.oip.inputs import input_of
from gateway.oip.statistics import Timing
from gateway.oip.tensors import BYTES, Tensor
from gateway.pipeline import parsed
from handlers.outputs import OutputTensor
from handlers.outputs import tensors as output_tensors


async def infer(oip: Oip, found: ServedVersion, request: InferRequest, call: RequestContext) -> InferResponse:
    """The answer of this version. Raises RequestError: UnreadableInput for tensors that do not fit the model."""
    timing = Timing(asyncio.get_running_loop().time)
    try:
        response, count = await _inferred(oip, found, request, call, timing)
    except UnknownModel:
        oip.services.catalog.forget()
        raise
    except BaseException:
        # Counted whatever ended it, a client that left included; it goes on its way below.
        oip.statistics.failed(found.model, found.version, timing)
        raise
    oip.statistics.succeeded(found.model, found.version, timing, count)
    return response


async def _inferred(
    oip: Oip, found: ServedVersion, request: InferRequest, call: RequestContext, timing: Timing
) -> tuple[InferResponse, int]:
    reads = input_of(found.card)
    if reads is None:
        raise _not_described(found)
    tensors = check.all_inputs(request.inputs, reads.specs, found.model)
    wanted = _wanted(request.outputs, output_tensors(found.card), found.model)
    payload = reads.payload(tensors)
    check_limits(payload, found.card)
    prediction = PredictionRequest(
        found.model,
        request.version,
        found.kind,
        payload.content_type,
        payload.data,
        call.request_id,
        call.deadline,
        oip.services.traffic.sticky(found.model, call.headers),
    )
    timing.sent()
    answer = await oip.services.pipeline.predict(prediction)
    timing.answered()
    content = _content(answer)
    count = tensors[0].shape[0]
    if len(content["predictions"]) != count:
        raise Internal(f"the model answered {count} instances with {len(content['predictions'])} predictions")
    outputs = tuple(_tensor(output, asked, content["predictions"]) for output, asked in wanted)
    # Random weights are named wherever the model answers.
    parameters = {"weights": content["weights"]} if "weights" in content else {}
    version = str(content.get("version") or found.version)
    return InferResponse(found.model, version, request.id, outputs, parameters), count


def _not_described(found: ServedVersion) -> RequestError:
    if not found.workers_ready:
        return NoWorker(f"model '{found.model}' has no worker")
    return UnreadableInput(f"model '{found.model}' does not say which tensors it reads; ask /models/{found.model}")


def _wanted(
    asked: Sequence[RequestedOutput] | None, offered: Sequence[OutputTensor], model: str
) -> list[tuple[OutputTensor, RequestedOutput]]:
    if asked is None:
        return [(output, RequestedOutput(output.name)) for output in offered]
    by_name = {output.name: output for output in offered}
    for each in asked:
        if each.name not in by_name:
            names = ", ".join(f"'{name}'" for name in by_name)
            raise UnreadableInput(f"model '{model}' has no output '{each.name[:80]}'; it answers {names}")
        if each.classes and not by_name[each.name].labels:
            raise UnreadableInput(f"output '{each.name}' of model '{model}' has no classes to choose from")
    return [(by_name[each.name], each) for each in asked]


def _content(answer: EngineResponse | Reply) -> dict[str, Any]:
    if isinstance(answer, EngineResponse):
        return parsed(answer)
    content = answer.content
    if answer.status < 400 and isinstance(content, dict) and isinstance(content.get("predictions"), list):
        return content
    error = RequestError("business logic answered this request itself, not in tensors")
    error.status = answer.status if answer.status >= 400 else 500
    raise error


def _tensor(output: OutputTensor, asked: RequestedOutput, predictions: list[Any]) -> Tensor:
    try:
        rows = [output.read(prediction) for prediction in predictions]
    except (KeyError, TypeError, AttributeError) as error:
        raise Internal(f"the model's answer holds no '{output.name}'") from error
    inner = output.shape[1:]
    if asked.classes:
        rows, inner = [_best(row, asked.classes, output.labels) for row in rows], (min(asked.classes, inner[0]),)
    datatype = BYTES if asked.classes else output.datatype
    return Tensor(output.name, datatype, (len(rows), *inner), [value for row in rows for value in row])


def _best(row: list[float], count: int, labels: Sequence[str]) -> list[str]:
    """The classification extension's text, value:index:label, the highest first."""
    order = sorted(range(len(row)), key=lambda index: -row[index])[:count]
    return [f"{row[index]:.6f}:{index}:{labels[index]}" for index in order]
