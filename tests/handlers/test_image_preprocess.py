import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from handlers import image_preprocess
from handlers.card import Preprocessing
from handlers.torchvision_ops import ensure_torchvision_ops
from serialize.sample_requests import image
from tests.handlers.archives import noise

Size = tuple[int, int]

SIZES = [
    (64, 64),
    (37, 53),
    (53, 37),
    (240, 320),
    (321, 241),
    (727, 1200),
    (1, 1),
    (1, 90),
    (90, 1),
    (224, 224),
    (9, 500),
]
RESIZES: list[tuple[Size | int, Size | None]] = [
    ((64, 64), None),
    ((96, 40), None),
    ((70, 80), (64, 64)),
    ((70, 80), (20, 64)),
    (64, (56, 56)),
    (73, (64, 57)),
    (40, (40, 40)),
    (48, (64, 50)),
    ((30, 30), (41, 20)),
]


def reference(pixels: NDArray[np.uint8], resize: Size | int, crop: Size | None, name: str) -> NDArray[np.uint8]:
    ensure_torchvision_ops()
    from torchvision.transforms import InterpolationMode, v2

    steps = [v2.Resize(list(resize) if isinstance(resize, tuple) else resize, InterpolationMode(name), antialias=True)]
    if crop:
        steps.append(v2.CenterCrop(list(crop)))
    return np.asarray(v2.Compose(steps)(Image.fromarray(pixels)))


def unrelated(height: int, width: int) -> NDArray[np.uint8]:
    """Pixels that say nothing of their neighbours, where every rounding shows."""
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def differing(
    size: Size, resize: Size | int, crop: Size | None, name: str, pixels: NDArray[np.uint8] | None = None
) -> NDArray[np.int64]:
    pixels = noise(*size) if pixels is None else pixels
    expected = reference(pixels, resize, crop, name)
    result = image_preprocess.apply(pixels, Preprocessing(resize, name, crop))  # type: ignore[arg-type]  # a parameter
    assert result.dtype == np.uint8
    assert result.shape == expected.shape
    return np.asarray(np.abs(result.astype(np.int64) - expected))


def label(value: object) -> str:
    return str(value).replace(" ", "")


@pytest.mark.parametrize("name", ["bilinear", "bicubic", "nearest"])
@pytest.mark.parametrize(("resize", "crop"), RESIZES, ids=label)
@pytest.mark.parametrize("size", SIZES, ids=label)
def test_the_result_is_torchvisions_to_one_of_255(size: Size, resize: Size | int, crop: Size | None, name: str) -> None:
    assert differing(size, resize, crop, name).max() <= 1


@pytest.mark.parametrize("name", ["bilinear", "bicubic", "nearest"])
@pytest.mark.parametrize(
    ("size", "resize", "crop"),
    [
        ((727, 1200), (64, 64), None),
        ((53, 37), (70, 80), (20, 64)),
        ((500, 512), 256, (224, 224)),
        ((9, 9), 40, (40, 40)),
    ],
    ids=["no-crop", "crop-after-exact-size", "nearly-square", "crop-of-all"],
)
def test_a_result_resampled_whole_is_bit_equal(size: Size, resize: Size | int, crop: Size | None, name: str) -> None:
    assert differing(size, resize, crop, name).max() == 0


@pytest.mark.parametrize("name", ["bilinear", "bicubic"])
@pytest.mark.parametrize(("resize", "crop"), [(256, (224, 224)), (232, (224, 224)), (64, (56, 56))], ids=label)
@pytest.mark.parametrize("size", [(727, 1200), (800, 1200), (1024, 768), (720, 498), (2000, 1500)], ids=label)
def test_a_crop_after_the_shorter_side_differs_at_few_values(size: Size, resize: int, crop: Size, name: str) -> None:
    for pixels, share in ((noise(*size), 0.003), (image(*size, 3), 0.01)):
        off = differing(size, resize, crop, name, pixels)
        assert (off > 0).mean() <= share
        assert off.max() <= 2


@pytest.mark.parametrize(
    ("size", "resize", "crop", "name"),
    [
        ((128, 176), 480, (224, 224), "bilinear"),
        ((980, 309), 232, (224, 224), "bicubic"),
        ((51, 144), 40, (40, 40), "bilinear"),
        ((300, 400), 342, (299, 299), "bilinear"),
    ],
    ids=label,
)
def test_crop_at_simple_ratio_differs_at_one_value_in_ten(size: Size, resize: int, crop: Size, name: str) -> None:
    for pixels in (unrelated(*size), image(*size, 2)):
        off = differing(size, resize, crop, name, pixels)
        assert (off > 0).mean() <= 0.1
        assert off.max() <= 2


@pytest.mark.parametrize(
    ("size", "resize", "crop"),
    [((400, 112), 96, (64, 64)), ((670, 305), 256, (224, 224)), ((305, 670), 256, (224, 224))],
    ids=label,
)
@pytest.mark.parametrize("name", ["bilinear", "bicubic"])
def test_a_tall_picture_is_resized_in_the_order_of_the_whole(size: Size, resize: int, crop: Size, name: str) -> None:
    off = differing(size, resize, crop, name, unrelated(*size))
    assert (off > 0).mean() <= 0.03
    assert off.max() <= 1


def test_a_long_thin_picture_is_not_resized_as_a_whole() -> None:
    result = image_preprocess.apply(noise(1, 60_000), Preprocessing(256, "bilinear", (224, 224)))
    assert result.shape == (224, 224, 3)
