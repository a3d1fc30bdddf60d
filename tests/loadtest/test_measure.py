from loadtest.load_client import RequestResult
from loadtest.rounds import Tally


def test_an_error_is_no_prediction_and_its_time_no_latency() -> None:
    clock = iter([100.0, 102.0])
    tally = Tally(lambda: next(clock))
    tally.add(RequestResult(1, 10.0))
    tally.add(RequestResult(0, 9999.0, "timeout"))
    tally.add(RequestResult(3, 20.0))
    one = tally.stop(complete=True)
    assert one.rate == 2.0
    assert one.latencies_ms == (10.0, 20.0)
    assert one.errors == (("timeout", 1),)
    assert (one.requests, one.failed) == (3, 1)


def test_a_round_of_errors_has_no_throughput() -> None:
    tally = Tally()
    tally.add(RequestResult(0, 1.0, "503 no_worker"))
    assert tally.stop(complete=True).rate == 0.0
