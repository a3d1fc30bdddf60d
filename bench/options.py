"""What the options of the benchmarks' commands hold; a wrong value is refused in words that name it."""

import argparse
import math
from collections.abc import Callable, Collection
from pathlib import Path

import commands

UNWOUND = "interrupted; everything that was started is stopped"
"""The last line of a benchmark that Ctrl-C or SIGTERM ended."""


def parser(
    module: str, section: str | None, *, rounds: int | None = None, seconds: float | None = None
) -> argparse.ArgumentParser:
    """Of a command whose result goes into the section `bench:SECTION` of a document, where one is named.

    `section`, and the defaults `rounds` and `seconds`, are None for a command that has no such option.
    """
    made = argparse.ArgumentParser(prog=f"python -m {module}", epilog=commands.EPILOG)
    if rounds is not None:
        made.add_argument("--rounds", type=count, default=rounds)
    if seconds is not None:
        made.add_argument("--seconds", type=positive, default=seconds, help="of each measurement")
    if section is not None:
        made.add_argument("--write", type=Path, metavar="FILE", help=f"replace its section `bench:{section}`")
    return made


def count(text: str) -> int:
    """A whole number of 1 or more. Raises ArgumentTypeError, as all of these do."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 1 or more")
    return number


def counts(text: str) -> tuple[int, ...]:
    """Several of them, by commas."""
    return tuple(count(each) for each in text.split(","))


def positive(text: str) -> float:
    """A finite number above 0."""
    number = _number(text)
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return number


def share(text: str) -> float:
    """A number above 0 and at most 1."""
    number = _number(text)
    if not 0 < number <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0 and at most 1")
    return number


def some_of(names: Collection[str]) -> Callable[[str], list[str]]:
    """Some of these names, by commas."""

    def some(text: str) -> list[str]:
        given = text.split(",")
        if unknown := [name for name in given if name not in names]:
            raise argparse.ArgumentTypeError(f"there is no {', '.join(map(repr, unknown))}, only {', '.join(names)}")
        return given

    return some


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
