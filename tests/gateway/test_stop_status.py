"""How a stopped gateway ends: what is in flight is answered, nothing that was sent is lost, and the status says so."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
import requests

from gateway.oip import open_inference_pb2 as pb
from tests.gateway.gateway_program import ROOT, stub
from tests.gateway.given import GivenTorchServe
from tests.gateway.raw import CARTPOLE, JSON, STATE, request
from tests.gateway.test_app import program
from tests.gateway.test_faults import metric
from tests.gateway.test_processes import COMMANDS, started
from tests.gateway.test_stop import Clients, clients
from tests.polling import wait_for
from tests.ports import free_port

PICTURES = "/models/digits/predict"
NGINX = shutil.which("nginx") or shutil.which("/usr/sbin/nginx")
WAYS = {
    "app.py": "app.py gateway.port={port}",
    "app.py, two processes": COMMANDS["app.py"],
    "uvicorn": "-m uvicorn app:app --port {port}",
    "uvicorn, two processes": COMMANDS["uvicorn"],
    "gunicorn": COMMANDS["gunicorn uvicorn_worker"],
}


@pytest.mark.parametrize("command", WAYS.values(), ids=WAYS.keys())
def test_stop_answers_what_is_in_flight_and_ends_with_status_0(
    given: GivenTorchServe, tmp_path: Path, command: str
) -> None:
    given.hold()
    with started(given, tmp_path, command) as server, ThreadPoolExecutor(20) as pool:
        wait_for(server.answers)

        def send(number: int) -> int:
            return requests.post(
                server.url + PICTURES, data=b"hold a picture of some length %d" % number, timeout=60
            ).status_code

        found = [pool.submit(send, number) for number in range(20)]
        wait_for(lambda: metric(server.url, "marina_gateway_requests_in_flight") >= 20)
        server.process.send_signal(signal.SIGTERM)
        wait_for(lambda: "Shutting down" in server.log.read_text())
        given.release()
        assert [each.result() for each in found] == [200] * 20
        assert server.process.wait(60) == 0


def test_second_signal_ends_at_once_with_status_1_and_counts_what_it_cut_off(
    given: GivenTorchServe, tmp_path: Path
) -> None:
    given.hold()
    log = tmp_path / "log"
    with program(given, log, "gateway.stop_notice_ms=600000") as (url, process), ThreadPoolExecutor(2) as pool:
        found = [
            pool.submit(requests.post, url + PICTURES, data=b"hold a picture of some length %d" % number)
            for number in range(2)
        ]
        wait_for(lambda: metric(url, "marina_gateway_requests_in_flight") >= 2)
        process.send_signal(signal.SIGTERM)
        wait_for(lambda: requests.get(f"{url}/readyz", timeout=30).status_code == 503)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 1
        assert all(isinstance(each.exception(), requests.ConnectionError) for each in found)
    assert '"requests_cut_off"' in log.read_text()
    given.release()


def test_requests_beyond_the_grace_are_cut_off_under_every_protocol(given: GivenTorchServe, tmp_path: Path) -> None:
    given.hold()
    log, port = tmp_path / "log", free_port()
    short = ("gateway.graceful_stop_s=1", "gateway.stop_notice_ms=0", f"gateway.grpc_port={port}")
    with (
        program(given, log, *short) as (url, process),
        grpc.insecure_channel(f"127.0.0.1:{port}") as channel,
        ThreadPoolExecutor(2) as pool,
    ):
        late = stub(channel).ModelInfer.future(_held(), timeout=60)
        # First, so that the observation below is not sent in the same batch.
        wait_for(lambda: metric(url, "marina_gateway_requests_in_flight") >= 2)
        lost = pool.submit(requests.post, url + PICTURES, data=b"hold a picture of some length")
        fast = pool.submit(
            requests.post, url + CARTPOLE, data=b"[0,0,0.2,1]", headers={"Content-Type": "application/json"}
        )
        wait_for(lambda: metric(url, "marina_gateway_requests_in_flight") >= 4)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 1
        assert isinstance(lost.exception(), requests.ConnectionError)
        assert isinstance(fast.exception(), requests.ConnectionError)
        assert late.exception().code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
    assert '"count": 3' in log.read_text()
    given.release()


def _held() -> pb.ModelInferRequest:
    """An inference of two observations that the engine holds."""
    state = pb.ModelInferRequest.InferInputTensor(name="observation", datatype="FP32", shape=[2, 4])
    state.contents.fp32_contents.extend([0, 0, 0.2, 0] * 2)
    return pb.ModelInferRequest(model_name="cartpole", inputs=[state])


def test_stop_answers_grpc_calls_and_streams_in_flight_and_refuses_new_ones(
    given: GivenTorchServe, tmp_path: Path
) -> None:
    given.hold()
    port = free_port()
    address = f"127.0.0.1:{port}"
    with (
        program(given, tmp_path / "log", f"gateway.grpc_port={port}") as (url, process),
        grpc.insecure_channel(address) as channel,
        grpc.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)]) as other,
    ):
        goes_on = threading.Event()

        def messages() -> Iterator[pb.ModelInferRequest]:
            yield _held()
            goes_on.wait(60)

        one = stub(channel).ModelInfer.future(_held(), timeout=60)
        stream = stub(channel).ModelStreamInfer(messages(), timeout=60)
        wait_for(lambda: metric(url, "marina_gateway_requests_in_flight") >= 3)
        process.send_signal(signal.SIGTERM)

        def is_refused() -> bool:
            try:
                stub(other).ServerLive(pb.ServerLiveRequest(), timeout=5)
            except grpc.RpcError as error:
                return bool(error.code() is grpc.StatusCode.UNAVAILABLE)
            return False

        wait_for(is_refused)
        given.release()
        assert one.result().model_name == "cartpole"
        assert [answer.infer_response.model_name for answer in stream] == ["cartpole"]
        goes_on.set()
        assert process.wait(60) == 0


def test_request_that_is_arriving_when_the_gateway_stops_is_answered(given: GivenTorchServe, tmp_path: Path) -> None:
    log = tmp_path / "log"
    sent = request(CARTPOLE, JSON, body=STATE)
    with program(given, log, "gateway.stop_notice_ms=0") as (url, process):
        address = ("127.0.0.1", int(url.rpartition(":")[2]))
        with (
            socket.create_connection(address, timeout=60) as in_head,
            socket.create_connection(address, timeout=60) as in_body,
            socket.create_connection(address, timeout=60) as idle,
        ):
            for connection, size in ((in_head, 30), (in_body, len(sent) - 1), (idle, len(sent))):
                connection.sendall(sent)
                assert connection.recv(65536).startswith(b"HTTP/1.1 200")
                connection.sendall(sent[:size] if connection is not idle else b"")
            # A request on a third connection is answered only after the bytes before it were read.
            assert requests.get(f"{url}/healthz", timeout=60).status_code == 200
            process.send_signal(signal.SIGTERM)
            assert idle.recv(65536) == b""
            for connection, size in ((in_head, 30), (in_body, len(sent) - 1)):
                connection.sendall(sent[size:])
                answer = connection.recv(65536)
                assert answer.startswith(b"HTTP/1.1 200")
                assert b"connection: close" in answer
        assert process.wait(60) == 0


def test_stop_does_not_wait_for_threads_that_an_engine_keeps() -> None:
    code = (
        "import asyncio, threading; from gateway.upstream.daemon_threads import DaemonThreads\n"
        "async def main():\n"
        "    threads = DaemonThreads(1, 'x')\n"
        "    try:\n"
        "        async with asyncio.timeout(0.1): await threads.run(threading.Event().wait)\n"
        "    except TimeoutError: threads.close()\n"
        "asyncio.run(main())"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)


@contextmanager
def balanced(folder: Path, *ports: int) -> Iterator[str]:
    """The URL of nginx in front of gateways, with the settings of the project's own configuration."""
    port = free_port()
    servers = "\n".join(f"server 127.0.0.1:{each} max_fails=0;" for each in ports)
    (folder / "nginx.conf").write_text(f"""
        worker_processes 1; pid {folder}/pid; error_log {folder}/error.log; events {{}}
        http {{ access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
          fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
          upstream gateways {{ {servers} keepalive 16; }}
          server {{ listen 127.0.0.1:{port};
            location / {{ proxy_pass http://gateways; proxy_http_version 1.1; proxy_set_header Connection "";
              proxy_set_header Host $host;
              proxy_next_upstream error non_idempotent; proxy_next_upstream_tries 3; }} }} }}""")
    assert NGINX is not None
    command = [NGINX, "-p", folder, "-c", folder / "nginx.conf", "-e", folder / "error.log", "-g", "daemon off;"]
    process = subprocess.Popen([*map(str, command)], env=os.environ)
    try:
        wait_for(lambda: _answers(port))
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


