"""Options of the benchmarks' commands, and messages for wrong values."""

import argparse
from collections.abc import Callable
from pathlib import Path

import pytest

from bench import options
from bench.driver import turned


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
def test_option_type_value_is_read(type_: Callable[[str], object], text: str, value: object) -> None:
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
def test_option_type_wrong_value_is_named(type_: Callable[[str], object], text: str, said: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=said):
        type_(text)


def test_parser_has_options_with_defaults_only(tmp_path: Path) -> None:
    path = tmp_path / "a.md"
    path.write_text("<!-- bench:it -->\n<!-- /bench:it -->\n")
    given = options.parser("bench.it", "it", rounds=2).parse_args(["--write", str(path)])
    assert vars(given) == {"rounds": 2, "write": path}


def test_parser_document_without_the_section_is_refused_before_anything_is_measured(tmp_path: Path) -> None:
    path = tmp_path / "a.md"
    path.write_text("nothing")
    with pytest.raises(SystemExit, match="one section <!-- bench:it -->"):
        options.parser("bench.it", "it").parse_args(["--write", str(path)])


def test_turned_each_round_begins_with_another_side() -> None:
    assert [turned("abc", number) for number in range(4)] == [list("abc"), list("bca"), list("cab"), list("abc")]
    assert turned("", 1) == []
