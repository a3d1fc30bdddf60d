"""When two requests are the same: model, version, content type and body."""

import hashlib
from dataclasses import dataclass

from gateway.hooks import PredictionRequest


@dataclass(frozen=True, slots=True)
class Key:
    """What a request asks, in a few bytes."""

    model: str
    version: str | None
    content_type: str
    digest: bytes


def key_of(request: PredictionRequest) -> Key:
    """The request's key; bodies that differ have different digests (BLAKE2b, 128 bits)."""
    body = request.body
    digest = body if len(body) <= _AS_IT_IS else hashlib.blake2b(body, digest_size=16).digest()
    return Key(request.model, request.version, request.content_type, digest)


# A short body is its own key: hashing it would cost more than comparing it. Longer than any digest, so never mistaken.
_AS_IT_IS = 256
