"""A server of figures that answers as a gateway does, and in every way in which one cannot be read."""

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from settings import Settings, load

CUT = "cut"  # fewer bytes than the head announces
SILENT = "silent"  # no answer before the test ends
HUNG_UP = "hung up"  # the connection ends without a head


def figures(models: dict[str, str], started: float = 1.0, **counters: float) -> str:
    """A gateway's text: `models` by their default version, and counters whose names are given in full with labels."""
    lines = ["# TYPE marina_gateway_requests_in_flight gauge", "marina_gateway_requests_in_flight 0.0"]
    lines += ["# TYPE process_start_time_seconds gauge", f"process_start_time_seconds {started}"]
    lines += ["# TYPE marina_gateway_model_serving gauge"]
    lines += [f'marina_gateway_model_serving{{model="{m}",version="{v}"}} 1.0' for m, v in models.items()]
    return "\n".join([*lines, *(f"{name} {value}" for name, value in counters.items())]) + "\n"


def calls(good: float, failed: float = 0, *, model: str = "digits", node: str | None = None, started: float = 1) -> str:
    """A gateway's text with so many answers of the engine, of one of several hosts if it is named."""
    name = "marina_gateway_upstream_seconds" if node is None else "marina_gateway_node_calls_total"
    kind, suffix = ("histogram", "_count") if node is None else ("counter", "")
    where = "" if node is None else f'node="{node}",'
    lines = [
        f"# TYPE {name} {kind}",
        f'{name}{suffix}{{{where}model="{model}",status="200"}} {good}',
        f'{name}{suffix}{{{where}model="{model}",status="503"}} {failed}',
    ]
    return figures({model: "1.0"}, started) + "\n".join(lines) + "\n"


@dataclass
class FiguresServer:
    """What `/metrics` answers now; each request's headers are kept."""

    text: str = ""
    status: int = 200
    trouble: str | None = None
    url: str = ""
    port: int = 0
    asked: list[dict[str, str]] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def settings(self, *overrides: str) -> Settings:
        """Settings whose gateway this is."""
        return load([f"gateway.port={self.port}", *overrides])


@contextlib.contextmanager
def serving(text: str = "") -> Iterator[FiguresServer]:
    """A running server on a free port of loopback."""
    served = FiguresServer(text)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.asked.append(dict(self.headers))
            if served.trouble == SILENT:
                served.over.wait()
            if served.trouble in (SILENT, HUNG_UP):
                self.close_connection = True
                return
            body = served.text.encode()
            self.send_response(served.status)
            self.send_header("Content-Length", str(len(body) + (served.trouble == CUT)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served.port = server.server_address[1]
    served.url = f"http://127.0.0.1:{served.port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield served
    finally:
        served.over.set()
        server.shutdown()
        server.server_close()
        thread.join()
