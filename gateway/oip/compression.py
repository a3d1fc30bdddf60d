"""Compressed bodies of the protocol over REST, gzip and deflate, as Triton's clients send and request them."""

import zlib
from collections.abc import Mapping

from anyio import to_thread
from starlette.types import Receive, Scope

from errors import TooLarge, UnreadableInput, WrongMediaType
from gateway.http.body import BodyBudget, budget_full, read_body
from gateway.http.context import context_of, header
from gateway.http.responses import HttpResponse

# The window sizes by which zlib tells its two containers apart.
_WINDOWS: Mapping[str, int] = {"gzip": 31, "deflate": 15}
# A response that fits into one packet gains nothing.
LEAST_BYTES = 1400
# More than this is compressed in a thread, because the event loop has other requests.
_MOST_IN_LOOP = 64 << 10
# Most of the gain for the least time.
_LEVEL = 1


async def read_inflated(scope: Scope, receive: Receive, budget: BodyBudget) -> bytes:
    """Read the body of a request, and inflate it where Content-Encoding says so.

    Raises as `read_body` does; TooLarge for a body that inflates beyond the largest size, UnreadableInput for one that
    is cut off or damaged, WrongMediaType for another encoding.
    """
    encoding = (header(scope["headers"], b"content-encoding") or "").lower()
    if encoding in ("", "identity"):
        return (await read_body(scope, receive, budget)).data
    if encoding not in _WINDOWS:
        raise WrongMediaType(f"Content-Encoding {encoding[:40]!r} is not read here; send gzip, deflate or none")
    body = await read_body(scope, receive, budget, unread=True)
    data = await to_thread.run_sync(_inflated, body.data, encoding, budget.largest)
    if not budget.take(len(data)):
        raise budget_full()
    context_of(scope).held += len(data)
    return data


def _inflated(data: bytes, encoding: str, largest: int) -> bytes:
    inflater = zlib.decompressobj(_WINDOWS[encoding])
    try:
        found = inflater.decompress(data, largest + 1)
    except zlib.error:
        raise UnreadableInput(f"the body is not {encoding}, as Content-Encoding says") from None
    if len(found) > largest:
        raise TooLarge(f"the body inflates to more than the {largest} bytes that are accepted")
    if not inflater.eof or inflater.unused_data:
        raise UnreadableInput(f"the {encoding} body is cut off, or something follows its end")
    return found


def requested_encoding(accepted: str | None) -> str | None:
    """Return the encoding that an Accept-Encoding header requests, gzip before deflate; None for neither."""
    offered = {}
    for each in (accepted or "").lower().split(","):
        name, _, quality = each.partition(";")
        offered[name.strip()] = quality.replace(" ", "")
    return next((name for name in _WINDOWS if name in offered and not _is_refused(offered[name])), None)


def _is_refused(quality: str) -> bool:
    return quality.removeprefix("q=") in {"0", "0.0", "0.00", "0.000"}


async def deflated(response: HttpResponse, accepted: str | None) -> HttpResponse:
    """Return the response in an encoding that the client accepts, where that makes it smaller."""
    if len(response.body) < LEAST_BYTES or (encoding := requested_encoding(accepted)) is None:
        return response
    if len(response.body) > _MOST_IN_LOOP:
        body = await to_thread.run_sync(_packed, response.body, encoding)
    else:
        body = _packed(response.body, encoding)
    if len(body) >= len(response.body):
        return response
    headers = [each for each in response.headers if each[0] != b"content-length"]
    own = [
        (b"content-length", b"%d" % len(body)),
        (b"content-encoding", encoding.encode()),
        (b"vary", b"accept-encoding"),
    ]
    return response._replace(headers=[*headers, *own], body=body)


def _packed(data: bytes, encoding: str) -> bytes:
    deflater = zlib.compressobj(_LEVEL, wbits=_WINDOWS[encoding])
    return deflater.compress(data) + deflater.flush()
