"""The parity gate: the artifact, in the worker's own handler, must answer as the framework does."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from errors import ParityError
from handlers import golden, rows
from handlers.errors import RequestError
from handlers.model_handler import ModelHandler
from serialize.golden import tolerance
from serialize.offline_handler import running, runtime
from serialize.reference import Reference
from serialize.sample_requests import SampleRequest

SAMPLES = 5
"""How many golden answers a quantised artifact gets."""


@dataclass(frozen=True)
class Parity:
    """How far the artifact is from the framework.

    `output`: the network's output on the very same inputs, as a share of the output's own size where that is above 1.
    `answer`: the largest difference of a number in the answers, decoding and wording included.
    """

    requests: int
    output: float
    answer: float
    tolerance: float


def check_parity(folder: Path, entry: str, references: Sequence[Reference]) -> Parity:
    """Answers the golden requests in `folder` (card, artifact, golden answers, handler file `entry`).

    Raises ParityError with every output and answer that leaves the tolerance, worst first, and the request it is of.
    """
    handler = running(folder, entry)
    expected = golden.load(folder / "golden.json")
    outputs = [_output_deviation(handler, reference, number) for number, reference in enumerate(references)]
    found = [_answer_deviation(handler, sample, number) for number, sample in enumerate(expected.samples)]
    failures = [deviation for deviation in (*outputs, *found) if deviation.size > expected.tolerance]
    if failures:
        failures.sort(key=lambda failure: failure.size, reverse=True)
        raise ParityError(
            f"{handler.card.model_name}: the {handler.card.artifact.format} artifact does not answer as the framework "
            f"does (tolerance {expected.tolerance:g}), worst first: {'; '.join(each.words for each in failures)}; "
            "nothing is packed"
        )
    return Parity(len(expected.samples), _largest(outputs), _largest(found), expected.tolerance)


def kept(references: Sequence[Reference], handler: ModelHandler, work: Path) -> list[Reference]:
    """Of references the first few that a quantised artifact in `work` answers inside its tolerance.

    Quantised, a network may miss some, which the format has measured and put into the card; the golden answers are to
    tell whether a worker computes what was measured, so they are among those that it gives. Raises ParityError.
    """
    handler.model = runtime(work, handler.card)
    limit = tolerance(handler.card)
    found: list[Reference] = []
    for each in references:
        outputs = handler.forward(each.inputs)
        expected = handler.card.predictions({each.output_name: each.output})
        same = golden.outside(expected, handler.card.predictions(outputs), limit) is None
        if same and _apart(outputs[each.output_name], each.output).max() <= limit:
            found.append(each)
        if len(found) == SAMPLES:
            break
    if not found:
        raise ParityError(f"{handler.card.model_name}: of {len(references)} pictures none is answered within {limit:g}")
    return found


@dataclass(frozen=True)
class _Deviation:
    size: float
    words: str


def _output_deviation(handler: ModelHandler, reference: Reference, number: int) -> _Deviation:
    name = reference.output_name
    found = handler.forward(reference.inputs)[name]
    apart = _apart(found, reference.output)
    place = np.unravel_index(int(apart.argmax()), apart.shape)
    index = ", ".join(str(axis) for axis in place)
    values = f"{found[place]:.7g} instead of {reference.output[place]:.7g}"
    return _Deviation(
        float(apart.max()), f"request {number} ({_words(reference.request)}): {name}[{index}] is {values}"
    )


def _apart(found: NDArray[Any], expected: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(np.abs(found - expected) / max(1.0, float(np.abs(expected).max())))


def _answer_deviation(handler: ModelHandler, sample: golden.Sample, number: int) -> _Deviation:
    found = golden.worst(sample.predictions, _answer(handler, sample, number))
    return _Deviation(found.deviation if found else 0.0, f"request {number} ({_words(sample)}): answer {found}")


def _largest(deviations: list[_Deviation]) -> float:
    return max(deviation.size for deviation in deviations)


def _words(request: SampleRequest | golden.Sample) -> str:
    return f"{request.content_type}, {len(request.body)} bytes"


def _answer(handler: ModelHandler, sample: golden.Sample, number: int) -> list[Any]:
    try:
        inputs = handler.read(rows.content(sample.row)[1], sample.content_type)
        return handler.card.predictions(handler.forward(inputs))
    except RequestError as error:
        raise ParityError(f"{handler.card.model_name}: request {number} is refused: {error.detail}") from None
