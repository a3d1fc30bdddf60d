"""Golden answers: a few requests with the framework's predictions, which travel in the archive."""

import base64
from typing import Any

from handlers import answers
from handlers.card import Card
from serialize.reference import Reference
from serialize.samples import Request, picture_requests
from serialize.source import Source
from serialize.states import state_requests
from settings.schema import PolicyModel, VisionModel

# float32 against float64 differs by some 1e-6; an artifact that is wrong, by far more than this.
TOLERANCE = 1e-4


def golden_answers(references: list[Reference], card: Card) -> dict[str, Any]:
    """The content of golden.json."""
    samples = [
        {
            "content_type": reference.request.content_type,
            "body": base64.b64encode(reference.request.body).decode("ascii"),
            "predictions": answers.predictions({reference.output_name: reference.output}, card),
        }
        for reference in references
    ]
    return {"tolerance": TOLERANCE, "samples": samples}


def golden_requests(source: Source, model: VisionModel | PolicyModel) -> list[Request]:
    """The requests that fit the model."""
    if isinstance(model, VisionModel):
        return picture_requests(model.preprocessing)
    return state_requests(model, source.card["observation"]["space"])
