"""The parts of the doctor that need nothing running."""

import json
import os
import re
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from delivery.doctor import command, gateway_and_edge, rollouts_and_store, this_machine
from delivery.doctor.check import Check, Finding, Result, State, closed, examine, is_open
from delivery.doctor.command import ENGINE, REST, examine_all
from delivery.doctor.deployment import Deployment
from delivery.doctor.probes import WIDE, others_read, others_write, reach
from delivery.engine_process import properties
from delivery.sockets import ListeningSocket, Sockets
from errors import EngineError
from settings import load
from tests.docker.filebrowser_server import NGINX, file_browser
from tests.figures import figures, serving
from tests.ports import free_port

EVERYWHERE, HERE = ListeningSocket("0.0.0.0", 8081, None), ListeningSocket("127.0.0.1", 8081, 4711)
OWN = frozenset({"127.0.0.1", "192.0.2.7"})


@pytest.mark.parametrize(
    ("listener", "host", "state"),
    [
        (HERE, "127.0.0.1", State.CLOSED),
        (EVERYWHERE, "127.0.0.1", State.OPEN),
        (ListeningSocket("192.0.2.7", 8081, 1), "192.0.2.7", State.OPEN),
        (ListeningSocket("::", 8081, 1), "127.0.0.1", State.OPEN),
        (ListeningSocket("::1", 8081, 1), "127.0.0.1", State.CLOSED),
        (ListeningSocket("::ffff:127.0.0.1", 8081, 1), "127.0.0.1", State.CLOSED),
        (ListeningSocket("::ffff:192.0.2.7", 8081, 1), "127.0.0.1", State.OPEN),
        (HERE, "198.51.100.1", State.NOT_CHECKED),
        (ListeningSocket("127.0.0.1", 80, 1), "127.0.0.1", State.NOT_CHECKED),
    ],
)
def test_a_port_is_shut_when_only_loopback_listens(listener: ListeningSocket, host: str, state: State) -> None:
    assert reach(Sockets((listener,), OWN), host, 8081, wide=WIDE).state is state


def test_sockets_wildcard_address_is_this_machine() -> None:
    sockets = Sockets((EVERYWHERE,), OWN)
    assert sockets.is_here("0.0.0.0")
    assert not sockets.is_shut("0.0.0.0", 8081)
    assert not sockets.is_here("no-such-host.invalid")


def test_doctor_unreadable_metrics_are_warning_with_remedy() -> None:
    [check] = [each for each in gateway_and_edge.GATEWAY if each.hole == "its figures"]
    with serving(figures({})) as server:
        subject = cast(Deployment, SimpleNamespace(settings=server.settings()))
        assert [found.state for found in examine("gateway", [check], subject)] == [State.CLOSED]
        server.status = 401
        [found] = examine("gateway", [check], subject)
    assert found.state is State.WARNING
    assert "answers 401: set MARINA_API_KEY_FILE" in found.seen
    assert "keys.md" in found.closes


def test_listening_sockets_are_seen_with_their_owner() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        sockets = Sockets.of_this_machine()
    assert sockets.on(port) == (ListeningSocket("127.0.0.1", port, os.getpid()),)
    assert sockets.owner(port) == os.getpid()
    assert sockets.is_shut("localhost", port)


@pytest.mark.parametrize(
    ("mode", "around", "state"),
    [
        (0o600, 0o755, State.CLOSED),
        (0o644, 0o700, State.CLOSED),
        (0o644, 0o755, State.OPEN),
        (0o640, 0o750, State.OPEN),
        (0o622, 0o700, State.OPEN),
    ],
)
def test_others_read_needs_modes_of_file_and_folder(tmp_path: Path, mode: int, around: int, state: State) -> None:
    secret = tmp_path / "key"
    secret.write_text("k")
    secret.chmod(mode)
    tmp_path.chmod(around)
    assert others_read(secret).state is state
    tmp_path.chmod(0o700)


@pytest.mark.parametrize(("mode", "state"), [(0o755, State.CLOSED), (0o775, State.OPEN), (0o777, State.OPEN)])
def test_a_folder_is_written_by_others_as_its_mode_says(tmp_path: Path, mode: int, state: State) -> None:
    folder = tmp_path / "store"
    folder.mkdir()
    folder.chmod(mode)
    assert others_write(folder).state is state


