"""A store that breaks while the engine fetches from it: one line, the old version serves, and nothing half is left."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import requests

from stack import processes
from stack.folders import Folders
from tests.e2e.conftest import Stack

pytestmark = pytest.mark.e2e
STATE = {"cart_position": 0.0, "cart_velocity": 0.0, "pole_angle": 0.1, "pole_angular_velocity": 0.5}
DELAY = "served_model.request_params.max_batch_delay"
Behave = Callable[[BaseHTTPRequestHandler, bytes], None]


def ask(stack: Stack) -> str:
    answer = requests.post(f"{stack.gateway}/models/cartpole/predict", json=STATE, timeout=30)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["version"])


def head(request: BaseHTTPRequestHandler, content: bytes) -> None:
    request.send_response(200)
    request.send_header("Content-Length", str(len(content)))
    request.end_headers()


def break_off(request: BaseHTTPRequestHandler, content: bytes) -> None:
    head(request, content)
    request.wfile.write(content[: len(content) // 2])
    request.wfile.flush()
    request.connection.shutdown(socket.SHUT_RDWR)


def send_garbage(request: BaseHTTPRequestHandler, content: bytes) -> None:
    head(request, content)
    request.wfile.write(bytes(len(content)))


def refuse(request: BaseHTTPRequestHandler, content: bytes) -> None:
    request.send_error(500)


@contextmanager
def in_place_of_the_file_browser(stack: Stack, behave: Behave) -> Iterator[None]:
    """A server on the file browser's port that answers HEAD rightly and GET by `behave`."""

    class Handler(BaseHTTPRequestHandler):
        def content(self) -> bytes:
            return (stack.archives / Path(self.path).name).read_bytes()

        def log_message(self, *args: object) -> None:
            """Says nothing."""

    def get(self: Handler) -> None:
        behave(self, self.content())
        self.close_connection = True

    setattr(Handler, "do_HEAD", lambda self: head(self, self.content()))  # noqa: B010 -- the name is http.server's
    setattr(Handler, "do_GET", get)  # noqa: B010
    folders = Folders(stack.state, stack.state / "model_store", keeps_model_store=False)
    processes.stop_service("filebrowser", folders)
    server = ThreadingHTTPServer(("127.0.0.1", int(stack.env["MARINA_FILES_PORT"])), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        stack.run("-m", "stack", "up")


def answer_slowly(request: BaseHTTPRequestHandler, content: bytes) -> None:
    """Some bytes at once, and the rest never; the connection is kept for longer than the upload waits."""
    head(request, content)
    request.wfile.write(content[:1000])
    request.wfile.flush()
    request.connection.settimeout(8)
    request.connection.recv(1)


SLOW = [pytest.param(behave, marks=pytest.mark.slow) for behave in (send_garbage, refuse, answer_slowly)]


@pytest.mark.parametrize("behave", [break_off, *SLOW], ids=lambda behave: behave.__name__)
def test_a_store_that_breaks_leaves_nothing_half(stack: Stack, behave: Behave) -> None:
    before, files = ask(stack), sorted(stack.archives.iterdir())
    upload = ("upload_model.py", "served_model=cartpole", "rollout.watch_s=0", f"{DELAY}=9")
    patience = ("rollout.fetch_timeout_s=3",) if behave is answer_slowly else ()
    with in_place_of_the_file_browser(stack, behave):
        printed = stack.run(*upload, *patience, status=1)
        assert ask(stack) == before
    last = printed.strip().splitlines()[-1]
    assert last.startswith("error: cartpole ")
    assert last.endswith(f"version {before} serves as before")
    assert sorted(stack.archives.iterdir()) == files
    # The same again from a sound store: nothing of the broken one is in the way.
    assert "serves now" in stack.run(*upload)
    assert "serves again" in stack.run("-m", "delivery", "rollback", "served_model=cartpole")
    assert ask(stack) == before
