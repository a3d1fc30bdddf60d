"""Pieces of the OpenAPI document that several routes share."""

from typing import Any

ERRORS = {
    400: ("unreadable_input", "The body cannot be read"),
    401: ("unauthorized", "No API key, or none that is known; asked for when gateway.security.api_keys is set"),
    403: ("forbidden", "Asked from another machine, which this gateway is not open to"),
    404: ("unknown_model", "No such model or version is registered"),
    413: ("too_large", "The body is larger than what is accepted"),
    415: ("wrong_type", "The model does not read this content type"),
    422: ("invalid_fields", "Well-formed, but wrong fields or values out of range"),
    429: ("over_capacity", "Too many requests wait already; Retry-After says when to come back"),
    500: ("internal", "Something broke; the request id finds it in the log"),
    503: ("no_worker", "The engine is not there or has no worker for the model"),
    504: ("deadline_passed", "The answer did not come in time"),
}

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
    code, words = ERRORS[status]
    example = {"error": code, "detail": words, "request_id": "3f0c6a1e9b0d4f6e8a7c5b4d3e2f1a0b"}
    schema = {"$ref": "#/components/schemas/Error"}
    return {"description": words, "content": {"application/json": {"schema": schema, "example": example}}}
