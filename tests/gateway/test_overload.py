"""Refusals from the head alone, and connections that come back before they were told to."""

import pytest

from gateway.http.backoff import LONGEST_HOLD_S, QUICK_REFUSALS, EarlyReturns, retry_after_s

REQUEST = b"POST /models/digits/predict HTTP/1.1\r\n"
REFUSED = [(b"content-type", b"application/json"), (b"retry-after", b"3")]


def refused(times: int, after_s: float = 3.0, *, grows: bool = True) -> EarlyReturns:
    """A connection that was refused so often at 100 s."""
    returns = EarlyReturns()
    for _ in range(times):
        returns.refused(b"POST", b"/models/digits/predict", after_s, 100.0, grows=grows)
    return returns


def test_early_returns_first_ones_are_read_at_once() -> None:
    for times in range(QUICK_REFUSALS):
        assert refused(times).hold_s(REQUEST, 100.1) == 0


def test_early_returns_again_and_again_is_read_when_it_was_told_to_come() -> None:
    returns = refused(QUICK_REFUSALS)
    assert returns.hold_s(REQUEST, 100.5) == pytest.approx(2.5)
    assert returns.hold_s(REQUEST, 102.5) == pytest.approx(0.5)
    assert returns.hold_s(REQUEST, 103.0) == 0


def test_early_returns_that_are_refused_again_are_read_later_each_time() -> None:
    assert refused(QUICK_REFUSALS + 1).hold_s(REQUEST, 100.0) == pytest.approx(6.0)
    assert refused(QUICK_REFUSALS + 2).hold_s(REQUEST, 100.0) == pytest.approx(9.0)
    assert refused(QUICK_REFUSALS + 3).hold_s(REQUEST, 100.0) == LONGEST_HOLD_S


def test_early_returns_of_a_model_without_worker_are_held_no_longer_than_retry_after() -> None:
    assert refused(QUICK_REFUSALS + 9, grows=False).hold_s(REQUEST, 100.0) == pytest.approx(3.0)


def test_early_returns_one_that_came_in_time_begins_anew() -> None:
    returns = refused(QUICK_REFUSALS)
    assert returns.hold_s(REQUEST, 103.0) == 0
    returns.refused(b"POST", b"/models/digits/predict", 3.0, 103.0, grows=True)
    assert returns.hold_s(REQUEST, 103.1) == 0


def test_early_returns_are_never_held_longer_than_the_bound() -> None:
    assert refused(QUICK_REFUSALS, after_s=60).hold_s(REQUEST, 100.0) == LONGEST_HOLD_S


def test_early_returns_request_of_another_model_is_read_at_once() -> None:
    returns = refused(QUICK_REFUSALS)
    assert returns.hold_s(b"POST /models/cartpole/predict HTTP/1.1\r\n", 100.1) == 0
    assert returns.hold_s(b"GET /models/digits/predict HTTP/1.1\r\n", 100.1) == 0
    assert returns.hold_s(b"POST /models/digits/predicts HTTP/1.1\r\n", 100.1) == 0


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_refusal_with_retry_after_is_its_seconds(status: int) -> None:
    assert retry_after_s(status, [(b"host", b"127.0.0.1")], REFUSED) == 3


@pytest.mark.parametrize("status", [200, 404, 500, 504])
def test_retry_after_other_answers_are_none(status: int) -> None:
    assert retry_after_s(status, [], REFUSED) is None


@pytest.mark.parametrize("after", [[], [(b"retry-after", b"Wed, 21 Oct 2026 07:28:00 GMT")]])
def test_retry_after_without_seconds_is_none(after: list[tuple[bytes, bytes]]) -> None:
    assert retry_after_s(429, [], after) is None


@pytest.mark.parametrize("name", [b"x-forwarded-for", b"forwarded", b"via"])
def test_retry_after_connection_of_a_proxy_is_none(name: bytes) -> None:
    assert retry_after_s(429, [(name, b"10.0.0.1")], REFUSED) is None
