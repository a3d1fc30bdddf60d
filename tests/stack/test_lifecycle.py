"""The local stack starts whole or not at all, and `down` leaves nothing, however its parts lost their starter.

The parts here are small servers; the real programs are started in tests/e2e.
"""

import dataclasses
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from errors import PortInUse, StackError
from stack import lifecycle, processes
from stack.folders import Folders
from stack.local_services import Port, Service
from tests.polling import WAIT_S, ended, wait_for
from tests.ports import free_port

SERVER = (
    "import http.server as http, sys;http.test(http.SimpleHTTPRequestHandler, bind='127.0.0.1', port=int(sys.argv[1]))"
)
FORBIDS = """
import http.server as http, sys
class Handler(http.BaseHTTPRequestHandler):
    do_GET = lambda self: self.send_error(403)
http.test(Handler, bind='127.0.0.1', port=int(sys.argv[1]))
"""
# A server with a child of its own, as TorchServe and nginx have.
PARENT = f"import subprocess, sys; subprocess.Popen(['sleep', '300']); exec({SERVER!r})"


@pytest.fixture
def folders(tmp_path: Path) -> Iterator[Folders]:
    made = Folders(tmp_path / "state", tmp_path / "model_store", keeps_model_store=False)
    yield made
    lifecycle.down(made)


def server(name: str, folders: Folders, program: str = SERVER, timeout_s: float = 60) -> Service:
    port = free_port()
    return Service(
        name=name,
        command=(sys.executable, "-c", program, str(port)),
        ports=(Port(port, f"{name}.port"),),
        ready_url=f"http://127.0.0.1:{port}/",
        timeout_s=timeout_s,
        cwd=Path("/"),
    )


def running(folders: Folders) -> list[psutil.Process]:
    return [process for name in lifecycle.NAMES for process in processes.find(name, folders)]


def test_up_starts_what_is_down_and_leaves_what_runs(folders: Folders) -> None:
    stack = (server("torchserve", folders), server("gateway", folders))
    assert lifecycle.up(stack, folders) == ["torchserve", "gateway"]
    before = {process.pid for process in running(folders)}
    assert lifecycle.up(stack, folders) == []
    assert {process.pid for process in running(folders)} == before
    assert all(part.ready for part in lifecycle.status(stack, folders))


def test_services_that_run_with_other_overrides_are_named(folders: Folders) -> None:
    stack = (server("torchserve", folders), server("gateway", folders))
    lifecycle.up(stack, folders)
    assert lifecycle.started_otherwise(stack, folders) == []
    changed = replace(stack[1], command=(*stack[1].command, "gateway.shared_memory=true"))
    assert lifecycle.up((stack[0], changed), folders) == []
    assert lifecycle.started_otherwise((stack[0], changed), folders) == ["gateway"]
    lifecycle.down(folders)
    assert lifecycle.started_otherwise(stack, folders) == []


def test_down_leaves_no_process_and_a_second_down_finds_none(folders: Folders) -> None:
    lifecycle.up((server("torchserve", folders, PARENT), server("gateway", folders)), folders)
    found = running(folders)
    assert len(found) == 3
    assert lifecycle.down(folders) == ["gateway", "torchserve"]
    assert all(map(ended, found))
    assert not folders.temporary.exists()
    assert lifecycle.down(folders) == []


def test_a_killed_part_is_started_again_and_the_others_stay(folders: Folders) -> None:
    stack = (server("torchserve", folders), server("gateway", folders))
    lifecycle.up(stack, folders)
    [engine] = processes.find("torchserve", folders)
    engine.kill()
    wait_for(lambda: not processes.find("torchserve", folders))
    assert lifecycle.up(stack, folders) == ["torchserve"]


def test_down_finds_the_children_of_a_part_that_was_killed(folders: Folders) -> None:
    lifecycle.up((server("torchserve", folders, PARENT),), folders)
    parent, child = processes.find("torchserve", folders)
    parent.kill()
    wait_for(lambda: [process.pid for process in processes.find("torchserve", folders)] == [child.pid])
    assert lifecycle.down(folders) == ["torchserve"]
    assert ended(child)


def test_up_stops_what_a_killed_part_left_and_starts_it_anew(folders: Folders) -> None:
    stack = (server("torchserve", folders, PARENT),)
    lifecycle.up(stack, folders)
    parent, child = processes.find("torchserve", folders)
    parent.kill()
    wait_for(lambda: [process.pid for process in processes.find("torchserve", folders)] == [child.pid])
    assert lifecycle.up(stack, folders) == ["torchserve"]
    assert ended(child)
    assert lifecycle.up(stack, folders) == []


def test_status_killed_service_with_children_is_down(folders: Folders) -> None:
    part = Service("torchserve", (sys.executable, "-c", PARENT, str(free_port())), (), None, 60, cwd=Path("/"))
    lifecycle.up((part,), folders)
    wait_for(lambda: len(processes.find("torchserve", folders)) == 2)
    parent, child = processes.find("torchserve", folders)
    assert lifecycle.status((part,), folders) == [
        lifecycle.ServiceStatus("torchserve", parent.pid, ready=True, url="-")
    ]
    parent.kill()
    wait_for(lambda: [process.pid for process in processes.find("torchserve", folders)] == [child.pid])
    assert lifecycle.status((part,), folders) == [lifecycle.ServiceStatus("torchserve", None, ready=False, url="-")]


