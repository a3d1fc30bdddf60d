"""Your own logic before and after each prediction. Edit this file; `gateway/hooks.py` defines the types.

    before(request)   → the request, a changed one, or a Reply that ends it here
    after(prediction) → the prediction, a changed one, or a Reply instead of it

Both are coroutines, and run within the request's deadline. Raise an error of `errors.RequestError` to refuse a request.
`BUSINESS` at the end names the model of each. The gateway passes the answers of a model without `after` on unread.
"""

import logging

from errors import UnreadableInput
from gateway.hooks import Business, Prediction, PredictionRequest
from logs import event

_log = logging.getLogger(__name__)

# No picture format holds a header and a pixel in fewer bytes.
SMALLEST_PICTURE = 24
UNSURE = 0.5


async def refuse_stubs(request: PredictionRequest) -> PredictionRequest:
    """Refuse a body that is too short to be a picture."""
    if request.content_type != "application/json" and len(request.body) < SMALLEST_PICTURE:
        raise UnreadableInput("this is too short to be a picture")
    return request


async def log_unsure(prediction: Prediction) -> Prediction:
    """Log each picture that the model is not sure about."""
    for each in prediction.predictions:
        if each["confidence"] < UNSURE:
            event(_log, logging.INFO, "unsure", label=each["label"], confidence=each["confidence"])
    return prediction


BUSINESS = Business(before={"digits": refuse_stubs}, after={"digits": log_unsure})
