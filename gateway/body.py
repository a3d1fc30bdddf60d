"""Reads a request's body once, and no further than the limit."""

from dataclasses import dataclass, field

from python_multipart.multipart import parse_options_header
from starlette.types import Receive, Scope

from errors import TooLarge, UnreadableInput, WrongMediaType
from gateway import exchange
from gateway.exchange import Exchange, header
from gateway.receiving import Receiving, full
from gateway.whole_body import EXTENSION, WholeBody

OCTETS = "application/octet-stream"


class ClientGoneError(Exception):
    """The client hung up before its answer was ready; nobody is left to be told anything."""


@dataclass(frozen=True, slots=True)
class Body:
    """A whole request body: its media type in lower case, the type's parameters, the bytes."""

    media_type: str
    options: dict[bytes, bytes]
    data: bytes = field(repr=False)


async def read_body(scope: Scope, receive: Receive, limit: int) -> Body:
    """Reads the body of at most `limit` bytes.

    Raises WrongMediaType for a compressed body, TooLarge as soon as more than the limit is announced or sent,
    OverCapacity when the gateway holds too many bodies already, UnreadableInput for an empty one, ClientGoneError
    when the client hangs up meanwhile.
    """
    headers, receiving = scope["headers"], receiving_of(scope)
    encoding = header(headers, b"content-encoding")
    if encoding is not None and encoding.lower() not in {"", "identity"}:
        raise WrongMediaType("compressed bodies are not read; send the body without Content-Encoding")
    announced = header(headers, b"content-length")
    if announced is not None and announced.isdigit():
        if int(announced) > limit:
            raise _too_large(limit)
        if not receiving.fits(int(announced)):
            raise full()
    whole, request = scope.get("extensions", {}).get(EXTENSION), exchange.of(scope)
    if isinstance(whole, WholeBody):
        data = await _gathered(whole, limit, receiving, request)
    else:
        data = await _collect(receive, limit, receiving, request)
    if not data:
        raise UnreadableInput("the body is empty")
    media_type, options = parse_options_header(header(headers, b"content-type") or OCTETS)
    return Body(media_type.decode("latin-1").strip().lower(), options, data)


def receiving_of(scope: Scope) -> Receiving:
    """What counts the bodies of the application that answers this request."""
    receiving: Receiving = scope["state"]["services"].receiving
    return receiving


async def _gathered(whole: WholeBody, limit: int, receiving: Receiving, request: Exchange) -> bytes:
    try:
        data = await whole.read(limit, receiving)
    finally:
        request.held += whole.size
    if data is None:
        raise ClientGoneError
    if len(data) > limit:
        raise _too_large(limit)
    return data


async def _collect(receive: Receive, limit: int, receiving: Receiving, request: Exchange) -> bytes:
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        chunk: bytes = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            raise _too_large(limit)
        if not receiving.take(len(chunk)):
            raise full()
        request.held += len(chunk)
        chunks.append(chunk)
        if not message.get("more_body", False):
            return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"the body is larger than the {limit} bytes that are accepted")