def test_properties_environment_overrides_where_allowed(tmp_path: Path) -> None:
    config = tmp_path / "config.properties"
    command, environment = ("java", "-f", str(config)), {"TS_JOB_QUEUE_SIZE": "7", "HOME": "/root"}
    config.write_text("# a comment = nothing\njob_queue_size = 5\nenable_envvars_config=true\n")
    assert properties(command, environment, tmp_path)["job_queue_size"] == "7"
    config.write_text("job_queue_size=5\n")
    assert properties(command, environment, tmp_path) == {"job_queue_size": "5"}
    assert properties(("java",), environment, tmp_path / "elsewhere") == {}


def test_properties_without_an_option_are_those_of_the_folder_or_of_the_last_snapshot(
    tmp_path: Path,
) -> None:
    (tmp_path / "config.properties").write_text("job_queue_size=5\nload_models=all\n")
    command = ("java", "-s", "store", "-m", "a=a.mar", "b.mar", "--enable-model-api")
    options = {"model_store": "store", "load_models": "a=a.mar,b.mar", "enable_model_api": "true"}
    assert properties(command, {}, tmp_path) == {"job_queue_size": "5", **options}
    snapshots = tmp_path / "logs" / "config"
    snapshots.mkdir(parents=True)
    (snapshots / "20260101-startup.cfg").write_text("job_queue_size=6\n")
    assert properties(command, {}, tmp_path)["job_queue_size"] == "6"
    assert properties((*command, "-ncs"), {}, tmp_path)["job_queue_size"] == "5"


def test_a_check_that_fails_is_a_line_and_the_others_go_on() -> None:
    def away(_: None) -> Result:
        raise EngineError("no TorchServe at http://127.0.0.1:1")

    def strange(_: None) -> Result:
        return Result(State.CLOSED, json.loads("[]")["version"])

    checks: tuple[Check[None], ...] = (
        Check("a", "x", away),
        Check("b", "x", strange),
        Check("c", "x", lambda _: closed("well")),
    )
    found = [(one.hole, one.state, one.seen) for one in examine("engine", checks, None)]
    assert found == [
        ("a", State.NOT_CHECKED, "no TorchServe at http://127.0.0.1:1"),
        ("b", State.NOT_CHECKED, "an unexpected answer (TypeError)"),
        ("c", State.CLOSED, "well"),
    ]


def test_each_hole_of_a_part_has_one_line_and_a_setting() -> None:
    for checks in (ENGINE, gateway_and_edge.GATEWAY, *(checks for _, checks in REST)):
        holes = [check.hole for check in checks]
        assert len(set(holes)) == len(holes)
        assert all(check.closes for check in checks)
        assert max(map(len, holes)) < command.HOLE_WIDTH


def test_where_a_part_is_away_its_other_checks_are_not_asked() -> None:
    def never(_: None) -> Result:
        raise AssertionError

    gate: Check[None] = Check("it answers", "make up", lambda _: is_open("nothing answers at x"), comes_first=True)
    found = list(examine("store", (gate, Check("b", "x", never)), None))
    assert [(one.state, one.seen) for one in found] == [
        (State.OPEN, "nothing answers at x"),
        (State.NOT_CHECKED, "nothing answers at x"),
    ]


def test_doctor_examines_each_gateway_of_a_stack() -> None:
    with serving(figures({})) as one, serving(figures({})) as other:
        ports = [server.settings().gateway.port for server in (one, other)]
        settings = load([f"gateway.instances=[127.0.0.1:{ports[0]},127.0.0.1:{ports[1]}]"])
        found = {
            part: next(iter(examine(part, gateway_and_edge.GATEWAY, gateway)))
            for part, gateway in Deployment(settings, Sockets((), OWN)).each_gateway()
        }
    assert {part: each.seen for part, each in found.items()} == {
        f"gateway 127.0.0.1:{port}": f"http://127.0.0.1:{port}" for port in ports
    }


def test_doctor_gateways_without_an_address_are_named() -> None:
    settings = load(["gateway.instances=[no-such-host.invalid]"])
    [(part, gateway)] = Deployment(settings, Sockets((), OWN)).each_gateway()
    first, *others = examine(part, gateway_and_edge.GATEWAY, gateway)
    assert (part, first.state) == ("gateway", State.OPEN)
    assert "no-such-host.invalid has no address" in first.seen
    assert {each.state for each in others} == {State.NOT_CHECKED}


def test_where_nothing_runs_that_is_what_it_says(tmp_path: Path) -> None:
    nobody = free_port()
    ports = [f"engine.{name}={nobody}" for name in ("inference_port", "management_port", "grpc_inference_port")]
    ports += [f"gateway.port={nobody}", f"gateway.grpc_port={nobody}", f"store.port={nobody}"]
    settings = load([f"paths.state={tmp_path}", f"engine.grpc_management_port={nobody}", *ports])
    found = list(examine_all(Deployment(settings, Sockets.of_this_machine())))
    assert len(found) == len(ENGINE) + len(gateway_and_edge.GATEWAY) + sum(len(checks) for _, checks in REST)
    answers = {one.part: one for one in found if one.hole == "it answers"}
    assert {part for part, one in answers.items() if one.state is State.OPEN} == {"engine", "store", "gateway"}
    assert all(one.seen for one in found)


