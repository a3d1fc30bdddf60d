"""What a check is: a hole, the setting that closes it, and a small function that looks."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import grpc
import psutil

from delivery.doctor.finding import Finding, Seen, not_checked
from errors import MarinaError

Subject = TypeVar("Subject")


@dataclass(frozen=True)
class Check(Generic[Subject]):
    """`look` asks the running thing and changes nothing; what it cannot see it raises, or says `not_checked`."""

    hole: str
    closes: str
    look: Callable[[Subject], Seen]


def examine(part: str, checks: Sequence[Check[Subject]], subject: Subject) -> Iterator[Finding]:
    """Run every check of one part; one that fails is a line that says why, and the others go on."""
    for check in checks:
        seen = _look(check, subject)
        yield Finding(part, check.hole, seen.state, seen.words, check.closes)


def _look(check: Check[Subject], subject: Subject) -> Seen:
    try:
        return check.look(subject)
    except MarinaError as error:
        return not_checked(str(error))
    except psutil.Error as error:
        return not_checked(f"its process does not let itself be seen ({type(error).__name__})")
    except grpc.RpcError as error:
        return not_checked(f"gRPC: {type(error).__name__}")
    # Connections that break, among them every error of requests, and files that are not there.
    except OSError as error:
        return not_checked(_reason(error))
    # An answer that is not what it should be: another program has the port.
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return not_checked(f"an answer that this kit does not know ({type(error).__name__})")


def _reason(error: OSError) -> str:
    return error.strerror or type(error).__name__
