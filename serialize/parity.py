"""The golden answers and the parity gate: the artifact, in the worker's own handler, must answer as the framework does.

    requests ──comparable_references──▶ references ──golden_answers──▶ golden.json, in the archive
                                          └──check_parity: handler + artifact──▶ within the tolerance, or no archive

The worker crops and resizes images in one step, which may round a value to its neighbour. A deep network can turn even
that into another answer, so only requests that the worker reads without such rounding become golden answers.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from errors import ParityError, RequestError
from handlers import golden
from handlers.card import Card
from handlers.model_handler import ModelHandler
from serialize.loaded_model import LoadedModel
from serialize.offline_handler import has_own_processing, load_runtime, read_request, running_handler
from serialize.reference import Reference, framework_references, run_framework
from serialize.sample_requests import SampleRequest, image_requests, state_requests
from settings.schema import PolicyModel, VisionModel

TOLERANCE = 1e-4
"""float32 differs from float64 by some 1e-6, and a wrong artifact by far more than this."""
TOLERANCES = {"float32": TOLERANCE, "float16": 5e-3, "bfloat16": 5e-2}
"""float16 keeps 11 bits of a number, bfloat16 8; some fifty layers lose a few of them."""
IN_GRAPH = 5e-3
"""A graph that resizes images may round a pixel's value to its neighbour."""
STEP, SHARE = 1, 0.999
"""99.9 % of the pixels that the worker reads must lie within 1 of 255 of the framework's."""
QUANTISED_SAMPLES = 5
"""The number of golden answers of a quantised artifact."""


@dataclass(frozen=True)
class ParityResult:
    """The largest differences between artifact and framework.

    `output`: of the network's output for the same inputs, as a share of the output's own size if that is above 1.
    `answer`: of a number in the answers, so that the reading of requests and the encoding of answers count too.
    """

    requests: int
    output: float
    answer: float
    tolerance: float


@dataclass(frozen=True)
class _Deviation:
    size: float
    description: str


def golden_requests(loaded: LoadedModel, model: VisionModel | PolicyModel) -> list[SampleRequest]:
    """Return the requests that fit the model."""
    if isinstance(model, VisionModel):
        return image_requests(model.preprocessing)
    assert loaded.spaces is not None
    return state_requests(model, loaded.spaces[0])


def golden_answers(references: list[Reference], card: Card) -> dict[str, Any]:
    """Return the content of golden.json."""
    samples = [
        {
            "content_type": reference.request.content_type,
            "body": base64.b64encode(reference.request.body).decode("ascii"),
            "predictions": card.predictions({reference.output_name: reference.output}),
        }
        for reference in references
    ]
    return {"tolerance": tolerance_of(card), "samples": samples}


def tolerance_of(card: Card) -> float:
    """Return the largest difference between a number of the artifact's answers and of the framework's."""
    quantisation = card.document["artifact"].get("quantisation")
    if quantisation is not None:
        return float(quantisation["tolerance"])
    return IN_GRAPH if card.artifact.preprocessing else TOLERANCES[card.artifact.precision]


def comparable_references(
    loaded: LoadedModel,
    model: VisionModel | PolicyModel,
    requests: list[SampleRequest],
    handler: ModelHandler,
    rounded: bool = False,
) -> list[Reference]:
    """Return the references of the requests that the worker reads to the framework's numbers, or to `rounded` ones.

    A JPEG at reduced size is another image, which decode_level has accepted, so its inputs are the worker's own. So
    are those of a handler with its own pre-processing, which has no counterpart in the framework. Raises ParityError
    if the worker reads a request differently by more than rounding.
    """
    if has_own_processing(handler):
        return _from_worker(loaded, requests, handler)
    if handler.card.artifact.preprocessing:
        # The worker passes on the whole image. Only the answers show how the graph resizes it.
        found = framework_references(loaded, model, requests)
        return [replace(each, inputs=_worker_inputs(handler, each.request)) for each in found]
    reduced = [request for request in requests if _is_reduced(handler, request)]
    same = _from_worker(loaded, reduced, handler)
    others = framework_references(loaded, model, [request for request in requests if request not in reduced])
    same += [each for each in others if _is_same(handler, each) or rounded]
    if not same:
        raise ParityError(f"{model.model_name}: the worker reads no request to exactly the framework's numbers")
    return same


