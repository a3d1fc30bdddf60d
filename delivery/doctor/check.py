"""A check of the doctor: a security hole or a risk, the setting that closes it, and a function that looks for it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

import grpc
import psutil
import requests

from errors import MarinaError


class State(StrEnum):
    """The state of a hole, from the most to the least urgent."""

    OPEN = "open"
    WARNING = "warning"
    NOT_CHECKED = "not checked"
    CLOSED = "closed"


@dataclass(frozen=True)
class Result:
    """The result of one check; its text contains no key."""

    state: State
    words: str


def is_open(words: str) -> Result:
    """Report a hole; the exit status is then 1."""
    return Result(State.OPEN, words)


def warning(words: str) -> Result:
    """Report a risk that is not a hole by itself."""
    return Result(State.WARNING, words)


def not_checked(why: str) -> Result:
    """Report that the check could not be made from here."""
    return Result(State.NOT_CHECKED, why)


def closed(words: str) -> Result:
    """Report that there is no hole."""
    return Result(State.CLOSED, words)


@dataclass(frozen=True)
class Finding:
    """One line of the report: a hole of one part, its state, and the setting that closes it."""

    part: str
    hole: str
    state: State
    seen: str
    closes: str


Subject = TypeVar("Subject")


@dataclass(frozen=True)
class Check(Generic[Subject]):
    """One check: `look` examines the deployment and changes nothing; it may raise, or return `not_checked`.

    The other checks of a part run only when its check that `comes_first` is closed; otherwise nothing would answer.
    `closes_external` is the remedy for an engine that others start, where it is another one than `closes`.
    """

    hole: str
    closes: str
    look: Callable[[Subject], Result]
    comes_first: bool = False
    closes_external: str | None = None

    def remedy(self, *, external: bool) -> str:
        """Return what closes the hole, for an engine that the stack or that others start."""
        return self.closes_external if external and self.closes_external is not None else self.closes


def examine(
    part: str, checks: Sequence[Check[Subject]], subject: Subject, *, external: bool = False
) -> Iterator[Finding]:
    """Run every check of one part; one that raises becomes a finding with the reason.

    `external` chooses the remedies for an engine that others start.
    """
    away: Result | None = None
    for check in checks:
        seen = away or _look(check, subject)
        yield Finding(part, check.hole, seen.state, seen.words, check.remedy(external=external))
        if check.comes_first and seen.state is not State.CLOSED:
            away = not_checked(seen.words)


def _look(check: Check[Subject], subject: Subject) -> Result:
    try:
        return check.look(subject)
    except MarinaError as error:
        return not_checked(str(error))
    except psutil.Error as error:
        return not_checked(f"its process is not visible ({type(error).__name__})")
    except grpc.RpcError as error:
        return not_checked(f"gRPC: {type(error).__name__}")
    except requests.ConnectionError:
        return not_checked("nothing answers there")
    # Other broken connections, every other error of requests, and missing files.
    except OSError as error:
        return not_checked(error.strerror or type(error).__name__)
    # An unexpected answer: another program has the port.
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return not_checked(f"an unexpected answer ({type(error).__name__})")
