"""A gateway of several processes, whichever server starts them: one set of figures, one gRPC port, one protocol."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import requests
from prometheus_client import values

from errors import ConfigError
from gateway import process_slots
from gateway.apikey import new_key
from gateway.examples import PICTURE
from tests.gateway.gateway_program import ROOT
from tests.gateway.given import GivenTorchServe
from tests.gateway.raw import PNG, connected, exchange, request
from tests.gateway.test_faults import metric
from tests.gateway.test_stop import clients
from tests.gateway.triton.client import Client, InferenceServerException, pictures
from tests.polling import wait_for
from tests.ports import free_port

PREDICT = "/models/digits/predict"
PATIENT = "--timeout-worker-healthcheck 100"
"""For workers that take more than 5 s to start; uvicorn also waits so long for those that ended at once."""
COMMANDS = {
    "app.py": "app.py gateway.port={port} gateway.processes=2",
    "uvicorn": f"-m uvicorn app:app --port {{port}} --workers 2 {PATIENT}",
    "gunicorn": "-m gunicorn app:app -b 127.0.0.1:{port} -w 2 -k uvicorn.workers.UvicornWorker",
    "gunicorn uvicorn_worker": "-m gunicorn app:app -b 127.0.0.1:{port} -w 2 -k uvicorn_worker.UvicornWorker",
}
BOTH = pytest.mark.parametrize("command", [COMMANDS["uvicorn"], COMMANDS["gunicorn"]], ids=["uvicorn", "gunicorn"])
SERVERS = pytest.mark.parametrize("command", COMMANDS.values(), ids=list(COMMANDS))


@dataclass(frozen=True)
class Server:
    """A server that runs as a program, its temporary folder and its log."""

    port: int
    grpc_port: int
    process: subprocess.Popen[bytes]
    temporary: Path
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def answers(self) -> bool:
        try:
            return requests.get(f"{self.url}/healthz", timeout=5).status_code == 200
        except OSError:
            return False

    def workers(self) -> list[psutil.Process]:
        """The processes that serve."""
        found = psutil.Process(self.process.pid).children()
        return [each for each in found if _serves(each)]

    def folders(self) -> list[Path]:
        """The folders in which processes of one gateway count together."""
        return [each for each in self.temporary.glob("marina-gateways-*/*") if each.is_dir()]


def _serves(process: psutil.Process) -> bool:
    """Whether it lives, and is not the one that Python's multiprocessing starts beside those that serve."""
    try:
        return not any("resource_tracker" in word for word in process.cmdline())
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return False


@contextmanager
def started(
    given: GivenTorchServe, temporary: Path, command: str, *overrides: str, grpc_port: int | None = None
) -> Iterator[Server]:
    """The command as a program in front of this engine, until the end of the block; it may not serve yet."""
    port, grpc_port = free_port(), grpc_port or free_port()
    both = [*given.overrides, f"gateway.grpc_port={grpc_port}", *overrides]
    first, *rest = command.format(port=port).split()
    arguments = [*rest, *both] if first == "app.py" else rest
    environment = os.environ | {"MARINA_OVERRIDES": json.dumps(both), "TMPDIR": str(temporary)}
    log = temporary / "log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, first, *arguments], cwd=ROOT, env=environment, stderr=stream, stdout=stream
        )
    try:
        yield Server(port, grpc_port, process, temporary, log)
    finally:
        process.terminate()
        process.wait(30)


@contextmanager
def serving(given: GivenTorchServe, temporary: Path, command: str, *overrides: str) -> Iterator[Server]:
    """The same, once both processes serve."""
    with started(given, temporary, command, *overrides) as server:
        wait_for(lambda: server.log.read_text().count("Application startup complete") == 2)
        yield server


