"""The one tree of errors; each knows its HTTP status, its code on the wire and its words for the user.

    MarinaError
    ├── ConfigError          a setting is unknown, of the wrong type or names a missing file
    ├── BuildError           checkpoint or archive cannot be made
    │   ├── WeightsMissing   the checkpoint is not there; says which command gets it
    │   ├── ParityError      the artifact does not answer as the framework does
    │   └── ArchiveError     a .mar is broken or unsafe
    ├── StoreError           an archive cannot be put, found or read
    ├── StackError           a part of the local stack does not start or stop
    │   └── PortInUse
    ├── EngineError          the engine refused or did not answer a management call
    │   └── RolloutError     a version did not become ready; says what serves now
    ├── FiguresError         a server's figures cannot be read, so nothing is known of its traffic
    ├── EdgeError            a policy cannot be compiled, or the edge does not answer as the handler does
    ├── LoadError            the load generator has nothing to load, or nothing that answers
    └── RequestError         what a client of the gateway is told
        ├── UnreadableInput  400
        ├── Unauthorized     401
        ├── Forbidden        403
        ├── NotAllowed       403
        ├── UnknownModel     404
        ├── TooLarge         413
        ├── WrongMediaType   415
        ├── InvalidFields    422
        ├── OverCapacity     429
        ├── RateLimited      429
        ├── Internal         500
        ├── NoWorker         503
        │   └── WorkerLost   503  the worker or its connection was lost on the way: safe to send once more
        └── DeadlinePassed   504

What runs inside a worker has a tree of its own in `handlers/errors.py`, because an archive carries no file from here.
"""


class MarinaError(Exception):
    """Base of all errors that are shown to a user as one line."""


class ConfigError(MarinaError):
    """A setting is unknown, of the wrong type or names a missing file."""


class BuildError(MarinaError):
    """A checkpoint or an archive cannot be made."""


class WeightsMissing(BuildError):
    """The checkpoint is not there."""


class ParityError(BuildError):
    """The artifact does not answer as the framework does."""


class ArchiveError(BuildError):
    """An archive is broken or unsafe."""


class StoreError(MarinaError):
    """An archive cannot be put, found or read."""


class StackError(MarinaError):
    """A part of the local stack does not start or stop."""


class PortInUse(StackError):
    """Another process listens where a part of the stack should."""


class EngineError(MarinaError):
    """The engine refused a management call or did not answer it."""


class RolloutError(EngineError):
    """A version did not become ready; the text says which one serves now."""


class FiguresError(MarinaError):
    """A server's figures cannot be read; `passing` when another try may read them."""

    def __init__(self, words: str, *, passing: bool = False) -> None:
        super().__init__(words)
        self.passing = passing


class EdgeError(MarinaError):
    """A policy cannot be compiled for the edge, or does not answer there as its handler does."""


class LoadError(MarinaError):
    """The load generator has nothing to load, or nothing that answers."""


class RequestError(MarinaError):
    """What a client of the gateway is told: an HTTP status, a stable code and words."""

    status: int = 500
    code: str = "internal"

    def __init__(self, detail: str, *, headers: dict[str, str] | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.headers = headers or {}


class UnreadableInput(RequestError):
    """The body cannot be read at all."""

    status, code = 400, "unreadable_input"


class Unauthorized(RequestError):
    """The request brings no API key, or none that is known."""

    status, code = 401, "unauthorized"


class Forbidden(RequestError):
    """The gateway is not open to other machines."""

    status, code = 403, "forbidden"


class NotAllowed(RequestError):
    """The configuration does not let clients do this."""

    status, code = 403, "not_allowed"


class UnknownModel(RequestError):
    """No model or version of that name is registered."""

    status, code = 404, "unknown_model"


class TooLarge(RequestError):
    """The body is larger than the gateway accepts."""

    status, code = 413, "too_large"


class WrongMediaType(RequestError):
    """The content type is none that the model reads."""

    status, code = 415, "wrong_type"


class InvalidFields(RequestError):
    """The body is well-formed, its fields are wrong or out of range."""

    status, code = 422, "invalid_fields"


class OverCapacity(RequestError):
    """Too many requests wait already."""

    status, code = 429, "over_capacity"


class RateLimited(RequestError):
    """An API key asks more often than it may."""

    status, code = 429, "rate_limited"


class Internal(RequestError):
    """Something in the gateway broke."""

    status, code = 500, "internal"


class NoWorker(RequestError):
    """The engine is not there or has no worker for the model."""

    status, code = 503, "no_worker"


class WorkerLost(NoWorker):
    """The worker or the connection to it was lost before the answer came; the request may be sent once more."""


class DeadlinePassed(RequestError):
    """The answer did not come in time."""

    status, code = 504, "deadline_passed"
