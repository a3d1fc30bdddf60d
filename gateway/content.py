"""When two requests are the same: model, version, content type and body."""

import hashlib
from dataclasses import dataclass

from gateway.hooks import PredictionRequest

# A body up to here stands for itself: hashing it would cost more than comparing it. Longer than what stands for others.
SHORT = 256
_PIECE = 64


@dataclass(frozen=True, slots=True)
class Key:
    """What a request asks, in a few bytes."""

    model: str
    version: str | None
    content_type: str
    content: bytes


def is_drawn(request: PredictionRequest) -> bool:
    """Whether a policy may have been asked to draw its action, so that the same request has another answer each time.

    Where the word stands anywhere, or an escape that could spell it, it is taken for asked.
    """
    return request.kind == "policy" and (b"deterministic" in request.body or b"\\u" in request.body)


def key_of(request: PredictionRequest) -> Key:
    """A key that no other body has: BLAKE2b, 128 bits. It costs a look at every byte."""
    body = request.body
    return _key(request, body if len(body) <= SHORT else hashlib.blake2b(body, digest_size=16).digest())


def sketch_of(request: PredictionRequest) -> Key:
    """A key that another body may have by chance: its length and pieces of it. Whoever uses it compares the bodies."""
    body = request.body
    if len(body) <= SHORT:
        return _key(request, body)
    middle = len(body) // 2
    pieces = (body[:_PIECE], body[middle : middle + _PIECE], body[-_PIECE:])
    return _key(request, b"".join((len(body).to_bytes(8, "big"), *pieces)))


def _key(request: PredictionRequest, content: bytes) -> Key:
    return Key(request.model, request.version, request.content_type, content)