@SERVERS
def test_server_of_two_processes_answers_and_counts_as_one(
    given: GivenTorchServe, tmp_path: Path, command: str
) -> None:
    with serving(given, tmp_path, command) as server:
        for _ in range(20):  # each over a connection of its own, so that both processes have a chance
            assert requests.post(server.url + PREDICT, data=PICTURE, timeout=30).status_code == 200
        for _ in range(4):
            with Client("grpc", f"127.0.0.1:{server.port}", f"127.0.0.1:{server.grpc_port}") as client:
                answer = client.call("infer", "digits", [client.tensor("image", pictures(PICTURE), "BYTES")])
                assert answer.as_numpy("label").tolist() == [b"7"]
        # Only the gateway's own protocol answers these as it should.
        assert exchange(server.url, request(PREDICT, "X-Long: " + "x" * 20_000, body=PICTURE)).status == 431
        upgrade = request(PREDICT, "Connection: Upgrade", "Upgrade: h2c", body=PICTURE)
        assert exchange(server.url, upgrade).status == 200
        looks = range(10)
        assert {metric(server.url, "marina_gateway_request_seconds_count", model="digits") for _ in looks} == {25}
        assert {requests.get(f"{server.url}/console/state", timeout=30).json()["whole"] for _ in looks} == {True}
        [begun] = {metric(server.url, "process_start_time_seconds") for _ in looks}
        assert begun == pytest.approx(psutil.Process(server.process.pid).create_time(), abs=1)
        stats = f"{server.url}/v2/models/digits/stats"
        each = [requests.get(stats, timeout=30).json()["model_stats"][0] for _ in looks]
        assert {(one["inference_count"], one["execution_count"]) for one in each} == {(4, 4)}
        assert len(server.folders()) == 1
    # Where the server is not ours, nobody is left to remove it: the next one does.
    assert len(server.folders()) == (0 if command.startswith("app.py") else 1)
    assert "Traceback" not in server.log.read_text()


@BOTH
def test_killed_process_leaves_its_counts_but_no_request_in_flight(
    given: GivenTorchServe, tmp_path: Path, command: str
) -> None:
    def ask(url: str) -> None:
        with requests.Session() as session:
            try:
                session.post(url, data=b"hold this picture, which is %d" % threading.get_ident(), timeout=60)
            except OSError:
                lost.append(url)

    def held() -> float:
        return metric(server.url, "marina_gateway_requests_admitted", model="digits")

    lost: list[str] = []
    given.hold()
    with serving(given, tmp_path, command) as server:
        assert requests.post(server.url + PREDICT, data=PICTURE, timeout=30).status_code == 200
        asking = [threading.Thread(target=ask, args=(server.url + PREDICT,)) for _ in range(12)]
        for thread in asking:
            thread.start()
        wait_for(lambda: held() == 12)
        before = server.workers()
        max(before, key=lambda each: each.num_fds()).kill()  # one may have all the connections
        wait_for(lambda: held() == 12 - len(lost) and len(lost) > 0)
        wait_for(lambda: len(server.workers()) == 2 and server.workers() != before)
        wait_for(lambda: server.log.read_text().count("Application startup complete") == 3)
        assert {metric(server.url, "marina_gateway_requests_admitted", model="digits") for _ in range(8)} == {
            12 - len(lost)
        }
        given.release()
        for thread in asking:
            thread.join()
        answered = 13 - len(lost)
        wait_for(lambda: metric(server.url, "marina_gateway_request_seconds_count", model="digits") == answered)
        assert len(list(server.folders()[0].glob("*.slot"))) == 2


@BOTH
def test_processes_that_are_all_replaced_and_then_stopped_lose_no_request_and_no_count(
    given: GivenTorchServe, tmp_path: Path, command: str
) -> None:
    def logged(words: str) -> int:
        return server.log.read_text().count(words)

    with serving(given, tmp_path, command) as server, clients(server.url, PREDICT, 2) as asking:
        wait_for(lambda: asking.found["200"] > 50)
        server.process.send_signal(signal.SIGHUP)
        wait_for(lambda: logged("Application startup complete") == 4)
        wait_for(lambda: logged("Application shutdown complete") == 2)
        found = asking.found["200"]
        assert metric(server.url, "marina_gateway_request_seconds_count", model="digits") >= found
        with clients(server.url, PREDICT, 2) as others:
            wait_for(lambda: others.found["200"] > 50)
            server.process.send_signal(signal.SIGTERM)
            assert set(others.join() + asking.join()) == {"200"}


