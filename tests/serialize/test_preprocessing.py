"""Pre-processing: what the worker makes of a picture is what torchvision makes of it, under every setting."""

import importlib.util
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from pydantic import ValidationError

from errors import BuildError
from handlers import image_decode, image_preprocess
from handlers.card import Preprocessing
from handlers.errors import InvalidFields
from handlers.image_decode import DecodeRules
from serialize import preprocessing_preset
from serialize.checkpoints import ROOT
from serialize.labels import resolve_labels
from serialize.preprocessing_preset import resolve
from serialize.reference import torchvision_pixels
from serialize.sample_requests import image
from settings.schema import PreprocessingSettings, VisionModel
from tests.handlers.files import png_file
from tests.serialize.conftest import Compose

FIELDS = {"resize", "interpolation", "crop", "background", "channels", "letterbox", "padding", "antialias", "dtype"}
CASES: dict[str, dict[str, Any]] = {
    "grey": {"channels": 1},
    "four channels": {"channels": 4},
    "lanczos": {"interpolation": "lanczos"},
    "bicubic grey": {"interpolation": "bicubic", "channels": 1},
    "nearest": {"interpolation": "nearest", "channels": 4},
    "letterbox": {"letterbox": True},
    "letterbox of one side, with a colour": {"letterbox": True, "resize": 48, "padding": [114, 0, 7]},
    "grey letterbox": {"letterbox": True, "channels": 1},
    "not antialiased": {"antialias": False},
    "not antialiased, cropped": {"antialias": False, "resize": 70, "crop": [64, 50]},
    "not antialiased bicubic": {"antialias": False, "interpolation": "bicubic"},
    "not antialiased nearest": {"antialias": False, "interpolation": "nearest"},
    "floats": {"dtype": "float32"},
    "grey floats, cropped": {"dtype": "float32", "channels": 1, "resize": 70, "crop": [64, 50]},
    "floats in a letterbox": {"dtype": "float32", "letterbox": True, "padding": [114, 0, 7]},
    "floats, not antialiased": {"dtype": "float32", "antialias": False, "interpolation": "bicubic", "channels": 4},
}
ROUNDED_APART = {"not antialiased", "not antialiased, cropped", "not antialiased bicubic"}
"""Cases whose sums are in another order than torch's, so that a value between two may be rounded the other way."""


def picture(form: str, mode: str, size: tuple[int, int] = (90, 141), **options: Any) -> bytes:
    made = Image.fromarray(image(*size, 3))
    if mode in ("RGBA", "LA"):
        made.putalpha(Image.fromarray(image(*size, 5)[:, :, 0]))
    encoded = io.BytesIO()
    made.convert(mode).save(encoded, form, **options)
    return encoded.getvalue()


def turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return picture("JPEG", "RGB", exif=exif)


PICTURES = {
    "rgb": picture("PNG", "RGB"),
    "transparent": picture("PNG", "RGBA"),
    "grey": picture("PNG", "L"),
    "grey jpeg": picture("JPEG", "L", quality=95),
    "palette": picture("GIF", "P"),
    "cmyk": picture("JPEG", "CMYK"),
    "progressive": picture("JPEG", "RGB", progressive=True),
    "turned": turned(),
    "smaller": picture("PNG", "RGB", (21, 17)),
}


def settings_of(**given: Any) -> PreprocessingSettings:
    channels = given.get("channels", 3)
    values = {"resize": [32, 48], "mean": [0.5] * channels, "std": [0.5] * channels} | given
    return PreprocessingSettings.model_validate_json(json.dumps(values), strict=True)


def worker(body: bytes, settings: PreprocessingSettings) -> NDArray[Any]:
    read = Preprocessing(**settings.model_dump(include=FIELDS))
    rules = DecodeRules(10**8, read.background, None, read.channels, read.dtype)
    return image_preprocess.apply(image_decode.decode(body, rules), read)


