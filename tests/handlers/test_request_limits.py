"""How much one request may ask of a worker, and that work ends when nobody waits for it any more."""

import base64
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from handlers import batch, image_decode, request_limits
from handlers.errors import TooLarge
from settings.schema import PolicyModel, VisionModel
from tests.handlers import archives
from tests.handlers.archives import png
from tests.handlers.conftest import Load
from tests.handlers.files import flat_png, jpeg_file
from tests.handlers.worker import Worker, parsed, picture, request

RED = png((255, 0, 0), (8, 8))
TEXT = base64.b64encode(RED).decode()
URL = f"data:image/png;base64,{TEXT}"
FOUR_PICTURES = request_limits.of_card(archives.vision_card(limits={"max_pixels": 200, "max_instances": 4}))
LIST = [[0] * 8] * 8

FITS: dict[str, Any] = {
    "bytes": flat_png(20, 10),
    "text": base64.b64encode(flat_png(20, 10)).decode(),
    "three": {"instances": [TEXT, {"image": URL}, LIST]},
    "four-of-which-one-is-broken": {"instances": [TEXT, TEXT, TEXT, "!"]},
    "no-list": {"instances": 3},
    "nothing": None,
}
OVER: dict[str, Any] = {
    "bytes": flat_png(21, 10),
    "bytearray": bytearray(flat_png(21, 10)),
    "base64-as-bytes": base64.b64encode(flat_png(21, 10)),
    "data-url-as-bytes": b"data:;base64," + base64.b64encode(flat_png(21, 10)),
    "text": base64.b64encode(flat_png(21, 10)).decode(),
    "wrapped-text": "\n".join([*base64.b64encode(flat_png(21, 10)).decode()]),
    "size-behind-a-long-comment": base64.b64encode(jpeg_file((21, 10), comment=b"c" * 60_000)).decode(),
    "image": {"image": base64.b64encode(flat_png(21, 10)).decode()},
    "list": {"image": [[0] * 21] * 10},
    "together": {"instances": [TEXT, {"image": URL}, LIST, base64.b64encode(flat_png(3, 3)).decode()]},
}


@pytest.mark.parametrize("name", FITS)
def test_pictures_within_the_limits_pass(name: str) -> None:
    request_limits.check(FOUR_PICTURES, FITS[name])


@pytest.mark.parametrize("name", OVER)
def test_more_pixels_than_one_request_may_have_are_refused(name: str) -> None:
    with pytest.raises(TooLarge, match="more than the 200 that one request may have"):
        request_limits.check(FOUR_PICTURES, OVER[name])


def test_too_many_instances_are_refused_unread() -> None:
    with pytest.raises(TooLarge, match="5 instances, more than the 4"):
        request_limits.check(FOUR_PICTURES, {"instances": ["!"] * 5})


POLICY = request_limits.of_card(archives.policy_card(limits={"max_pixels": 1000, "max_instances": 3}))
ROW = [0.0, 0.0, 0.0, 0.0]


def dictionary(**parts: tuple[list[int], str]) -> dict[str, Any]:
    """Return the card of a policy that sees these parts, each a shape and a dtype."""
    spaces = [
        {"key": key, "space": {"type": "box", "shape": shape, "dtype": dtype}} for key, (shape, dtype) in parts.items()
    ]
    observation = {"space": {"type": "dict", "spaces": spaces}}
    return archives.policy_card(observation=observation, limits={"max_pixels": 1000, "max_instances": 3})


@pytest.mark.parametrize(
    "payload", [ROW, [ROW] * 3, {"instances": [ROW] * 3}, {"observation": ROW}, {"position": 0}, 3]
)
def test_three_observations_are_within_a_limit_of_three(payload: Any) -> None:
    request_limits.check(POLICY, payload)


@pytest.mark.parametrize(
    "payload", [[ROW] * 4, {"instances": [ROW] * 4}, {"instances": [0] * 4, "deterministic": True}]
)
def test_four_observations_are_above_a_limit_of_three(payload: Any) -> None:
    with pytest.raises(TooLarge, match="4 instances, more than the 3"):
        request_limits.check(POLICY, payload)


def test_pictures_inside_of_observations_count_their_pixels() -> None:
    found = request_limits.of_card(dictionary(camera=([3, 20, 20], "uint8"), speed=([2], "float32")))
    request_limits.check(found, {"instances": [{}] * 2})
    with pytest.raises(TooLarge, match="the 3 pictures have together 1200 pixels"):
        request_limits.check(found, {"instances": [{}] * 3})


def test_a_part_that_is_named_instances_is_no_list_of_them() -> None:
    found = request_limits.of_card(dictionary(instances=([9], "float32"), goal=([2], "float32")))
    request_limits.check(found, {"instances": [0] * 9, "goal": [0, 0]})


