"""The one tree of errors; each request error knows its HTTP status and its code.

MarinaError
├── ConfigError          a setting is unknown, of the wrong type or names a missing file
├── BuildError           a checkpoint or an archive cannot be built
│   ├── WeightsMissing   the checkpoint is missing; the text names the command that gets it
│   ├── ParityError      the artifact answers differently from the framework
│   └── ArchiveError     a .mar is broken or unsafe
├── StoreError           an archive or a state file cannot be written, found or read
│   └── DiskError        the file system refuses; the text names the file, the free bytes and the remedy
├── StackError           a service of the local stack does not start or stop
│   └── PortInUse
├── EngineError          the engine refused or did not answer a management call
│   └── RolloutError     a version did not become ready; the text names the version that serves
├── MetricsError         a server's metrics cannot be read, so its traffic is unknown
├── EdgeError            a policy cannot be compiled, or the edge answers differently from the handler
├── LoadError            the load generator has no input, or no server answers it
└── RequestError         the error answer to one request
├── UnreadableInput  400  *
├── Unauthorized     401
├── Forbidden        403
├── NotAllowed       403
├── UnknownModel     404
├── NotAcceptable    406
├── TooLarge         413  *
├── WrongMediaType   415  *
├── InvalidFields    422  *
├── OverCapacity     429
├── RateLimited      429
├── Internal         500  *
├── NotSupported     501  *
├── NoWorker         503
│   └── WorkerLost   503  the worker or its connection was lost; sending the request again is safe
└── DeadlinePassed   504  *

*  raised in workers too, so it is defined in `handlers/errors.py`, which an archive carries
"""

import signal
from collections.abc import Mapping

from handlers.errors import (
    DeadlinePassed,
    Internal,
    InvalidFields,
    MarinaError,
    NotSupported,
    RequestError,
    TooLarge,
    UnreadableInput,
    WrongMediaType,
)

__all__ = [
    "REQUEST_ERRORS",
    "ArchiveError",
    "BuildError",
    "ConfigError",
    "DeadlinePassed",
    "DiskError",
    "EdgeError",
    "EngineError",
    "Forbidden",
    "Internal",
    "InvalidFields",
    "LoadError",
    "MarinaError",
    "MetricsError",
    "NoWorker",
    "NotAcceptable",
    "NotAllowed",
    "NotSupported",
    "OverCapacity",
    "ParityError",
    "PortInUse",
    "RateLimited",
    "RequestError",
    "RolloutError",
    "StackError",
    "StoreError",
    "TooLarge",
    "Unauthorized",
    "UnknownModel",
    "UnreadableInput",
    "WeightsMissing",
    "WorkerLost",
    "WrongMediaType",
    "last_words",
]


class ConfigError(MarinaError):
    """A setting is unknown, of the wrong type or names a missing file."""


class BuildError(MarinaError):
    """A checkpoint or an archive cannot be built."""


class WeightsMissing(BuildError):
    """The checkpoint is missing."""


class ParityError(BuildError):
    """The artifact answers differently from the framework."""


class ArchiveError(BuildError):
    """An archive is broken or unsafe."""


class StoreError(MarinaError):
    """An archive or a state file cannot be written, found or read."""


class DiskError(StoreError):
    """The file system refuses to read or write a file; the text names the file, the reason and the remedy."""


class StackError(MarinaError):
    """A service of the local stack does not start or stop."""


class PortInUse(StackError):
    """Another process listens on the port of a service."""


class EngineError(MarinaError):
    """The engine refused a management call or did not answer it."""


class RolloutError(EngineError):
    """A version did not become ready; the text names the version that serves."""


class MetricsError(MarinaError):
    """A server's metrics cannot be read; `passing` when another attempt may read them."""

    def __init__(self, words: str, *, passing: bool = False) -> None:
        super().__init__(words)
        self.passing = passing


class EdgeError(MarinaError):
    """A policy cannot be compiled for the edge, or the edge answers differently from its handler."""


class LoadError(MarinaError):
    """The load generator has no input, or no server answers it."""


class Unauthorized(RequestError):
    """The request carries no API key, or an unknown one."""

    status, code, phrase = 401, "unauthorized", "Unauthorized"
    summary = "No API key, or an unknown one; required when gateway.security.api_keys is set"


class Forbidden(RequestError):
    """The gateway is not open to other machines."""

    status, code, phrase = 403, "forbidden", "Forbidden"
    summary = "Sent from another machine, to which this gateway is not open"


class NotAllowed(RequestError):
    """The configuration does not let clients do this."""

    status, code, phrase = 403, "not_allowed", "Forbidden"
    summary = "The configuration does not allow it"


class UnknownModel(RequestError):
    """No model or version of that name is registered."""

    status, code, phrase = 404, "unknown_model", "Not Found"
    summary = "No such model or version is registered"


class NotAcceptable(RequestError):
    """The client accepts no content type that the model answers with."""

    status, code, phrase = 406, "not_acceptable", "Not Acceptable"
    summary = "The client's Accept header excludes JSON"


class OverCapacity(RequestError):
    """Too many requests wait already."""

    status, code, phrase = 429, "over_capacity", "Too Many Requests"
    summary = "Too many requests wait already; Retry-After says when to try again"


class RateLimited(RequestError):
    """An API key sends more requests than it may."""

    status, code, phrase = 429, "rate_limited", "Too Many Requests"
    summary = "This API key sends more requests than it may; Retry-After says when to try again"


class NoWorker(RequestError):
    """The engine cannot be reached or has no worker for the model."""

    status, code, phrase = 503, "no_worker", "Service Unavailable"
    summary = "The engine cannot be reached or has no worker for the model; Retry-After says when to try again"

    def __init__(self, detail: str, *, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail, headers={"retry-after": "1"} if headers is None else headers)


class WorkerLost(NoWorker):
    """The worker or the connection to it was lost before the answer came; sending the request again is safe."""


REQUEST_ERRORS: tuple[type[RequestError], ...] = (
    UnreadableInput,
    Unauthorized,
    Forbidden,
    NotAllowed,
    UnknownModel,
    NotAcceptable,
    TooLarge,
    WrongMediaType,
    InvalidFields,
    OverCapacity,
    RateLimited,
    Internal,
    NotSupported,
    NoWorker,
    DeadlinePassed,
)
"""Every error answer by status and code, as the OpenAPI document and `docs/http.md` list them."""


def last_words(output: str, status: int) -> str:
    """Return the last line of a program that failed, or how it ended where it printed none.

    `status` is its exit status; as in `subprocess`, a negative one is the number of the signal that ended it.
    """
    lines = output.strip().splitlines()
    if lines:
        return lines[-1].removeprefix("error: ")
    if status == -signal.SIGKILL:
        return "it was killed, as Linux does when memory runs out"
    return f"it ended by signal {-status}" if status < 0 else f"it printed nothing and ended with status {status}"
