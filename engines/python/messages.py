"""Requests and responses between Frontend and workers, and TorchServe's error responses.

ErrorResponse                              {"code", "type", "message"} under its status
├── BadRequestException               400  a parameter is missing or not a number
├── InvalidKeyException               400  the bearer token is wrong, expired or missing
├── InvalidModelException             400  the fetched file is not an archive, or an unsafe one
├── InvalidModelVersionException      403  the default version must be removed last
├── ModelNotFoundException            404  no model has this name
├── ModelVersionNotFoundException     404  the model is registered, this version is not
├── ArchiveNotFound                   404  the URL is not one of the store, or nothing can be fetched there
├── ResourceNotFoundException         404  no route has this path
├── MethodNotAllowedException         405  the path takes other methods
├── ConflictStatusException           409  the version is already registered
├── RequestEntityTooLargeException    413  the body is larger than `max_request_bytes`
├── InternalServerException           500  workers do not start, or one failed
│   └── WorkerDied                    500  the request ended each worker that had it, or none answered it in time
├── PredictionFailed                  503  the handler raised
├── ServiceUnavailableException       503  no worker, or too many requests in the queue
├── DeadlineExceeded                  504  the client no longer waits for the answer
└── OutOfResources                    507  the worker has no memory left

An error response with an `error_code` also carries {"error", "detail"}, as the project's handlers write it. The gateway
then takes it for the fault of this request and does not send the request again.
"""

import json
from dataclasses import dataclass
from typing import Any, Self

Headers = tuple[tuple[str, str], ...]
JSON: Headers = (("content-type", "application/json"),)

Labels = tuple[tuple[str, str], ...]
Sample = tuple[str, str, Labels, float]
"""One measurement of a handler: name, kind (counter, gauge or histogram), labels and value."""


@dataclass(frozen=True, slots=True)
class InferenceRequest:
    """One request: its id, its headers with names in lower case, its query and its body."""

    request_id: str
    headers: Headers
    query: str
    body: bytes


@dataclass(frozen=True, slots=True)
class InferenceResponse:
    """The response to one request."""

    status: int
    headers: Headers
    body: bytes

    @classmethod
    def of_error(cls, error: "ErrorResponse") -> Self:
        """Return an error as the response to one request."""
        return cls(error.status, JSON, error.body())


@dataclass(frozen=True, slots=True)
class BatchResult:
    """The responses to a batch, the measurements of its handler, and the seconds that the worker took."""

    responses: list[InferenceResponse]
    samples: list[Sample]
    seconds: float


class ErrorResponse(Exception):
    """Base of all; its text is the message."""

    status = 500
    kind = "InternalServerException"
    error_code: str | None = None

    def body(self) -> bytes:
        """Return the body as TorchServe writes it."""
        content: dict[str, Any] = {"code": self.status, "type": self.kind, "message": str(self)}
        if self.error_code is not None:
            content |= {"error": self.error_code, "detail": str(self)}
        return json.dumps(content, indent=2).encode() + b"\n"


class BadRequestException(ErrorResponse):
    """A parameter is missing or not a number."""

    status, kind = 400, "BadRequestException"


class InvalidKeyException(ErrorResponse):
    """The bearer token is wrong, expired or missing."""

    status, kind = 400, "InvalidKeyException"

    def __init__(self) -> None:
        super().__init__("Token Authorization failed. Token either incorrect, expired, or not provided correctly")


class InvalidModelException(ErrorResponse):
    """The fetched file is not an archive, or an unsafe one."""

    status, kind = 400, "InvalidModelException"


class InvalidModelVersionException(ErrorResponse):
    """The default version must be removed last."""

    status, kind = 403, "InvalidModelVersionException"


class ModelNotFoundException(ErrorResponse):
    """No model has this name."""

    status, kind = 404, "ModelNotFoundException"

    def __init__(self, model: str) -> None:
        super().__init__(f"Model not found: {model}")


class ModelVersionNotFoundException(ErrorResponse):
    """The model is registered, this version is not."""

    status, kind = 404, "ModelVersionNotFoundException"

    def __init__(self, model: str, version: str) -> None:
        super().__init__(f"Model version: {version} does not exist for model: {model}")


class ArchiveNotFound(ErrorResponse):
    """The URL is not one of the store, or nothing can be fetched there."""

    status, kind = 404, "ModelNotFoundException"


class ResourceNotFoundException(ErrorResponse):
    """No route has this path."""

    status, kind = 404, "ResourceNotFoundException"

    def __init__(self) -> None:
        super().__init__("Requested resource is not found, please refer to API document.")


class MethodNotAllowedException(ErrorResponse):
    """The path takes other methods."""

    status, kind = 405, "MethodNotAllowedException"

    def __init__(self) -> None:
        super().__init__("Requested method is not allowed, please refer to API document.")


class ConflictStatusException(ErrorResponse):
    """The version is already registered."""

    status, kind = 409, "ConflictStatusException"


class RequestEntityTooLargeException(ErrorResponse):
    """The body is larger than the engine accepts."""

    status, kind = 413, "RequestEntityTooLargeException"


class InternalServerException(ErrorResponse):
    """Workers do not start, or one failed."""


class WorkerDied(InternalServerException):
    """The request ended each worker that had it, or none answered it in time."""

    error_code = "internal"


class PredictionFailed(ErrorResponse):
    """The handler raised, or did not answer every request of its batch."""

    status = 503


class ServiceUnavailableException(ErrorResponse):
    """There is no worker, or the queue is full."""

    status, kind = 503, "ServiceUnavailableException"


class DeadlineExceeded(ErrorResponse):
    """The client no longer waits for the answer."""

    status, error_code = 504, "deadline_passed"


class OutOfResources(ErrorResponse):
    """The worker has no memory left."""

    status = 507
