"""`segment`: class maps and areas in the pixels of every kind of picture, their files, and their comparison."""

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from jsonschema import validate  # type: ignore[import-untyped]
from numpy.typing import NDArray
from PIL import Image

from handlers import golden
from handlers.json_object import JsonObject
from handlers.outputs import class_map, compare_responses, segment
from handlers.outputs.segment import SegmentSettings
from handlers.placement import PicturePlacement
from tests.handlers import coloured
from tests.handlers.conftest import Load
from tests.handlers.worker import Worker, picture

MANY = tuple(f"class {number}" for number in range(300))


def truth() -> NDArray[np.uint8]:
    """The classes of the usual picture: grey, red, blue."""
    numbers = np.zeros((120, 160), np.uint8)
    for number, (left, top, right, bottom) in {1: coloured.BOX, 3: coloured.BLUE}.items():
        numbers[top:bottom, left:right] = number
    return numbers


def answer(
    numbers: NDArray[Any], placed: PicturePlacement | None = None, labels: int = 4, form: str = "png"
) -> dict[str, Any]:
    """The prediction for a map of these class numbers, which covers the picture."""
    logits = np.stack([(numbers == each).astype(np.float32) for each in range(labels)])
    placed = placed or PicturePlacement(numbers.shape, numbers.shape, (0, 0), numbers.shape)
    settings = SegmentSettings(MANY[:labels], form, None)
    [found] = segment.KIND.predictions({"logits": logits[None], "placement": np.array([placed.row])}, settings)
    validate(json.loads(json.dumps(found)), dict(segment.KIND.schema))
    return found


def read(prediction: dict[str, Any]) -> NDArray[Any]:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(prediction["class_map"]))))


def painted(prediction: dict[str, Any], labels: tuple[str, ...] = MANY) -> NDArray[Any]:
    """Run lengths as a map, painted as COCO defines them."""
    pixels = np.full(prediction["width"] * prediction["height"], 255)
    for name, counts in prediction["masks"].items():
        ends = np.cumsum(counts)
        for start, end in zip(ends[::2], ends[1::2], strict=False):
            pixels[start:end] = labels.index(name)
    return pixels.reshape(prediction["width"], prediction["height"]).T


@pytest.mark.parametrize("size", [(7, 5), (64, 48), (513, 1000)])
def test_map_is_enlarged_as_torch_enlarges_it_to_the_nearest(size: tuple[int, int]) -> None:
    numbers = np.random.default_rng(0).integers(0, 4, (60, 80)).astype(np.uint8)
    expected = torch.nn.functional.interpolate(torch.from_numpy(numbers)[None, None], size=size, mode="nearest-exact")
    placed = PicturePlacement(size, (60, 80), (0, 0), (60, 80))
    for form, shown in (("png", read), ("rle", painted)):
        found = answer(numbers, placed, form=form)
        assert (shown(found) == expected[0, 0].numpy()).all()
        counts = np.bincount(expected.numpy().ravel(), minlength=4)
        assert found["areas"] == {MANY[each]: int(count) for each, count in enumerate(counts) if count}


def test_pixels_that_a_crop_has_dropped_have_no_class() -> None:
    cropped = PicturePlacement(size=(4, 8), grid=(4, 8), shift=(0, -2), window=(4, 4))
    found = answer(np.ones((4, 4), np.uint8), cropped)
    assert read(found)[0].tolist() == [255, 255, 1, 1, 1, 1, 255, 255]
    assert found["areas"] == {"class 1": 16}
    assert painted(answer(np.ones((4, 4), np.uint8), cropped, form="rle"))[3].tolist() == read(found)[3].tolist()


def test_many_classes_take_sixteen_bits() -> None:
    numbers = np.array([[0, 299], [256, 7]], np.uint16)
    found = answer(numbers, labels=300)
    assert read(found).tolist() == numbers.tolist()
    assert class_map.png_pixels(found["class_map"]).tolist() == [0, 299, 256, 7]


def test_one_logit_decides_by_its_threshold() -> None:
    settings = SegmentSettings(("background", "road"), "png", 0.7)
    assert segment.KIND.network_outputs(settings)[0].shape == (1, -1, -1)
    assert segment.decided(np.array([[[0.0, 2.0]]], np.float32), settings).tolist() == [[0, 1]]


