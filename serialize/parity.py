"""The golden answers and the parity gate: the artifact, in the worker's own handler, must answer as the framework does.

    requests ──comparable_references──▶ references ──golden_answers──▶ golden.json, in the archive
                                          └──check_parity: handler + artifact──▶ within the tolerance, or no archive

The worker crops and resizes images in one step, which may round a value to its neighbour. A deep network can turn even
that into another answer, so only requests that the worker reads without such rounding become golden answers.
"""

import base64
import itertools
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from errors import MarinaError, ParityError, RequestError
from handlers import golden
from handlers.batch import Instances
from handlers.card import Card
from handlers.model_handler import ModelHandler
from handlers.outputs import NetworkOutput
from serialize.calibration import load_images
from serialize.graph_file import first_line
from serialize.loaded_model import LoadedModel
from serialize.offline_handler import has_own_processing, load_runtime, read_request, running_handler
from serialize.reference import Reference, framework_references, run_framework
from serialize.sample_requests import SampleRequest, image_requests, state_requests
from serialize.tensor_references import tensor_references, tensor_requests
from settings.schema import BuiltModel, PolicyModel, VisionModel

logger = logging.getLogger(__name__)

TOLERANCE = 1e-4
"""float32 differs from float64 by some 1e-6, and a wrong artifact by far more than this."""
TOLERANCES = {"float32": TOLERANCE, "float16": 5e-3, "bfloat16": 5e-2}
"""float16 keeps 11 bits of a number, bfloat16 8; some fifty layers lose a few of them."""
DATATYPE_TOLERANCES = {"FP16": TOLERANCES["float16"], "BF16": TOLERANCES["bfloat16"]}
IN_GRAPH = 5e-3
"""A graph that resizes images may round a pixel's value to its neighbour."""
STEP, SHARE = 1, 0.999
"""99.9 % of the pixels that the worker reads must lie within 1 of 255 of the framework's."""
PICTURES = 5
"""The number of the user's pictures among the golden requests of a quantised artifact, or of a detector."""
NUMBERS = "fiu"
"""numpy's kinds of numbers; outputs of text, booleans, or arrays that differ in shape are of others."""
LOGITS = "logits"
"""The output of which only the differences within it count, so that those are the measure."""
ROUNDING = 0.01
"""The least spread of logits, as a share of their size: 32 bits do not resolve less within the tolerance."""


