"""What a check has seen, and the line that a person reads."""

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """How a hole is: from what must be acted on to what is well."""

    OPEN = "open"
    WARNING = "warning"
    NOT_CHECKED = "not checked"
    CLOSED = "closed"


@dataclass(frozen=True)
class Seen:
    """The answer of one check, in words that hold no key."""

    state: State
    words: str


def is_open(words: str) -> Seen:
    """The hole is there; the exit status says so."""
    return Seen(State.OPEN, words)


def warning(words: str) -> Seen:
    """Not a hole by itself, and worth a look."""
    return Seen(State.WARNING, words)


def not_checked(why: str) -> Seen:
    """Nothing could be seen from here."""
    return Seen(State.NOT_CHECKED, why)


def closed(words: str) -> Seen:
    """Looked at, and well."""
    return Seen(State.CLOSED, words)


@dataclass(frozen=True)
class Finding:
    """One line of the report: a hole of one part, how it is, and the setting that closes it."""

    part: str
    hole: str
    state: State
    seen: str
    closes: str