@pytest.mark.parametrize(
    ("output", "problem"),
    [
        ({"mask": "png"}, "activation is missing"),
        ({"activation": "softmax"}, "mask is missing"),
        ({"activation": "softmax", "mask": "gif"}, "mask must be one of png, rle"),
        ({"activation": "sigmoid", "mask": "png"}, "must be two where one logit decides, not 3"),
    ],
)
def test_activation_and_form_are_never_assumed(output: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        segment.KIND.settings(JsonObject({"labels": ["a", "b", "c"], "output": output}, "model.json"))


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    expected = answer(truth()) | {"areas": {"grey": 14320, "red": 2880, "blue": 2000}}
    return coloured.archive(tmp_path_factory.mktemp("segmenter") / "model", coloured.card("segment"), expected)


@pytest.fixture
def worker(archive: Path, load: Load) -> Worker:
    return load(archive)


@pytest.mark.parametrize("form", coloured.pictures())
def test_picture_of_every_kind_gets_a_map_in_its_upright_pixels(worker: Worker, form: str) -> None:
    [found] = worker.one(picture(coloured.pictures()[form])).predictions
    assert np.mean(read(found) != truth()) < 0.02
    assert list(found["areas"]) == ["grey", "red", "blue"]
    tensors = {each.name: each.read(found) for each in segment.KIND.tensors(coloured.card("segment"))}
    assert tensors["areas"] == [found["areas"].get(name, 0) for name in ("grey", "red", "green", "blue")]
    assert tensors["class_map"] == [base64.b64decode(found["class_map"])]


def test_pictures_of_a_batch_have_their_own_sizes_and_a_bad_one_harms_only_itself(worker: Worker) -> None:
    small = io.BytesIO()
    Image.fromarray(coloured.drawing((30, 50), {"green": (0, 0, 50, 30)})).save(small, "PNG")
    green, broken, usual = worker.answer(*map(picture, (small.getvalue(), b"broken", coloured.pictures()["png"])))
    assert green.predictions[0]["areas"] == {"green": 1500}
    assert read(green.predictions[0]).shape == (30, 50)
    assert broken.error == (400, "unreadable_input")
    assert (read(usual.predictions[0]) == truth()).all()


@pytest.mark.parametrize("form", ["png", "rle"])
def test_versions_differ_where_the_iou_of_a_class_is_below_one_half(form: str) -> None:
    def compared(other: NDArray[Any]) -> Any:
        bodies = [json.dumps({"predictions": [answer(each, form=form)]}).encode() for each in (truth(), other)]
        return compare_responses(bodies[0], bodies[1], 0.001)

    wider, gone, speck = truth(), truth(), truth()
    wider[30:90, 96:108] = 1
    gone[gone == 3] = 0
    speck[0, :5] = 2
    assert not compared(truth()).differs
    assert (compared(wider).differs, compared(wider).change) == (False, pytest.approx(1 - 48 / 60))
    assert (compared(gone).differs, compared(gone).change) == (True, 1.0)
    assert not compared(speck).differs
    assert compared(truth()[:60]).differs


@pytest.mark.parametrize("form", ["png", "rle"])
def test_golden_maps_may_differ_in_a_thousandth_of_the_pixels(form: str) -> None:
    few, many = truth(), truth()
    few[0, :19], many[0, :20] = 2, 2  # of 19,200
    stored = [answer(truth(), form=form)]
    assert golden.exceeds_tolerance(stored, [answer(few, form=form)], 1e-4) is None
    assert golden.exceeds_tolerance(stored, [answer(many, form=form)], 1e-4) is not None
    wrong = answer(np.ascontiguousarray(truth().T), form=form)
    assert golden.exceeds_tolerance(stored, [wrong], 1.0) is not None


@pytest.mark.parametrize("damage", ["bm8gaW1hZ2U=", "not base64!", ""])
def test_answer_that_is_no_map_differs(damage: str) -> None:
    usual = answer(truth())
    bodies = [json.dumps({"predictions": [each]}).encode() for each in (usual, usual | {"class_map": damage})]
    assert compare_responses(bodies[0], bodies[1], 0.1).differs


def test_maps_of_two_forms_are_not_compared() -> None:
    bodies = [json.dumps({"predictions": [answer(truth(), form=form)]}).encode() for form in ("png", "rle")]
    assert compare_responses(bodies[0], bodies[1], 0.1).differs


def test_sample_of_a_map_does_not_run_down_its_columns() -> None:
    for size in (65_536, 640 * 480, 4000 * 3000):
        step = class_map.step_of(size, segment.SAMPLE)
        assert size // step <= segment.SAMPLE
        assert step == 1 or size % step != 0