@pytest.mark.parametrize(("kind", "model"), [("vision", VisionModel), ("policy", PolicyModel)])
def test_card_without_limits_has_the_settings_defaults(kind: str, model: Any) -> None:
    found, default = request_limits.of_card({"kind": kind}), model.model_fields["limits"].default
    assert (found.max_pixels, found.max_instances) == (default.max_pixels, default.max_instances)


@pytest.mark.parametrize("card", [{}, {"kind": ["vision"]}, {"limits": "none"}, {"limits": {"max_pixels": "many"}}])
def test_foreign_card_has_the_pixel_limit_alone(card: dict[str, Any]) -> None:
    found = request_limits.of_card(card)
    request_limits.check(found, {"instances": [0] * 100_000})
    with pytest.raises(TooLarge):
        request_limits.check(found, flat_png(10_001, 10_000))


def test_a_worker_keeps_to_the_limits_itself(vision_with: Load) -> None:
    worker = vision_with(limits={"max_pixels": 200, "max_instances": 4})
    many, large, good = worker.answer(
        parsed({"instances": [TEXT] * 5}), parsed({"instances": [TEXT] * 4}), parsed({"instances": [TEXT] * 3})
    )
    assert (many.error, large.error) == ((413, "too_large"),) * 2
    assert len(good.predictions) == 3
    text = request(bytearray(base64.b64encode(flat_png(21, 10))), "application/octet-stream")
    assert worker.one(text).error == (413, "too_large")


def test_a_worker_of_a_policy_keeps_to_the_limits_itself(policy_with: Load) -> None:
    worker = policy_with(limits={"max_pixels": 1000, "max_instances": 3})
    many, good = worker.answer(parsed([ROW] * 4), parsed([ROW] * 3))
    assert many.error == (413, "too_large")
    assert len(good.predictions) == 3


class Clock:
    """The time as deadlines see it, which goes on by a second whenever something is worked on."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.now = 1_000_000.0
        self.worked = 0
        patch.setattr(batch, "time", SimpleNamespace(time=lambda: self.now))

    def work(self) -> None:
        self.now += 1
        self.worked += 1

    def at(self, seconds: float) -> str:
        return str(int((self.now + seconds) * 1000))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture
def slow_decoder(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock that goes on by a second for each picture that is decoded."""
    decode = image_decode.decode

    def slow(*arguments: Any) -> Any:
        clock.work()
        return decode(*arguments)

    monkeypatch.setattr(image_decode, "decode", slow)
    return clock


def test_decoding_ends_at_the_deadline(vision: Worker, slow_decoder: Clock) -> None:
    ten = parsed({"instances": [TEXT] * 10}, X_Deadline_At=slow_decoder.at(2.5))
    late, waiting, good = vision.answer(ten, picture(RED, X_Deadline_At=slow_decoder.at(2.9)), picture(RED))
    assert (late.error, waiting.error) == ((504, "deadline_passed"),) * 2
    assert good.predictions[0]["label"] == "red"
    assert slow_decoder.worked == 4


def test_request_late_after_reading_skips_the_network(
    vision: Worker, slow_decoder: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    handler = vision.service._entry_point.__self__
    forward, ran = handler.forward, []

    def counted(inputs: Any, *rest: Any) -> Any:
        ran.append(len(inputs))
        return forward(inputs, *rest)

    monkeypatch.setattr(handler, "forward", counted)
    late, good = vision.answer(picture(RED, X_Deadline_At=slow_decoder.at(1.5)), picture(RED))
    assert late.error == (504, "deadline_passed")
    assert good.predictions[0]["label"] == "red"
    assert ran == [1]


def test_the_network_ends_at_the_last_deadline(policy: Worker, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    handler = policy.service._entry_point.__self__
    model = handler.model

    def slow(inputs: Any) -> Any:
        clock.work()
        return model(inputs)

    monkeypatch.setattr("handlers.model_handler.FORWARD_BYTES", 16)
    monkeypatch.setattr(handler, "model", slow)
    many = [ROW] * 100
    answers = policy.answer(parsed(many, X_Deadline_At=clock.at(2.5)), parsed(many, X_Deadline_At=clock.at(3.5)))
    assert [answer.error for answer in answers] == [(504, "deadline_passed")] * 2
    assert clock.worked == 4
    assert policy.one(parsed(many)).status == 200


def test_explanations_end_at_the_deadline(vision: Worker, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    handler = vision.service._entry_point.__self__

    def explained(inputs: Any, *rest: Any) -> list[dict[str, Any]]:
        clock.work()
        return [{"pixels": float(np.sum(each))} for each in inputs]

    monkeypatch.setattr(handler, "explanations", explained)
    ten = {"instances": [TEXT] * 10}
    late = vision.one(parsed(ten, explain="True", X_Deadline_At=clock.at(2.5)))
    assert late.error == (504, "deadline_passed")
    assert clock.worked == 3
    assert len(vision.one(parsed(ten, explain="True")).json["explanations"]) == 10
