"""The rules for a request's head: its size, its Host, and its connection headers."""

from contextlib import suppress
from typing import NamedTuple

import httptools

REQUEST_LINE_ROOM = 16  # method, spaces and version beside the path
# Headers that request another protocol. The gateway offers none and ignores them.
UPGRADING = frozenset({b"upgrade", b"connection", b"http2-settings"})


class HeadError(NamedTuple):
    """The response to a head that breaks a rule."""

    status: int
    code: str
    detail: str


UNREADABLE = HeadError(400, "unreadable_input", "this is not a valid HTTP request")


class RequestHead:
    """Checks the head of one request while it arrives."""

    __slots__ = ("_hosts", "_limit", "_size", "error", "expects_continue")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._size = REQUEST_LINE_ROOM
        self._hosts = 0
        self.error: HeadError | None = None
        self.expects_continue = False

    def count(self, size: int) -> bool:
        """Count bytes of the head; return False when they are too many."""
        self._size += size
        return self._size <= self._limit

    def too_large(self) -> HeadError:
        """Return the error of a head that `count` found too large."""
        detail = f"request line and headers are larger than the {self._limit} bytes that are accepted"
        return HeadError(431, "request_header_fields_too_large", detail)

    def check_header(self, name: bytes, value: bytes) -> None:
        """Check one header; its name is in lower case."""
        if name == b"host":
            self._hosts += 1
        elif name == b"transfer-encoding" and value.lower() != b"chunked":
            detail = "`chunked` is the only Transfer-Encoding that the gateway reads"
            self.error = HeadError(501, "not_implemented", detail)
        elif name == b"expect":
            self.expects_continue = value.lower() == b"100-continue"
            if not self.expects_continue:
                detail = "`100-continue` is the only expectation that the gateway meets"
                self.error = HeadError(417, "expectation_failed", detail)

    def complete(self, method: bytes, version: str) -> HeadError | None:
        """Check the whole head; return the error of one that breaks a rule."""
        if self._hosts != 1 and (self._hosts or version != "1.0"):
            self.error = HeadError(400, "unreadable_input", "a request needs exactly one Host header")
        if method == b"CONNECT":
            self.error = HeadError(405, "method_not_allowed", "this is not a proxy: CONNECT is not supported")
        # An HTTP/1.0 client does not know interim responses, and sends its body without one.
        self.expects_continue = self.expects_continue and version != "1.0"
        return self.error


def use_authority(url: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    """Replace the Host header with the host of an absolute URL in the request line, which takes precedence."""
    with suppress(httptools.HttpParserInvalidURLError):
        found = httptools.parse_url(url)
        if found.host is not None:
            headers[:] = [each for each in headers if each[0] != b"host"]
            headers.append((b"host", found.host))


def without_upgrade(method: bytes, url: bytes, version: str, headers: list[tuple[bytes, bytes]]) -> bytes:
    """Return a head without the headers that request another protocol."""
    lines = [method, b" ", url, b" HTTP/", version.encode(), b"\r\n"]
    for name, value in headers:
        if name == b"connection" and b"close" in value.lower():
            value = b"close"
        elif name in UPGRADING:
            continue
        lines += (name, b": ", value, b"\r\n")
    return b"".join((*lines, b"\r\n"))