def test_server_with_another_protocol_than_the_gateways_refuses_and_gives_up_alike(
    given: GivenTorchServe, tmp_path: Path
) -> None:
    command = "-m uvicorn app:app --port {port} --http h11"
    overrides = ("gateway.max_body_bytes=100000", "gateway.admission.max_places=1")
    given.hold()
    with started(given, tmp_path, command, *overrides, "gateway.security.cors_origins=[http://a.example]") as server:
        wait_for(server.answers)
        url = server.url + PREDICT
        assert requests.head(f"{server.url}/healthz", timeout=30).status_code == 200
        assert requests.get(f"{server.url}/models", headers={"Host": "evil.example"}, timeout=30).status_code == 403
        refused = requests.post(url, data=b"", headers={"Origin": "http://a.example"}, timeout=30)
        assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (400, "http://a.example")
        for body in (b"x" * 100_001, iter([b"x" * 100_001])):
            assert requests.post(url, data=body, timeout=30).status_code == 413
        late = requests.post(url, data=b"hold this, which is late", headers={"X-Deadline-Ms": "100"}, timeout=30)
        assert late.status_code == 504
        with connected(server.url) as client:
            client.send(request(PREDICT, PNG, body=b"hold this, whose client leaves"))
            wait_for(lambda: metric(server.url, "marina_gateway_requests_admitted", model="digits") == 1)
            full = requests.post(url, data=PICTURE, timeout=30)
            assert (full.status_code, full.json()["error"]) == (429, "over_capacity")
        wait_for(lambda: requests.post(url, data=PICTURE, timeout=30).status_code == 200)
    given.release()


@pytest.mark.parametrize("command", [COMMANDS["app.py"], COMMANDS["gunicorn"]], ids=["app.py", "gunicorn"])
def test_rate_of_a_key_is_let_through_once_over_http_and_grpc_and_after_a_death(
    given: GivenTorchServe, tmp_path: Path, command: str
) -> None:
    key, digest = new_key()
    headers = {"x-api-key": key}

    def over_http() -> bool:
        return requests.get(f"{server.url}/models", headers=headers, timeout=30).status_code == 200

    def over_grpc() -> bool:
        with Client("grpc", f"127.0.0.1:{server.port}", f"127.0.0.1:{server.grpc_port}") as client:
            return bool(client.call("get_model_repository_index", headers=headers))

    override = f"gateway.security.api_keys=[{{name: a, sha256: {digest}, rate: 31/hour}}]"
    with serving(given, tmp_path, command, override) as server:
        before = server.workers()
        through = [ask() for _ in range(15) for ask in (over_http, over_grpc)]
        assert through == [True] * 30
        before[0].kill()
        wait_for(lambda: server.log.read_text().count("Application startup complete") == 3)
        assert sum(over_http() for _ in range(20)) == 1
        with pytest.raises(InferenceServerException, match="this key may send 31 per hour"):
            over_grpc()


@BOTH
@pytest.mark.parametrize("reuse", [False, True], ids=["alone", "with_reuseport"])
def test_server_whose_grpc_port_another_program_has_ends_with_one_line(
    given: GivenTorchServe, tmp_path: Path, command: str, *, reuse: bool
) -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, int(reuse))
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        with started(given, tmp_path, command.replace(PATIENT, ""), grpc_port=taken) as server:
            server.process.wait(60)
    log = server.log.read_text()
    assert f"gateway: port {taken} on 127.0.0.1 cannot be opened" in log
    # gunicorn may show a traceback of its own when both of its workers end at once.
    assert all("/gunicorn/" in line for line in log.splitlines() if line.lstrip().startswith('File "'))


def test_gunicorn_that_preloads_ends_with_one_line(given: GivenTorchServe, tmp_path: Path) -> None:
    with started(given, tmp_path, COMMANDS["gunicorn"] + " --preload") as server:
        assert server.process.wait(60) != 0
    log = server.log.read_text()
    assert "start it without --preload" in log
    assert "Traceback" not in log


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("gateway.max_receiving_mb=31", "max_receiving_mb=31 leaves each of 2 processes less than one body"),
        ("gateway.host=0.0.0.0", "can be reached from other machines and nothing checks their requests"),
    ],
)
def test_server_with_settings_that_are_refused_ends_with_one_line(
    given: GivenTorchServe, tmp_path: Path, override: str, words: str
) -> None:
    with started(given, tmp_path, COMMANDS["uvicorn"].replace(PATIENT, ""), override) as server:
        server.process.wait(60)
    log = server.log.read_text()
    assert words in log
    assert "Traceback" not in log