@dataclass(frozen=True)
class ParityResult:
    """The largest differences between artifact and framework.

    `output`: of the network's output for the same inputs, as a share of the spread of logits, or of the size of other
    numbers if that is above 1.
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


def golden_requests(loaded: LoadedModel, model: BuiltModel) -> list[SampleRequest]:
    """Return the requests that fit the model."""
    match model:
        case VisionModel():
            return image_requests(model.preprocessing)
        case PolicyModel():
            assert loaded.spaces is not None
            return state_requests(model, loaded.spaces[0])
        case _:
            return tensor_requests(loaded)


def golden_answers(references: list[Reference], card: Card) -> dict[str, Any]:
    """Return the content of golden.json."""
    samples = [
        {
            "content_type": reference.request.content_type,
            "body": base64.b64encode(reference.request.body).decode("ascii"),
            "predictions": reference.predictions(card),
        }
        for reference in references
    ]
    return {"tolerance": tolerance_of(card), "samples": samples}


def tolerance_of(card: Card) -> float:
    """Return the largest difference between a number of the artifact's answers and of the framework's."""
    quantisation = card.document["artifact"].get("quantisation")
    if quantisation is not None:
        return float(quantisation["tolerance"])
    if card.signature is not None:
        return max(DATATYPE_TOLERANCES.get(each.datatype, TOLERANCE) for each in card.signature.outputs)
    return IN_GRAPH if card.artifact.preprocessing else TOLERANCES[card.artifact.precision]


def comparable_references(
    loaded: LoadedModel,
    model: BuiltModel,
    requests: list[SampleRequest],
    handler: ModelHandler,
    rounded: bool = False,
) -> list[Reference]:
    """Return the references of the requests that the worker reads to the framework's numbers, or to `rounded` ones.

    A detector finds little in generated pictures, so those of `calibration.pictures` join its requests. Raises
    ParityError if the worker reads a request differently by more than rounding, and if no reference is left.
    """
    if loaded.signature is not None:
        return tensor_references(loaded, handler)
    same = _read_alike(loaded, model, requests, handler, rounded)
    if loaded.alone:
        assert isinstance(model, VisionModel)
        return _with_detections(loaded, model, same, handler)
    if not same:
        raise ParityError(f"{model.model_name}: the worker reads no request to exactly the framework's numbers")
    return same


def _read_alike(
    loaded: LoadedModel, model: BuiltModel, requests: list[SampleRequest], handler: ModelHandler, rounded: bool
) -> list[Reference]:
    """Return the references of the requests that the worker reads as the framework does.

    A JPEG at reduced size is another image, which decode_level has accepted, so its inputs are the worker's own. So
    are those of a handler with its own pre-processing, which has no counterpart in the framework.
    """
    if has_own_processing(handler):
        return _from_worker(loaded, requests, handler)
    if handler.card.artifact.preprocessing:
        # The worker passes on the whole image. Only the answers show how the graph resizes it.
        return [_as_read(each, handler) for each in framework_references(loaded, model, requests)]
    reduced = [request for request in requests if _is_reduced(handler, request)]
    same = _from_worker(loaded, reduced, handler)
    others = framework_references(loaded, model, [request for request in requests if request not in reduced])
    return same + [_with_options(each, handler) for each in others if _is_same(handler, each) or rounded]


def check_parity(folder: Path, entry: str, references: Sequence[Reference]) -> ParityResult:
    """Answer the golden requests in the model folder `folder`, with the handler file `entry`.

    Raises ParityError with every output and answer outside the tolerance, worst first, and its request.
    """
    handler = running_handler(folder, entry)
    expected = golden.load(folder / "golden.json")
    try:
        outputs, found = _deviations(handler, expected, references)
    except MarinaError:
        raise
    except Exception as error:
        # A graph raises anything, for instance where it was declared batched and is not.
        logger.debug("the artifact fails", exc_info=True)
        raise ParityError(
            f"{handler.card.model_name}: the {handler.card.artifact.format} artifact fails on the golden requests: "
            f"{first_line(error)}; nothing is packed"
        ) from None
    failures = [deviation for deviation in (*outputs, *found) if deviation.size > expected.tolerance]
    if failures:
        failures.sort(key=lambda failure: failure.size, reverse=True)
        raise ParityError(
            f"{handler.card.model_name}: the {handler.card.artifact.format} artifact does not answer as the framework "
            f"does (tolerance {expected.tolerance:g}), worst first: "
            f"{'; '.join(failure.description for failure in failures)}; nothing is packed"
        )
    largest_output, largest_answer = (
        max((each.size for each in deviations), default=0.0) for deviations in (outputs, found)
    )
    return ParityResult(len(expected.samples), largest_output, largest_answer, expected.tolerance)


def _deviations(
    handler: ModelHandler, expected: golden.GoldenAnswers, references: Sequence[Reference]
) -> tuple[list[_Deviation], list[_Deviation]]:
    """Return the deviations of outputs and of answers."""
    spread = _spread(references)
    outputs = [
        _output_deviation(handler, reference, number, output.name, spread)
        for number, reference in enumerate(references)
        for output in _comparable_outputs(handler.card, reference)
    ]
    return outputs, [_answer_deviation(handler, sample, number) for number, sample in enumerate(expected.samples)]


def keep_accurate(references: Sequence[Reference], handler: ModelHandler, work: Path) -> list[Reference]:
    """Return the first references that the quantised artifact in `work` answers within its tolerance.

    A quantised network may miss some; the format has measured how many, and the card states it. The golden answers
    show whether a worker computes the measured network, so they are among its accurate ones. Raises ParityError if
    there are none.
    """
    handler.model = load_runtime(work, handler.card)
    limit, spread = tolerance_of(handler.card), _spread(references)
    found: list[Reference] = []
    for each in references:
        outputs = handler.forward(each.inputs)
        given = handler.card.predictions({**outputs, **each.options})
        same = golden.exceeds_tolerance(each.predictions(handler.card), given, limit) is None
        changes = [_difference(name, outputs[name], values, spread).max() for name, values in each.outputs.items()]
        if same and max(changes) <= limit:
            found.append(each)
        if len(found) == PICTURES:
            break
    if not found:
        raise ParityError(f"{handler.card.model_name}: of {len(references)} pictures none is answered within {limit:g}")
    return found


def _from_worker(loaded: LoadedModel, requests: list[SampleRequest], handler: ModelHandler) -> list[Reference]:
    read = [_read(handler, request) for request in requests]
    found = run_framework(loaded, requests, [torch.from_numpy(each.inputs) for each in read])
    return [replace(each, options=instances.options) for each, instances in zip(found, read, strict=True)]


def _with_detections(
    loaded: LoadedModel, model: VisionModel, references: list[Reference], handler: ModelHandler
) -> list[Reference]:
    """Return the settled references, and those of the user's pictures in which the framework finds something.

    Raises ParityError where nothing is found in any: every artifact that finds nothing would answer alike.
    """
    found = _settled(loaded, references, handler)
    pictures = load_images(model).requests if model.calibration.pictures is not None else ()
    settled = _settled_pictures(loaded, model, pictures, handler)
    found += itertools.islice((each for each in settled if _has_detections(each, handler.card)), PICTURES)
    if not found:
        raise ParityError(
            f"{model.model_name}: the framework answers none of {len(references) + len(pictures)} pictures alike in 32 "
            "and 64 bits; raise output.threshold, or train the model"
        )
    if not any(_has_detections(each, handler.card) for each in found):
        raise ParityError(
            f"{model.model_name}: the network finds nothing in {len(references) + len(pictures)} pictures, so that no "
            "fault of the artifact would show; set served_model.calibration.pictures=FOLDER of pictures like those you "
            "will serve, or lower served_model.output.threshold"
        )
    return found


def _settled_pictures(
    loaded: LoadedModel, model: VisionModel, requests: Sequence[SampleRequest], handler: ModelHandler
) -> Iterator[Reference]:
    """Yield the references of the pictures that the worker can read, with the worker's own inputs."""
    for request in requests:
        try:
            read_request(handler, request)
        except RequestError as error:
            logger.warning("a picture for golden answers is left out: %s", error.detail)
            continue
        if handler.card.artifact.preprocessing:
            found = _read_alike(loaded, model, [request], handler, rounded=True)
        else:
            found = _from_worker(loaded, [request], handler)
        yield from _settled(loaded, found, handler)


