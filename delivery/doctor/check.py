"""What a check is: a hole, the setting that closes it, and a small function that looks."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import grpc
import psutil
import requests

from delivery.doctor.finding import Finding, Seen, State, not_checked
from errors import MarinaError

Subject = TypeVar("Subject")


@dataclass(frozen=True)
class Check(Generic[Subject]):
    """`look` asks the running thing and changes nothing; what it cannot see it raises, or says `not_checked`.

    Where a check that `comes_first` is not closed, the others of its part are not asked: there is nobody to answer.
    """

    hole: str
    closes: str
    look: Callable[[Subject], Seen]
    comes_first: bool = False


def examine(part: str, checks: Sequence[Check[Subject]], subject: Subject) -> Iterator[Finding]:
    """Run every check of one part; one that fails is a line that says why, and the others go on."""
    away: Seen | None = None
    for check in checks:
        seen = away or _look(check, subject)
        yield Finding(part, check.hole, seen.state, seen.words, check.closes)
        if check.comes_first and seen.state is not State.CLOSED:
            away = not_checked(seen.words)


def _look(check: Check[Subject], subject: Subject) -> Seen:
    try:
        return check.look(subject)
    except MarinaError as error:
        return not_checked(str(error))
    except psutil.Error as error:
        return not_checked(f"its process does not let itself be seen ({type(error).__name__})")
    except grpc.RpcError as error:
        return not_checked(f"gRPC: {type(error).__name__}")
    except requests.ConnectionError:
        return not_checked("nothing answers there")
    # Other connections that break, among them every error of requests, and files that are not there.
    except OSError as error:
        return not_checked(error.strerror or type(error).__name__)
    # An answer that is not what it should be: another program has the port.
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return not_checked(f"an answer that this kit does not know ({type(error).__name__})")
