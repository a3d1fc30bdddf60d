"""Ports, programs and environments of a benchmark's stack, and the peers that are launched on them."""

import os
import socket
import sys
from pathlib import Path

import pytest

from bench.assets import Assets
from bench.local_stack import STACK_PORTS, completed, environment, free_ports, port_variables, run
from bench.peers import launch
from bench.peers.launch import PORTS, Site
from errors import MarinaError


def test_free_ports_are_consecutive_and_free() -> None:
    ports = free_ports(5)
    assert ports == list(range(ports[0], ports[0] + 5))
    with socket.create_server(("127.0.0.1", ports[2])):
        assert ports[2] not in free_ports(5)


def test_run_failed_program_is_named_with_its_output() -> None:
    assert completed(("-c", "print(1)"), os.environ).stdout == "1\n"
    assert run(("-c", "import sys; print(1, file=sys.stderr)"), os.environ) == "1\n"
    with pytest.raises(MarinaError, match="no such model"):
        run(("-c", "raise SystemExit('no such model')"), os.environ)


def test_environment_is_restored() -> None:
    before = dict(os.environ)
    with environment({"MARINA_STATE": "/elsewhere"}):
        assert os.environ["MARINA_STATE"] == "/elsewhere"
    assert dict(os.environ) == before


def test_port_variables_name_every_service_once() -> None:
    made = port_variables(STACK_PORTS, range(100, 100 + PORTS))
    assert made["MARINA_GATEWAY_PORT"] == "100"
    assert len(set(made.values())) == len(STACK_PORTS)


def test_torchserve_around_has_ports_archive_and_its_workers(tmp_path: Path) -> None:
    archive = tmp_path / "cartpole.mar"
    archive.write_bytes(b"archive")
    made = launch.torchserve_around(sys.executable, 100, tmp_path / "site", archive)
    written = (tmp_path / "site" / "config.properties").read_text()
    assert "inference_address=http://127.0.0.1:100\n" in written
    assert "grpc_management_port=104\n" in written
    assert '"minWorkers": 1, "maxWorkers": 1, "batchSize": 16, "maxBatchDelay": 1' in written
    assert (tmp_path / "site" / "store" / "cartpole.mar").read_bytes() == b"archive"
    assert "OMP_NUM_THREADS" not in made.env
    quiet = launch.torchserve_around(sys.executable, 100, tmp_path / "site", archive, quiet=True)
    assert quiet.env["OMP_NUM_THREADS"] == "1"
    assert "--log-config" in quiet.command


def test_launched_server_finds_its_variables_and_leaves_no_folder(tmp_path: Path) -> None:
    site = Site(Assets(tmp_path, (), {}), tmp_path / "sites" / "it", sys.executable, 100, workers=3)
    stopped: list[Site] = []
    program = "import os, time; print(os.environ['PORT'], os.environ['WORKERS'], flush=True); time.sleep(600)"
    with launch.launched(site, lambda _: launch.Start((sys.executable, "-c", program)), stopped.append) as server:
        server.wait(lambda: server.last_words() == "100 3", 30)
    assert stopped == [site]
    assert not site.folder.exists()