def test_up_restarts_dependent_services(folders: Folders) -> None:
    outer, inner = server("ray", folders), dataclasses.replace(server("rayserve", folders), within="ray")
    stack = (outer, inner, server("gateway", folders))
    lifecycle.up(stack, folders)
    [head], [manager] = processes.find("ray", folders), processes.find("rayserve", folders)
    head.kill()
    wait_for(lambda: not processes.find("ray", folders))
    assert lifecycle.up(stack, folders) == ["ray", "rayserve"]
    assert ended(manager)


def test_down_finds_a_part_whose_record_is_lost(folders: Folders) -> None:
    lifecycle.up((server("torchserve", folders),), folders)
    (folders.state / "torchserve.pid").unlink()
    assert lifecycle.down(folders) == ["torchserve"]


def test_down_spares_other_process_with_recorded_pid(folders: Folders) -> None:
    stranger = subprocess.Popen(["sleep", "300"], start_new_session=True)
    try:
        folders.state.mkdir(parents=True)
        (folders.state / "gateway.pid").write_text(f"{stranger.pid} {time.time() - 3600}\n")
        assert lifecycle.down(folders) == []
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_up_taken_port_names_owner_and_setting(folders: Folders) -> None:
    part = server("gateway", folders)
    with socket.create_server(("127.0.0.1", part.ports[0].number)), pytest.raises(PortInUse) as caught:
        lifecycle.up((server("torchserve", folders), part), folders)
    message = str(caught.value)
    assert f"port {part.ports[0].number} is taken by pid {os.getpid()} (" in message
    assert "gateway.port=PORT" in message
    assert "\n" not in message
    assert running(folders) == []


def test_up_service_ending_at_once_stops_the_others(folders: Folders) -> None:
    broken = server("gateway", folders, "raise SystemExit('no such setting')")
    with pytest.raises(StackError, match=r"gateway ended with status 1: no such setting \(full log: .*gateway\.log\)"):
        lifecycle.up((server("torchserve", folders), broken), folders)
    assert running(folders) == []


def test_a_part_that_never_answers_is_given_up(folders: Folders) -> None:
    silent = server("gateway", folders, "import time; time.sleep(300)", timeout_s=0.5)
    with pytest.raises(StackError, match=r"gateway was not ready after 0\.5 s"):
        lifecycle.up((silent,), folders)
    assert running(folders) == []


def test_up_refusal_is_ready_only_if_expected(folders: Folders) -> None:
    refusing = server("gateway", folders, FORBIDS, timeout_s=2)
    with pytest.raises(StackError, match="gateway was not ready"):
        lifecycle.up((refusing,), folders)
    assert lifecycle.up((replace(refusing, refusal=403, timeout_s=60),), folders) == ["gateway"]


def test_up_failure_keeps_running_services(folders: Folders) -> None:
    engine = server("torchserve", folders)
    lifecycle.up((engine,), folders)
    with pytest.raises(StackError):
        lifecycle.up((engine, server("gateway", folders, "raise SystemExit(1)")), folders)
    assert [status.ready for status in lifecycle.status((engine,), folders)] == [True]


UP = """
import sys
from pathlib import Path
from stack import lifecycle
from stack.folders import Folders
from stack.local_services import Service, Port
folders = Folders(Path(sys.argv[1]), Path(sys.argv[1]) / "store", keeps_model_store=False)
port = int(sys.argv[2])
silent = Service("gateway", (sys.executable, "-c", "import time; time.sleep(300)"), (Port(port, "p"),),
              f"http://127.0.0.1:{port}/", 300)
lifecycle.up((silent,), folders)
"""


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda sent: sent.name)
def test_up_interrupted_leaves_nothing_that_down_misses(folders: Folders, sent: signal.Signals) -> None:
    up = subprocess.Popen([sys.executable, "-c", UP, str(folders.state), str(free_port())], stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: bool(processes.find("gateway", folders)))
        [part] = processes.find("gateway", folders)
        up.send_signal(sent)
        up.wait(timeout=WAIT_S)
    finally:
        up.kill()
    if sent == signal.SIGKILL:
        assert not ended(part)
        assert lifecycle.down(folders) == ["gateway"]
    assert ended(part)


def test_two_ups_at_once_start_each_part_once(folders: Folders) -> None:
    port = free_port()
    program = UP.replace("import time; time.sleep(300)", SERVER).replace("300)\ncontrol", "10)\ncontrol")
    program = program.replace(f'"-c", "{SERVER}"', f'"-c", {SERVER!r}, "{port}"')
    both = [subprocess.Popen([sys.executable, "-c", program, str(folders.state), str(port)]) for _ in range(2)]
    assert [one.wait(timeout=WAIT_S) for one in both] == [0, 0]
    assert len(processes.find("gateway", folders)) == 1


def test_somebody_elses_temporary_folder_is_refused(folders: Folders, tmp_path: Path) -> None:
    folders.temporary.symlink_to(tmp_path)
    try:
        with pytest.raises(StackError, match="belongs to somebody else"):
            folders.make_temporary()
    finally:
        folders.temporary.unlink()


def test_stop_does_not_wait_for_a_parent_that_reaps_nobody() -> None:
    program = "import subprocess, time; print(subprocess.Popen(['sleep', '300']).pid, flush=True); time.sleep(300)"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        child.terminate()
        assert processes._still_running([child], timeout_s=10) == []
        assert child.status() == psutil.STATUS_ZOMBIE
        parent.kill()
