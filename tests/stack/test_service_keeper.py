"""Parts that end by themselves are started again; small servers stand for them, tests/e2e kills the real ones."""

import logging
import socket

import pytest

from stack import lifecycle, processes
from stack.folders import Folders
from stack.lifecycle import ServiceKeeper
from tests.polling import wait_for
from tests.stack.test_lifecycle import PARENT, SERVER, folders, server

__all__ = ["folders"]  # a fixture
# As nginx: the one that was started answers nothing itself.
MASTER = (
    f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {SERVER!r}, sys.argv[1]]); time.sleep(300)"
)


def kill(name: str, folders: Folders) -> int:
    """Kill the process that was started; return its number."""
    first = processes.find(name, folders)[0]
    first.kill()
    wait_for(lambda: processes.has_ended(name, folders))
    return int(first.pid)


def test_service_keeper_restarts_killed_service_only(folders: Folders) -> None:
    stack = (server("torchserve", folders, PARENT), server("gateway", folders))
    lifecycle.up(stack, folders)
    kept = ServiceKeeper(lambda: stack, folders)
    assert kept.turn() is False
    [gateway] = processes.find("gateway", folders)
    killed = kill("torchserve", folders)
    assert kept.turn() is True
    assert [part.ready for part in lifecycle.status(stack, folders)] == [True, True]
    assert killed not in {process.pid for process in processes.find("torchserve", folders)}
    assert [process.pid for process in processes.find("gateway", folders)] == [gateway.pid]
    assert kept.turn() is False


def test_parts_never_started_is_left_alone(folders: Folders) -> None:
    stack = (server("torchserve", folders), server("gateway", folders))
    lifecycle.up(stack[:1], folders)
    assert ServiceKeeper(lambda: stack, folders).turn() is False
    assert processes.find("gateway", folders) == []


def test_service_keeper_retries_until_started(
    folders: Folders, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    stack = (server("torchserve", folders),)
    lifecycle.up(stack, folders)
    kept = ServiceKeeper(lambda: stack, folders)
    kill("torchserve", folders)
    monkeypatch.setattr(lifecycle, "RETRY_S", (0.0,))
    with socket.create_server(("127.0.0.1", stack[0].ports[0].number)), caplog.at_level(logging.WARNING):
        assert kept.turn() is False
        assert kept.turn() is False
    assert caplog.text.count("not started again yet: ") == 2
    assert "is taken by pid" in caplog.text
    assert kept.turn() is True
    assert [part.ready for part in lifecycle.status(stack, folders)] == [True]


def test_parts_cannot_be_started_is_not_tried_at_every_turn(folders: Folders, caplog: pytest.LogCaptureFixture) -> None:
    stack = (server("torchserve", folders),)
    lifecycle.up(stack, folders)
    kept = ServiceKeeper(lambda: stack, folders)
    kill("torchserve", folders)
    with socket.create_server(("127.0.0.1", stack[0].ports[0].number)):
        assert [kept.turn(), kept.turn(), kept.turn()] == [False] * 3
    assert caplog.text.count("not started again yet: ") == 1


def test_status_killed_master_with_answering_child_is_down(folders: Folders) -> None:
    stack = (server("edge", folders, MASTER),)
    lifecycle.up(stack, folders)
    assert [(part.ready, part.pid is None) for part in lifecycle.status(stack, folders)] == [(True, False)]
    kill("edge", folders)
    assert processes.find("edge", folders)
    assert [(part.ready, part.pid) for part in lifecycle.status(stack, folders)] == [(False, None)]
