"""The handler of image models, and the entry of their archives.

It does not derive from TorchServe's `VisionHandler`, which imports captum, and with it matplotlib and torchvision, so
that every start of a worker would wait for them. TorchServe takes the one class defined here.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from handlers import explain, image_decode, image_preprocess, image_request, request_body, request_limits
from handlers.batch import NEVER, Deadline, Instances, apart
from handlers.card import Vision
from handlers.errors import Internal, InvalidFields, NotSupported, RequestError
from handlers.image_decode import DecodeRules, Reduction, Size
from handlers.model_handler import ModelHandler
from handlers.outputs.class_probabilities import DECIMALS
from handlers.placement import NAME as PLACEMENT
from handlers.placement import PicturePlacement


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
        own = vars(type(self))
        if self.card.output.placed and "image_processing" in own and "placement" not in own:
            raise ValueError(
                f"{type(self).__name__} has its own image_processing: it must define placement(size) too, "
                f"because {self.card.output.name} answers in pixels of the picture that was sent"
            )
        settings = self.vision.preprocessing
        self.rules = DecodeRules(
            self.card.limits.max_pixels, settings.background, settings.white, settings.channels, settings.dtype
        )
        self.reduction = None
        if self.vision.reduced is not None:
            self.reduction = Reduction(self.vision.reduced, lambda size: image_preprocess.grid(size, settings))

    def image_processing(self, image: NDArray[Any]) -> NDArray[Any]:
        """Bring one image to the network's size; a subclass may override it.

        `image` is [height, width, C]: opaque RGB, or as many channels as `preprocessing.channels`, upright, as large as
        it was sent. The result is [H, W, C] of `preprocessing.crop`, or of `resize` without a crop. Both are uint8, or
        with `preprocessing.dtype: float32` float32, whose values are from 0 to 255 as well, but not rounded. The
        network scales the values to 0..1, subtracts the mean and divides by the deviation itself.
        """
        return image_preprocess.apply(image, self.vision.preprocessing)

    def placement(self, size: tuple[int, int]) -> PicturePlacement:
        """Return where `image_processing` puts an image of this height and width; override both together."""
        return image_preprocess.placement(size, self.vision.preprocessing)

    def read(self, body: Any, media_type: str, until: Deadline = NEVER) -> Instances:
        """Decode and resize the images of one request to `preprocessing.dtype` [k, H, W, C]; raises RequestError.

        Where the graph resizes images itself, only decode them, to an array of k images of different sizes. Check the
        deadline between images. The placements of the images are among the options where predictions need them.
        """
        request_body.require_media_type(media_type, ("image/", "text/"), "a picture or JSON")
        if isinstance(body, bytes | bytearray) and request_body.is_json(media_type):
            body = request_body.parse_json(body)
        request_limits.check(self.card.limits, body)
        images = image_request.read(body, media_type)
        ready, sizes = [], []
        for index, image in enumerate(images):
            until.check()
            pixels, size = self._ready(image, index, len(images))
            ready.append(pixels)
            sizes.append(size)
        inputs = apart(ready) if self.card.artifact.preprocessing else np.stack(ready)
        if not self.card.output.placed:
            return Instances(inputs)
        return Instances(inputs, {PLACEMENT: np.array([self.placement(size).row for size in sizes], dtype=np.int64)})

    def explanations(self, inputs: NDArray[Any], outputs: NDArray[Any], target: Any) -> list[dict[str, Any]]:
        """Attribute a class's logit to the pixels of the network's size: [height, width], the sum over the colours."""
        labels = self.vision.labels
        if not labels or outputs.shape[1:] != (len(labels),):
            raise NotSupported("explanations are of classes, and this model does not answer with one logit for each")
        chosen = [explain.target(target, labels, int(answered)) for answered in outputs.argmax(axis=1)]
        mean = 255 * np.array(self.card.document["preprocessing"]["mean"], dtype=np.float32)
        shares = explain.attributions(self.model, inputs, mean, np.array(chosen)).sum(axis=-1)
        return [
            {"label": labels[index], "attributions": np.round(share, DECIMALS).tolist()}
            for index, share in zip(chosen, shares, strict=True)
        ]

    def _ready(self, sent: image_request.RequestImage, index: int, count: int) -> tuple[NDArray[Any], Size]:
        """Return the network's image and the size of the one that was sent, upright."""
        try:
            image, size = self._prepared(sent)
        except RequestError as error:
            raise error.within(f"instances[{index}]") if count > 1 else error from None
        if self.card.artifact.preprocessing:
            return image, size
        settings = self.vision.preprocessing
        if image.shape != (*settings.size, settings.channels) or image.dtype != settings.dtype:
            raise Internal(f"image_processing returned {image.dtype} {list(image.shape)}")
        return image, size

    def _prepared(self, sent: image_request.RequestImage) -> tuple[NDArray[Any], Size]:
        if self.reduction is None or isinstance(sent, np.ndarray):
            image = self._decoded(sent)
            size = image.shape[0], image.shape[1]
            return image if self.card.artifact.preprocessing else self.image_processing(image), size
        image, whole = image_decode.decode_reduced(sent, self.rules, self.reduction)
        return image_preprocess.apply(image, self.vision.preprocessing, whole), whole

    def _decoded(self, sent: image_request.RequestImage) -> NDArray[Any]:
        if not isinstance(sent, np.ndarray):
            return image_decode.decode(sent, self.rules)
        try:
            return image_decode.from_values(sent, self.rules)
        except ValueError as error:
            raise InvalidFields(str(error)) from None
