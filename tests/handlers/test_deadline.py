"""What nobody waits for any more costs a worker nothing, and its neighbours nothing either."""

import time

import pytest

from tests.handlers.archives import png
from tests.handlers.worker import Worker, picture

RED = png((255, 0, 0))


def in_ms(milliseconds: float) -> str:
    return str(int(time.time() * 1000 + milliseconds))


def test_late_request_is_refused_unread(vision: Worker) -> None:
    late, good = vision.answer(picture(b"no picture", X_Deadline_At=in_ms(-1)), picture(RED, X_Deadline_At=in_ms(60e3)))
    assert late.error == (504, "deadline_passed")
    assert late.phrase == "Gateway Timeout"
    assert [each["label"] for each in good.predictions] == ["red"]


def test_a_batch_that_nobody_waits_for_reaches_no_network(vision: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    def forward(*_: object) -> None:
        raise AssertionError("the network ran")

    monkeypatch.setattr(vision.service._entry_point.__self__, "forward", forward)
    answers = vision.answer(*[picture(RED, x_deadline_at=in_ms(-5000))] * 3)
    assert [answer.error for answer in answers] == [(504, "deadline_passed")] * 3


@pytest.mark.parametrize("given", ["", "soon", "-1", "1.5", "1e3", "0x10", "٣", "9" * 5000, " 1", "1,2"])
def test_a_deadline_that_is_no_moment_counts_as_none(vision: Worker, given: str) -> None:
    assert vision.one(picture(RED, X_Deadline_At=given)).status == 200
