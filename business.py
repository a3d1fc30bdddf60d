"""Your own logic before and after each prediction. Edit this file; `gateway/hooks.py` says what the types hold.

    before(request)   → the request, a changed one, or a Reply that ends it here
    after(prediction) → the prediction, a changed one, or a Reply in its place

Both are coroutines, and run inside the request's deadline. Raise an error of `errors.RequestError` to refuse a request.
`BUSINESS` at the end says which model they belong to; a model that has no `after` gets its answers passed on unread.
"""

import logging

from errors import UnreadableInput
from gateway.hooks import Business, Prediction, PredictionRequest
from logs import event

_log = logging.getLogger(__name__)

# No picture format has room for a header and a pixel in fewer bytes.
SMALLEST_PICTURE = 24
UNSURE = 0.5


async def refuse_stubs(request: PredictionRequest) -> PredictionRequest:
    """Spares the model what cannot be a picture."""
    if request.content_type != "application/json" and len(request.body) < SMALLEST_PICTURE:
        raise UnreadableInput("this is too short to be a picture")
    return request


async def log_unsure(prediction: Prediction) -> Prediction:
    """Leaves a line in the log for each picture that the model is not sure about."""
    for each in prediction.predictions:
        if each["confidence"] < UNSURE:
            event(_log, logging.INFO, "unsure", label=each["label"], confidence=each["confidence"])
    return prediction


BUSINESS = Business(before={"digits": refuse_stubs}, after={"digits": log_unsure})
