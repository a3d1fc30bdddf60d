"""The handler of image models, and the entry of their archives.

It does not derive from TorchServe's `VisionHandler`, which imports captum, and with it matplotlib and torchvision, so
that every start of a worker would wait for them. TorchServe takes the one class defined here.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from handlers import explain, image_decode, image_preprocess, image_request, request_body, request_limits
from handlers.batch import NEVER, Deadline
from handlers.card import Vision
from handlers.errors import Internal, InvalidFields, NotSupported, RequestError
from handlers.image_decode import DecodeRules, Reduction
from handlers.model_handler import ModelHandler
from handlers.outputs.class_probabilities import DECIMALS


class VisionHandler(ModelHandler):
    """Serves image models; override `image_processing` to resize images differently."""

    vision: Vision
    rules: DecodeRules
    reduction: Reduction | None

    def configure(self) -> None:
        """Store the card's image settings, and derive the rules of decoding."""
        if self.card.vision is None:
            raise ValueError("model.json: kind is not vision, but the handler is VisionHandler")
        self.vision = self.card.vision
        settings = self.vision.preprocessing
        self.rules = DecodeRules(self.card.limits.max_pixels, settings.background, settings.white)
        self.reduction = None
        if self.vision.reduced is not None:
            self.reduction = Reduction(self.vision.reduced, lambda size: image_preprocess.grid(size, settings))

    def image_processing(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Bring one image, uint8 [height, width, 3] RGB, to the card's size; the network normalises it itself."""
        return image_preprocess.apply(image, self.vision.preprocessing)

    def read(self, body: Any, media_type: str, until: Deadline = NEVER) -> NDArray[Any]:
        """Decode and resize the images of one request to uint8 [k, H, W, 3]; raises RequestError.

        Where the graph resizes images itself, only decode them, to an array of k images of different sizes. Check the
        deadline between images.
        """
        request_body.require_media_type(media_type, ("image/", "text/"), "a picture or JSON")
        if isinstance(body, bytes | bytearray) and request_body.is_json(media_type):
            body = request_body.parse_json(body)
        request_limits.check(self.card.limits, body)
        images = image_request.read(body, media_type)
        ready = []
        for index, image in enumerate(images):
            until.check()
            ready.append(self._ready(image, index, len(images)))
        return _apart(ready) if self.card.artifact.preprocessing else np.stack(ready)

    def explanations(self, inputs: NDArray[Any], outputs: NDArray[Any], target: Any) -> list[dict[str, Any]]:
        """Attribute a class's logit to the pixels of the network's size: [height, width], the sum over the colours."""
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

    def _ready(self, sent: image_request.RequestImage, index: int, count: int) -> NDArray[np.uint8]:
        try:
            image = self._prepared(sent)
        except RequestError as error:
            raise error.within(f"instances[{index}]") if count > 1 else error from None
        if self.card.artifact.preprocessing:
            return image
        if image.shape != (*self.vision.preprocessing.size, 3) or image.dtype != np.uint8:
            raise Internal(f"image_processing returned {image.dtype} {list(image.shape)}")
        return image

    def _prepared(self, sent: image_request.RequestImage) -> NDArray[np.uint8]:
        if self.card.artifact.preprocessing:
            return self._decoded(sent)
        if self.reduction is None or isinstance(sent, np.ndarray):
            return self.image_processing(self._decoded(sent))
        image, whole = image_decode.decode_reduced(sent, self.rules, self.reduction)
        return image_preprocess.apply(image, self.vision.preprocessing, whole)

    def _decoded(self, sent: image_request.RequestImage) -> NDArray[np.uint8]:
        if not isinstance(sent, np.ndarray):
            return image_decode.decode(sent, self.rules)
        try:
            return image_decode.from_values(sent, self.rules.max_pixels)
        except ValueError as error:
            raise InvalidFields(str(error)) from None


def _apart(ready: list[NDArray[np.uint8]]) -> NDArray[Any]:
    """Return an array of arrays; numpy itself would merge arrays of equal size."""
    apart = np.empty(len(ready), dtype=object)
    apart[:] = ready
    return apart
