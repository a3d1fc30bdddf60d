"""Golden answers of an adopted archive: its handler's answers to the samples, and a tolerance from repeated runs.

sample ──▶ handler, several times ──▶ equal except for the last digits of numbers ──▶ golden answer
                                  └─▶ different: the handler draws random numbers or reads the clock ──▶ ArchiveError
"""

import base64
from collections.abc import Mapping, Sequence
from typing import Any

from archive.sample_requests import SampleFile
from delivery.private_engine import Ask
from engines.engine_profile import PredictionInput, PredictionResponse
from errors import ArchiveError
from handlers.outputs import Difference, HandlerResponse, adopted

RUNS = 5
"""Requests for each sample; a handler that draws random numbers may give two equal answers, but hardly five."""
FLOOR = 1e-4  # as for Marina's own archives: another machine may round differently
ROOM = 4.0  # how much larger than in these few runs a deviation may become later
LARGEST = 1e-2  # beyond it, an answer would no longer prove that the model is the same
MOST_BYTES = 32 * 2**20  # of bodies and answers together; delivery reads them into memory


def record(ask: Ask, samples: Sequence[SampleFile], *, compared: bool) -> dict[str, Any]:
    """Return the content of the golden answers; without `compared` only statuses are recorded.

    Raises ArchiveError when the handler fails on a sample, or answers it differently from run to run.
    """
    entries, deviation, size = [], 0.0, 0
    for sample in samples:
        responses = [_answered(ask, sample) for _ in range(RUNS if compared else 1)]
        expected, worst = _stable(sample.name, responses)
        if not compared:
            expected = {"answer": {"status": responses[0].status}}
        deviation = max(deviation, worst)
        size += len(sample.body) + len(responses[0].body)
        if size > MOST_BYTES:
            raise ArchiveError(f"samples and answers hold more than {MOST_BYTES} bytes at {sample.name}; give fewer")
        entries.append(_entry(sample, expected))
    return {"tolerance": max(FLOOR, ROOM * deviation), "samples": entries}


def recorded_request(sample: SampleFile) -> tuple[str, str, dict[str, str]]:
    """Return content type, body in base64 and further headers of a sample, as the golden answers hold them."""
    return sample.content_type, base64.b64encode(sample.body).decode("ascii"), dict(sample.headers)


def _entry(sample: SampleFile, expected: dict[str, Any]) -> dict[str, Any]:
    content_type, body, headers = recorded_request(sample)
    given = {"headers": headers} if headers else {}
    return {"content_type": content_type, "body": body, "predictions": [expected], **given}


def _answered(ask: Ask, sample: SampleFile) -> HandlerResponse:
    answer: PredictionResponse = ask(PredictionInput(sample.body, sample.content_type, sample.headers))
    if answer.worker is None or answer.status >= 500:
        text = " ".join(answer.text.split())[:200]
        raise ArchiveError(f"sample {sample.name}: the handler fails with {answer.status}: {text}")
    return HandlerResponse(answer.status, answer.headers, answer.body)


def _stable(name: str, responses: Sequence[HandlerResponse]) -> tuple[dict[str, Any], float]:
    """Return the first answer with the headers that all runs share, and the largest deviation of a number."""
    first, *others = [adopted.recorded(each) for each in responses]
    answer = first["answer"]
    headers: Mapping[str, str] = answer["headers"]
    shared = {name: value for name, value in headers.items() if all(_header(each, name) == value for each in others)}
    expected = {"answer": answer | {"headers": shared}}
    found = [each for other in others for each in adopted.KIND.differences(expected, other, "$")]
    worst = max(found, key=lambda each: each.deviation, default=None)
    if worst is not None and worst.deviation * ROOM > LARGEST:
        raise ArchiveError(_unstable(name, worst))
    return expected, 0.0 if worst is None else worst.deviation


def _header(prediction: Mapping[str, Any], name: str) -> str | None:
    value: str | None = prediction["answer"]["headers"].get(name)
    return value


def _unstable(name: str, found: Difference) -> str:
    return (
        f"sample {name}: its answers differ from run to run: {str(found)[:300]}. The handler draws random numbers"
        " or reads the clock; golden=none adopts it without golden answers"
    )