def test_app_whose_overrides_are_no_list_says_how_they_are_written() -> None:
    for wrong in ("gateway.port=1", '{"a": 1}', "[1]"):
        environment = os.environ | {"MARINA_OVERRIDES": wrong}
        command = [sys.executable, "-c", "from app import app"]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 3
        assert (
            done.stderr
            == f'MARINA_OVERRIDES={wrong} is not a list of overrides; write it like ["gateway.access_log=true"]\n'
        )


def test_uvicorn_alone_is_one_process_whatever_the_settings_say(given: GivenTorchServe, tmp_path: Path) -> None:
    command = "-m uvicorn app:app --port {port}"
    with started(given, tmp_path, command, "gateway.processes=2", "gateway.admission.max_places=1") as server:
        wait_for(server.answers)
        assert exchange(server.url, request(PREDICT, "X-Long: " + "x" * 20_000, body=PICTURE)).status == 431
        assert server.folders() == []


@pytest.fixture
def joinable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Puts back what joining changes in this process."""
    monkeypatch.setattr(values, "ValueClass", values.ValueClass)
    monkeypatch.setenv(process_slots.SHARED, "")


def _files(joined: process_slots.ProcessSlot, *names: str) -> None:
    for name in names:
        (joined.folder / name).touch()


@pytest.mark.usefixtures("joinable")
def test_slot_of_a_dead_process_is_taken_over_with_its_counters_and_without_its_gauges(tmp_path: Path) -> None:
    first, second = (process_slots.join(os.getpid(), tmp_path / "root") for _ in range(2))
    assert (first.slot, first.alone, second.slot, second.alone) == (0, True, 1, False)
    _files(second, "counter_0.db", "gauge_livesum_0.db", "gauge_livesum_1.db")
    second.bury()
    assert (second.folder / "gauge_livesum_0.db").exists()
    os.close(first._lock)  # as its death does
    second.bury()
    assert sorted(file.name for file in second.folder.glob("*.db")) == ["counter_0.db", "gauge_livesum_1.db"]
    third = process_slots.join(os.getpid(), tmp_path / "root")
    assert (third.slot, third.folder) == (0, second.folder)


@pytest.mark.usefixtures("joinable")
def test_last_process_that_leaves_keeps_the_counters_for_the_next(tmp_path: Path) -> None:
    joined = process_slots.join(os.getpid(), tmp_path / "root")
    _files(joined, "counter_0.db")
    joined.leave()
    assert (process_slots.join(os.getpid(), tmp_path / "root").folder / "counter_0.db").exists()


@pytest.mark.usefixtures("joinable")
def test_folder_of_a_killed_gateway_is_removed_by_the_next_one(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as server:
        killed, running = (process_slots.join(server.pid, tmp_path / "root") for _ in range(2))
        os.close(killed._lock)
        other = process_slots.join(os.getpid(), tmp_path / "root")
        assert (killed.folder.exists(), other.folder != killed.folder) == (True, True)
        server.send_signal(signal.SIGKILL)
    process_slots.join(os.getpid(), tmp_path / "root")
    assert running.folder.exists()  # its server is gone, but one of its processes still serves
    os.close(running._lock)
    process_slots.join(os.getpid(), tmp_path / "root")
    assert not killed.folder.exists()


@pytest.mark.usefixtures("joinable")
@pytest.mark.parametrize("kind", ["file", "link", "open to others"])
def test_folder_that_others_may_write_is_refused(tmp_path: Path, kind: str) -> None:
    root = tmp_path / "root"
    match kind:
        case "file":
            root.touch()
        case "link":
            root.symlink_to(tmp_path)
        case _:
            root.mkdir()
            root.chmod(0o777)
    with pytest.raises(ConfigError, match="set TMPDIR to a folder that can be written"):
        process_slots.join(os.getpid(), root)
