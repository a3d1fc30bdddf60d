"""A running edge names the version that it serves; unreadable metrics do not count as an old version."""

from collections.abc import Iterator

import pytest

from edge.nginx_server import answering_version
from errors import EdgeError
from settings import load
from tests.figures import HUNG_UP, FiguresServer, serving


@pytest.fixture
def server() -> Iterator[FiguresServer]:
    text = '# TYPE marina_edge_info gauge\nmarina_edge_info{model="cartpole",version="1.2"} 1\n'
    with serving(text) as started:
        yield started


def answering(server: FiguresServer) -> str:
    return answering_version(load([f"edge.port={server.port}"]))


def test_edge_that_runs_names_its_version(server: FiguresServer) -> None:
    assert answering(server) == "1.2"
    assert server.asked[0]["Connection"] == "close"


def test_edge_without_a_version_or_that_is_busy_is_asked_again(server: FiguresServer) -> None:
    server.text = "# TYPE other gauge\nother 1\n"
    assert answering(server) == "no version"
    server.trouble = HUNG_UP
    assert "does not answer" in answering(server)


@pytest.mark.parametrize(("status", "text"), [(404, "x"), (403, "x"), (200, "<html>\n")])
def test_another_server_at_the_edges_port_ends_the_reload(server: FiguresServer, status: int, text: str) -> None:
    server.status, server.text = status, text
    with pytest.raises(EdgeError, match=f"{server.port}/metrics answers"):
        answering(server)
