"""Rates of keys: exact in every window, and counted once however many processes there are."""

import random
import subprocess
import sys
from pathlib import Path

import pytest

from errors import ConfigError
from gateway.rate_limit import PLACES, RateLimit
from tests.gateway.gateway_program import ROOT

PROGRAM = """
import sys
from pathlib import Path
from gateway.rate_limit import RateLimit
rate = RateLimit("3000/day", "key", Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
print(sum(rate.wait_s() == 0.0 for _ in range(2000)))
"""


class Clock:
    """A clock that stands still between two hits, set by the test."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def let_through(rate: RateLimit, count: int) -> int:
    return sum(rate.wait_s() == 0.0 for _ in range(count))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.mark.parametrize(
    ("text", "amount", "window_s"),
    [("1/second", 1, 1), ("7 per minute", 7, 60), ("20/hour", 20, 3600), ("5 /day", 5, 86400)],
)
def test_rate_lets_its_amount_through_and_says_when_there_is_room(
    clock: Clock, text: str, amount: int, window_s: int
) -> None:
    rate = RateLimit(text, "key", clock=clock)
    assert let_through(rate, amount + 5) == amount
    clock.now += window_s - 0.25
    assert rate.wait_s() == 0.25
    clock.now += 0.25
    assert let_through(rate, amount + 5) == amount
    assert str(rate).startswith(f"{amount} per ")


@pytest.mark.parametrize("amount", [1, 3, 10])
def test_rate_no_window_wherever_it_begins_holds_more_than_its_amount(clock: Clock, amount: int) -> None:
    draw, rate, moments = random.Random(amount), RateLimit(f"{amount}/second", "key", clock=clock), list[float]()
    for _ in range(3000):
        clock.now += draw.choice([0.0, 0.001, 0.05, 0.4])
        if rate.wait_s() == 0.0:
            moments.append(clock.now)
    assert all(later - first >= 1.0 for first, later in zip(moments, moments[amount:], strict=False))
    assert len(moments) > amount * (clock.now - 1000.0) / 2


@pytest.mark.parametrize("amount", [PLACES, PLACES + 1, 3 * PLACES - 1])
def test_rate_beyond_the_places_of_its_ring_is_never_exceeded_and_missed_by_little(clock: Clock, amount: int) -> None:
    rate = RateLimit(f"{amount}/day", "key", clock=clock)
    for _ in range(2):
        through = let_through(rate, amount + 10)
        assert amount - amount // PLACES <= through <= amount
        clock.now += 86400


def test_rate_soon_after_the_machine_started_refuses_nobody_for_what_never_was() -> None:
    assert let_through(RateLimit("2/day", "key", clock=lambda: 5.0), 2) == 2


def test_rate_of_several_processes_is_let_through_once(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    asking = [subprocess.Popen(command, cwd=ROOT, **pipes) for _ in range(3)]  # type: ignore[call-overload]
    for each in asking:
        each.stdout.readline()
    for each in asking:
        each.stdin.write("\n")
        each.stdin.flush()
    counts = [int(each.communicate()[0]) for each in asking]
    assert sum(counts) == 3000, counts


def test_rate_of_a_process_that_was_replaced_goes_on(tmp_path: Path) -> None:
    assert let_through(RateLimit("5/day", "key", tmp_path), 4) == 4
    assert let_through(RateLimit("5/day", "key", tmp_path), 4) == 1
    assert let_through(RateLimit("5/day", "other", tmp_path), 4) == 4


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", refuse)


@pytest.mark.usefixtures("full")
def test_rate_whose_file_finds_no_room_is_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No space left on device; make room there"):
        RateLimit("5/day", "key", tmp_path)