def _answers(port: int) -> bool:
    try:
        return requests.get(f"http://127.0.0.1:{port}/healthz", timeout=5).status_code == 200
    except OSError:
        return False


@pytest.mark.skipif(NGINX is None, reason="needs nginx")
def test_two_gateways_replaced_in_turn_behind_nginx_lose_no_request(given: GivenTorchServe, tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("a", "b", "nginx")]
    for folder in folders:
        folder.mkdir()
    command = "app.py gateway.port={port}"
    with started(given, folders[0], command) as a, started(given, folders[1], command) as b:
        wait_for(lambda: a.answers() and b.answers())
        with balanced(folders[2], a.port, b.port) as url, clients(url, PICTURES) as asking:
            for server in (a, b):
                _run_for(asking, 300)
                server.process.send_signal(signal.SIGTERM)
                assert server.process.wait(60) == 0
                _run_for(asking, 300)
                again = f"app.py gateway.port={server.port}"
                if server is a:
                    successor = started(given, folders[0], again, grpc_port=server.grpc_port)
                    successor.__enter__()
                    wait_for(lambda: _answers(a.port))
            asking.stop.set()
            found = asking.join()
            successor.__exit__(None, None, None)
    assert set(found) == {"200"}


def _run_for(asking: Clients, answers: int) -> None:
    before = asking.found["200"]
    wait_for(lambda: asking.found["200"] >= before + answers)