@pytest.mark.parametrize("kind", PICTURES)
@pytest.mark.parametrize("case", CASES)
def test_worker_prepares_pictures_as_torchvision(case: str, kind: str) -> None:
    settings = settings_of(**CASES[case])
    found = worker(PICTURES[kind], settings)
    expected = torchvision_pixels(PICTURES[kind], settings).numpy()
    assert found.shape == expected.shape == (*settings.size, settings.channels)
    assert found.dtype == expected.dtype == settings.dtype
    if case in ROUNDED_APART:
        apart = np.abs(found.astype(int) - expected)
        assert apart.max() <= 1
        assert np.mean(apart > 0) < 0.001
    else:
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-3 if found.dtype == np.float32 else 0)


def test_antialiasing_is_left_out_as_torchvision_leaves_it_out_for_tensors() -> None:
    from torchvision.transforms import v2

    settings = settings_of(antialias=False)
    whole = torch.from_numpy(image(90, 141, 3)).permute(2, 0, 1)
    expected = v2.Resize(list(settings.size), antialias=False)(whole).permute(1, 2, 0).numpy().astype(int)
    assert np.abs(worker(PICTURES["rgb"], settings) - expected).max() <= 1
    antialiased = worker(PICTURES["rgb"], settings_of()).astype(int)
    assert np.abs(antialiased - expected).max() > 50


def test_deep_pictures_keep_what_8_bits_would_round() -> None:
    values = (np.arange(64 * 48, dtype=np.uint16) + 1000).reshape(64, 48)
    body = io.BytesIO()
    Image.fromarray(values).save(body, "PNG")
    settings = settings_of(dtype="float32", channels=1, resize=[64, 48])
    found = worker(body.getvalue(), settings)
    np.testing.assert_allclose(found[:, :, 0], values * (255 / 65535), rtol=1e-6)
    np.testing.assert_allclose(torchvision_pixels(body.getvalue(), settings).numpy(), found)
    assert len(np.unique(worker(body.getvalue(), settings_of(channels=1, resize=[64, 48])))) < 20


def test_deep_colours_are_refused_where_floats_are_wanted() -> None:
    body = png_file(2, 1, 16, 2, bytes(range(12)))
    assert worker(body, settings_of()).shape == (32, 48, 3)
    with pytest.raises(InvalidFields, match="colours of 16 bits a channel are read as 8 bits"):
        worker(body, settings_of(dtype="float32"))


@pytest.mark.parametrize("case", [name for name in CASES if "letterbox" in name])
def test_letterbox_placement_leaves_the_padding_out(case: str) -> None:
    settings = settings_of(**CASES[case])
    read = Preprocessing(**settings.model_dump(include=FIELDS))
    place = image_preprocess.placement((90, 141), read)
    assert place.size == (90, 141)
    assert place.window == settings.size
    assert place.shift == ((settings.size[0] - place.grid[0]) // 2, 0)


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no mean": ({"mean": None}, "mean is missing"),
    "three for one channel": ({"channels": 1, "mean": [0.1, 0.2, 0.3]}, "mean has 3 numbers for 1 channels"),
    "no size": ({"resize": None}, "resize is missing"),
    "ratio without crop": ({"resize": None, "crop_ratio": 0.9}, "crop_ratio needs crop"),
    "letterbox and crop": ({"letterbox": True, "crop": [8, 8]}, "leave out crop"),
    "lanczos without antialiasing": ({"interpolation": "lanczos", "antialias": False}, "lanczos always antialiases"),
    "padding alone": ({"padding": [1, 2, 3]}, "padding is of letterbox"),
}


@pytest.mark.parametrize("case", WRONG)
def test_settings_that_do_not_fit_each_other_are_refused(case: str) -> None:
    given, match = WRONG[case]
    with pytest.raises(ValidationError, match=match):
        settings_of(**given)


def test_crop_ratio_stands_for_the_shorter_side(compose: Compose) -> None:
    found = resolve(_with(compose, {"crop": [224, 224], "crop_ratio": 0.95, "mean": [0] * 3, "std": [1] * 3}))
    assert found.preprocessing.resize == 235


def test_torchvision_weights_give_their_transforms(compose: Compose) -> None:
    found = resolve(_with(compose, {"preset": "torchvision/EfficientNet_B0_Weights.IMAGENET1K_V1"})).preprocessing
    assert (found.resize, found.crop, found.interpolation) == (256, (224, 224), "bicubic")
    assert found.mean == (0.485, 0.456, 0.406)
    stated = resolve(_with(compose, {"preset": "torchvision/ResNet18_Weights.IMAGENET1K_V1", "crop": [96, 96]}))
    assert stated.preprocessing.crop == (96, 96)


