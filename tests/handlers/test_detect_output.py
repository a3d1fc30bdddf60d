"""`detect`: the boxes that are answered, their pixels in every kind of picture, and the comparison of two answers."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jsonschema import validate  # type: ignore[import-untyped]

from handlers import golden, outputs
from handlers.errors import Internal
from handlers.json_object import JsonObject
from handlers.outputs import compare_responses, detect
from handlers.placement import PicturePlacement
from tests.handlers import coloured
from tests.handlers.conftest import Load
from tests.handlers.worker import Worker, picture

WHOLE = PicturePlacement((100, 200), (100, 200), (0, 0), (100, 200))
USUAL = {
    "detections": [
        {"label": "red", "score": 1.0, "box": [float(side) for side in coloured.BOX]},
        {"label": "blue", "score": 1.0, "box": [float(side) for side in coloured.BLUE]},
    ],
    "width": 160,
    "height": 120,
}


def detected(
    boxes: Any, scores: Any, labels: Any, placement: PicturePlacement = WHOLE, **output: Any
) -> list[dict[str, Any]]:
    document = {"kind": "vision", "task": "detect", "labels": ["a", "b", "c"]}
    settings = detect.KIND.settings(
        JsonObject(document | {"output": {"threshold": 0.5, "nms": "none"} | output}, "model")
    )
    arrays = np.array(boxes, np.float32).reshape(-1, 4), np.array(scores, np.float32), np.array(labels, np.int64)
    found = {name: _one(values) for name, values in zip(("boxes", "scores", "labels"), arrays, strict=True)}
    [prediction] = detect.KIND.predictions(found | {"placement": np.array([placement.row])}, settings)
    validate(json.loads(json.dumps(prediction)), dict(detect.KIND.schema))
    found_here: list[dict[str, Any]] = prediction["detections"]
    return found_here


def _one(values: Any) -> Any:
    found = np.empty(1, dtype=object)
    found[0] = values
    return found


def test_answer_has_the_surest_first_above_the_threshold_and_at_most_top_k() -> None:
    boxes = [[0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10]]
    found = detected(boxes, [0.6, 0.9, 0.4], [0, 1, 2])
    assert [(each["label"], each["score"]) for each in found] == [("b", 0.9), ("a", 0.6)]
    assert [each["label"] for each in detected(boxes, [0.6, 0.9, 0.5], [0, 1, 2], top_k=1)] == ["b"]
    assert detected([], [], []) == []


def test_nms_drops_what_overlaps_a_surer_box_of_its_label() -> None:
    generator = np.random.default_rng(1)
    corners = generator.uniform(0, 80, (300, 2))
    boxes = np.concatenate([corners, corners + generator.uniform(5, 40, (300, 2))], axis=1)
    scores, labels = generator.uniform(0.5, 1, 300), generator.integers(0, 3, 300)
    kept: list[int] = []
    for index in np.argsort(-scores):  # the definition, box by box
        if all(
            labels[index] != labels[other] or detect.iou(boxes[index].tolist(), boxes[other].tolist()) <= 0.4
            for other in kept
        ):
            kept.append(int(index))
    assert 20 < len(kept) < 250
    assert detect.kept(boxes, scores, labels, 0.4).tolist() == kept
    assert len(detected(boxes, scores, labels, nms=0.4)) == len(kept)
    assert len(detected(boxes, scores, labels)) == 300


def test_boxes_are_in_pixels_of_the_picture_and_inside_it() -> None:
    cropped = PicturePlacement(size=(200, 400), grid=(100, 200), shift=(0, -50), window=(100, 100))
    assert detected([[0, 10, 100, 110]], [1], [0], cropped)[0]["box"] == [100.0, 20.0, 300.0, 200.0]
    padded = PicturePlacement(size=(50, 100), grid=(100, 200), shift=(50, 0), window=(200, 200))
    assert detected([[20, 40, 120, 70]], [1], [0], padded)[0]["box"] == [10.0, 0.0, 60.0, 10.0]


@pytest.mark.parametrize(
    ("labels", "problem"), [([3], "answered with label 3, and the model has 3"), ([0, 1], "1 boxes, 1 scores and 2")]
)
def test_output_that_does_not_fit_the_model_is_an_error(labels: list[int], problem: str) -> None:
    with pytest.raises(Internal, match=problem):
        detected([[0, 0, 1, 1]], [1], labels)


@pytest.mark.parametrize("missing", ["threshold", "nms"])
def test_threshold_and_nms_are_never_assumed(missing: str) -> None:
    output = {"threshold": 0.5, "nms": 0.5}
    del output[missing]
    with pytest.raises(ValueError, match=f"{missing} is missing"):
        detect.KIND.settings(JsonObject({"labels": ["a"], "output": output}, "model.json"))


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return coloured.archive(tmp_path_factory.mktemp("detector") / "model", coloured.card("detect"), USUAL)


@pytest.fixture
def worker(archive: Path, load: Load) -> Worker:
    return load(archive)


@pytest.mark.parametrize("form", coloured.pictures())
def test_picture_of_every_kind_is_answered_in_its_upright_pixels(worker: Worker, form: str) -> None:
    [found] = worker.one(picture(coloured.pictures()[form])).predictions
    assert (found["width"], found["height"]) == (160, 120)
    assert {each["label"] for each in found["detections"]} == {"red", "blue"}
    for each in found["detections"]:
        expected = coloured.BOX if each["label"] == "red" else coloured.BLUE
        np.testing.assert_allclose(each["box"], expected, atol=2.0)  # a pixel of the network is two of the picture


def test_pictures_of_a_batch_have_different_counts_and_a_bad_one_harms_only_itself(worker: Worker) -> None:
    sent = [coloured.drawn({}), b"broken", coloured.pictures()["png"], coloured.drawn({"green": (0, 0, 80, 60)})]
    nothing, broken, two, one = worker.answer(*map(picture, sent))
    assert nothing.predictions == [{"detections": [], "width": 160, "height": 120}]
    assert broken.error == (400, "unreadable_input")
    assert two.predictions == [USUAL]
    assert [each["box"] for each in one.predictions[0]["detections"]] == [[0.0, 0.0, 80.0, 60.0]]


def test_tensors_are_filled_up_to_the_most_detections() -> None:
    nothing = {**USUAL, "detections": []}
    found = {each.name: each.joined([each.read(one) for one in (nothing, USUAL)]) for each in detect.KIND.tensors({})}
    assert found["boxes"] == ((2, 2, 4), [0] * 8 + [*map(float, (*coloured.BOX, *coloured.BLUE))])
    assert found["labels"] == ((2, 2), ["", "", "red", "blue"])
    assert found["count"] == ((2,), [0, 2])
    [boxes, *_] = detect.KIND.tensors({})
    assert boxes.joined([boxes.read(nothing)]) == ((1, 0, 4), [])


def changed(**first: Any) -> dict[str, Any]:
    return {**USUAL, "detections": [{**USUAL["detections"][0], **first}, USUAL["detections"][1]]}  # type: ignore[index]


@pytest.mark.parametrize(
    ("trial", "differs", "change"),
    [
        (USUAL, False, 0.0),
        ({**USUAL, "detections": USUAL["detections"][::-1]}, False, 0.0),  # type: ignore[index]
        (changed(score=0.7), False, 0.3),
        (changed(box=[48, 30, 96, 100]), False, 1 - 60 / 70),
        (changed(box=[48, 30, 96, 160]), True, 1 - 60 / 130),
        (changed(label="green"), True, 0.0),
        ({**USUAL, "detections": []}, True, 0.0),
    ],
    ids=["same", "order", "score", "near", "far", "label", "nothing"],
)
def test_versions_differ_where_one_finds_another_object(trial: dict[str, Any], differs: bool, change: float) -> None:
    responses = [json.dumps({"predictions": [each]}).encode() for each in (USUAL, trial)]
    found = compare_responses(responses[0], responses[1], 0.001)
    assert found.differs is differs
    assert found.change == pytest.approx(change)


@pytest.mark.parametrize("trial", [{"detections": None}, {"detections": [{"label": "red", "box": [1]}]}, {}])
def test_answer_that_is_no_detection_differs(trial: dict[str, Any]) -> None:
    bodies = [json.dumps({"predictions": [each]}).encode() for each in (USUAL, trial)]
    assert compare_responses(bodies[0], bodies[1], 0.1).differs
    assert golden.misses([USUAL], bodies[1], 0.1) is not None


def test_golden_detections_are_matched_and_compared_by_iou_and_score() -> None:
    assert golden.exceeds_tolerance([USUAL], [changed(box=[48.0, 30.0, 96.0, 90.001])], 1e-4) is None
    assert golden.exceeds_tolerance([USUAL], [changed(box=[48.0, 30.0, 96.0, 91.0])], 1e-4) is not None
    assert golden.exceeds_tolerance([USUAL], [changed(score=0.99)], 1e-4) is not None
    assert golden.exceeds_tolerance([USUAL], [{**USUAL, "detections": []}], 1.0) is not None
    assert golden.exceeds_tolerance([USUAL], [{**USUAL, "width": 120}], 1.0) is not None


def test_golden_box_of_few_pixels_may_be_rounded_the_other_way() -> None:
    flat = changed(box=[59.148, 37.896, 90.51, 42.119])
    assert golden.exceeds_tolerance([flat], [changed(box=[59.148, 37.896, 90.51, 42.118])], 1e-4) is None
    assert golden.exceeds_tolerance([flat], [changed(box=[59.148, 37.896, 90.51, 42.117])], 1e-4) is not None


def test_a_card_without_a_kind_of_output_is_not_a_detector() -> None:
    assert outputs.of_card({"kind": "vision", "task": "detect"}) is detect.KIND


def test_handler_with_its_own_processing_must_say_where_it_puts_the_picture(tmp_path: Path) -> None:
    from handlers import card
    from handlers.vision_handler import VisionHandler

    class Cutting(VisionHandler):
        def image_processing(self, image: Any) -> Any:
            return super().image_processing(image[8:-8])

    handler = Cutting()
    (tmp_path / "model.json").write_text(json.dumps(coloured.card("detect")))
    handler.card = card.load(tmp_path / "model.json")
    with pytest.raises(ValueError, match=r"Cutting has its own image_processing: it must define placement\(size\) too"):
        handler.configure()
