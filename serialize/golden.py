"""Golden answers: a few requests with the framework's predictions, which travel in the archive."""

import base64
from typing import Any

from handlers.card import Card
from serialize.loaded_model import LoadedModel
from serialize.reference import Reference
from serialize.sample_requests import SampleRequest, picture_requests
from serialize.states import state_requests
from settings.schema import PolicyModel, VisionModel

# float32 against float64 differs by some 1e-6; an artifact that is wrong, by far more than this.
TOLERANCE = 1e-4
# Half precision keeps 11 bits of a number, bfloat16 8; over some fifty layers a few of them are lost.
TOLERANCES = {"float32": TOLERANCE, "float16": 5e-3, "bfloat16": 5e-2}
# A graph that resizes by itself may round a value of a pixel to its neighbour.
IN_GRAPH = 5e-3


def golden_answers(references: list[Reference], card: Card) -> dict[str, Any]:
    """The content of golden.json."""
    samples = [
        {
            "content_type": reference.request.content_type,
            "body": base64.b64encode(reference.request.body).decode("ascii"),
            "predictions": card.predictions({reference.output_name: reference.output}),
        }
        for reference in references
    ]
    return {"tolerance": tolerance(card), "samples": samples}


def tolerance(card: Card) -> float:
    """How far a number of an answer may be from the framework's, for the artifact at hand."""
    quantisation = card.document["artifact"].get("quantisation")
    if quantisation is not None:
        return float(quantisation["tolerance"])
    return IN_GRAPH if card.artifact.preprocessing else TOLERANCES[card.artifact.precision]


def golden_requests(source: LoadedModel, model: VisionModel | PolicyModel) -> list[SampleRequest]:
    """The requests that fit the model."""
    if isinstance(model, VisionModel):
        return picture_requests(model.preprocessing)
    return state_requests(model, source.card["observation"]["space"])
