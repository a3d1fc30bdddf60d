"""Images for a build: from a folder of the user, or generated ones if the settings name no folder.

The int8 format calibrates itself with them, a reduced JPEG decode is measured on them, and those in which a detector
finds something are among its golden requests.
"""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from errors import BuildError, RequestError
from handlers.model_handler import ModelHandler
from serialize.checkpoints import ROOT
from serialize.loaded_model import CalibrationInputs
from serialize.offline_handler import read_request
from serialize.sample_requests import SampleRequest, image, image_request
from settings.schema import VisionModel

logger = logging.getLogger(__name__)

TYPES = {".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png", ".webp": "image/webp", ".bmp": "image/bmp",
         ".gif": "image/gif", ".tif": "image/tiff", ".tiff": "image/tiff"}  # fmt: skip
DEMO_PICTURES = "digits_pictures"  # `make train_demo` writes this folder for digits
MIN_IMAGES = 8
GENERATED = 64
GENERATED_SIZES = ((480, 640), (727, 1200), (640, 480), (300, 400))


@dataclass(frozen=True)
class CalibrationImages:
    """Requests in the order of their file names, and their source as the model card states it."""

    requests: tuple[SampleRequest, ...]
    origin: str


def load_images(model: VisionModel) -> CalibrationImages:
    """Return the configured images: at most `calibration.count`, evenly distributed over the folder's sorted names.

    Raises BuildError if the folder is missing or has fewer than eight.
    """
    if model.calibration.pictures is None:
        logger.warning("%s: served_model.calibration.pictures is null, generated pictures are used", model.model_name)
        generated = tuple(_generated(number) for number in range(min(GENERATED, model.calibration.count)))
        return CalibrationImages(generated, "made by Marina")
    folder = ROOT / Path(model.calibration.pictures).expanduser()
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in TYPES) if folder.is_dir() else []
    if len(files) < MIN_IMAGES:
        demo = model.model_name == "digits" and folder.name == DEMO_PICTURES and not folder.is_dir()
        remedy = "make train_demo makes them" if demo else "name a folder that holds some"
        raise BuildError(
            f"{model.model_name}: served_model.calibration.pictures={folder} holds {len(files)} pictures, "
            f"at least {MIN_IMAGES} are needed; {remedy}"
        )
    count = min(len(files), model.calibration.count)
    chosen = [files[number * len(files) // count] for number in range(count)]
    requests = tuple(SampleRequest(TYPES[path.suffix.lower()], path.read_bytes()) for path in chosen)
    # Not the whole path: an archive names nothing of the machine that built it.
    return CalibrationImages(requests, f"{count} of {len(files)} pictures in {folder.name}")


def calibration_inputs(model: VisionModel, images: CalibrationImages, handler: ModelHandler) -> CalibrationInputs:
    """Return the images as the worker reads them; skip, with a warning, those that it refuses.

    Raises BuildError if fewer than eight are left.
    """
    read = []
    for request in images.requests:
        try:
            read.append(read_request(handler, request).inputs)
        except RequestError as error:
            logger.warning("a picture for calibration is left out: %s", error.detail)
    if len(read) < MIN_IMAGES:
        raise BuildError(
            f"{model.model_name}: {len(read)} pictures for calibration can be read, {MIN_IMAGES} are needed"
        )
    limits = model.int8_limits
    return CalibrationInputs(np.concatenate(read), images.origin, limits.top1, limits.change)


def _generated(number: int) -> SampleRequest:
    height, width = GENERATED_SIZES[number % len(GENERATED_SIZES)]
    return image_request(image(height, width, number), "jpeg", quality=90)
