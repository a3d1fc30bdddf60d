"""Errors of one request; each knows its status, its code and its reason phrase. The gateway shares them.

RequestError
├── UnreadableInput   400   decode     the body cannot be read at all: truncated, not an image, not JSON
├── TooLarge          413   decode     the image has more pixels than the model accepts
├── WrongMediaType    415   read       the model does not read this content type
├── InvalidFields     422   read       well-formed, but fields are missing, unknown, of a wrong type or out of range
├── Internal          500   forward    the handler or the network failed on this request alone
├── NotSupported      501   read       TorchServe has the endpoint, this model does not support it
└── DeadlinePassed    504   read       the client no longer waits for the answer

They are defined here because an archive carries this package and nothing else of the project. `errors.py` in the root
adds those that only the gateway raises.
"""

from collections.abc import Mapping


class MarinaError(Exception):
    """Base of all errors that are shown to a user as one line."""


class RequestError(MarinaError):
    """The error answer to one request: an HTTP status, a stable code and a text for people."""

    status: int = 500
    code: str = "internal"
    phrase: str = "Internal Server Error"
    summary: str = "The request failed; search the log for its request id"

    def __init__(self, detail: str, *, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.headers = dict(headers or {})

    def within(self, part: str) -> "RequestError":
        """Return the same error whose text begins with the part of the request that is at fault."""
        return type(self)(f"{part}: {self.detail}")


class UnreadableInput(RequestError):
    """The body cannot be read at all."""

    status, code, phrase = 400, "unreadable_input", "Bad Request"
    summary = "The body cannot be read"


class TooLarge(RequestError):
    """The body, or the image in it, is larger than the gateway or the model accepts."""

    status, code, phrase = 413, "too_large", "Payload Too Large"
    summary = "The body is larger than what is accepted"


class WrongMediaType(RequestError):
    """The model does not read this content type."""

    status, code, phrase = 415, "wrong_type", "Unsupported Media Type"
    summary = "The model does not read this content type"


class InvalidFields(RequestError):
    """The body is well-formed, but its fields are wrong or out of range."""

    status, code, phrase = 422, "invalid_fields", "Unprocessable Entity"
    summary = "Well-formed, but wrong fields or values out of range"


class Internal(RequestError):
    """The gateway, the handler or the network failed on this request."""


class NotSupported(RequestError):
    """TorchServe has the endpoint, but this model does not support it."""

    status, code, phrase = 501, "not_supported", "Not Implemented"
    summary = "The model does not support this call"


class DeadlinePassed(RequestError):
    """The answer did not come in time, or the client no longer waits for it."""

    status, code, phrase = 504, "deadline_passed", "Gateway Timeout"
    summary = "The answer did not come in time"


def shortened(names: set[str]) -> str:
    """List a client's names for an error message, at most five and 40 characters of each."""
    listed = sorted(names)
    return ", ".join(name[:40] for name in listed[:5]) + (", ..." if len(listed) > 5 else "")