def test_timm_configuration_gives_its_pre_processing(compose: Compose) -> None:
    pytest.importorskip("timm")
    found = resolve(_with(compose, {"preset": "timm/mobilenetv3_small_100.lamb_in1k"})).preprocessing
    assert (found.resize, found.crop, found.interpolation) == (256, (224, 224), "bicubic")


def test_stated_resize_counts_beside_a_timm_configuration(compose: Compose) -> None:
    pytest.importorskip("timm")
    found = resolve(_with(compose, {"preset": "timm/resnet50.a1_in1k", "resize": 232})).preprocessing
    assert (found.resize, found.crop) == (232, (224, 224))


def test_crop_ratio_of_a_crop_with_two_sides_is_refused(compose: Compose) -> None:
    stated = {"crop": [160, 320], "crop_ratio": 0.875, "mean": [0] * 3, "std": [1] * 3}
    with pytest.raises(BuildError, match=r"crop_ratio needs a square crop, not \[160, 320\]; state resize"):
        resolve(_with(compose, stated))


PROCESSOR = {"image_mean": [0.5] * 3, "image_std": [0.25] * 3}
SQUARE = {"height": 96, "width": 96}
PROCESSORS: dict[str, tuple[dict[str, Any], Any, Any, str]] = {
    "ViT": ({"image_processor_type": "ViTImageProcessor", "size": SQUARE}, (96, 96), None, "bilinear"),
    "old ViT": ({"feature_extractor_type": "ViTFeatureExtractor", "size": 96}, (96, 96), None, "bilinear"),
    "fast, with empty settings": (
        {"image_processor_type": "ViTImageProcessorFast", "size": {**SQUARE, "shortest_edge": None}, "do_pad": None},
        (96, 96), None, "bilinear",
    ),
    "two sides": (
        {"image_processor_type": "ViTImageProcessor", "size": {"height": 96, "width": 128}, "resample": 3},
        (96, 128), None, "bicubic",
    ),
    "DeiT squares what it crops": (
        {"image_processor_type": "DeiTImageProcessor", "size": 256, "crop_size": 224}, (256, 256), (224, 224), "bicubic"
    ),
    "old CLIP": (
        {"feature_extractor_type": "CLIPFeatureExtractor", "size": 70, "crop_size": 64}, 70, (64, 64), "bicubic"
    ),
    "ConvNeXT": (
        {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 224}, "crop_pct": 0.95},
        235, (224, 224), "bicubic",
    ),
    "old ConvNeXT": (
        {"feature_extractor_type": "ConvNextFeatureExtractor", "size": 224, "resample": 2},
        256, (224, 224), "bilinear",
    ),
    "large ConvNeXT": (
        {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 384}, "crop_pct": 1.0},
        (384, 384), None, "bicubic",
    ),
}  # fmt: skip


@pytest.fixture
def processor(tmp_path: Path) -> Callable[[dict[str, Any]], str]:
    """Writes a preprocessor_config.json and returns its path."""

    def written(given: dict[str, Any]) -> str:
        path = tmp_path / "preprocessor_config.json"
        path.write_text(json.dumps(PROCESSOR | given))
        return str(path)

    return written


@pytest.mark.parametrize("case", PROCESSORS)
def test_preprocessor_config_gives_its_pre_processing(
    compose: Compose, processor: Callable[[dict[str, Any]], str], case: str
) -> None:
    given, resize, crop, interpolation = PROCESSORS[case]
    found = resolve(_with(compose, {"preset": processor(given)})).preprocessing
    assert (found.resize, found.crop, found.interpolation) == (resize, crop, interpolation)
    assert (found.mean, found.std) == ((0.5,) * 3, (0.25,) * 3)


SMALL = {"size": {"height": 32, "width": 48}}
OPTIONS: dict[str, dict[str, Any]] = {
    "ConvNextImageProcessor": {"size": {"shortest_edge": 32}},
    **{
        f"{name}ImageProcessor": {"size": {"shortest_edge": 36}, "crop_size": {"height": 32, "width": 32}}
        for name in ("Bit", "CLIP", "MobileNetV1", "MobileNetV2")
    },
    "DeiTImageProcessor": {"size": {"height": 40, "width": 44}, "crop_size": {"height": 32, "width": 32}},
}


