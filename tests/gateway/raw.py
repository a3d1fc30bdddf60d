"""HTTP as bytes on a socket: what a client library would never send, or would hide."""

import json
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

STATE = b"[0,0,0.1,0.5]"
HELD_STATE = b"[0,0,0.2,0.5]"
CARTPOLE, DIGITS = "/models/cartpole/predict", "/models/digits/predict"
JSON, PNG = "Content-Type: application/json", "Content-Type: image/png"


def request(
    path: str, *lines: str, body: bytes | None = None, method: str = "POST", version: str = "1.1", host: str | None = ""
) -> bytes:
    """One request; with a body also its length, with `host=None` no Host header."""
    named = [] if host is None else [f"Host: {host or '127.0.0.1'}"]
    length = [] if body is None else [f"Content-Length: {len(body)}"]
    head = "\r\n".join([f"{method} {path} HTTP/{version}", *named, *lines, *length])
    return head.encode("latin-1") + b"\r\n\r\n" + (body or b"")


HEALTH = request("/healthz", method="GET")


@dataclass(frozen=True)
class Answer:
    """One response, names of headers in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Connection:
    """A client's end of a connection to a gateway."""

    def __init__(self, made: socket.socket) -> None:
        self._socket = made
        self._file = made.makefile("rb")

    def send(self, *pieces: bytes) -> None:
        """Send these, one after the other."""
        for piece in pieces:
            self._socket.sendall(piece)

    def half_close(self) -> None:
        """Send nothing more."""
        self._socket.shutdown(socket.SHUT_WR)

    def line(self) -> bytes:
        """Return the next line that comes."""
        return self._file.readline()

    def read(self, method: str = "POST") -> Answer:
        """Return the next response; interim ones are left out as clients do."""
        status = int(self.line().split()[1])
        headers = {}
        while (line := self.line().strip()) != b"":
            name, _, value = line.decode("latin-1").partition(": ")
            headers[name] = value
        if status < 200:
            return self.read(method)
        return Answer(status, headers, b"" if method == "HEAD" else self._file.read(int(headers["content-length"])))

    def rest(self) -> bytes:
        """Return everything that comes until the gateway closes the connection."""
        return self._file.read()

    def close(self) -> None:
        """Leave."""
        self._file.close()
        self._socket.close()


@contextmanager
def connected(url: str) -> Iterator[Connection]:
    """A connection to a gateway."""
    address = urlsplit(url)
    made = Connection(socket.create_connection((address.hostname or "", address.port or 0), timeout=30))
    try:
        yield made
    finally:
        made.close()


def exchange(url: str, *sent: bytes, method: str = "POST") -> Answer:
    """The answer to what is sent over a connection of its own."""
    with connected(url) as connection:
        connection.send(*sent)
        return connection.read(method)


def statuses(text: bytes) -> Sequence[int]:
    """The statuses of several responses."""
    return [int(part[:3]) for part in text.split(b"HTTP/1.1 ")[1:]]
