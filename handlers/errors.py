"""What one request of a batch is told when it gets no prediction; each knows its status, code and reason phrase.

HandlerError
├── UnreadableInput   400   decode     the body cannot be read at all: truncated, not a picture, not JSON
├── TooLarge          413   decode     the picture has more pixels than the model takes
├── WrongMediaType    415   read       the content type is none that the model reads
├── InvalidFields     422   read       well-formed, but fields are missing, unknown, of a wrong type or out of range
├── Internal          500   forward    the handler or the network failed on this request alone
├── NotSupported      501   read       TorchServe has an endpoint for it, this model does not
└── DeadlinePassed    504   read       nobody waits for the answer any more
"""


class HandlerError(Exception):
    """Base of all outcomes that are not a prediction."""

    status: int = 500
    code: str = "internal"
    phrase: str = "Internal Server Error"

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail

    def within(self, place: str) -> "HandlerError":
        """Return the same error with the place in the request where it happened in front of its words."""
        return type(self)(f"{place}: {self.detail}")


class UnreadableInput(HandlerError):
    """The body cannot be read at all."""

    status, code, phrase = 400, "unreadable_input", "Bad Request"


class TooLarge(HandlerError):
    """The picture has more pixels than the model takes."""

    status, code, phrase = 413, "too_large", "Payload Too Large"


class WrongMediaType(HandlerError):
    """The content type is none that the model reads."""

    status, code, phrase = 415, "wrong_type", "Unsupported Media Type"


class InvalidFields(HandlerError):
    """The body is well-formed, its fields are wrong or out of range."""

    status, code, phrase = 422, "invalid_fields", "Unprocessable Entity"


class Internal(HandlerError):
    """The handler or the network failed on this request."""


class NotSupported(HandlerError):
    """TorchServe has an endpoint for it, this model does not."""

    status, code, phrase = 501, "not_supported", "Not Implemented"


class DeadlinePassed(HandlerError):
    """Nobody waits for the answer any more."""

    status, code, phrase = 504, "deadline_passed", "Gateway Timeout"
