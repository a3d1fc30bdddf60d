"""Pieces of the OpenAPI document that several routes share."""

from typing import Any

from errors import REQUEST_ERRORS, RequestError

ERRORS: dict[int, type[RequestError]] = {error.status: error for error in reversed(REQUEST_ERRORS)}
"""The error of each status, and of several the first."""

MODEL_EXAMPLE: dict[str, Any] = {
    "name": "digits",
    "default_version": "1.0",
    "breaker": "closed",
    "versions": [
        {
            "version": "1.0",
            "default": True,
            "workers": {"ready": 1, "total": 1, "min": 1, "max": 1},
            "queue": {"pending": 0, "free": 1000},
            "batch": {"batch_size": 4, "max_batch_delay": 5},
            "kind": "vision",
            "description": "Handwritten digits, ten classes.",
            "weights": "trained",
            "labels": [str(digit) for digit in range(10)],
        }
    ],
}

ERROR_SCHEMA: dict[str, Any] = {
    "type": "object",
    "description": "The one shape of every error.",
    "properties": {
        "error": {"type": "string", "description": "a code that stays the same"},
        "detail": {"type": "string", "description": "words for people"},
        "request_id": {"type": "string", "description": "the id in X-Request-Id and in the log"},
    },
    "required": ["error", "detail", "request_id"],
    "additionalProperties": False,
}


def answers(example: Any, *errors: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route: what a good answer looks like, and the errors it can give; all can be for a key."""
    good: dict[str, Any] = {"description": "The answer", "content": {"application/json": {"example": example}}}
    return {200: good, **{status: _error(status) for status in sorted({*errors, *_FOR_EVERYBODY})}}


_FOR_EVERYBODY = (401, 403, 429)


def _error(status: int) -> dict[str, Any]:
    error = ERRORS[status]
    example = {"error": error.code, "detail": error.summary, "request_id": "3f0c6a1e9b0d4f6e8a7c5b4d3e2f1a0b"}
    schema = {"$ref": "#/components/schemas/Error"}
    return {"description": error.summary, "content": {"application/json": {"schema": schema, "example": example}}}
