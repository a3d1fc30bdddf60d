"""The first half of the parity gate: the worker must read requests as the framework's pre-processing does.

The worker crops and resizes pictures in one step, which may round a value on the edge to its neighbour. The rule is
that 99.9 % of the values lie within 1 of 255. A deep network can turn even that into another answer, so only requests
that are read without any such rounding become golden answers.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from errors import ParityError
from handlers import golden, rows
from handlers.errors import RequestError
from handlers.model_handler import ModelHandler
from serialize import reference
from serialize.loaded_model import LoadedModel
from serialize.offline_handler import has_own_processing
from serialize.reference import Reference
from serialize.sample_requests import SampleRequest
from settings.schema import PolicyModel, VisionModel

STEP = 1  # of 255
SHARE = 0.999


def comparable(
    source: LoadedModel,
    model: VisionModel | PolicyModel,
    requests: list[SampleRequest],
    handler: ModelHandler,
    rounded: bool = False,
) -> list[Reference]:
    """The framework's view of those requests that the worker reads to the same numbers, or `rounded` otherwise.

    A JPEG at reduced size is another image, which decode_level has accepted: the input that the worker reads is taken.

    Raises ParityError when it reads one differently by more than rounding. A handler with pre-processing of its own
    has no counterpart in the framework: what it reads is taken as given.
    """
    if has_own_processing(handler):
        inputs = [torch.from_numpy(_read(handler, request)) for request in requests]
        return reference.outputs(source, requests, inputs)
    if handler.card.artifact.preprocessing:
        # What the worker hands over is the whole picture; how it is resized shows in the answers alone.
        found = reference.references(source, model, requests)
        return [replace(each, inputs=_read(handler, each.request)) for each in found]
    given = [request for request in requests if _is_reduced(handler, request)]
    same = reference.outputs(source, given, [torch.from_numpy(_read(handler, request)) for request in given])
    references = reference.references(source, model, [request for request in requests if request not in given])
    same += [each for each in references if _is_same(handler, each) or rounded]
    if not same:
        raise ParityError(f"{model.model_name}: the worker reads no request to exactly the framework's numbers")
    return same


def _is_reduced(handler: ModelHandler, request: SampleRequest) -> bool:
    vision = handler.card.vision
    return vision is not None and vision.reduced is not None and request.content_type == "image/jpeg"


def _is_same(handler: ModelHandler, expected: Reference) -> bool:
    found = _read(handler, expected.request)
    if found.shape != expected.inputs.shape or found.dtype != expected.inputs.dtype:
        raise ParityError(
            f"{_words(expected.request)}: the worker reads {found.dtype} {list(found.shape)}, "
            f"the framework {expected.inputs.dtype} {list(expected.inputs.shape)}"
        )
    apart = np.abs(found.astype(np.float64) - expected.inputs.astype(np.float64))
    step = STEP if found.dtype == np.uint8 else 0.0
    share = float(np.mean(apart <= step))
    if share < SHARE:
        raise ParityError(
            f"{_words(expected.request)}: the worker's pre-processing is not the framework's: "
            f"{1 - share:.2%} of the values differ by more than {step}, at most by {apart.max():g}"
        )
    return not apart.any()


def _read(handler: ModelHandler, request: SampleRequest) -> NDArray[Any]:
    sample = golden.Sample(request.content_type, request.body, [])
    try:
        return handler.read(rows.content(sample.row)[1], sample.content_type)
    except RequestError as error:
        raise ParityError(f"{_words(request)}: the worker refuses it: {error.detail}") from None


def _words(request: SampleRequest) -> str:
    return f"request of {request.content_type}, {len(request.body)} bytes"
