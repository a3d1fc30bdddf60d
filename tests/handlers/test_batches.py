import base64
import json
import os
from importlib import import_module
from pathlib import Path

import pytest
import torch
from ts.utils.util import list_classes_from_module

from tests.handlers import archives
from tests.handlers.archives import png
from tests.handlers.conftest import Load
from tests.handlers.worker import Worker, parsed, picture, request

# The worker that answers is this very process: what drains a version asks each worker by this number.
HEADERS = {"content-type": "application/json", "x-model-version": "1.0", "x-worker-pid": str(os.getpid())}
RED, GREEN, BLUE = png((255, 0, 0)), png((0, 255, 0)), png((0, 0, 255))


def labels(predictions: list[dict[str, str]]) -> list[str]:
    return [prediction["label"] for prediction in predictions]


def test_every_request_of_a_batch_gets_its_own_answer(vision: Worker) -> None:
    answers = vision.answer(picture(RED), picture(GREEN), picture(BLUE))
    assert [labels(answer.predictions) for answer in answers] == [["red"], ["green"], ["blue"]]


def test_response_is_compact_json_with_model_and_version(vision: Worker) -> None:
    answer = vision.one(picture(RED))
    assert (answer.json["model"], answer.json["version"]) == ("colours", "1.0")
    assert "weights" not in answer.json
    assert answer.headers == HEADERS
    assert answer.body == json.dumps(answer.json, separators=(",", ":")).encode()


def test_the_version_is_the_one_in_the_manifest(load: Load, tmp_path: Path) -> None:
    folder = archives.vision(tmp_path / "archive")
    manifest = folder / "MAR-INF" / "MANIFEST.json"
    manifest.write_text(manifest.read_text().replace('"1.0"', '"7.2"'))
    answer = load(folder).one(picture(RED))
    assert answer.json["version"] == answer.headers["x-model-version"] == "7.2"


def test_one_bad_picture_costs_its_neighbours_nothing(vision: Worker) -> None:
    first, bad, last = vision.answer(picture(RED), picture(b"\xff\xd8 no picture"), picture(BLUE))
    assert (labels(first.predictions), labels(last.predictions)) == (["red"], ["blue"])
    assert bad.error == (400, "unreadable_input")
    assert bad.phrase == "Bad Request"
    assert bad.headers == HEADERS
    assert set(bad.json) == {"error", "detail"}


def test_a_batch_of_only_bad_pictures_is_answered(vision: Worker) -> None:
    answers = vision.answer(picture(b"\x00"), parsed({"picture": 1}), request(bytearray(RED), "video/mp4"))
    assert [answer.status for answer in answers] == [400, 422, 415]


def test_requests_with_several_instances_are_split_again(vision: Worker) -> None:
    red, green = ({"image": _base64(data)} for data in (RED, GREEN))
    answers = vision.answer(
        parsed({"instances": [red, green, red]}), picture(b"\x00"), picture(BLUE), parsed({"instances": [green]})
    )
    assert labels(answers[0].predictions) == ["red", "green", "red"]
    assert answers[1].status == 400
    assert labels(answers[2].predictions) == ["blue"]
    assert labels(answers[3].predictions) == ["green"]


def test_one_bad_instance_refuses_its_request_and_is_named(vision: Worker) -> None:
    bad, good = vision.answer(parsed({"instances": [_base64(RED), _base64(b"\x00\x01")]}), picture(GREEN))
    assert bad.error == (400, "unreadable_input")
    assert bad.json["detail"].startswith("instances[1]: ")
    assert labels(good.predictions) == ["green"]


def test_instances_of_several_runs_keep_their_order(policy: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("handlers.model_handler.FORWARD_BYTES", 16 * 7)  # seven observations
    states = [[float(n % 2), 0.5, 0.0, 0.0] for n in range(100)]
    actions = [prediction["action"] for prediction in policy.one(parsed(states)).predictions]
    assert actions == [1 - n % 2 for n in range(100)]


def test_failed_batch_is_answered_request_by_request(load: Load, tmp_path: Path) -> None:
    folder = archives.write(tmp_path, "vision_handler.py", archives.vision_card(), archives.vision_golden())
    example = torch.zeros(1, 4, 4, 3, dtype=torch.uint8)
    archives.export(archives.ColourNetwork(), example, folder / "model.onnx", "logits", fixed=True)
    two = parsed({"instances": [_base64(RED), _base64(RED)]})
    red, failed, blue = load(folder, batch_size=1).answer(picture(RED), two, picture(BLUE))
    assert (labels(red.predictions), labels(blue.predictions)) == (["red"], ["blue"])
    assert failed.error == (500, "internal")


def test_error_in_image_processing_fails_one_request(load: Load, tmp_path: Path) -> None:
    folder = archives.vision(tmp_path)
    (folder / "careless_handler.py").write_text(CARELESS)
    red, green, blue = load(folder, "careless_handler.py").answer(picture(RED), picture(GREEN), picture(BLUE))
    assert labels(red.predictions) == ["red"]
    assert green.error == blue.error == (500, "internal")
    assert "image_processing" in blue.json["detail"]


CARELESS = """
from handlers.vision_handler import VisionHandler


class CarelessHandler(VisionHandler):
    def image_processing(self, picture):
        if picture[0, 0, 1]:
            return 1 // 0
        return picture if picture[0, 0, 2] else super().image_processing(picture)
"""


def test_an_answer_that_is_not_finite_costs_one_request(policy_with: Load) -> None:
    good, bad = policy_with(logarithm=True).answer(parsed([1, 2, 0, 0]), parsed([-1, 2, 0, 0]))
    assert good.predictions == [{"action": 1}]
    assert bad.error == (500, "internal")


def test_failed_request_logs_its_id_and_no_body(policy: Worker, caplog: pytest.LogCaptureFixture) -> None:
    policy.one(parsed({"secret_field": 1}, X_Request_Id="r-17", traceparent=f"00-{'7' * 32}-{'1' * 16}-01"))
    [record] = [record for record in caplog.records if record.name.startswith("handlers")]
    told = {"request_id": "r-17", "trace_id": "7" * 32, "code": "invalid_fields", "status": 422}
    assert (record.getMessage(), record.__dict__["fields"]) == ("request_failed", told)


def test_names_that_no_encoding_holds_are_answered(policy: Worker) -> None:
    answer = policy.one(parsed({"\ud800": 1, **dict.fromkeys(archives.FIELDS, 0)}))
    assert answer.error == (422, "invalid_fields")


def test_explanations_are_refused_row_by_row(vision: Worker) -> None:
    explained, predicted = vision.answer(picture(RED, explain="True"), picture(RED))
    assert explained.error == (501, "not_supported")
    assert labels(predicted.predictions) == ["red"]


def test_describe_returns_the_model_card(vision: Worker) -> None:
    assert vision.one(picture(b"", describe="True")).json == archives.vision_card()


def test_random_weights_are_named_in_every_answer(vision_with: Load) -> None:
    assert vision_with(weights="random").one(picture(RED)).json["weights"] == "random"


def test_a_request_without_body_is_refused(vision: Worker) -> None:
    empty = {"requestId": b"", "headers": [], "parameters": []}
    assert vision.one(empty).error == (400, "unreadable_input")


@pytest.mark.parametrize("entry", ["vision_handler", "policy_handler"])
def test_an_entry_defines_one_class(entry: str) -> None:
    assert len(list_classes_from_module(import_module(f"handlers.{entry}"))) == 1


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