def check_parity(folder: Path, entry: str, references: Sequence[Reference]) -> ParityResult:
    """Answer the golden requests in the model folder `folder`, with the handler file `entry`.

    Raises ParityError with every output and answer outside the tolerance, worst first, and its request.
    """
    handler = running_handler(folder, entry)
    expected = golden.load(folder / "golden.json")
    outputs = [_output_deviation(handler, reference, number) for number, reference in enumerate(references)]
    found = [_answer_deviation(handler, sample, number) for number, sample in enumerate(expected.samples)]
    failures = [deviation for deviation in (*outputs, *found) if deviation.size > expected.tolerance]
    if failures:
        failures.sort(key=lambda failure: failure.size, reverse=True)
        raise ParityError(
            f"{handler.card.model_name}: the {handler.card.artifact.format} artifact does not answer as the framework "
            f"does (tolerance {expected.tolerance:g}), worst first: "
            f"{'; '.join(failure.description for failure in failures)}; nothing is packed"
        )
    largest_output, largest_answer = (max(each.size for each in deviations) for deviations in (outputs, found))
    return ParityResult(len(expected.samples), largest_output, largest_answer, expected.tolerance)


def keep_accurate(references: Sequence[Reference], handler: ModelHandler, work: Path) -> list[Reference]:
    """Return the first references that the quantised artifact in `work` answers within its tolerance.

    A quantised network may miss some; the format has measured how many, and the card states it. The golden answers
    show whether a worker computes the measured network, so they are among its accurate ones. Raises ParityError if
    there are none.
    """
    handler.model = load_runtime(work, handler.card)
    limit = tolerance_of(handler.card)
    found: list[Reference] = []
    for each in references:
        outputs = handler.forward(each.inputs)
        expected = handler.card.predictions({each.output_name: each.output})
        same = golden.exceeds_tolerance(expected, handler.card.predictions(outputs), limit) is None
        if same and _relative_difference(outputs[each.output_name], each.output).max() <= limit:
            found.append(each)
        if len(found) == QUANTISED_SAMPLES:
            break
    if not found:
        raise ParityError(f"{handler.card.model_name}: of {len(references)} pictures none is answered within {limit:g}")
    return found


def _from_worker(loaded: LoadedModel, requests: list[SampleRequest], handler: ModelHandler) -> list[Reference]:
    return run_framework(loaded, requests, [torch.from_numpy(_worker_inputs(handler, request)) for request in requests])


def _is_reduced(handler: ModelHandler, request: SampleRequest) -> bool:
    vision = handler.card.vision
    return vision is not None and vision.reduced is not None and request.content_type == "image/jpeg"


def _is_same(handler: ModelHandler, expected: Reference) -> bool:
    found = _worker_inputs(handler, expected.request)
    if found.shape != expected.inputs.shape or found.dtype != expected.inputs.dtype:
        raise ParityError(
            f"request of {_name(expected.request)}: the worker reads {found.dtype} {list(found.shape)}, "
            f"the framework {expected.inputs.dtype} {list(expected.inputs.shape)}"
        )
    difference = np.abs(found.astype(np.float64) - expected.inputs.astype(np.float64))
    step = STEP if found.dtype == np.uint8 else 0.0
    share = float(np.mean(difference <= step))
    if share < SHARE:
        raise ParityError(
            f"request of {_name(expected.request)}: the worker's pre-processing is not the framework's: "
            f"{1 - share:.2%} of the values differ by more than {step}, at most by {difference.max():g}"
        )
    return not difference.any()


def _worker_inputs(handler: ModelHandler, request: SampleRequest) -> NDArray[Any]:
    try:
        return read_request(handler, request)
    except RequestError as error:
        raise ParityError(f"request of {_name(request)}: the worker refuses it: {error.detail}") from None


def _output_deviation(handler: ModelHandler, reference: Reference, number: int) -> _Deviation:
    name = reference.output_name
    found = handler.forward(reference.inputs)[name]
    difference = _relative_difference(found, reference.output)
    worst = np.unravel_index(int(difference.argmax()), difference.shape)
    index = ", ".join(str(axis) for axis in worst)
    values = f"{found[worst]:.7g} instead of {reference.output[worst]:.7g}"
    request = f"request {number} ({_name(reference.request)})"
    return _Deviation(float(difference.max()), f"{request}: {name}[{index}] is {values}")


def _relative_difference(found: NDArray[Any], expected: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(np.abs(found - expected) / max(1.0, float(np.abs(expected).max())))


def _answer_deviation(handler: ModelHandler, sample: golden.GoldenSample, number: int) -> _Deviation:
    request = SampleRequest(sample.content_type, sample.body)
    try:
        answer = handler.card.predictions(handler.forward(read_request(handler, request)))
    except RequestError as error:
        raise ParityError(f"{handler.card.model_name}: request {number} is refused: {error.detail}") from None
    found = golden.worst(sample.predictions, answer)
    return _Deviation(found.deviation if found else 0.0, f"request {number} ({_name(request)}): answer {found}")


def _name(request: SampleRequest) -> str:
    return f"{request.content_type}, {len(request.body)} bytes"
