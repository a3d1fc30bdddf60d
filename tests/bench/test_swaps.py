"""The report of swaps under load: lost requests, and answers of versions that were not live."""

from bench.swaps import Swap, SwapsUnderLoad, TimedAnswer, report

SWAPS = (Swap("digits", 10.0, 12.0, "1.1"), Swap("cartpole", 20.0, 22.0, "1.1"), Swap("digits", 30.0, 32.0, "1.0"))
RESTS = ((5.0, 10.0), (15.0, 20.0))


def answer(sent: float, version: str, *, model: str = "digits", status: int = 200, took: float = 0.1) -> TimedAnswer:
    return TimedAnswer(model, sent, sent + took, status, version)


def measured(*answers: TimedAnswer) -> SwapsUnderLoad:
    return SwapsUnderLoad((answer(0.0, "1.0"), answer(0.0, "1.0", model="cartpole"), *answers), SWAPS, RESTS)


def test_misrouted_both_versions_during_a_swap_are_live() -> None:
    turns = (answer(9.0, "1.0"), answer(11.0, "1.0"), answer(11.0, "1.1"), answer(25.0, "1.1"), answer(31.0, "1.0"))
    assert measured(*turns, answer(40.0, "1.0")).misrouted() == []


def test_misrouted_version_gone_or_not_yet_live_is_found() -> None:
    early, late, again = answer(8.0, "1.1"), answer(12.5, "1.0"), answer(33.0, "1.1")
    unknown, other = answer(15.0, "7.0"), answer(19.0, "1.1", model="cartpole")
    wrong = [early, late, again, unknown, other]
    assert measured(*wrong).misrouted() == wrong


def test_failed_request_without_prediction_is_found() -> None:
    lost = [answer(9.0, "", status=503), answer(9.0, "", status=0)]
    assert measured(*lost, answer(9.0, "1.0")).failed() == lost


def test_report_has_swaps_beside_rest() -> None:
    rest = [answer(6.0, "1.0", model=model, took=0.01) for model in ("digits", "cartpole")]
    during = [answer(11.0, "1.0", model=model, took=0.02) for model in ("digits", "cartpole")]
    printed = report(measured(*rest, *during))
    assert "0 failed, 0 answered by a version that was not live" in printed
    assert "| digits | 10.0 ms | 20.0 ms | 10.0 ms | 20.0 ms | 2.00 | ≤ 3 |" in printed
