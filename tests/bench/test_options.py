"""Options of the benchmarks' commands, and what is said of a wrong one."""

import argparse
from collections.abc import Callable
from pathlib import Path

import pytest

from bench import options
from bench.turns import turned


@pytest.mark.parametrize(
    ("type_", "text", "value"),
    [
        (options.count, "3", 3),
        (options.counts, "1,2,3", (1, 2, 3)),
        (options.positive, "1e6", 1e6),
        (options.share, "1", 1.0),
        (options.some_of(("a", "b")), "b,a", ["b", "a"]),
    ],
)
def test_an_option_is_read(type_: Callable[[str], object], text: str, value: object) -> None:
    assert type_(text) == value


@pytest.mark.parametrize(
    ("type_", "text", "said"),
    [
        (options.count, "0", "'0' is not a whole number of 1 or more"),
        (options.count, "2.5", "'2.5' is not"),
        (options.counts, "1,,3", "'' is not a whole number"),
        (options.positive, "x", "'x' is not a number above 0"),
        (options.positive, "inf", "'inf' is not"),
        (options.share, "1.1", "'1.1' is not a number above 0 and at most 1"),
        (options.some_of(("a", "b")), "a,c", "there is no 'c', only a, b"),
    ],
)
def test_a_wrong_option_is_refused_in_words_that_name_it(type_: Callable[[str], object], text: str, said: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=said):
        type_(text)


def test_a_command_has_the_options_that_it_has_defaults_for() -> None:
    given = options.parser("bench.it", "it", rounds=2).parse_args(["--write", "a.md"])
    assert vars(given) == {"rounds": 2, "write": Path("a.md")}


def test_each_round_another_side_begins() -> None:
    assert [turned("abc", number) for number in range(4)] == [list("abc"), list("bca"), list("cab"), list("abc")]
    assert turned("", 1) == []
