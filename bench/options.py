"""The command lines of the benchmarks: the options that several of them have, and the types of their values."""

import argparse
import math
import sys
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import commands
from bench import document


def program(main: Callable[[Sequence[str]], int]) -> None:
    """Run a benchmark's `main` as the program; Ctrl-C and SIGTERM stop everything that it started."""
    sys.exit(commands.run(main, None, unwind="interrupted; everything that was started is stopped"))


def parser(
    module: str,
    section: str | None,
    *,
    rounds: int | None = None,
    seconds: float | None = None,
    overrides: str | None = None,
) -> argparse.ArgumentParser:
    """Return the parser of a command that writes the section `bench:SECTION` of a document.

    The command has no option for what is None. `rounds` and `seconds` are defaults, `overrides` is a help text.
    """
    made = argparse.ArgumentParser(prog=f"python -m {module}", epilog=commands.EPILOG)
    if rounds is not None:
        made.add_argument("--rounds", type=count, default=rounds)
    if seconds is not None:
        made.add_argument("--seconds", type=positive, default=seconds, help="of each measurement")
    if section is not None:
        add_write(made, section)
    if overrides is not None:
        made.add_argument("overrides", nargs="*", help=overrides)
    return made


def add_write(parser: argparse.ArgumentParser, *sections: str) -> None:
    """Add `--write FILE`, which refuses a file without these sections before anything is measured."""

    def document_file(text: str) -> Path:
        document.check(Path(text), *sections)
        return Path(text)

    named = ", ".join(f"`bench:{section}`" for section in sections)
    parser.add_argument("--write", type=document_file, metavar="FILE", help=f"replace its section {named}")


def count(text: str) -> int:
    """Return a whole number of 1 or more. This and the other types raise ArgumentTypeError."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 1 or more")
    return number


def counts(text: str) -> tuple[int, ...]:
    """Return several whole numbers, separated by commas."""
    return tuple(count(each) for each in text.split(","))


def positive(text: str) -> float:
    """Return a finite number above 0."""
    number = _number(text)
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return number


def share(text: str) -> float:
    """Return a number above 0 and at most 1."""
    number = _number(text)
    if not 0 < number <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0 and at most 1")
    return number


def some_of(names: Collection[str]) -> Callable[[str], list[str]]:
    """Return a type that reads some of these names, separated by commas."""

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
