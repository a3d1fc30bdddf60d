"""What a client is told in TorchServe's own words: a status and {"code", "type", "message"}.

Refusal
├── BadRequest            400   a parameter is missing or no number
├── KeyRefused            400   the bearer token is wrong, expired or not there
├── NotAllowed            403   a default version may only go last
├── UnknownModel          404   nothing is registered under that name
├── UnknownVersion        404   the model is, this version is not
├── NoSuchResource        404   no such path
├── NoSuchArchive         404   the URL is not one of the store, or nothing can be fetched there
├── InvalidArchive        400   what was fetched is no archive, or an unsafe one
├── NoSuchMethod          405   the path takes other methods
├── Conflict              409   that version is registered already
├── TooLarge              413   the body is larger than `max_request_bytes`
├── Failed                500   workers do not start, or one broke on the way
│   └── WorkerDied        500   the request ended each worker that had it, or none answered it in time
├── PredictionFailed      503   the handler raised
├── Unavailable           503   no worker, or too many requests wait
├── DeadlinePassed        504   nobody waits for the answer any more
└── OutOfResources        507   the worker has no memory left

A refusal with a `code` is also told in the words of the kit's own handlers, {"error", "detail"}: the gateway takes it
for this request's own, and does not send it once more.
"""

import json


class Refusal(Exception):
    """Base of all; the text is the message."""

    status = 500
    kind = "InternalServerException"
    code: str | None = None

    def body(self) -> bytes:
        """As TorchServe words it."""
        words = {"code": self.status, "type": self.kind, "message": str(self)}
        if self.code is not None:
            words |= {"error": self.code, "detail": str(self)}
        return json.dumps(words, indent=2).encode() + b"\n"


class BadRequest(Refusal):
    """A parameter is missing or no number."""

    status, kind = 400, "BadRequestException"


class KeyRefused(Refusal):
    """The bearer token is wrong, expired or not there."""

    status, kind = 400, "InvalidKeyException"

    def __init__(self) -> None:
        super().__init__("Token Authorization failed. Token either incorrect, expired, or not provided correctly")


class NotAllowed(Refusal):
    """A default version may only go last."""

    status, kind = 403, "InvalidModelVersionException"


class UnknownModel(Refusal):
    """Nothing is registered under that name."""

    status, kind = 404, "ModelNotFoundException"

    def __init__(self, model: str) -> None:
        super().__init__(f"Model not found: {model}")


class UnknownVersion(Refusal):
    """The model is registered, this version is not."""

    status, kind = 404, "ModelVersionNotFoundException"

    def __init__(self, model: str, version: str) -> None:
        super().__init__(f"Model version: {version} does not exist for model: {model}")


class NoSuchResource(Refusal):
    """No such path."""

    status, kind = 404, "ResourceNotFoundException"

    def __init__(self) -> None:
        super().__init__("Requested resource is not found, please refer to API document.")


class NoSuchArchive(Refusal):
    """The URL is not one of the store, or nothing can be fetched there."""

    status, kind = 404, "ModelNotFoundException"


class InvalidArchive(Refusal):
    """What was fetched is no archive, or an unsafe one."""

    status, kind = 400, "InvalidModelException"


class NoSuchMethod(Refusal):
    """The path takes other methods."""

    status, kind = 405, "MethodNotAllowedException"

    def __init__(self) -> None:
        super().__init__("Requested method is not allowed, please refer to API document.")


class Conflict(Refusal):
    """That version is registered already."""

    status, kind = 409, "ConflictStatusException"


class TooLarge(Refusal):
    """The body is larger than the engine takes."""

    status, kind = 413, "RequestEntityTooLargeException"


class Failed(Refusal):
    """Workers do not start, or one broke on the way."""


class WorkerDied(Failed):
    """The request ended each worker that had it, or none answered it in time."""

    code = "internal"


class PredictionFailed(Refusal):
    """The handler raised, or did not answer every request of its batch."""

    status = 503


class Unavailable(Refusal):
    """No worker, or too many requests wait."""

    status, kind = 503, "ServiceUnavailableException"


class DeadlinePassed(Refusal):
    """Nobody waits for the answer any more."""

    status, code = 504, "deadline_passed"


class OutOfResources(Refusal):
    """The worker has no memory left."""

    status = 507