@pytest.mark.skipif(NGINX is None, reason="needs nginx")
@pytest.mark.parametrize(
    ("put", "key", "state"),
    [(False, None, State.CLOSED), (True, None, State.OPEN), (False, "0123456789abcdef" * 2, State.CLOSED)],
    ids=["off", "on", "with a key"],
)
def test_doctor_open_uploads_are_found_without_uploading(
    tmp_path: Path, put: bool, key: str | None, state: State
) -> None:
    with file_browser(put=put, key=key) as running:
        settings = load([f"paths.state={tmp_path}", f"store.port={running.port}"])
        found = examine("store", rollouts_and_store.STORE, Deployment(settings, Sockets.of_this_machine()))
        states = {one.hole: one.state for one in found}
        assert list(running.root.iterdir()) == []
    assert states["uploads without a key"] is state
    assert states["it answers"] is states["archives for everybody"] is State.CLOSED


@pytest.mark.parametrize("node", ["", "b"])
def test_doctor_abandoned_journal_is_open_even_if_damaged(tmp_path: Path, node: str) -> None:
    (tmp_path / "rollouts" / node).mkdir(parents=True)
    (tmp_path / "rollouts" / node / "digits.json").write_text('{"model": ')
    deployment = Deployment(load([f"paths.state={tmp_path}"]), Sockets((), OWN))
    [killed] = [
        one for one in examine("rollouts", rollouts_and_store.ROLLOUTS, deployment) if one.hole.endswith("killed")
    ]
    assert killed.state is State.OPEN
    assert "damaged" in killed.seen


def test_report_table_names_settings_of_open_holes() -> None:
    found = [
        Finding("engine", "a door", State.OPEN, "wide", "shut=true"),
        Finding("engine", "a window", State.CLOSED, "shut", "shut=true"),
        Finding("store", "a lid", State.NOT_CHECKED, "it is elsewhere", "shut=true"),
    ]
    lines = command.table(found).splitlines()
    assert [line for line in lines if "shut=true" in line] == [lines[1]]
    assert lines[0] == "engine"
    assert lines[-1] == "1 open, 0 warnings, 1 not checked, 1 closed"
    assert json.loads(command.document(found))[0] == {
        "part": "engine",
        "hole": "a door",
        "state": "open",
        "seen": "wide",
        "closes": "shut=true",
    }


@pytest.mark.parametrize(
    ("there", "overrides", "state"),
    [
        (True, [], State.CLOSED),
        (False, [], State.OPEN),
        (False, ["engine=ray"], State.NOT_CHECKED),
        (False, ["engine.host=torchserve.invalid"], State.NOT_CHECKED),
    ],
)
def test_the_program_kill_where_torchserve_ends_workers(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, there: bool, overrides: list[str], state: State
) -> None:
    if not there:
        monkeypatch.setenv("PATH", str(tmp_path))
    deployment = Deployment(load([f"paths.state={tmp_path}", *overrides]), Sockets.of_this_machine())
    [found] = [one for one in examine("machine", this_machine.CHECKS, deployment) if one.hole == "the program kill"]
    assert found.state == state


OURS = re.compile(
    r"docker/|make (up|down)\b|requirements-|\bTS_"
    r"|engine\.(host=|java_home|max_request_bytes|response_timeout_s|job_queue_size|token_expiration_min)"
)
"""Files, commands and settings that change an engine only where the stack starts it."""


def test_remedies_for_an_engine_that_others_start_name_nothing_that_only_the_stack_starts_with() -> None:
    assert {check.hole for check in ENGINE if OURS.search(check.remedy(external=False))}
    assert {check.hole: remedy for check in ENGINE if OURS.search(remedy := check.remedy(external=True))} == {}


def test_findings_of_an_engine_that_others_start_have_its_own_remedy(tmp_path: Path) -> None:
    ports = [f"engine.{name}=1" for name in ("inference_port", "management_port")]
    for external, remedy in (
        ("true", "start it, or correct engine.host and the ports of engine"),
        ("false", "make up"),
    ):
        settings = load([f"engine.external={external}", f"paths.state={tmp_path}", *ports])
        [first, *_] = examine_all(Deployment(settings, Sockets((), OWN)))
        assert (first.part, first.state, first.closes) == ("engine", State.OPEN, remedy)