def _has_detections(reference: Reference, card: Card) -> bool:
    return any(each[field] for each in reference.predictions(card) for field in card.output.acted_on)


def _settled(loaded: LoadedModel, references: list[Reference], handler: ModelHandler) -> list[Reference]:
    """Return the references that the framework itself answers alike in 32 bits.

    A detector keeps or drops a box by comparing numbers. Where two of them are as close as the rounding of 32 bits, no
    artifact can be held to the answer.
    """
    if handler.card.artifact.preprocessing:
        return references  # their inputs are whole pictures, which the framework does not take
    inputs = [torch.from_numpy(each.inputs) for each in references]
    rounded = run_framework(loaded, [each.request for each in references], inputs, torch.float32)
    limit = tolerance_of(handler.card)
    return [
        wide
        for wide, narrow in zip(references, rounded, strict=True)
        if golden.exceeds_tolerance(
            wide.predictions(handler.card), replace(narrow, options=wide.options).predictions(handler.card), limit
        )
        is None
    ]


def _as_read(reference: Reference, handler: ModelHandler) -> Reference:
    read = _read(handler, reference.request)
    return replace(reference, inputs=read.inputs, options=read.options)


def _with_options(reference: Reference, handler: ModelHandler) -> Reference:
    return replace(reference, options=_read(handler, reference.request).options)


def _comparable_outputs(card: Card, reference: Reference) -> tuple[NetworkOutput, ...]:
    """Return the outputs to compare number by number.

    What is found one by one, booleans and text are compared in the answers alone.
    """
    outputs = () if card.output.alone else card.network_outputs
    return tuple(each for each in outputs if reference.outputs[each.name].dtype.kind in NUMBERS)


def _is_reduced(handler: ModelHandler, request: SampleRequest) -> bool:
    vision = handler.card.vision
    return vision is not None and vision.reduced is not None and request.content_type == "image/jpeg"


def _is_same(handler: ModelHandler, expected: Reference) -> bool:
    found = _read(handler, expected.request).inputs
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


def _read(handler: ModelHandler, request: SampleRequest) -> Instances:
    try:
        return read_request(handler, request)
    except RequestError as error:
        raise ParityError(f"request of {_name(request)}: the worker refuses it: {error.detail}") from None


def _output_deviation(handler: ModelHandler, reference: Reference, number: int, name: str, spread: float) -> _Deviation:
    found, expected = handler.forward(reference.inputs)[name], reference.outputs[name]
    difference = _difference(name, found, expected, spread)
    worst = np.unravel_index(int(difference.argmax()), difference.shape)
    index = ", ".join(str(axis) for axis in worst)
    values = f"{found[worst]:.7g} instead of {expected[worst]:.7g}"
    request = f"request {number} ({_name(reference.request)})"
    return _Deviation(float(difference.max()), f"{request}: {name}[{index}] is {values}")


def _spread(references: Sequence[Reference]) -> float:
    """Return the difference between the least and the largest logit of all references; 0 without logits of one shape.

    Random weights make logits that hardly differ, and the probabilities of such are alike whatever network answers.
    """
    found = [each.outputs[LOGITS] for each in references if LOGITS in each.outputs]
    numbers = [each.astype(np.float64).reshape(-1) for each in found if each.dtype.kind in NUMBERS]
    if not numbers:
        return 0.0
    values = np.concatenate(numbers)
    return max(float(np.ptp(values)), ROUNDING * float(np.abs(values).max()))


def _difference(name: str, found: NDArray[Any], expected: NDArray[Any], spread: float) -> NDArray[Any]:
    """Return the differences as shares of the spread of logits, or of the size of other numbers if that is above 1."""
    wide = expected.astype(np.float64)
    measure = spread if name == LOGITS and spread else max(1.0, float(np.abs(wide).max()))
    return np.asarray(np.abs(found - wide) / measure)


def _answer_deviation(handler: ModelHandler, sample: golden.GoldenSample, number: int) -> _Deviation:
    request = SampleRequest(sample.content_type, sample.body)
    try:
        read = read_request(handler, request)
        answer = handler.card.predictions({**handler.forward(read.inputs), **read.options})
    except RequestError as error:
        raise ParityError(f"{handler.card.model_name}: request {number} is refused: {error.detail}") from None
    found = golden.worst(sample.predictions, answer)
    return _Deviation(found.deviation if found else 0.0, f"request {number} ({_name(request)}): answer {found}")


def _name(request: SampleRequest) -> str:
    return f"{request.content_type}, {len(request.body)} bytes"
