"""Pictures that a build asks its network: a folder of the user's, or made ones where none is named."""

import io
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from errors import BuildError
from handlers import golden, rows
from handlers.errors import RequestError
from handlers.model_handler import ModelHandler
from serialize.checkpoints import ROOT
from serialize.loaded_model import CalibrationInputs
from serialize.sample_requests import SampleRequest, picture
from settings.schema import VisionModel

logger = logging.getLogger(__name__)

TYPES = {".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png", ".webp": "image/webp", ".bmp": "image/bmp",
         ".gif": "image/gif", ".tif": "image/tiff", ".tiff": "image/tiff"}  # fmt: skip
DEMO_PICTURES = "digits_pictures"  # `make train_demo` writes this folder for digits
LEAST = 8
MADE = 64
MADE_SIZES = ((480, 640), (727, 1200), (640, 480), (300, 400))


@dataclass(frozen=True)
class Pictures:
    """Requests in the order of their names, and where they come from in words for the model card."""

    requests: tuple[SampleRequest, ...]
    origin: str


def load(model: VisionModel) -> Pictures:
    """The configured pictures, at most `calibration.count`, evenly taken from the folder's sorted names.

    Raises BuildError where the folder is missing or holds fewer than eight.
    """
    if model.calibration.pictures is None:
        logger.warning("%s: served_model.calibration.pictures is null: made pictures are used", model.model_name)
        return Pictures(tuple(_made(number) for number in range(min(MADE, model.calibration.count))), "made by the kit")
    folder = ROOT / Path(model.calibration.pictures).expanduser()
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in TYPES) if folder.is_dir() else []
    if len(files) < LEAST:
        demo = model.model_name == "digits" and folder.name == DEMO_PICTURES and not folder.is_dir()
        way = "make train_demo makes them" if demo else "name a folder that holds some"
        raise BuildError(
            f"{model.model_name}: served_model.calibration.pictures={folder} holds {len(files)} pictures, "
            f"at least {LEAST} are needed; {way}"
        )
    count = min(len(files), model.calibration.count)
    chosen = [files[number * len(files) // count] for number in range(count)]
    requests = tuple(SampleRequest(TYPES[path.suffix.lower()], path.read_bytes()) for path in chosen)
    # Not the whole path: an archive names nothing of the machine that made it.
    return Pictures(requests, f"{count} of {len(files)} pictures in {folder.name}")


def inputs(model: VisionModel, pictures: Pictures, handler: ModelHandler) -> CalibrationInputs:
    """The pictures as the worker reads them; one that it refuses is left out with a word.

    Raises BuildError where fewer than eight are left.
    """
    read = []
    for request in pictures.requests:
        sample = golden.Sample(request.content_type, request.body, [])
        try:
            read.append(handler.read(rows.content(sample.row)[1], sample.content_type))
        except RequestError as error:
            logger.warning("a picture for calibration is left out: %s", error.detail)
    if len(read) < LEAST:
        raise BuildError(f"{model.model_name}: {len(read)} pictures for calibration can be read, {LEAST} are needed")
    limits = model.int8_limits
    return CalibrationInputs(np.concatenate(read), pictures.origin, limits.top1, limits.change)


def _made(number: int) -> SampleRequest:
    height, width = MADE_SIZES[number % len(MADE_SIZES)]
    body = io.BytesIO()
    Image.fromarray(picture(height, width, number)).save(body, "JPEG", quality=90)
    return SampleRequest("image/jpeg", body.getvalue())
