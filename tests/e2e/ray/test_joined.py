"""`engine.address`: a cluster that somebody else started is joined, used and left as it was."""

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from bench.local_stack import free_ports
from tests.e2e.conftest import Stack, left_running, new_stack
from tests.e2e.ray.heads import OLDER, OTHERS, Head, applications, head
from tests.e2e.ray.serving import PATIENT

pytestmark = [pytest.mark.e2e, pytest.mark.ray]
PROXY = "engine.proxies=head"
TOKEN = "0123456789abcdef0123456789abcdef"


@pytest.fixture(scope="module")
def open_to_all() -> Iterator[Head]:
    with head(None) as made:
        yield made


@pytest.fixture(scope="module")
def guarded() -> Iterator[Head]:
    with head(TOKEN) as made:
        yield made


def joining(theirs: Head, state: Path, archives: Path) -> Stack:
    """A stack that has of the cluster what its other users have."""
    made = new_stack(state, archives)
    made.env.update({"MARINA_ENGINE": "ray", "MARINA_RAY_ADDRESS": theirs.address, **theirs.env})
    return made


def refused(stack: Stack, *words: str) -> str:
    """What a start that fails says: one line, after the names of the parts that were ready before."""
    said = stack.run("-m", "stack", "up", *words, status=1)
    assert "Traceback" not in said
    [line] = [line for line in said.splitlines() if not line.endswith(" is ready")]
    assert line.startswith("error: rayserve ended with status 1: ")
    assert left_running(stack) == []
    return line


@pytest.mark.parametrize("kind", ["open_to_all", "guarded"])
def test_a_cluster_of_others_is_joined_used_and_left_as_it_was(
    request: pytest.FixtureRequest, kind: str, archives: Path, tmp_path: Path
) -> None:
    theirs: Head = request.getfixturevalue(kind)
    stack = joining(theirs, tmp_path / "state", archives)
    try:
        stack.run("-m", "stack", "up", *PATIENT, PROXY)
        for times in (1, 2):
            assert "serves" in stack.run("upload_model.py", "served_model=cartpole"), times
        answer = requests.post(f"{stack.gateway}/models/cartpole/predict", json=[0, 0, 0.1, 0.5], timeout=120)
        assert answer.status_code == 200, answer.text
        theirs.do(OTHERS)
        assert len(applications(theirs)) == 3
    finally:
        stack.run("-m", "stack", "down")
    assert applications(theirs) == ["theirs"]
    # Serve's proxy is everybody's, so it stays with the port that it was given; nothing else does.
    there = theirs.processes()
    assert [process for process in left_running(stack) if "ProxyActor" not in there.get(process.pid, "")] == []
    assert [title for title in there.values() if "marina" in title] == []
    # Serve goes by its first user's host and port: a stack with others says so, and leaves theirs alone.
    other = joining(theirs, tmp_path / "other", archives)
    assert "Serve runs in this cluster already" in refused(other, PROXY)
    other.run("-m", "stack", "down")
    assert applications(theirs) == ["theirs"]


def test_where_nothing_listens_a_start_ends_in_one_line(archives: Path, tmp_path: Path) -> None:
    stack = new_stack(tmp_path / "state", archives)
    [port] = free_ports(1)
    assert f"no Ray answers at 127.0.0.1:{port}" in refused(stack, "engine=ray", f"engine.address=127.0.0.1:{port}")
    stack.run("-m", "stack", "down")


def test_where_something_else_listens_a_start_ends_in_one_line(archives: Path, tmp_path: Path) -> None:
    stack = new_stack(tmp_path / "state", archives)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"127.0.0.1:{server.server_port}"
        assert f"no Ray answers at {address}" in refused(stack, "engine=ray", f"engine.address={address}")
        server.shutdown()


@pytest.mark.parametrize(
    ("token", "said"), [("f" * 32, "does not accept the token"), (None, "asks for a token; RAY_AUTH_TOKEN_PATH")]
)
def test_a_wrong_token_or_none_is_told_as_that(
    guarded: Head, archives: Path, tmp_path: Path, token: str | None, said: str
) -> None:
    stack = joining(guarded, tmp_path / "state", archives)
    (tmp_path / "token").write_text(token or "")
    stack.env["RAY_AUTH_TOKEN_PATH"] = str(tmp_path / "token")
    assert said in refused(stack)


def test_a_cluster_of_another_version_of_ray_is_told_as_that(open_to_all: Head, archives: Path, tmp_path: Path) -> None:
    open_to_all.do(OLDER)  # for good: this test is the last one that it is there for
    line = refused(joining(open_to_all, tmp_path / "state", archives))
    assert "Ray at" in line
    assert "2.9.0" in line
