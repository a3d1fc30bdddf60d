"""The headers that pass between a client and the handler of an adopted archive, in both directions."""

from gateway.hooks import HeaderList
from gateway.http.context import Headers

_OF_CONNECTION = frozenset(
    {
        b"connection",
        b"content-length",
        b"expect",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
"""Headers of one connection (RFC 9110, section 7.6.1), and the lengths that each connection states itself."""

# The engine's key stands in Authorization, so the client's cannot; no handler may learn a key of the gateway.
_OWN_REQUEST = frozenset(
    {b"authorization", b"content-type", b"host", b"x-api-key", b"x-deadline-at", b"x-deadline-ms", b"x-request-id"}
)
# TorchServe gives these two to a handler for requests of its own.
_ENGINE_REQUEST = frozenset({b"describe", b"explain"})
_OWN_RESPONSE = frozenset({b"date", b"server", b"x-model-version", b"x-request-id", b"x-worker-pid"})
_DROPPED_REQUEST = _OF_CONNECTION | _OWN_REQUEST | _ENGINE_REQUEST
_DROPPED_RESPONSE = _OF_CONNECTION | _OWN_RESPONSE


def forwarded_headers(headers: Headers) -> HeaderList:
    """Return the client's headers that the handler gets; the gateway writes the others."""
    return tuple((name, value) for name, value in headers if name not in _DROPPED_REQUEST)


def returned_headers(headers: Headers) -> HeaderList:
    """Return the handler's headers that the client gets; the gateway writes the others."""
    return tuple((name, value) for name, value in headers if name not in _DROPPED_RESPONSE)
