"""A real HTTP server with ranges that breaks connections on demand."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class FileServer:
    """Serves `data` at every path. `cuts`: after how many bytes the next answers break off, one each."""

    data: bytes
    url: str = ""
    ranges: bool = True
    status: int | None = None
    cuts: list[int] = field(default_factory=list)
    requests: list[str | None] = field(default_factory=list)  # the Range header of each

    def reset(self) -> None:
        """Forget what a test asked for."""
        self.ranges, self.status = True, None
        self.cuts, self.requests = [], []


@contextmanager
def serving(data: bytes) -> Iterator[FileServer]:
    """Starts the server on a free port of the loopback and stops it afterwards."""
    state = FileServer(data)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            header = self.headers.get("Range")
            state.requests.append(header)
            if state.status is not None:
                self.send_error(state.status)
                return
            start = int(header.removeprefix("bytes=").rstrip("-")) if header and state.ranges else 0
            if start >= len(state.data):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(state.data)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self._send(start, partial=bool(header and state.ranges))

        def _send(self, start: int, *, partial: bool) -> None:
            body = state.data[start:]
            self.send_response(206 if partial else 200)
            if partial:
                self.send_header("Content-Range", f"bytes {start}-{len(state.data) - 1}/{len(state.data)}")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: state.cuts.pop(0)] if state.cuts else body)

        def log_message(self, *args: Any, **kwargs: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        state.url = f"http://127.0.0.1:{server.server_address[1]}/weights-37.pth"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield state
        finally:
            server.shutdown()
            thread.join()