@pytest.mark.skipif(
    importlib.util.find_spec("transformers") is None,
    reason="transformers is not installed: requirements-transformers.txt",
)
@pytest.mark.parametrize("kind", preprocessing_preset.PROCESSORS)
def test_pictures_are_those_of_the_image_processor(compose: Compose, tmp_path: Path, kind: str) -> None:
    import transformers

    own = getattr(transformers, f"{kind}Pil")(**OPTIONS.get(kind, SMALL))
    own.save_pretrained(tmp_path)
    settings = resolve(_with(compose, {"preset": str(tmp_path)})).preprocessing
    whole = Image.fromarray(image(90, 140, 3))
    body = io.BytesIO()
    whole.save(body, "PNG")
    found = (worker(body.getvalue(), settings) / 255 - np.array(settings.mean)) / np.array(settings.std)
    [expected] = own(whole)["pixel_values"]
    np.testing.assert_allclose(found.transpose(2, 0, 1), expected, rtol=0, atol=1e-4)


VIT = {"image_processor_type": "ViTImageProcessor", "size": SQUARE}
CONVNEXT = {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 224}}


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"size": SQUARE}, "a file without image_processor_type"),
        ({"image_processor_type": "EfficientNetImageProcessor", "size": SQUARE}, "EfficientNetImageProcessor"),
        ({"feature_extractor_type": "LevitFeatureExtractor", "size": 224}, "LevitFeatureExtractor"),
        (VIT | {"do_rescale": False}, "do_rescale: false"),
        (VIT | {"do_resize": False}, "do_resize: false"),
        (VIT | {"do_pad": True}, "do_pad"),
        (VIT | {"rescale_factor": 1 / 127.5}, "a rescale_factor other than 1/255"),
        (VIT | {"size": {"shortest_edge": 224, "longest_edge": 300}}, "a size of shortest_edge and longest_edge"),
        (CONVNEXT | {"size": SQUARE}, "do_center_crop or a size of two numbers in ConvNextImageProcessor"),
    ],
)
def test_preprocessor_config_that_asks_for_more_is_refused_by_name(
    compose: Compose, processor: Callable[[dict[str, Any]], str], given: dict[str, Any], named: str
) -> None:
    with pytest.raises(BuildError, match=f"{named} is not supported; state the pre-processing"):
        resolve(_with(compose, {"preset": processor(given)}))


def test_documentation_lists_the_image_processors() -> None:
    text = (ROOT / "docs" / "pictures.md").read_text()
    assert [name for name in preprocessing_preset.PROCESSORS if name.removesuffix("ImageProcessor") not in text] == []


@pytest.mark.parametrize("preset", ["torchvision/None_Weights.X", "no/such/file.json"])
def test_unknown_preset_is_refused(compose: Compose, preset: str) -> None:
    with pytest.raises(BuildError, match=r"served_model\.preprocessing\.preset"):
        resolve(_with(compose, {"preset": preset}))


def _with(compose: Compose, preprocessing: dict[str, Any]) -> VisionModel:
    model = compose("digits").built_model
    assert isinstance(model, VisionModel)
    settings = PreprocessingSettings.model_validate_json(json.dumps(preprocessing), strict=True)
    return model.model_copy(update={"preprocessing": settings})


def test_labels_are_read_from_files_and_folders(tmp_path: Path) -> None:
    text, index = tmp_path / "names.txt", tmp_path / "index_to_name.json"
    text.write_text("no\nyes\n\n1.1\n")
    assert resolve_labels(str(text)) == ["no", "yes", "1.1"]
    index.write_text(json.dumps({"1": ["n02", "dog"], "0": "cat"}))
    assert resolve_labels(str(index)) == ["cat", "dog"]
    for name in ("b", "a"):
        (tmp_path / "train" / name).mkdir(parents=True)
    assert resolve_labels(str(tmp_path / "train")) == ["a", "b"]
    index.write_text(json.dumps({"1": "dog"}))
    with pytest.raises(BuildError, match="every number up to the last"):
        resolve_labels(str(index))
