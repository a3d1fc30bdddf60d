"""The handler of picture models: the entry of their archives.

It does not build on TorchServe's `VisionHandler`, which imports captum, and with it matplotlib and torchvision, at the
top: every worker start would wait for them. TorchServe takes the one class defined here.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from handlers import explain, limits, picture_requests, pictures, preprocessing, rows
from handlers.card import Vision
from handlers.deadline import NEVER, Deadline
from handlers.errors import Internal, InvalidFields, NotSupported, RequestError
from handlers.model_handler import ModelHandler
from handlers.outputs.class_probabilities import DECIMALS
from handlers.pictures import Reduction, Rules


class VisionHandler(ModelHandler):
    """Classifies pictures; override `image_processing` for another way to the network's size."""

    vision: Vision
    rules: Rules
    reduction: Reduction | None

    def configure(self) -> None:
        """Keep the card's picture part, and what follows from it for decoding."""
        if self.card.vision is None:
            raise ValueError("model.json: kind is not vision, but the handler is VisionHandler")
        self.vision = self.card.vision
        settings = self.vision.preprocessing
        self.rules = Rules(self.card.limits.max_pixels, settings.background, settings.white)
        self.reduction = None
        if self.vision.reduced is not None:
            self.reduction = Reduction(self.vision.reduced, lambda size: preprocessing.grid(size, settings))

    def image_processing(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Bring one picture, uint8 [height, width, 3] RGB, to the card's size; the network normalises it itself."""
        return preprocessing.apply(picture, self.vision.preprocessing)

    def read(self, body: Any, media_type: str, until: Deadline = NEVER) -> NDArray[Any]:
        """Decode and resize the pictures of one request to uint8 [k, H, W, 3]; raises RequestError.

        Where the graph resizes by itself: decode only, to an array of k pictures of different sizes. The deadline is
        looked at between pictures.
        """
        rows.require(media_type, ("image/", "text/"), "a picture or JSON")
        if isinstance(body, bytes | bytearray) and rows.is_json(media_type):
            body = rows.parse_json(body)
        limits.check(self.card.limits, body)
        sent = picture_requests.read(body, media_type)
        ready = []
        for index, picture in enumerate(sent):
            until.check()
            ready.append(self._ready(picture, index, len(sent)))
        return _apart(ready) if self.card.artifact.preprocessing else np.stack(ready)

    def explanations(self, inputs: NDArray[Any], outputs: NDArray[Any], target: Any) -> list[dict[str, Any]]:
        """Attribute a class's logit to the pixels of the network's size: [height, width], the colours added up."""
        labels = self.vision.labels
        if not labels:
            raise NotSupported("explanations are of classes, and this model has none")
        chosen = [explain.target(target, labels, int(answered)) for answered in outputs.argmax(axis=1)]
        mean = 255 * np.array(self.card.document["preprocessing"]["mean"], dtype=np.float32)
        baseline = np.broadcast_to(mean, inputs.shape[1:])
        shares = explain.attributions(self.model, inputs, baseline, np.array(chosen)).sum(axis=-1)
        return [
            {"label": labels[index], "attributions": np.round(share, DECIMALS).tolist()}
            for index, share in zip(chosen, shares, strict=True)
        ]

    def _ready(self, sent: picture_requests.Sent, index: int, count: int) -> NDArray[np.uint8]:
        try:
            picture = self._prepared(sent)
        except RequestError as error:
            raise error.within(f"instances[{index}]") if count > 1 else error from None
        if self.card.artifact.preprocessing:
            return picture
        if picture.shape != (*self.vision.preprocessing.size, 3) or picture.dtype != np.uint8:
            raise Internal(f"image_processing returned {picture.dtype} {list(picture.shape)}")
        return picture

    def _prepared(self, sent: picture_requests.Sent) -> NDArray[np.uint8]:
        if self.card.artifact.preprocessing:
            return self._decoded(sent)
        if self.reduction is None or isinstance(sent, np.ndarray):
            return self.image_processing(self._decoded(sent))
        picture, whole = pictures.decode_reduced(sent, self.rules, self.reduction)
        return preprocessing.apply(picture, self.vision.preprocessing, whole)

    def _decoded(self, sent: picture_requests.Sent) -> NDArray[np.uint8]:
        if not isinstance(sent, np.ndarray):
            return pictures.decode(sent, self.rules)
        try:
            return pictures.from_values(sent, self.rules.max_pixels)
        except ValueError as error:
            raise InvalidFields(str(error)) from None


def _apart(ready: list[NDArray[np.uint8]]) -> NDArray[Any]:
    """An array of arrays, which numpy would join into one where the sizes happen to agree."""
    apart = np.empty(len(ready), dtype=object)
    apart[:] = ready
    return apart
