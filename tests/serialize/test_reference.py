"""The framework's side of the parity gate sees the image that the worker sees."""

import numpy as np
import pytest
from PIL import Image

import settings
from handlers import card, image_decode, image_preprocess
from handlers.image_decode import DecodeRules
from serialize.reference import torchvision_pixels
from serialize.sample_requests import image
from tests.handlers.archives import encoded

PIXELS = image(90, 130, 1)
TURNED = Image.Exif()
TURNED[0x0112] = 6
CASES = {
    "transparent": encoded(np.dstack([PIXELS, PIXELS[:, :, 0]]), "PNG"),
    "turned": encoded(PIXELS, "JPEG", exif=TURNED),
    "sixteen-bits": encoded(PIXELS[:, :, 0].astype(np.uint16) * 257, "PNG"),
    "cmyk": encoded(np.asarray(Image.fromarray(PIXELS).convert("CMYK")), "TIFF"),
}


@pytest.mark.parametrize("name", CASES)
def test_torchvision_pixels_equal_the_workers_for_every_image_kind(name: str) -> None:
    model = settings.load(["served_model=digits", "served_model.preprocessing.background=[9,99,199]"]).served_model
    assert model.kind == "vision"
    given = model.preprocessing
    expected = torchvision_pixels(CASES[name], given).numpy()
    assert isinstance(given.resize, tuple)
    seen = image_decode.decode(CASES[name], DecodeRules(10**6, given.background, given.white))
    assert (image_preprocess.apply(seen, card.Preprocessing(given.resize, given.interpolation, None)) == expected).all()
